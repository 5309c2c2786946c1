"""``gemkr retrieve``: the documents that answer one question about one image."""

from pathlib import Path
from typing import Annotated

import typer

from gemkr_hf.cli.command_errors import one_sentence_errors
from gemkr_hf.utils.extras import require_extra
from gemkr_hf.utils.text import mark_clue


@one_sentence_errors
def retrieve(
    question: Annotated[str, typer.Option(help="The question.")],
    image: Annotated[
        str | None, typer.Option(help="Image file or URL; omit it for a text-only query.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="Folder or Hub id of the model and its processor.")
    ] = "runs/quickstart/model",
    knowledge_base: Annotated[
        str, typer.Option(help="Folder or Hub id of the knowledge base.")
    ] = "runs/quickstart/knowledge_base",
    aggregate: Annotated[
        str | None,
        typer.Option(
            help="How the scores of a document's clues are combined: max (as in the paper) or "
            "logsumexp; by default the model's own setting."
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Number of documents to retrieve.")] = 5,
    strategy: Annotated[
        str,
        typer.Option(
            help="What the model generates: clue, document, first_sentence or free (Table 4)."
        ),
    ] = "clue",
    beams: Annotated[
        Path | None, typer.Option(help="Save a plot of the beam search to this file.")
    ] = None,
    boxes: Annotated[
        Path | None, typer.Option(help="Save the image with its detected objects to this file.")
    ] = None,
) -> None:
    """Retrieve the documents that answer a question about an image.

    Example: gemkr retrieve --image scene.png --question "What is the red sign used for?"
    """
    from gemkr_hf.decoding import plot_beams
    from gemkr_hf.retrieval.retriever import STRATEGIES, GeMKRRetriever

    if not question.strip():
        raise ValueError("The question is empty")
    if k < 1:
        raise ValueError(f"-k must be at least 1, got {k}")
    is_url = image is not None and ("://" in image or image.startswith("data:"))
    if image is not None and not is_url and not Path(image).is_file():
        raise FileNotFoundError(f"Image not found: '{image}'")
    if strategy not in STRATEGIES:
        raise ValueError(f"--strategy must be one of {', '.join(STRATEGIES)}, got '{strategy}'")
    if beams is not None:
        require_extra("reports", "--beams needs", "matplotlib")
    if beams is not None and strategy == "free":
        raise ValueError("--beams plots a constrained search, which --strategy free does not use")
    if boxes is not None and image is None:
        raise ValueError("--boxes needs an image: add --image")
    retriever = GeMKRRetriever.from_pretrained(
        model, knowledge_base=knowledge_base, aggregate=aggregate
    )
    if boxes is not None and retriever.processor.detector is None:
        raise ValueError("--boxes needs a checkpoint with a detector")
    objects = None
    if image is not None and retriever.processor.detector is None:
        typer.echo("The checkpoint has no detector: the query is asked without objects")
    elif image is not None:
        objects = retriever.processor.detect([image])[0]
        typer.echo(f"Detected objects: {len(objects)}")
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


__all__ = ["retrieve"]
