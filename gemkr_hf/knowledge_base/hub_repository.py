"""Knowledge bases on the Hub: dataset repositories with a card."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from huggingface_hub import DatasetCard, DatasetCardData

from gemkr_hf.hub.card_templates import fill, is_users_own
from gemkr_hf.hub.download import HubError, download_files, is_repo_id
from gemkr_hf.hub.upload_plan import PlannedFile, UploadPlan, readable_size
from gemkr_hf.knowledge_base.shard_selection import Selection, select
from gemkr_hf.knowledge_base.storage import HEADER_FILE, named_files, read_header
from gemkr_hf.knowledge_base.tokenization import TokenizerIdentity

_SIZES = (
    (10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"), (10**8, "10M<n<100M"),
)  # fmt: skip
_OWNED = (
    "documents-*.parquet",
    "duplicates-*.parquet",
    "removed-*.safetensors",
    "shard-*.safetensors",
    "tokenizer-*/*",
)


@dataclass(frozen=True)
class KnowledgeBaseCard:
    """What a knowledge base's card says and its files do not.

    Attributes:
        license: of the documents, as the Hub names it ("cc-by-sa-4.0"); "unknown" where None.
        language: codes of the documents' languages ("en").
        source: where the documents come from, in a sentence or two.
        model: Hub id of a checkpoint that was tuned on it, for the example.
    """

    license: str | None = None
    language: str | list[str] | None = None
    source: str | None = None
    model: str | None = None


def locate(
    name_or_path: str | PathLike[str],
    documents: bool = True,
    shards: Sequence[int] | None = None,
    **where: Any,
) -> tuple[Path, Selection]:
    """Folder of a knowledge base, or of as much of it as is wanted, and what is in it.

    Args:
        name_or_path: a folder, or the id of a dataset repository: its header is downloaded, and
            then the files wanted, of the same commit.
        documents, shards: see `KnowledgeBase.from_pretrained`.
        **where: for ``snapshot_download``.

    Raises:
        FileNotFoundError: the name is neither a knowledge base's folder nor a repository that can
            be had, or the repository lacks a file.
        ValueError: the header is broken, or there is no such shard.
    """
    folder = Path(name_or_path)
    if (folder / HEADER_FILE).is_file():
        return folder, select(read_header(folder), shards, documents, folder)
    if folder.exists():
        raise FileNotFoundError(
            f"'{name_or_path}' is no knowledge base: there is no {HEADER_FILE} in it"
        )
    if not is_repo_id(name_or_path):
        raise FileNotFoundError(f"There is no folder '{name_or_path}' with a knowledge base in it")
    name = str(name_or_path)
    try:
        folder = download_files(name, "dataset", [HEADER_FILE], **where)
        selection = select(read_header(folder), shards, documents, name)
        # All from one commit, whatever is pushed meanwhile.
        where["revision"] = folder.name
        folder = download_files(name, "dataset", [HEADER_FILE, *selection.names], **where)
    except HubError as error:
        raise FileNotFoundError(
            f"There is no folder '{name}' with a knowledge base, and on the Hub: {error}"
        ) from error
    return folder, selection


def plan_knowledge_base(
    folder: Path, repo_id: str, card: KnowledgeBaseCard | None = None
) -> UploadPlan:
    """What `push_to_hub` would upload of a saved knowledge base.

    A card that was written by hand (``README.md``) is kept.

    Raises:
        FileNotFoundError, ValueError: there is no knowledge base, or it lacks a file.
    """
    folder = Path(folder)
    header = read_header(folder)
    names = sorted(named_files(header))
    for name in (HEADER_FILE, *names):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"'{folder / name}' is missing: the folder is not complete")
    readme = folder / "README.md"
    if is_users_own(readme):
        contents: Path | bytes = readme
    else:
        contents = str(knowledge_base_card(folder, header, repo_id, card)).encode()
    known = {HEADER_FILE, "README.md", *names}
    others = [path.name for path in sorted(folder.iterdir()) if path.is_file()]
    return UploadPlan(
        repo_id,
        "dataset",
        (
            PlannedFile("README.md", contents),
            *(PlannedFile(name, folder / name) for name in (HEADER_FILE, *names)),
        ),
        left_out=tuple(name for name in others if name not in known),
        owned=_OWNED,
        message="Upload knowledge base",
    )


def knowledge_base_card(
    folder: Path, header: dict[str, Any], repo_id: str, card: KnowledgeBaseCard | None = None
) -> DatasetCard:
    """The card, from `hub_cards/knowledge_base.md`."""
    card = card or KnowledgeBaseCard()
    number = header["num_documents"]
    data = DatasetCardData(
        pretty_name=repo_id.split("/")[-1],
        license=card.license or "unknown",
        language=card.language,
        tags=["gemkr", "fm-index", "generative-retrieval"],
        task_categories=["text-retrieval"],
        size_categories=next((name for size, name in _SIZES if number < size), "100M<n<1B"),
        configs=[{"config_name": "default", "data_files": "documents-*.parquet"}],
    )
    parts = [pq.read_schema(folder / part["file"]).names for part in header["documents"][:1]]
    removed = any(record.get("removed") for record in header["index"]["shards"])
    return fill(
        "knowledge_base.md",
        DatasetCard,
        data,
        repo_id=repo_id,
        num_documents=number,
        num_tokens=header["num_tokens"],
        columns=parts[0] if parts else [],
        num_shards=len(header["index"]["shards"]),
        size_of_documents=_size(header["documents"]),
        size_of_index=_size(header["index"]["shards"]),
        removed=removed,
        duplicates=bool(header.get("duplicates")),
        tokenizer=TokenizerIdentity(**header["tokenizer"]),
        license=card.license,
        source=card.source,
        model=card.model,
    )


def _size(records: list[dict[str, Any]]) -> str:
    return readable_size(sum(record["bytes"] for record in records))


__all__ = ["KnowledgeBaseCard", "knowledge_base_card", "locate", "plan_knowledge_base"]
