"""Commands of ``gemkr``: each reads its arguments, calls the library, and prints."""

from pathlib import Path
from typing import Annotated

import typer

from gemkr_hf.cli.command_errors import be_quiet, log_to_standard_error, one_sentence_errors
from gemkr_hf.cli.data_commands import data
from gemkr_hf.cli.demo_command import demo
from gemkr_hf.cli.evaluate_commands import evaluate
from gemkr_hf.cli.index_commands import index
from gemkr_hf.cli.push_commands import push
from gemkr_hf.cli.train_command import train
from gemkr_hf.utils.registry import enable_plugin

enable_plugin("gemkr_hf.toy")

app = typer.Typer(
    help="Find the one document that answers a question about an image.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(index, name="index")
app.add_typer(data, name="data")
app.add_typer(evaluate, name="evaluate")
app.add_typer(push, name="push")
app.command()(train)
app.command()(demo)


@app.command()
@one_sentence_errors
def quickstart(
    output: Annotated[Path, typer.Option(help="Folder for all that is made.")] = Path(
        "runs/quickstart"
    ),
) -> None:
    """Tune on the small world and answer questions about its images.

    Example: gemkr quickstart --output runs/quickstart
    """
    be_quiet()
    from gemkr_hf.toy.quickstart import run_quickstart

    run_quickstart(output, say=typer.echo)


@app.command("small-world")
@one_sentence_errors
def small_world(
    work: Annotated[
        Path, typer.Option(help="Folder of the training's state; a stopped run goes on from it.")
    ] = Path("runs/small-world"),
    output: Annotated[
        Path | None, typer.Option(help="Folder of the finished stand-ins; the library's own.")
    ] = None,
    stage: Annotated[
        list[str] | None, typer.Option(help="Only this stage; may be given several times.")
    ] = None,
) -> None:
    """Train the stand-in detector, CLIP and language model (up to 90 minutes on 2 cores).

    Example: gemkr small-world --work runs/small-world --output runs/stand-ins
    """
    log_to_standard_error()
    be_quiet()
    from gemkr_hf.toy.stand_ins.build import CHECKPOINTS, STAGES, build_small_world

    target = build_small_world(work, output or CHECKPOINTS, stages=tuple(stage or STAGES))
    typer.echo(f"The stand-ins are in {target}; figures.json there tells how good they are")


@app.command()
@one_sentence_errors
def retrieve(
    question: Annotated[str, typer.Option(help="The question.")],
    image: Annotated[
        str | None, typer.Option(help="Image file or URL; none for a question in words alone.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="Folder or Hub id of model and processor.")
    ] = "runs/quickstart/model",
    knowledge_base: Annotated[
        str, typer.Option(help="Folder or Hub id of the knowledge base.")
    ] = "runs/quickstart/knowledge_base",
    aggregate: Annotated[
        str | None,
        typer.Option(help="A document's score from those of its clues: max (paper) or logsumexp."),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Documents wanted.")] = 5,
    strategy: Annotated[
        str,
        typer.Option(
            help="What the model writes: clue, document, first_sentence or free (Table 4)."
        ),
    ] = "clue",
    beams: Annotated[
        Path | None, typer.Option(help="Write an image of the search's beams here.")
    ] = None,
    boxes: Annotated[
        Path | None, typer.Option(help="Write the image with the found objects here.")
    ] = None,
) -> None:
    """Ask one question about one image.

    Example: gemkr retrieve --image scene.png --question "What is the red sign used for?"
    """
    be_quiet()
    from gemkr_hf.decoding import plot_beams
    from gemkr_hf.retrieval.retriever import STRATEGIES, GeMKRRetriever
    from gemkr_hf.toy.quickstart.quickstart_report import mark_clue

    if not question.strip():
        raise ValueError("The question is empty")
    if k < 1:
        raise ValueError(f"-k is the number of documents wanted, at least 1, got {k}")
    if image is not None and "://" not in image and not Path(image).is_file():
        raise FileNotFoundError(f"There is no image at '{image}'")
    if strategy not in STRATEGIES:
        raise ValueError(f"--strategy is one of {', '.join(STRATEGIES)}, not '{strategy}'")
    if beams is not None and strategy == "free":
        raise ValueError("--beams shows a search over clues: --strategy free has none")
    retriever = GeMKRRetriever.from_pretrained(
        model, knowledge_base=knowledge_base, aggregate=aggregate
    )
    objects = None
    if image is not None:
        objects = retriever.processor.detect([image])[0]
        typer.echo(f"{len(objects)} object(s) found")
        if boxes is not None:
            retriever.processor.draw(image, objects).save(boxes)
    if beams is None:
        hits = retriever.retrieve(image, question, k=k, objects=objects, strategy=strategy)
    else:
        hits, trace = retriever.retrieve(
            image, question, k=k, objects=objects, strategy=strategy, return_trace=True
        )
        plot_beams(trace, retriever.processor.tokenizer, beams, title=question)
    for rank, hit in enumerate(hits, start=1):
        typer.echo(f"{rank}. {hit.document['id']}  (score {hit.score:.2f})")
        typer.echo(f"   {mark_clue(hit.document['text'], hit.clues[0].text)}")
