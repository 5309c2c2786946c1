"""The ``gemkr`` command: each command reads its arguments, calls the library, and prints."""

import typer

from gemkr_hf.cli.data_commands import data
from gemkr_hf.cli.demo_command import demo
from gemkr_hf.cli.evaluate_commands import evaluate
from gemkr_hf.cli.index_commands import index
from gemkr_hf.cli.push_commands import push
from gemkr_hf.cli.quickstart_command import quickstart
from gemkr_hf.cli.retrieve_command import retrieve
from gemkr_hf.cli.stand_ins_command import small_world
from gemkr_hf.cli.train_command import train
from gemkr_hf.utils.registry import enable_plugin

enable_plugin("gemkr_hf.toy")

app = typer.Typer(
    help="Find the document that answers a question about an image.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(index, name="index")
app.add_typer(data, name="data")
app.command()(train)
app.command()(retrieve)
app.add_typer(evaluate, name="evaluate")
app.add_typer(push, name="push")
app.command()(demo)
app.command()(quickstart)
app.command("small-world")(small_world)

__all__ = ["app"]
