"""Loading of checkpoints and adapters from a folder or the Hub."""

from os import PathLike
from pathlib import Path
from typing import Any

import gemkr_hf.auto  # noqa: F401  (registers the classes of this package)
from gemkr_hf.hub.download import check_cached, download_folder
from gemkr_hf.utils.extras import require_extra
from gemkr_hf.utils.hub_ids import resolve_source, split_hub_options
from gemkr_hf.utils.io import VERIFY_BELOW

CONFIG_FILES = ("config.json", "adapter_config.json")
"""A checkpoint or adapter contains at least one of them."""
_PATTERNS = ("*.json", "*.py", "*.safetensors", "*.txt", "*.model", "*.jinja", "detector.yaml")


def load_checkpoint(
    auto_class: Any, checkpoint: str | PathLike[str], verify: bool | None = None, **kwargs: Any
) -> Any:
    """Call ``auto_class.from_pretrained`` for a folder or a repository, with clear errors.

    The classes of this package are registered, so no code of a GeMKR checkpoint is executed. Code
    of another kind of checkpoint is, if the caller passes ``trust_remote_code=True``.

    Args:
        auto_class: ``AutoModel``, ``AutoProcessor``...
        checkpoint: folder or Hub id of a checkpoint or an adapter.
        verify: compare cached files with the Hub's checksums; by default files up to 64 MiB.
        **kwargs: for ``from_pretrained``.

    Raises:
        FileNotFoundError: the checkpoint is found neither locally nor on the Hub.
        ValueError: the repository contains no checkpoint, or a cached file is damaged.
        MissingExtraError: it is an adapter, and PEFT is not installed; or an option needs
            accelerate.
    """
    kwargs = {name: value for name, value in kwargs.items() if value is not None}
    for option, extra in (("device_map", "train"), ("quantization_config", "quantization")):
        if option in kwargs:
            require_extra(extra, f"{option} needs", "accelerate")
    source = resolve_source(checkpoint, "Checkpoint", CONFIG_FILES)
    if isinstance(source, Path):
        folder = source
    else:
        hub_options, _ = split_hub_options(kwargs)
        folder = download_folder(source, "model", _PATTERNS, **hub_options)
        if not any((folder / name).is_file() for name in CONFIG_FILES):
            raise ValueError(f"The repository '{source}' contains no checkpoint: no config.json")
        if verify is not False:
            check_cached(folder, up_to=None if verify else VERIFY_BELOW)
        kwargs.pop("force_download", None)  # the files have just been downloaded
    if (folder / "adapter_config.json").is_file():
        require_extra("train", "Loading an adapter needs", "peft")
    return auto_class.from_pretrained(checkpoint, **kwargs)


__all__ = ["CONFIG_FILES", "load_checkpoint"]
