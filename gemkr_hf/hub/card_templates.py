"""Cards of repositories: templates of ``hub_cards/``, filled with what is known."""

from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import CardData, RepoCard
from jinja2 import Environment, FileSystemLoader, StrictUndefined

MARK = (
    "<!-- Written by gemkr_hf from what is known. Without this line the card is yours: it is kept. "
    "-->"
)

Card = TypeVar("Card", bound=RepoCard)


def fill(template: str, card_class: type[Card], data: CardData, **facts: Any) -> Card:
    """A card from a template of ``hub_cards/``.

    Args:
        template: its file's name.
        card_class: of huggingface_hub.
        data: the metadata.
        **facts: what the template names; a name that is missing is an error.
    """
    with as_file(files("gemkr_hf") / "hub_cards") as folder:
        environment = Environment(
            loader=FileSystemLoader(folder),
            undefined=StrictUndefined,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        text = environment.get_template(template).render(
            card_data=data.to_yaml(), mark=MARK, **facts
        )
    return card_class(text)


def is_users_own(path: Path) -> bool:
    """Whether a card was written or changed by hand, so that it is left alone."""
    return path.is_file() and MARK not in path.read_text(encoding="utf-8")


__all__ = ["MARK", "fill", "is_users_own"]
