"""``python -m gemkr_hf.cli``, which ``accelerate launch -m`` needs."""

from gemkr_hf.cli import app

app(prog_name="gemkr")
