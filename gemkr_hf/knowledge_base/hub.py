"""Knowledge bases on the Hub: dataset repositories with a card."""

import re
from importlib.resources import as_file, files
from os import PathLike
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData, HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

_REPO_ID = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")


def download_knowledge_base(
    name_or_path: str | PathLike[str], header_file: str, **kwargs: Any
) -> Path:
    """Folder of a knowledge base's snapshot.

    Raises
    ------
    FileNotFoundError
        If the name is neither a knowledge base's folder nor a repository that can be had.
    """
    name = str(name_or_path)
    path = Path(name)
    if path.exists():
        raise FileNotFoundError(f"'{name}' is no knowledge base: there is no {header_file} in it")
    if not isinstance(name_or_path, str) or not _REPO_ID.fullmatch(name):
        raise FileNotFoundError(f"There is no folder '{name}' with a knowledge base in it")
    try:
        folder = Path(snapshot_download(name, repo_type="dataset", **kwargs))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"'{name}' is neither a folder with a knowledge base nor a dataset repository on the "
            f"Hub that can be reached ({type(error).__name__})"
        ) from error
    if not (folder / header_file).is_file():
        raise FileNotFoundError(
            f"The dataset repository '{name}' is no knowledge base: it has no {header_file}"
        )
    return folder


def upload_knowledge_base(
    folder: Path,
    repo_id: str,
    facts: dict[str, Any],
    private: bool | None,
    token: str | None,
    **kwargs: Any,
) -> str:
    """Add the card to a saved knowledge base and upload the folder; returns the repo's address."""
    api = HfApi(token=token)
    url = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
    knowledge_base_card(url.repo_id, facts).save(folder / "README.md")
    kwargs.setdefault("commit_message", "Upload knowledge base")
    api.upload_folder(folder_path=folder, repo_id=url.repo_id, repo_type="dataset", **kwargs)
    return str(url)


def knowledge_base_card(repo_id: str, facts: dict[str, Any]) -> DatasetCard:
    """The card, from `hub_cards/knowledge_base.md`."""
    documents = facts["num_documents"]
    sizes = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))
    category = next((name for size, name in sizes if documents < size), "1M<n<10M")
    data = DatasetCardData(
        pretty_name=repo_id.split("/")[-1],
        tags=["gemkr", "fm-index", "generative-retrieval"],
        task_categories=["text-retrieval"],
        size_categories=category if documents < 10**7 else "10M<n<100M",
        configs=[{"config_name": "default", "data_files": "documents-*.parquet"}],
    )
    template = files("gemkr_hf") / "hub_cards" / "knowledge_base.md"
    with as_file(template) as path:
        return DatasetCard.from_template(data, template_path=str(path), repo_id=repo_id, **facts)


__all__ = ["download_knowledge_base", "knowledge_base_card", "upload_knowledge_base"]
