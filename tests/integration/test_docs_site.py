"""The documentation site builds without a warning, and all of its links lead somewhere."""

import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from os.path import normpath
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import griffe
import pytest
import typer
import yaml

import gemkr_hf
from gemkr_hf.cli import app
from tests.environments import project
from tests.project import ROOT

LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
"""Elements that a browser loads when it opens a page, and their attributes."""

MARKDOWN = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]


class Page(HTMLParser):
    """The anchors of a page, its links, and what a browser loads with it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value is not None}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag in LOADED and LOADED[tag] in values:
            self.loaded.append(values[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


@pytest.fixture(scope="module")
def package() -> griffe.Module:
    """The source of the package, read and not imported."""
    loader = griffe.GriffeLoader(
        search_paths=[ROOT], docstring_parser="google", allow_inspection=False
    )
    module = loader.load("gemkr_hf", try_relative_path=False)
    assert isinstance(module, griffe.Module)
    return module


def test_every_page_of_the_navigation_exists(site) -> None:
    listed = list(navigation(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert {"index.md", "api/index.md", "command-line.md", "changelog.md"} <= set(listed)
    for page in listed:
        assert (site / page).with_suffix(".html").is_file(), page


def navigation(entries: Any) -> Iterator[str]:
    """The files that a part of the navigation names."""
    if isinstance(entries, str):
        yield entries
    else:
        for entry in entries.values() if isinstance(entries, dict) else entries:
            yield from navigation(entry)


def test_the_reference_has_every_public_name(site, pages, package) -> None:
    anchors = {name for page in pages.values() for name in page.anchors}
    assert {f"gemkr_hf.{name}" for name in gemkr_hf.__all__} <= pages[
        site / "api" / "index.html"
    ].anchors
    documented = [
        found
        for path in (ROOT / "docs" / "api").glob("*.md")
        for found in re.findall(r"^::: (\S+)\n(?!(?: .*\n)*? +members:)", path.read_text(), re.M)
    ]
    assert len(documented) > 20
    for name in documented:
        module = package[name.removeprefix("gemkr_hf.")]
        assert module.exports, name
        missing = {f"{name}.{export}" for export in module.exports} - anchors
        assert not missing, "these have no docstring"


def test_the_command_line_has_every_command(site, pages) -> None:
    group: Any = typer.main.get_command(app)
    commands = [f"gemkr-{name}" for name in group.commands]
    for name, command in group.commands.items():
        commands += [f"gemkr-{name}-{part}" for part in getattr(command, "commands", ())]
    assert len(commands) > 20
    assert set(commands) <= pages[site / "command-line.html"].anchors


def test_no_page_loads_anything_from_another_host(site, pages) -> None:
    for path, page in pages.items():
        for address in page.loaded:
            parts = urlsplit(address)
            assert parts.scheme in ("", "data") and not parts.netloc, (path, address)
        assert "mermaid" not in page.path.read_text(), "the theme loads mermaid from another host"
    for path in site.rglob("*.css"):
        loaded = re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)\"']+", path.read_text())
        assert not loaded, path


def test_every_link_within_the_site_leads_to_its_anchor(site, pages) -> None:
    checked = 0
    for path, page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            name = unquote(parts.path)
            folder = site if name.startswith("/") else path.parent
            target = Path(normpath(folder / name.lstrip("/"))) if name else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), (path, link)
            anchor = unquote(parts.fragment)
            assert not anchor or anchor in pages[target].anchors, (path, link)
            checked += 1
    assert checked > 1000


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_holds_in_the_repository(path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        parts = urlsplit(link)
        if not parts.scheme and parts.path:
            assert (path.parent / parts.path).exists(), link


def test_the_extras_of_users_are_explained() -> None:
    text = (ROOT / "docs" / "getting-started.md").read_text()
    extras = set(project()["optional-dependencies"]) - {"docs", "test"}
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.M)) == extras


def test_docstrings_name_the_arguments_of_their_signature(package, caplog) -> None:
    """Also where the reference does not show them."""
    with caplog.at_level(logging.WARNING, logger="griffe"):
        for found in objects(package):
            if found.docstring is not None and not is_configuration(found):
                assert found.docstring.parsed is not None
    assert not caplog.messages


def objects(owner: griffe.Object) -> Iterator[griffe.Object]:
    yield owner
    for member in owner.members.values():
        if not member.is_alias:
            yield from objects(member)


def is_configuration(found: griffe.Object) -> bool:
    """transformers writes the signature of a configuration, when it is imported."""
    return isinstance(found, griffe.Class) and "PreTrainedConfig" in map(str, found.bases)
