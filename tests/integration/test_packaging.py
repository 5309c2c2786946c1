"""What ``pip install`` brings: every module and data file once, and no package called modeling."""

import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

import gemkr_hf
from tests.project import ROOT

PARTS = ("gemkr_hf", "modeling", "processing", "hub_cards")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel made from the sdist made from the sources."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("made")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in PARTS:
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target)]
    result = subprocess.run([*command, str(source)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    [path] = target.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel) -> Message:
    [name] = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(wheel.read(name))


def test_the_wheel_holds_every_file_of_the_package(wheel) -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for part in ("gemkr_hf", "gemkr_hf/modeling", "gemkr_hf/processing", "gemkr_hf/hub_cards")
        for path in (ROOT / part).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "gemkr_hf/modeling/modeling_gemkr.py" in files
    assert "gemkr_hf/toy/stand_ins/checkpoints/clip/model.safetensors" in files
    assert files - set(wheel.namelist()) == set()


def test_type_checkers_read_the_wheel_s_annotations(wheel, metadata) -> None:
    """One marker at the top holds for all packages below it, such as ``modeling``."""
    assert "gemkr_hf/py.typed" in wheel.namelist()
    assert "Typing :: Typed" in metadata.get_all("Classifier")


def test_the_version_is_written_once(metadata) -> None:
    version = gemkr_hf.__version__
    assert metadata["Version"] == version
    writes = re.compile(rf"(?<![\d.]){re.escape(version)}(?![\d.])")
    files = [
        path
        for pattern in (
            "*.*",
            "gemkr_hf/**/*.*",
            "modeling/*",
            "processing/*",
            "docs/*",
            "tests/**/*",
        )
        for path in ROOT.glob(pattern)
        if path.suffix in (".cfg", ".md", ".py", ".toml", ".yaml", ".yml")
    ]
    found = [path for path in files if writes.search(path.read_text(encoding="utf-8"))]
    names = {path.relative_to(ROOT).as_posix() for path in found}
    assert names - {"CHANGELOG.md"} == {"gemkr_hf/__init__.py"}
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    cited = re.findall(r"^version: (.+)$", citation, re.MULTILINE)
    assert cited in ([], [version])


def test_the_wheel_installs_one_package_only(wheel) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"gemkr_hf"}


@pytest.mark.slow
def test_the_installed_package_works_away_from_the_sources(wheel, tmp_path) -> None:
    wheel.extractall(tmp_path / "site")
    script = (
        "import gemkr_hf, gemkr_hf.modeling, gemkr_hf.processing; "
        "from gemkr_hf.toy.symbols import load_documents; "
        "from gemkr_hf.toy.stand_ins.assemble import load_processor; "
        "print(gemkr_hf.__file__, len(load_documents()), load_processor().max_objects)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path / "site",
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    where, documents, objects = result.stdout.split()
    assert Path(where).is_relative_to(tmp_path)
    assert int(documents) > 500 and int(objects) == 5
