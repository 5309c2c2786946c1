"""``gemkr push``: checkpoints, adapters, knowledge bases and demos to the Hub."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gemkr_hf.cli.command_errors import be_quiet, one_sentence_errors

push = typer.Typer(
    help="Upload to the Hub, in one commit; stopped, the same command goes on.",
    no_args_is_help=True,
)

RepoId = Annotated[str, typer.Argument(help="Repository on the Hub: owner/name.")]
Private = Annotated[
    bool, typer.Option("--private", help="Make the repository private; refuse a public one.")
]
Revision = Annotated[
    str | None, typer.Option(help="Branch; it is made if it is not there. The main one by default.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be uploaded, and upload nothing.")
]
Message = Annotated[str | None, typer.Option(help="Of the commit.")]
License = Annotated[str | None, typer.Option(help="As the Hub names it, such as cc-by-sa-4.0.")]
Language = Annotated[
    list[str] | None, typer.Option(help="Language of the documents, such as en; several times.")
]
KnowledgeBaseId = Annotated[
    str | None, typer.Option(help="Hub id of a knowledge base, for the card's example and results.")
]
Question = Annotated[str | None, typer.Option(help="For the card's example.")]


@push.command()
@one_sentence_errors
def model(
    folder: Annotated[Path, typer.Argument(help="Folder of the checkpoint, or of its run.")],
    repo_id: RepoId,
    private: Private = False,
    revision: Revision = None,
    dry_run: DryRun = False,
    knowledge_base: KnowledgeBaseId = None,
    license: License = None,
    language: Language = None,
    question: Question = None,
    message: Message = None,
) -> None:
    """Upload a checkpoint: weights, configurations, prompt, detector, code, card.

    Example: gemkr push model runs/quickstart/model org/gemkr-symbols --dry-run
    """
    be_quiet()
    from gemkr_hf.hub import plan_model

    card = _card(knowledge_base, license, language, question)
    _send(plan_model(folder, repo_id, card), dry_run, private, revision, message)


@push.command()
@one_sentence_errors
def adapter(
    folder: Annotated[Path, typer.Argument(help="Folder of the adapter, or of its run.")],
    repo_id: RepoId,
    base: Annotated[
        str | None,
        typer.Option(
            help="Hub id of the checkpoint under it; made of the run's base if it is not there."
        ),
    ] = None,
    private: Private = False,
    revision: Revision = None,
    dry_run: DryRun = False,
    knowledge_base: KnowledgeBaseId = None,
    license: License = None,
    language: Language = None,
    question: Question = None,
    message: Message = None,
) -> None:
    """Upload an adapter: LoRA, prefix, gates and projections, with processor, code and card.

    Example: gemkr push adapter runs/okvqa org/gemkr-okvqa-lora --base org/gemkr-llama-7b --dry-run
    """
    be_quiet()
    from gemkr_hf.hub import plan_adapter, plan_model
    from gemkr_hf.hub.checkpoint_upload import base_of

    base, made_of = base_of(folder, base)
    card = _card(knowledge_base, license, language, question)
    plan = plan_adapter(folder, repo_id, base, card)
    if made_of is not None:
        _send(plan_model(made_of, base), dry_run, private, None, None)
    _send(plan, dry_run, private, revision, message)


@push.command()
@one_sentence_errors
def kb(
    folder: Annotated[Path, typer.Argument(help="Folder of the knowledge base.")],
    repo_id: RepoId,
    private: Private = False,
    revision: Revision = None,
    dry_run: DryRun = False,
    license: License = None,
    language: Language = None,
    source: Annotated[
        str | None, typer.Option(help="Where the documents come from, in a sentence.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Hub id of a checkpoint tuned on it, for the card's example.")
    ] = None,
    message: Message = None,
) -> None:
    """Upload a knowledge base as a data set: documents, index, tokenizer, card.

    Example: gemkr push kb runs/quickstart/knowledge_base org/symbols --license apache-2.0 --dry-run
    """
    be_quiet()
    from gemkr_hf.knowledge_base.hub_repository import KnowledgeBaseCard, plan_knowledge_base

    card = KnowledgeBaseCard(license=license, language=language or None, source=source, model=model)
    _send(plan_knowledge_base(folder, repo_id, card), dry_run, private, revision, message)


@push.command()
@one_sentence_errors
def space(
    repo_id: RepoId,
    model: Annotated[str, typer.Option(help="Hub id of the checkpoint or adapter.")],
    knowledge_base: Annotated[str, typer.Option(help="Hub id of the knowledge base.")],
    examples: Annotated[
        Path | None, typer.Option(help="Folder of images to offer, see gemkr demo.")
    ] = None,
    title: Annotated[str, typer.Option(help="Of the page.")] = "Ask about an image",
    private: Private = False,
    revision: Revision = None,
    dry_run: DryRun = False,
    license: License = None,
    message: Message = None,
) -> None:
    """Upload a demo as a Space.

    Example: gemkr push space org/ask --model org/gemkr --knowledge-base org/symbols --dry-run
    """
    be_quiet()
    from gemkr_hf.demo.space_repository import SpaceSettings, plan_space

    settings = SpaceSettings(model, knowledge_base, title, license)
    _send(plan_space(repo_id, settings, examples), dry_run, private, revision, message)


def _card(
    knowledge_base: str | None,
    license: str | None,
    language: list[str] | None,
    question: str | None,
) -> Any:
    from gemkr_hf.hub import CardSettings

    given = {"knowledge_base": knowledge_base, "license": license, "language": language or None}
    if question is not None:
        given["question"] = question
    return CardSettings(**given)  # type: ignore[arg-type]


def _send(
    plan: Any, dry_run: bool, private: bool, revision: str | None, message: str | None
) -> None:
    """Show a plan, and carry it out."""
    from gemkr_hf.hub import exclusion_rules as refusals
    from gemkr_hf.hub import upload
    from gemkr_hf.hub.uploader import check_repo_id

    check_repo_id(plan.repo_id)
    for line in plan.lines():
        typer.echo(line)
    refusals.check(plan.files)
    if dry_run:
        typer.echo("Nothing was uploaded (--dry-run)")
        return
    done = upload(plan, private or None, revision, message=message, say=typer.echo)
    for path in done.deleted:
        typer.echo(f"Deleted, of an older upload: {path}")
    typer.echo(f"{done.url} (commit {done.commit[:8]})")


__all__ = ["push"]
