"""Conversion of ultralytics' models, which are pickles. It stays in the library."""

from pathlib import Path
from typing import Any

import torch

from .detection_gemkr import find_file, import_ultralytics


def find_weights(weights: str | Path) -> str:
    """Return the path of a ``.pt`` file, or of one in a Hub repository: ``org/name/best.pt``.

    Raises:
        FileNotFoundError: if it does not exist.
    """
    if Path(weights).is_file():
        return str(weights)
    parts = str(weights).split("/", 2)
    path, reason = None, "."
    if len(parts) == 3 and all(parts) and not str(weights).startswith((".", "~")):
        try:
            path = find_file("/".join(parts[:2]), parts[2], {})
        except OSError as error:
            reason = f", neither on disk nor on the Hub: {str(error).splitlines()[0]}"
    if path is None:
        raise FileNotFoundError(f"Detector weights not found: '{weights}'{reason}")
    return path


def read_weights(weights: str) -> Any:
    """Load the ``YOLO`` of a ``.pt`` file (local or on the Hub) or of a ``.yaml`` architecture.

    Raises:
        ValueError: if it is not a YOLO detection model.
    """
    path = find_weights(weights) if weights.endswith(".pt") else weights
    ultralytics = import_ultralytics()
    try:
        return ultralytics.YOLO(path, task="detect", verbose=False)
    except FileNotFoundError:
        raise
    except Exception as error:  # unpickling and ultralytics raise errors of any class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ValueError(
            f"{path} is not a YOLO detection model of ultralytics, or is damaged: {reason}."
        ) from error


def convert(model: Any, half: bool = False, image_size: int | None = None) -> dict[str, Any]:
    """Return the arguments of a ``YoloDetector`` for a model of ultralytics.

    Args:
        model: a path to ``best.pt``, a ``YOLO``, or its module.
        half: round the convolutions to float16.
        image_size: that of the training by default, in pixels.

    Raises:
        FileNotFoundError: if the path does not exist.
        ValueError: if it is not a YOLO detection model.
    """
    if isinstance(model, str | Path):
        model = read_weights(find_weights(model))
    # A `YOLO` forwards attribute access to its module: look at what each one holds itself.
    candidates = (getattr(model, "model", None), model)
    module: Any = next(
        (m for m in candidates if isinstance(m, torch.nn.Module) and "yaml" in vars(m)), None
    )
    if module is None:
        raise ValueError(
            f"A {type(model).__name__} is not a YOLO detection model; give a .pt file, a YOLO or "
            "its DetectionModel."
        )
    if image_size is None:
        args = getattr(module, "args", {})
        size = args.get("imgsz") if isinstance(args, dict) else getattr(args, "imgsz", None)
        image_size = max(size) if isinstance(size, list | tuple) else size or 640
    names = getattr(module, "names", {})
    state = {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
    for name, value in state.items():
        if value.is_floating_point():
            # Batch norms stay in float32: they are few, and a running variance may underflow.
            state[name] = value.to(torch.float16 if half and value.ndim > 1 else torch.float32)
    return {
        # `yaml_file` is a path of the machine that trained it.
        "architecture": {key: part for key, part in module.yaml.items() if key != "yaml_file"},
        "state_dict": state,
        "fused": bool(module.is_fused()),
        "image_size": image_size,
        "class_names": [names[i] for i in sorted(names)] if isinstance(names, dict) else [*names],
    }


__all__ = ["convert", "find_weights", "read_weights"]
