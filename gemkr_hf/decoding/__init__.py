"""What may be written: constrained decoding over an FM-index."""

from gemkr_hf.decoding.constraint import FMIndexConstraint

__all__ = ["FMIndexConstraint"]
