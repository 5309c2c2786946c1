"""Environments with some of the installed packages only, made of links: as after a smaller
installation, but in milliseconds."""

import os
import re
import subprocess
import sys
from collections import defaultdict
from functools import cache
from importlib.metadata import (
    Distribution,
    PackageNotFoundError,
    distribution,
    distributions,
)
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

from tests.project import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@cache
def project() -> dict:
    """The table ``project`` of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(extra: str | None = None) -> list[Requirement]:
    """What an extra installs, extras that it names included; None: what the core installs."""
    lines = (
        project()["dependencies"] if extra is None else project()["optional-dependencies"][extra]
    )
    found = []
    for requirement in map(Requirement, lines):
        if requirement.name == project()["name"]:
            found += [one for name in requirement.extras for one in requirements(name)]
        else:
            found.append(requirement)
    return found


def closure(wanted: list[Requirement]) -> dict[str, Distribution]:
    """All distributions that an installation of ``wanted`` brings here, by normalized name.

    One that is not installed here (a requirement of another platform) is left out.
    """
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    open_ = [(requirement, "") for requirement in wanted]
    while open_:
        requirement, extra = open_.pop()
        marker = requirement.marker
        if marker is not None and not marker.evaluate({**default_environment(), "extra": extra}):
            continue
        name = normalized(requirement.name)
        extras = {"", *requirement.extras} - {e for n, e in seen if n == name}
        try:
            found.setdefault(name, distribution(name))
        except PackageNotFoundError:
            continue
        for one in extras:
            seen.add((name, one))
            open_ += [(Requirement(line), one) for line in found[name].requires or ()]
    return found


@cache
def distributions_of_modules() -> dict[str, set[str]]:
    """Normalized names of the installed distributions that hold a top-level module, by module."""
    found = defaultdict(set)
    for installed in distributions():
        for top in {file.parts[0] for file in installed.files or ()}:
            found[top.removesuffix(".py")].add(normalized(installed.metadata["Name"]))
    return dict(found)


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def link_environment(folder: Path, distributions: dict[str, Distribution]) -> Path:
    """Fill a folder with links to what these distributions installed.

    Args:
        folder: Named ``site-packages``: datasets treats modules elsewhere as a user's own.
        distributions: From `closure`.
    """
    folder.mkdir()
    for installed in distributions.values():
        for top in {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
            source = Path(str(installed.locate_file(top)))
            if source.exists() and not (folder / top).exists():
                (folder / top).symlink_to(source)
    return folder


def run_in(environment: Path, program: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run a program that sees the checkout and this environment, and no other packages."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    path = os.pathsep.join([str(ROOT), str(environment)])
    return subprocess.run(
        [sys.executable, "-S", "-c", program, *arguments],
        capture_output=True,
        text=True,
        env={**kept, "PYTHONPATH": path},
        cwd=environment,
    )
