"""``gemkr demo``: the web page."""

import importlib.util
import socket
from pathlib import Path
from typing import Annotated

import typer

from gemkr_hf.cli.command_errors import one_sentence_errors
from gemkr_hf.utils.hub_ids import resolve_source

_QUICKSTART = Path("runs/quickstart")


@one_sentence_errors
def demo(
    model: Annotated[
        str, typer.Option(help="Folder or Hub id of the model and its processor.")
    ] = str(_QUICKSTART / "model"),
    knowledge_base: Annotated[
        str, typer.Option(help="Folder or Hub id of the knowledge base.")
    ] = str(_QUICKSTART / "knowledge_base"),
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port on this machine (127.0.0.1).")
    ] = 7860,
    share: Annotated[
        bool,
        typer.Option(help="Also open a public address through gradio, which anyone can use."),
    ] = False,
    examples: Annotated[
        Path | None,
        typer.Option(
            help="Folder of example images, with an optional examples.json: a list of "
            '{"image": ..., "question": ...}. By default the quickstart\'s, if it exists.'
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of documents to retrieve.")] = 5,
) -> None:
    """Ask questions about images in the browser; needs gradio.

    Example: gemkr demo --model runs/quickstart/model
    --knowledge-base runs/quickstart/knowledge_base --port 7861
    """
    from gemkr_hf.demo import MISSING, build_app, read_examples, serve
    from gemkr_hf.retrieval import GeMKRRetriever

    # Everything that can be checked at once is checked before the model is loaded.
    if importlib.util.find_spec("gradio") is None:
        raise ValueError(MISSING)
    try:
        resolve_source(model, "Model", ["config.json", "adapter_config.json"], early=True)
        resolve_source(knowledge_base, "Knowledge base", ["knowledge_base.json"], early=True)
    except FileNotFoundError as error:
        if str(_QUICKSTART) in str(error):
            raise FileNotFoundError(f"{error}; run 'gemkr quickstart' to create it") from None
        raise
    _check_port(port)
    folder = examples or _QUICKSTART / "examples"
    listed = read_examples(folder) if examples is not None or folder.is_dir() else []

    typer.echo("Loading the model ...")
    retriever = GeMKRRetriever.from_pretrained(model, knowledge_base=knowledge_base)
    app = build_app(retriever, listed, k=k)
    address = serve(app, port, share=share)
    typer.echo(f"The demo is running at {address} (press Ctrl+C to stop)")
    if share and app.share_url is None:
        typer.echo("No public address could be opened; the demo is local only", err=True)
    app.block_thread()


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        # The server sets this option as well: a recently closed port is available.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise OSError(
                f"Port {port} is not available ({error.strerror}): choose another with --port"
            ) from None


__all__ = ["demo"]
