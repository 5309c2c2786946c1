"""Optional dependencies: what each extra of the package is for, and the error if it is missing."""

from importlib.util import find_spec

EXTRAS: dict[str, tuple[str, ...]] = {
    "demo": ("gradio",),
    "encoders": ("sentence_transformers",),
    "eval": (
        "accelerate",
        "bm25s",
        "faiss",
        "joblib",
        "matplotlib",
        "pandas",
        "peft",
        "pydantic",
        "ranx",
        "scipy",
        "tabulate",
    ),
    "preferences": ("trl",),
    "quantization": ("accelerate", "bitsandbytes"),
    "quickstart": ("bm25s", "fontTools", "matplotlib", "peft", "pydantic", "rich", "ultralytics"),
    "reports": ("matplotlib", "tensorboard", "trackio"),
    "train": ("accelerate", "matplotlib", "peft", "pydantic"),
    "yolo": ("ultralytics",),
}
"""Modules that each extra installs and this package imports."""


class MissingExtraError(ImportError):
    """An optional dependency is not installed; the message names the extra that installs it."""


def require_extra(extra: str, what: str, *modules: str) -> None:
    """Check that optional dependencies are installed, without importing them.

    Args:
        extra: Name of the extra, in `EXTRAS`.
        what: Beginning of the message: ``"Plots need"``.
        modules: Those of its modules that are needed; by default all of them.

    Raises:
        MissingExtraError: One of them is not installed.
    """
    missing = [name for name in modules or EXTRAS[extra] if find_spec(name) is None]
    if missing:
        *others, last = missing
        names = f"{', '.join(others)} and {last}" if others else last
        raise MissingExtraError(f"{what} {names}: pip install 'gemkr-hf[{extra}]'")


__all__ = ["EXTRAS", "MissingExtraError", "require_extra"]
