"""``gemkr push``: upload checkpoints, adapters, knowledge bases and demos to the Hub."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gemkr_hf.cli.command_errors import one_sentence_errors

push = typer.Typer(
    help="Upload to the Hugging Face Hub in one commit. Interrupted uploads resume when the "
    "command is repeated.\n"
    "\nExample: gemkr push model runs/quickstart/model org/gemkr-symbols --dry-run",
    no_args_is_help=True,
)

RepoId = Annotated[str, typer.Argument(help="Repository on the Hub: owner/name.")]
Private = Annotated[
    bool, typer.Option("--private", help="Private repository; fails if it exists and is public.")
]
Revision = Annotated[
    str | None, typer.Option(help="Branch, created if needed; the main branch by default.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="List and check what would be uploaded; upload nothing.")
]
Message = Annotated[str | None, typer.Option(help="Commit message.")]
License = Annotated[
    str | None, typer.Option(help="License as the Hub names it, such as cc-by-sa-4.0.")
]
Language = Annotated[
    list[str] | None, typer.Option(help="Language of the documents, such as en; repeatable.")
]
KnowledgeBaseId = Annotated[
    str | None,
    typer.Option(help="Hub id of the knowledge base, for the card's example and results."),
]
Question = Annotated[str | None, typer.Option(help="Question of the card's example.")]


@push.command()
@one_sentence_errors
def model(
    folder: Annotated[Path, typer.Argument(help="Folder of the checkpoint or of its run.")],
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
    """Upload a checkpoint: weights, configuration, processor, detector, code and card.

    Example: gemkr push model runs/quickstart/model org/gemkr-symbols --dry-run
    """
    from gemkr_hf.hub import CardSettings, plan_model

    question = question or CardSettings.question
    card = CardSettings(license, knowledge_base, language or None, question)
    _upload([plan_model(folder, repo_id, card)], dry_run, private, revision, message)


@push.command()
@one_sentence_errors
def adapter(
    folder: Annotated[Path, typer.Argument(help="Folder of the adapter or of its run.")],
    repo_id: RepoId,
    base: Annotated[
        str | None,
        typer.Option(
            help="Hub id of the checkpoint that the adapter was tuned on; if it is not on the Hub, "
            "it is uploaded from the run's folder."
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

    Example: gemkr push adapter runs/quickstart/training org/gemkr-lora --base org/gemkr-base
    """
    from gemkr_hf.hub import CardSettings
    from gemkr_hf.hub.checkpoint_upload import plan_adapter_and_base

    question = question or CardSettings.question
    card = CardSettings(license, knowledge_base, language or None, question)
    plans = plan_adapter_and_base(folder, repo_id, base, card)
    _upload(plans, dry_run, private, revision, message)


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
        str | None, typer.Option(help="Where the documents come from, for the card.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Hub id of a checkpoint tuned on it, for the card's example.")
    ] = None,
    message: Message = None,
) -> None:
    """Upload a knowledge base as a dataset: documents, index, tokenizer and card.

    Example: gemkr push kb runs/quickstart/knowledge_base org/symbols --license apache-2.0 --dry-run
    """
    from gemkr_hf.knowledge_base.hub_repository import KnowledgeBaseCard, plan_knowledge_base

    card = KnowledgeBaseCard(license, language or None, source, model)
    _upload([plan_knowledge_base(folder, repo_id, card)], dry_run, private, revision, message)


@push.command()
@one_sentence_errors
def space(
    repo_id: RepoId,
    model: Annotated[str, typer.Option(help="Hub id of the checkpoint or adapter.")],
    knowledge_base: Annotated[str, typer.Option(help="Hub id of the knowledge base.")],
    examples: Annotated[
        Path | None, typer.Option(help="Folder of example images, as for gemkr demo.")
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Ask about an image",
    private: Private = False,
    revision: Revision = None,
    dry_run: DryRun = False,
    license: License = None,
    message: Message = None,
) -> None:
    """Upload the demo of a model as a Space.

    Example: gemkr push space org/ask --model org/gemkr --knowledge-base org/symbols --dry-run
    """
    from gemkr_hf.demo.space_repository import SpaceSettings, plan_space

    settings = SpaceSettings(model, knowledge_base, title, license)
    _upload([plan_space(repo_id, settings, examples)], dry_run, private, revision, message)


def _upload(
    plans: list[Any], dry_run: bool, private: bool, revision: str | None, message: str | None
) -> None:
    """Print, check and upload plans. Branch and message are for the last one."""
    from gemkr_hf.hub import check_plan, upload

    for plan in plans:
        typer.echo("\n".join(plan.lines()))
        check_plan(plan)
    if dry_run:
        typer.echo("Nothing was uploaded (--dry-run)")
        return
    for plan in plans:
        last = plan is plans[-1]
        result = upload(
            plan,
            private or None,
            revision if last else None,
            message=message if last else None,
            log=typer.echo,
        )
        for path in result.deleted:
            typer.echo(f"Deleted file of an older upload: {path}")
        typer.echo(f"{result.url} (commit {result.commit[:8]})")


__all__ = ["push"]
