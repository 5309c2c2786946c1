"""Import ultralytics without the marks it leaves on a user's machine."""

import atexit
import importlib
import importlib.util
import logging
import os
import shutil
import sys
import tempfile
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image

_QUIET = {
    "YOLO_OFFLINE": "true",  # no look-ups at import, no downloads, no usage reports
    "YOLO_AUTOINSTALL": "false",
    "YOLO_VERBOSE": "false",
}
_REPORTING = ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "wandb", "vscode_msg")


def is_ultralytics_available() -> bool:
    """Tell whether ultralytics is installed, without importing it."""
    return importlib.util.find_spec("ultralytics") is not None


def import_ultralytics() -> ModuleType:
    """Import ultralytics quietly: its settings in a temporary folder, nothing sent or fetched.

    A variable that the user has set (``YOLO_CONFIG_DIR``, ``YOLO_OFFLINE``, ``YOLO_AUTOINSTALL``,
    ``YOLO_VERBOSE``) keeps its value, and where the user imported ultralytics before, it is left
    as it is.

    Raises:
        ImportError: if ultralytics is not installed.
    """
    if "ultralytics" in sys.modules:
        return sys.modules["ultralytics"]
    if not is_ultralytics_available():
        raise ImportError(
            "The YOLO detector needs ultralytics: pip install ultralytics, or give the processor "
            "another detector, or boxes of your own with objects=..."
        )
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    own_settings = "YOLO_CONFIG_DIR" not in os.environ
    if own_settings:
        os.environ["YOLO_CONFIG_DIR"] = _temporary_folder()
    threads, options = os.environ.get("OMP_NUM_THREADS"), np.get_printoptions()
    patched = Image.open, torch.save
    module = importlib.import_module("ultralytics")
    # It limits all children of this process to one thread, changes how arrays are printed, and
    # replaces functions of others: its Image.open installs a package when a file is no image.
    Image.open, torch.save = patched
    if threads is None:
        os.environ.pop("OMP_NUM_THREADS", None)
    np.set_printoptions(**options)
    torch.set_printoptions(profile="default", linewidth=80)
    if own_settings:
        module.settings.update({key: False for key in _REPORTING if key in module.settings})
    return module


def detection_model(architecture: dict[str, Any]) -> torch.nn.Module:
    """Build a detection model with random weights from an architecture (a YAML file's content)."""
    import_ultralytics()
    tasks = importlib.import_module("ultralytics.nn.tasks")
    return tasks.DetectionModel(architecture, verbose=False)


def detection_predictor(module: torch.nn.Module, **settings: Any) -> Any:
    """ultralytics' own pre- and post-processing around a model; call it with ``source=images``.

    It copies the model and fuses its batch norms, so ``module`` stays as it is.
    """
    import_ultralytics()
    detect = importlib.import_module("ultralytics.models.yolo.detect")
    quiet = {"verbose": False, "save": False, "show": False, "rect": False, "mode": "predict"}
    predictor = detect.DetectionPredictor(overrides={**quiet, **settings})
    threads = torch.get_num_threads()
    predictor.setup_model(module, verbose=False)
    # For a CPU it sets its own number of threads, for all that runs in this process afterwards.
    torch.set_num_threads(threads)
    return predictor


def _temporary_folder() -> str:
    folder, owner = tempfile.mkdtemp(prefix="gemkr-ultralytics-"), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # not in a forked worker
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    logging.getLogger(__name__).debug("Settings of ultralytics are kept in %s.", folder)
    return folder


__all__ = [
    "detection_model",
    "detection_predictor",
    "import_ultralytics",
    "is_ultralytics_available",
]
