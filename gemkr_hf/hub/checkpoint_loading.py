"""Loading a checkpoint or an adapter, with one clear sentence where it cannot be had."""

from os import PathLike
from pathlib import Path
from typing import Any

import gemkr_hf.auto  # noqa: F401  (registers the classes that a checkpoint names)
from gemkr_hf.hub.download import check_cached, download_folder, is_repo_id
from gemkr_hf.utils.io import VERIFY_BELOW

CONFIGS = ("config.json", "adapter_config.json")
"""One of them is in every folder that a model is loaded from."""
_LOADED = ("*.json", "*.py", "*.safetensors", "*.txt", "*.model", "*.jinja", "detector.yaml")
_WHERE = ("cache_dir", "force_download", "local_files_only", "revision", "token")


def load_checkpoint(
    auto_class: Any, checkpoint: str | PathLike[str], verify: bool | None = None, **kwargs: Any
) -> Any:
    """``auto_class.from_pretrained`` of a folder, or of a repository that is looked at first.

    Args:
        auto_class: ``AutoModel``, ``AutoProcessor``...
        checkpoint: folder or Hub id, of a checkpoint or an adapter.
        verify: whether files in the cache are compared with the checksums that the Hub keeps of
            them; by default those of files up to 64 MiB.
        **kwargs: for ``from_pretrained``.

    Raises:
        FileNotFoundError: neither a folder with a checkpoint nor a repository that can be had.
        ValueError: the repository is no checkpoint, or a file in the cache is damaged.
    """
    kwargs = {name: value for name, value in kwargs.items() if value is not None}
    path = Path(checkpoint)
    if path.exists():
        if not any((path / name).is_file() for name in CONFIGS):
            raise FileNotFoundError(
                f"'{checkpoint}' is no GeMKR checkpoint: there is no config.json in it"
            )
    elif is_repo_id(checkpoint):
        where = {name: kwargs[name] for name in _WHERE if name in kwargs}
        folder = download_folder(str(checkpoint), "model", _LOADED, **where)
        if not any((folder / name).is_file() for name in CONFIGS):
            raise ValueError(
                f"The repository '{checkpoint}' is no checkpoint: it has no config.json"
            )
        if verify is not False:
            check_cached(folder, up_to=None if verify else VERIFY_BELOW)
        kwargs.pop("force_download", None)  # it has just been
    else:
        raise FileNotFoundError(f"There is no folder '{checkpoint}' with a checkpoint in it")
    return auto_class.from_pretrained(checkpoint, trust_remote_code=True, **kwargs)


__all__ = ["CONFIGS", "load_checkpoint"]
