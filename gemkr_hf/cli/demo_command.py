"""``gemkr demo``: the page in the browser."""

import importlib.util
import socket
from pathlib import Path
from typing import Annotated

import typer

from gemkr_hf.cli.command_errors import be_quiet, one_sentence_errors

_QUICKSTART = Path("runs/quickstart")


@one_sentence_errors
def demo(
    model: Annotated[str, typer.Option(help="Folder or Hub id of model and processor.")] = str(
        _QUICKSTART / "model"
    ),
    knowledge_base: Annotated[
        str, typer.Option(help="Folder or Hub id of the knowledge base.")
    ] = str(_QUICKSTART / "knowledge_base"),
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port on this machine, 127.0.0.1.")
    ] = 7860,
    share: Annotated[
        bool,
        typer.Option(
            help="Open a public address as well, which anyone who has it can use (by gradio)."
        ),
    ] = False,
    examples: Annotated[
        Path | None,
        typer.Option(
            help="Folder of images and, if wanted, examples.json, a list of "
            '{"image": ..., "question": ...}; the quickstart\'s if it is there.'
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Documents wanted.")] = 5,
) -> None:
    """Ask questions about images in the browser; needs gradio.

    Example: gemkr demo --model runs/quickstart/model
    --knowledge-base runs/quickstart/knowledge_base --port 7861
    """
    be_quiet()
    from gemkr_hf.demo import MISSING, build_app, read_examples, serve

    # All that can be told at once is told before the model is loaded.
    if importlib.util.find_spec("gradio") is None:
        raise ValueError(MISSING)
    _check_folder(model, "config.json", "a model")
    _check_folder(knowledge_base, "knowledge_base.json", "a knowledge base")
    _check_port(port)
    folder = examples or _QUICKSTART / "examples"
    offered = read_examples(folder) if examples is not None or folder.is_dir() else []

    from gemkr_hf.retrieval.retriever import GeMKRRetriever

    typer.echo("Loading the model ...")
    retriever = GeMKRRetriever.from_pretrained(model, knowledge_base=knowledge_base)
    app = build_app(retriever, offered, k=k)
    address = serve(app, port, share=share)
    typer.echo(f"The demo is at {address} (Ctrl+C ends it)")
    if share and app.share_url is None:
        typer.echo(
            "No public address could be opened; the demo runs on this machine alone", err=True
        )
    app.block_thread()


def _check_folder(name: str, file: str, what: str) -> None:
    """Raise FileNotFoundError for a folder without ``file``, or a name that is no Hub id either."""
    path = Path(name)
    is_path = path.is_absolute() or name.count("/") > 1 or path.exists()
    # "runs/model" could be an id on the Hub, but not where there is a folder "runs".
    is_path = is_path or (path.parent != Path() and path.parent.is_dir()) or name.startswith(".")
    if not is_path or (path / file).is_file():
        return
    made = "; `gemkr quickstart` makes the default one" if path.is_relative_to(_QUICKSTART) else ""
    raise FileNotFoundError(f"There is no folder '{name}' with {what} in it ({file}){made}")


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        # As the server will: a port that was closed a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise OSError(
                f"Port {port} cannot be used ({error.strerror}): take another with --port"
            ) from None


__all__ = ["demo"]
