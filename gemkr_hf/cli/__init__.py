"""The ``gemkr`` command line."""

from gemkr_hf.cli.main import app

__all__ = ["app"]
