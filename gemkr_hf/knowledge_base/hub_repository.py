"""Knowledge bases on the Hub: dataset repositories with a card."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from huggingface_hub import DatasetCard, DatasetCardData

from gemkr_hf.hub.card_templates import CARD_FILE, planned_card, render_card
from gemkr_hf.hub.download import download_files
from gemkr_hf.hub.upload_plan import PlannedFile, UploadPlan, readable_size
from gemkr_hf.knowledge_base.storage import (
    HEADER_FILE,
    Selection,
    named_files,
    read_header,
    select,
)
from gemkr_hf.knowledge_base.tokenization import TokenizerIdentity
from gemkr_hf.utils.hub_ids import resolve_source

# The Hub's categories of sizes, with their upper bounds.
_SIZE_CATEGORIES = (
    (10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"), (10**8, "10M<n<100M"),
)  # fmt: skip
_OWNED_FILES = (
    "documents-*.parquet",
    "duplicates-*.parquet",
    "removed-*.safetensors",
    "shard-*.safetensors",
    "tokenizer-*/*",
)


@dataclass(frozen=True)
class KnowledgeBaseCard:
    """What a knowledge base's card says beyond its files.

    Attributes:
        license: license of the documents, as the Hub names it ("cc-by-sa-4.0"); "unknown" if None.
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
    **options: Any,
) -> tuple[Path, Selection]:
    """Find the files of a knowledge base, or of a part of it; download what is missing.

    Args:
        name_or_path: folder, or Hub id of a dataset repository. Of a repository the header is
            downloaded first, then the selected files of the same commit.
        documents: see `KnowledgeBase.from_pretrained`.
        shards: see `KnowledgeBase.from_pretrained`.
        **options: for ``snapshot_download``.

    Returns:
        The folder, and the selected files.

    Raises:
        FileNotFoundError, ValueError: see `KnowledgeBase.from_pretrained`.
    """
    source = resolve_source(name_or_path, "Knowledge base", [HEADER_FILE])
    if isinstance(source, Path):
        return source, select(read_header(source), shards, documents, source)
    folder = download_files(source, "dataset", [HEADER_FILE], **options)
    selection = select(read_header(folder), shards, documents, source)
    options["revision"] = folder.name  # the header's commit, even if another is pushed meanwhile
    names = [HEADER_FILE, *selection.names]
    return download_files(source, "dataset", names, **options), selection


def plan_knowledge_base(
    folder: Path, repo_id: str, card: KnowledgeBaseCard | None = None
) -> UploadPlan:
    """Plan the upload of a saved knowledge base. The user's own ``README.md`` is kept.

    Raises:
        FileNotFoundError: the folder contains no knowledge base, or lacks a file of it.
        ValueError: the header is invalid.
    """
    folder = Path(folder)
    header = read_header(folder)
    names = [HEADER_FILE, *sorted(named_files(header))]
    for name in names:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"The knowledge base is incomplete: '{folder / name}' missing")
    readme = planned_card(folder, lambda: knowledge_base_card(folder, header, repo_id, card))
    present = sorted(path.name for path in folder.iterdir() if path.is_file())
    return UploadPlan(
        repo_id,
        "dataset",
        (readme, *(PlannedFile(name, folder / name) for name in names)),
        left_out=tuple(name for name in present if name not in (CARD_FILE, *names)),
        owned=_OWNED_FILES,
        message="Upload knowledge base",
    )


def knowledge_base_card(
    folder: Path, header: dict[str, Any], repo_id: str, card: KnowledgeBaseCard | None = None
) -> DatasetCard:
    """Render the card from ``hub_cards/knowledge_base.md``."""
    card = card or KnowledgeBaseCard()
    documents, shards = header["documents"], header["index"]["shards"]
    size = header["num_documents"]
    data = DatasetCardData(
        pretty_name=repo_id.split("/")[-1],
        license=card.license or "unknown",
        language=card.language,
        tags=["gemkr", "fm-index", "generative-retrieval"],
        task_categories=["text-retrieval"],
        size_categories=next((name for end, name in _SIZE_CATEGORIES if size < end), "100M<n<1B"),
        configs=[{"config_name": "default", "data_files": "documents-*.parquet"}],
    )
    return render_card(
        "knowledge_base.md",
        DatasetCard,
        data,
        repo_id=repo_id,
        num_documents=size,
        num_tokens=header["num_tokens"],
        columns=pq.read_schema(folder / documents[0]["file"]).names if documents else [],
        num_shards=len(shards),
        size_of_documents=readable_size(sum(record["bytes"] for record in documents)),
        size_of_index=readable_size(sum(record["bytes"] for record in shards)),
        removed=any(record.get("removed") for record in shards),
        duplicates=bool(header.get("duplicates")),
        tokenizer=TokenizerIdentity(**header["tokenizer"]),
        license=card.license,
        source=card.source,
        model=card.model,
    )


__all__ = ["KnowledgeBaseCard", "knowledge_base_card", "locate", "plan_knowledge_base"]
