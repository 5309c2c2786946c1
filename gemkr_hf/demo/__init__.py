"""The demo: a web page that answers questions about images; needs gradio."""

from gemkr_hf.demo.app import MISSING, build_app, serve
from gemkr_hf.demo.demo_examples import read_examples
from gemkr_hf.demo.results_html import documents_html, mark_clues

__all__ = ["MISSING", "build_app", "documents_html", "mark_clues", "read_examples", "serve"]
