"""What the site has besides the files of ``docs/`` (hooks of MkDocs).

- CONTRIBUTING.md and CHANGELOG.md of the repository are pages.
- The page of the command line gets the help of every command.
- Links and names of files are those of the repository; here they become those of the site.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from posixpath import join, normpath, relpath
from typing import Any

import typer
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from gemkr_hf.cli import app

ROOT = Path(__file__).parents[2]
ROOT_PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
COMMANDS = "<!-- commands -->"

_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?!\w+:|#)(?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
_EXAMPLE = re.compile(r"(?P<title>[A-Z][a-z ]+): (?P<command>(?:gemkr|accelerate) .+)")
_GUIDE = re.compile(r"`docs/([\w-]+\.md)`")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages whose text is elsewhere in the repository."""
    for name, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Write the help of the commands, and change links."""
    if page.parent is None:  # the list of pages beside it would have this page only
        page.meta.setdefault("hide", ["navigation"])
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, "\n\n".join(command_help()))
    source = page.file.src_uri
    if source in ROOT_PAGES.values():
        markdown = _GUIDE.sub(r"[`docs/\1`](docs/\1)", markdown)
        folder = "."
    else:
        folder = join("docs", source, "..")
    return _LINK.sub(partial(_site_link, folder, source), markdown)


def _site_link(folder: str, source: str, link: re.Match[str]) -> str:
    """The link of a page of the site, for one that holds in the repository.

    Files of the repository that are not on the site are named only: it does not know an address
    of the repository.
    """
    path = normpath(join(folder, link["target"]))
    if path not in ROOT_PAGES and not path.startswith("docs/"):
        return link["text"]
    page = ROOT_PAGES.get(path, path.removeprefix("docs/"))
    return f"[{link['text']}]({relpath(page, join(source, '..'))}{link['anchor'] or ''})"


def command_help() -> Iterator[str]:
    """The help of `gemkr` and of all its commands in Markdown, part by part."""
    command = typer.main.get_command(app)
    with command.make_context("gemkr", [], resilient_parsing=True) as context:
        yield from _help_of(command, context)


def _help_of(command: Any, context: Any) -> Iterator[str]:
    level = 1 + context.command_path.count(" ")
    if level > 1:
        yield f"{'#' * level} `{context.command_path}`"
    paragraphs = [" ".join(text.split()) for text in (command.help or "").split("\n\n")]
    examples = [found for text in paragraphs if (found := _EXAMPLE.fullmatch(text))]
    yield from (_escape(text) for text in paragraphs if not _EXAMPLE.fullmatch(text))
    subcommands = getattr(command, "commands", {})
    if not subcommands:
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"```text\n{context.command_path} {usage}\n```"
        yield from _parameters(command, context)
    for example in examples:
        lines = example["command"].replace(" --", " \\\n    --")
        yield f"**{example['title']}**"
        yield f"```sh\n{lines if len(example['command']) > 80 else example['command']}\n```"
    for name, subcommand in subcommands.items():
        with subcommand.make_context(name, [], context, resilient_parsing=True) as subcontext:
            yield from _help_of(subcommand, subcontext)


def _parameters(command: Any, context: Any) -> Iterator[str]:
    for kind, title in (("argument", "Arguments"), ("option", "Options")):
        records = [
            parameter.get_help_record(context)
            for parameter in command.get_params(context)
            if parameter.param_type_name == kind and parameter.name != "help"
        ]
        if rows := [record for record in records if record is not None]:
            yield f"**{title}**"
            yield "\n\n".join(f"`{name}`\n:   {_escape(text) or '-'}" for name, text in rows)


def _escape(text: str) -> str:
    """Plain text in Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", text)
