"""Checkpoints and adapters on the Hub: what is uploaded, and under which conditions."""

import json
from fnmatch import fnmatch
from os import PathLike
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from gemkr_hf.hub.card_templates import is_users_own
from gemkr_hf.hub.checkpoint_saving import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from gemkr_hf.hub.exclusion_rules import is_forbidden
from gemkr_hf.hub.model_card import CardSettings, evaluation_results, model_card
from gemkr_hf.hub.upload_plan import PlannedFile, UploadPlan, files_of
from gemkr_hf.hub.uploader import Uploaded, upload

EVALUATION_FILE = ".eval_results/gemkr.yaml"
_BELONG = (
    "*.py", "*.safetensors", "*.safetensors.index.json", "added_tokens.json", "chat_template.jinja",
    "config.json", "curves.png", "detector.json", "detector.yaml", "generation_config.json",
    "merges.txt", "preprocessor_config.json", "processor_config.json", "prompt_template.txt",
    "special_tokens_map.json", "spiece.model", "tokenizer.json", "tokenizer.model",
    "tokenizer_config.json", "training.json", "vocab.json", "vocab.txt", "adapter_config.json",
    "LICENSE*", "NOTICE*", "*.pdf",
)  # fmt: skip
_OWNED = ("*.safetensors", "*.safetensors.index.json", "*_gemkr.py", EVALUATION_FILE)


def plan_model(
    folder: str | PathLike[str], repo_id: str, card: CardSettings | None = None
) -> UploadPlan:
    """What ``push_model`` would upload.

    Args:
        folder: of a checkpoint with its processor, or of the run that made it.
        repo_id: "owner/name".
        card: what the card says and the folder does not.

    Raises:
        FileNotFoundError: there is no checkpoint in the folder, or its processor is missing.
        ValueError: it is an adapter.
    """
    folder = _inside(Path(folder), "model", "config.json")
    if (folder / ADAPTER_CONFIG).is_file():
        raise ValueError(f"'{folder}' is an adapter: push it as one")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = [path for path in folder.glob("*.safetensors") if path.name.startswith("model")]
    if not weights and not config.get("by_reference"):
        raise FileNotFoundError(f"'{folder}' holds no weights: there is no model.safetensors in it")
    _check_whole(folder)
    settings = card or CardSettings()
    return _plan(folder, repo_id, settings, "Upload GeMKR checkpoint", None, {})


def plan_adapter(
    folder: str | PathLike[str], repo_id: str, base: str, card: CardSettings | None = None
) -> UploadPlan:
    """What ``push_adapter`` would upload, without its base.

    Args:
        folder: of the adapter, or of the run that made it.
        repo_id: "owner/name".
        base: Hub id of the checkpoint under it.
        card: what the card says and the folder does not.

    Raises:
        FileNotFoundError: there is no adapter in the folder, or its processor is missing.
        ValueError: the adapter's weights are no safetensors, or the base is no Hub id.
    """
    folder = _inside(Path(folder), "adapter", ADAPTER_CONFIG)
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise ValueError(f"'{folder}' has no {ADAPTER_WEIGHTS}: save the adapter as safetensors")
    if Path(base).exists() or base.count("/") != 1:
        raise ValueError(
            f"'{base}' is no repository: whoever loads the adapter needs a base on the Hub"
        )
    config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": base, "revision": None}
    _check_whole(folder)
    changed = {ADAPTER_CONFIG: (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()}
    settings = card or CardSettings()
    return _plan(folder, repo_id, settings, "Upload GeMKR adapter", base, changed)


def push_model(
    folder: str | PathLike[str],
    repo_id: str,
    card: CardSettings | None = None,
    **how: Any,
) -> Uploaded:
    """Upload a checkpoint: weights, configurations, prompt, detector, code, generation settings.

    Args:
        folder, repo_id, card: see `plan_model`.
        **how: ``private``, ``revision``, ``token``, ``message``, ``create_pr``, ``say`` of
            `gemkr_hf.hub.uploader`.

    Raises:
        FileNotFoundError, ValueError, PermissionError, ConnectionError: see `plan_model` and
            `gemkr_hf.hub.uploader`.
    """
    return upload(plan_model(folder, repo_id, card), **how)


def push_adapter(
    folder: str | PathLike[str],
    repo_id: str,
    base: str | None = None,
    card: CardSettings | None = None,
    **how: Any,
) -> Uploaded:
    """Upload an adapter: LoRA, prefix, gates and projections, with processor and code.

    Args:
        folder: of the adapter, or of the run that made it.
        repo_id: "owner/name".
        base: Hub id of the checkpoint under it; the one that it was tuned on by default. One that
            is not there is made of the ``base`` in the run's folder.
        card, **how: see `push_model`.

    Raises:
        FileNotFoundError, ValueError, PermissionError, ConnectionError: see `plan_adapter`,
            `base_of` and `gemkr_hf.hub.uploader`.
    """
    base, made_of = base_of(folder, base, how.get("token"))
    plan = plan_adapter(folder, repo_id, base, card)
    if made_of is not None:
        options = {name: how[name] for name in ("private", "token", "say") if name in how}
        upload(plan_model(made_of, base), **options)
    return upload(plan, **how)


def base_of(
    folder: str | PathLike[str], base: str | None, token: str | bool | None = None
) -> tuple[str, Path | None]:
    """Hub id of an adapter's base, and the folder that it is to be made of if it is not there.

    Raises:
        FileNotFoundError: there is no adapter in the folder.
        ValueError: no base is known, or it is neither on the Hub nor in the run's folder.
    """
    folder = _inside(Path(folder), "adapter", ADAPTER_CONFIG)
    config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    known = config.get("base_model_name_or_path")
    if base is None:
        if not known or Path(known).is_absolute() or Path(known).exists():
            raise ValueError(
                f"The base of '{folder}' is not on the Hub: name the repository that it has there, "
                "or is to have, with --base"
            )
        base = str(known)
    made_of = folder.parent / "base"
    if _is_on_the_hub(base, token):
        return base, None
    if not (made_of / "config.json").is_file():
        raise ValueError(
            f"The base '{base}' is not on the Hub, and '{made_of}' is not there to make it of: "
            "push the checkpoint that the adapter was tuned on as this repository first"
        )
    return base, made_of


def _is_on_the_hub(repo_id: str, token: str | bool | None) -> bool:
    try:
        return HfApi(token=token).file_exists(repo_id, "config.json")
    except (HfHubHTTPError, OSError) as error:
        raise ConnectionError(
            f"Whether the base '{repo_id}' is on the Hub could not be asked "
            f"({type(error).__name__})"
        ) from error


def _inside(folder: Path, name: str, file: str) -> Path:
    """The folder itself, or the one that a run keeps in it."""
    for candidate in (folder, folder / name):
        if (candidate / file).is_file():
            return candidate
    raise FileNotFoundError(f"There is no {name} in '{folder}': {file} is missing")


def _check_whole(folder: Path) -> None:
    for name, what in (
        ("processor_config.json", "its processor"),
        ("tokenizer_config.json", "its tokenizer"),
        ("processing_gemkr.py", "the processor's code"),
    ):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"'{folder}' lacks {what} ({name}): save the processor into it as well"
            )


def _plan(
    folder: Path,
    repo_id: str,
    settings: CardSettings,
    message: str,
    base: str | None,
    changed: dict[str, bytes],
) -> UploadPlan:
    files, others = files_of(folder, _belongs)
    planned = [
        PlannedFile(file.path, changed[file.path]) if file.path in changed else file
        for file in files
    ]
    readme = folder / "README.md"
    if is_users_own(readme):
        planned.append(PlannedFile("README.md", readme))
    else:
        card = model_card(folder, repo_id, settings, base)
        planned.append(PlannedFile("README.md", str(card).encode()))
    results = evaluation_results(folder, settings)
    if results is not None:
        planned.append(PlannedFile(EVALUATION_FILE, results))
    return UploadPlan(
        repo_id,
        "model",
        tuple(planned),
        left_out=tuple(name for name in others if name != "README.md"),
        owned=_OWNED,
        message=message,
    )


def _belongs(name: str) -> bool:
    """Whether a file is part of a checkpoint; what must not be uploaded is not passed over, so that
    whoever has it there is told."""
    if is_forbidden(name):
        return True
    return "/" not in name and any(fnmatch(name, pattern) for pattern in _BELONG)


__all__ = [
    "CardSettings",
    "base_of",
    "plan_adapter",
    "plan_model",
    "push_adapter",
    "push_model",
]
