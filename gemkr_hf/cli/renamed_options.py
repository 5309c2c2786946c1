"""Old names of command-line options, which still work with a warning."""

from collections.abc import Mapping
from typing import Any

from typer.core import TyperCommand

from gemkr_hf.utils.deprecation import warn_renamed


def with_old_options(names: Mapping[str, str]) -> type[TyperCommand]:
    """Create a command class that also accepts old option names.

    Args:
        names: Old option -> new option.

    Example:
        >>> app = typer.Typer()
        >>> @app.command(cls=with_old_options({"--pictures": "--images"}))
        ... def check(images: str = ""): ...
    """

    class CommandWithOldOptions(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            for position, argument in enumerate(args):
                option, equals, value = argument.partition("=")
                if option in names:
                    warn_renamed(option, names[option])
                    args[position] = names[option] + equals + value
            return super().parse_args(ctx, args)

    return CommandWithOldOptions


__all__ = ["with_old_options"]
