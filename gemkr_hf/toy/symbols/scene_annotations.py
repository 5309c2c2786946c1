"""Scene annotations of the symbols dataset, for error analysis."""

from collections.abc import Iterable, Mapping
from typing import Any

from gemkr_hf.data.scenes import Scene, SceneAnnotations, SceneObject
from gemkr_hf.toy.symbols.glyphs import glyph_mask
from gemkr_hf.toy.symbols.symbol_documents import ASPECTS, load_documents


def scene_annotations(rows: Iterable[Mapping[str, Any]]) -> SceneAnnotations:
    """Annotate the questions of a split.

    Args:
        rows: Rows of a split of `gemkr_hf.toy.symbols.load_symbols`; their images are not read.

    Raises:
        ValueError: If a row is not one of the symbols dataset, or does not have exactly one target.
    """
    if "image" in getattr(rows, "column_names", ()):
        rows = rows.remove_columns("image")  # type: ignore[attr-defined]
    documents = {document["id"]: document for document in load_documents()}
    return SceneAnnotations(dict(map(_read_row, rows)), documents, ASPECTS, glyph_mask)


def _read_row(row: Mapping[str, Any]) -> tuple[str, Scene]:
    try:
        name, aspect, reference = str(row["question_id"]), str(row["aspect"]), str(row["by"])
        objects = [(_scene_object(item), bool(item["target"])) for item in row["objects"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"A scene must be a row of the symbols dataset: {error} missing") from None
    targets = [item for item, is_target in objects if is_target]
    if len(targets) != 1:
        raise ValueError(f"Question '{name}' must have one target object, got {len(targets)}")
    others = tuple(item for item, is_target in objects if not is_target)
    return name, Scene(aspect, reference, targets[0], others)


def _scene_object(item: Mapping[str, Any]) -> SceneObject:
    left, top, right, bottom = (float(edge) for edge in item["box"])
    words = (str(item[name]) for name in ("symbol", "color", "place", "size"))
    return SceneObject((left, top, right, bottom), *words)


__all__ = ["scene_annotations"]
