"""The common test suites of the installed transformers, from its source distribution.

The source distribution holds the suites for models and processors. Set `TRANSFORMERS_TESTS` to the
`tests` folder of a whole checkout and that for generation runs as well.
"""

import importlib
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import transformers
from filelock import FileLock
from PIL import Image

PACKAGE = "transformers_tests"
CACHE = Path(__file__).resolve().parents[1] / ".cache"


class Nothing:
    """No tests, instead of a mixin that is left out."""


class Missing(Exception):
    """The suites cannot be downloaded."""


def suite_folder() -> Path:
    """The folder of the suites, downloaded once through pip.

    Raises:
        Missing: if pip cannot download it.
    """
    given = os.environ.get("TRANSFORMERS_TESTS")
    if given:
        return Path(given)
    name = f"transformers-{transformers.__version__}"
    folder = CACHE / name / "tests"
    CACHE.mkdir(exist_ok=True)
    with FileLock(CACHE / f"{name}.lock"):  # several workers need the suites
        if folder.is_dir():
            return folder
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += ["--no-binary", ":all:", "--no-build-isolation", "--dest", scratch]
            command += [name.replace("-", "==", 1)]
            result = subprocess.run(command, capture_output=True, text=True, timeout=300)
            archives = list(Path(scratch).glob("*.tar.gz"))
            if result.returncode != 0 or not archives:
                reason = (result.stderr.strip().splitlines() or ["no archive"])[-1]
                raise Missing(
                    f"the source distribution of {name} could not be downloaded: {reason}"
                )
            with tarfile.open(archives[0]) as archive:
                members = [m for m in archive if m.name.startswith(f"{name}/tests/")]
                archive.extractall(scratch, members=members, filter="data")
            (CACHE / name).mkdir(exist_ok=True)
            Path(scratch, name, "tests", "__init__.py").touch()
            Path(scratch, name, "tests").rename(folder)
    return folder


def suite(module: str) -> ModuleType:
    """A module of the suites, as a part of the package `transformers_tests`."""
    folder = suite_folder()
    if PACKAGE not in sys.modules:
        package = ModuleType(PACKAGE)
        package.__path__ = [str(folder)]
        sys.modules[PACKAGE] = package
        _stand_in(
            "exporters.test_export", folder, ExportTesterMixin=type("ExportTesterMixin", (), {})
        )
        _stand_in(
            "generation.test_utils",
            folder,
            GenerationTesterMixin=type("GenerationTesterMixin", (), {}),
        )
        _stand_in("utils.test_configuration_utils", folder, config_common_kwargs={})
        if "fetch_hub_objects_for_ci" not in sys.modules:
            images = ModuleType("fetch_hub_objects_for_ci")
            images.url_to_local_path = _local_image  # type: ignore[attr-defined]
            sys.modules["fetch_hub_objects_for_ci"] = images
    return importlib.import_module(f"{PACKAGE}.{module}")


def _stand_in(name: str, folder: Path, **content: Any) -> None:
    """An empty module for one that the source distribution leaves out."""
    if (folder / f"{name.replace('.', '/')}.py").is_file():
        return
    parent, _, _ = name.rpartition(".")
    for part in (parent, name):
        module = sys.modules.setdefault(f"{PACKAGE}.{part}", ModuleType(f"{PACKAGE}.{part}"))
        module.__path__ = []
    sys.modules[f"{PACKAGE}.{name}"].__dict__.update(content)


def _local_image(url: str) -> str:
    """A small image instead of one on the Hub."""
    if not url.endswith((".png", ".jpg")):
        return url
    path = CACHE / "image.png"
    if not path.is_file():
        CACHE.mkdir(exist_ok=True)
        Image.effect_noise((80, 60), 50).convert("RGB").save(path)
    return str(path)
