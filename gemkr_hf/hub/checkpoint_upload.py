"""Upload of checkpoints and adapters."""

import json
from collections.abc import Mapping
from fnmatch import fnmatch
from os import PathLike
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from gemkr_hf.hub.card_templates import CARD_FILE, planned_card
from gemkr_hf.hub.checkpoint_saving import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from gemkr_hf.hub.exclusion_rules import is_forbidden
from gemkr_hf.hub.model_card import CardSettings, evaluation_results, model_card
from gemkr_hf.hub.upload_plan import PlannedFile, UploadPlan, split_files
from gemkr_hf.hub.uploader import UploadResult, upload
from gemkr_hf.utils.hub_ids import check_repo_id, is_local
from gemkr_hf.utils.io import read_json

EVALUATION_FILE = ".eval_results/gemkr.yaml"
_CHECKPOINT_FILES = (
    "*.py", "*.safetensors", "*.safetensors.index.json", "added_tokens.json", "chat_template.jinja",
    "config.json", "curves.png", "detector.json", "detector.yaml", "generation_config.json",
    "merges.txt", "preprocessor_config.json", "processor_config.json", "prompt_template.txt",
    "special_tokens_map.json", "spiece.model", "tokenizer.json", "tokenizer.model",
    "tokenizer_config.json", "training.json", "vocab.json", "vocab.txt", "adapter_config.json",
    "LICENSE*", "NOTICE*", "*.pdf",
)  # fmt: skip
_OWNED_FILES = ("*.safetensors", "*.safetensors.index.json", "*_gemkr.py", EVALUATION_FILE)
_PROCESSOR_FILES = ("processor_config.json", "tokenizer_config.json", "processing_gemkr.py")


def plan_model(
    folder: str | PathLike[str], repo_id: str, card: CardSettings | None = None
) -> UploadPlan:
    """Plan the upload of a checkpoint.

    Args:
        folder: folder of a checkpoint with its processor, or of its training run.
        repo_id: ``"owner/name"``.
        card: what the card says beyond the folder's contents.

    Raises:
        FileNotFoundError: the folder lacks the checkpoint, its weights or its processor.
        ValueError: the folder contains an adapter.
    """
    folder = _find_folder(Path(folder), "model", "config.json")
    if (folder / ADAPTER_CONFIG).is_file():
        raise ValueError(f"'{folder}' contains an adapter: use push_adapter or gemkr push adapter")
    by_reference = read_json(folder / "config.json").get("by_reference")
    if not by_reference and not any(folder.glob("model*.safetensors")):
        raise FileNotFoundError(f"No weights found in '{folder}': model.safetensors is missing")
    return _plan(folder, repo_id, card, "Upload GeMKR checkpoint")


def plan_adapter(
    folder: str | PathLike[str], repo_id: str, base: str, card: CardSettings | None = None
) -> UploadPlan:
    """Plan the upload of an adapter, without its base.

    Args:
        folder: folder of the adapter, or of its training run.
        repo_id: ``"owner/name"``.
        base: Hub id of the checkpoint that the adapter was tuned on.
        card: what the card says beyond the folder's contents.

    Raises:
        FileNotFoundError: the folder lacks the adapter or its processor.
        ValueError: the adapter's weights are not safetensors, or the base is not a Hub id.
    """
    folder = _find_folder(Path(folder), "adapter", ADAPTER_CONFIG)
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise ValueError(f"'{folder}' has no {ADAPTER_WEIGHTS}: save the adapter as safetensors")
    check_repo_id(base, local=False)
    config = read_json(folder / ADAPTER_CONFIG)
    config |= {"base_model_name_or_path": base, "revision": None}
    changed = {ADAPTER_CONFIG: (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()}
    return _plan(folder, repo_id, card, "Upload GeMKR adapter", base, changed)


def plan_adapter_and_base(
    folder: str | PathLike[str],
    repo_id: str,
    base: str | None = None,
    card: CardSettings | None = None,
    token: str | bool | None = None,
) -> list[UploadPlan]:
    """Plan the upload of an adapter, and before it that of its base unless it is on the Hub.

    Args:
        folder: see `plan_adapter`.
        repo_id: see `plan_adapter`.
        base: Hub id of the checkpoint that the adapter was tuned on; by default the one that the
            adapter names. If it is not on the Hub, the ``base`` in the run's folder is uploaded.
        card: see `plan_adapter`.
        token: Hugging Face token; the saved one by default.

    Raises:
        FileNotFoundError: see `plan_adapter`.
        ValueError: the base is unknown, or is neither on the Hub nor in the run's folder.
        ConnectionError: the Hub cannot be reached.
    """
    folder = _find_folder(Path(folder), "adapter", ADAPTER_CONFIG)
    base = base or read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not base or is_local(base):
        raise ValueError(
            f"The base of '{folder}' is not on the Hub: name its Hub id with --base (base=); if it "
            "does not exist there yet, it is uploaded from the run's folder"
        )
    plan = plan_adapter(folder, repo_id, base, card)
    if _is_on_hub(base, token):
        return [plan]
    local_base = folder.parent / "base"
    if not (local_base / "config.json").is_file():
        raise ValueError(
            f"The base '{base}' is neither on the Hub nor in '{local_base}': first push the "
            "checkpoint that the adapter was tuned on to this repository"
        )
    return [plan_model(local_base, base), plan]


def push_model(
    folder: str | PathLike[str], repo_id: str, card: CardSettings | None = None, **options: Any
) -> UploadResult:
    """Upload a checkpoint: weights, configurations, prompt, detector, code, generation settings.

    Args:
        folder: see `plan_model`.
        repo_id: see `plan_model`.
        card: see `plan_model`.
        **options: ``private``, ``revision``, ``token``, ``message``, ``create_pr``, ``log`` of
            `gemkr_hf.hub.upload`.

    Raises:
        FileNotFoundError, ValueError, PermissionError, ConnectionError: see `plan_model` and
            `gemkr_hf.hub.upload`.
    """
    return upload(plan_model(folder, repo_id, card), **options)


def push_adapter(
    folder: str | PathLike[str],
    repo_id: str,
    base: str | None = None,
    card: CardSettings | None = None,
    **options: Any,
) -> UploadResult:
    """Upload an adapter: LoRA, prefix, gates and projections, with processor and code.

    Args:
        folder: see `plan_adapter_and_base`.
        repo_id: see `plan_adapter_and_base`.
        base: see `plan_adapter_and_base`.
        card: see `plan_adapter_and_base`.
        **options: see `push_model`. The base is uploaded to the main branch.

    Raises:
        FileNotFoundError, ValueError, PermissionError, ConnectionError: see
            `plan_adapter_and_base` and `gemkr_hf.hub.upload`.
    """
    *bases, plan = plan_adapter_and_base(folder, repo_id, base, card, options.get("token"))
    shared = {name: options[name] for name in ("private", "token", "log", "say") if name in options}
    for base_plan in bases:
        upload(base_plan, **shared)
    return upload(plan, **options)


def _is_on_hub(repo_id: str, token: str | bool | None) -> bool:
    try:
        return HfApi(token=token).file_exists(repo_id, "config.json")
    except (HfHubHTTPError, OSError) as error:
        raise ConnectionError(
            f"Cannot check whether the base '{repo_id}' is on the Hub ({type(error).__name__})"
        ) from error


def _find_folder(folder: Path, name: str, file: str) -> Path:
    """Return the folder itself, or the one inside it in which a training run saves."""
    for candidate in (folder, folder / name):
        if (candidate / file).is_file():
            return candidate
    raise FileNotFoundError(f"No {name} found in '{folder}': {file} is missing")


def _plan(
    folder: Path,
    repo_id: str,
    card: CardSettings | None,
    message: str,
    base: str | None = None,
    changed: Mapping[str, bytes] | None = None,
) -> UploadPlan:
    for name in _PROCESSOR_FILES:
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"No processor found in '{folder}': {name} is missing; save the processor there too"
            )
    settings = card or CardSettings()
    files, others = split_files(folder, _belongs)
    contents = dict(changed or {})
    if (results := evaluation_results(folder, settings)) is not None:
        contents[EVALUATION_FILE] = results
    planned = [file for file in files if file.path not in contents]
    planned += [PlannedFile(name, content) for name, content in contents.items()]
    planned.append(planned_card(folder, lambda: model_card(folder, repo_id, settings, base)))
    return UploadPlan(
        repo_id,
        "model",
        tuple(planned),
        left_out=tuple(name for name in others if name != CARD_FILE),
        owned=_OWNED_FILES,
        message=message,
    )


def _belongs(name: str) -> bool:
    """Whether a file is part of a checkpoint, or forbidden: forbidden files must be reported."""
    if is_forbidden(name):
        return True
    return "/" not in name and any(fnmatch(name, pattern) for pattern in _CHECKPOINT_FILES)


__all__ = ["plan_adapter", "plan_adapter_and_base", "plan_model", "push_adapter", "push_model"]
