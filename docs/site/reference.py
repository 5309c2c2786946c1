"""How the reference shows docstrings (an extension of griffe, which reads the code).

- A name in backticks becomes a link where it stands for something that the reference documents.
- Doctests without a heading get one.
- Configurations show their fields as arguments.
- Deprecated names are left out; constants follow classes and functions.
"""

import re
from functools import partial
from textwrap import indent
from typing import Any

import griffe

_DOCTESTS = re.compile(r"(?:^|(?<=\n\n))>>> .*(?:\n.+)*")
_NAME = re.compile(r"(?<!`)(?P<quotes>`{1,2})(?P<name>[A-Za-z_]\w*(?:\.\w+)*)(?P=quotes)(?!`)")


class Reference(griffe.Extension):
    """Prepare the objects and docstrings of the package for the reference."""

    def on_class_members(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Show the fields of a configuration as its arguments.

        transformers makes a dataclass of every class derived from `PreTrainedConfig`.
        """
        if "PreTrainedConfig" not in map(str, cls.bases):
            return
        parameters = [
            griffe.Parameter(
                member.name,
                annotation=member.annotation,
                kind=griffe.ParameterKind.keyword_only,
                default=member.value,
            )
            for member in cls.attributes.values()
            if member.annotation is not None and "instance-attribute" in member.labels
        ]
        init = griffe.Function("__init__", parameters=griffe.Parameters(*parameters))
        cls.set_member("__init__", init)

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Prepare all docstrings, when all names are known."""
        exported: dict[str, str] = {}
        for module in _modules(pkg):
            if module.exports is None:
                continue
            module.exports = sorted(module.exports, key=lambda name: str(name).isupper())
            for name in module.exports:
                exported.setdefault(str(name), f"{module.path}.{name}")
        for owner in _objects(pkg):
            if owner.docstring is None:
                continue
            text = owner.docstring.value
            if text.startswith("Deprecated") and owner.parent is not None:
                owner.parent.del_member(owner.name)
            text = _DOCTESTS.sub(_examples, text)
            owner.docstring.value = _NAME.sub(partial(_reference, owner, exported), text)


def _examples(found: re.Match[str]) -> str:
    return f"Examples:\n{indent(found[0], '    ')}"


def _reference(owner: griffe.Object, exported: dict[str, str], found: re.Match[str]) -> str:
    name = found["name"]
    first, _, rest = name.partition(".")
    try:
        path = owner.resolve(first)
    except griffe.NameResolutionError:
        path = exported.get(first, first if first == "gemkr_hf" else "")
    if not path.startswith("gemkr_hf"):
        return f"`{name}`"
    path += f".{rest}" if rest else ""
    return f'<autoref optional identifier="{path}"><code>{name}</code></autoref>'


def _modules(module: griffe.Module) -> list[griffe.Module]:
    found = [module]
    for member in module.members.values():
        if not member.is_alias and isinstance(member, griffe.Module):
            found += _modules(member)
    return found


def _objects(owner: griffe.Object) -> list[griffe.Object]:
    found = [owner]
    for member in owner.members.values():
        if not member.is_alias:
            found += _objects(member)
    return found
