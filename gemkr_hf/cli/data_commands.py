"""``gemkr data``: check questions, documents and images."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from gemkr_hf.cli.command_errors import one_sentence_errors
from gemkr_hf.utils.deprecation import warn_renamed

_NEW_OPTIONS = {
    "--pictures": "--images",
    "--picture-layout": "--image-layout",
    "--pictures-decode": "--images-decode",
}


class _CommandWithOldOptions(TyperCommand):
    """Accepts old names of options, with a warning."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for position, argument in enumerate(args):
            option, equals, value = argument.partition("=")
            if option in _NEW_OPTIONS:
                warn_renamed(option, _NEW_OPTIONS[option])
                args[position] = _NEW_OPTIONS[option] + equals + value
        return super().parse_args(ctx, args)


data = typer.Typer(
    no_args_is_help=True,
    help="Check questions, documents and images for training and evaluation.\n"
    "\nExample: gemkr data check --config own.yaml",
)


@data.callback()
def _commands() -> None:
    """Keep `check` a subcommand while it is the only one."""


@data.command(cls=_CommandWithOldOptions)
@one_sentence_errors
def check(
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file with a section 'data'; the other options override it."),
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="okvqa, remuq, gemkr, table or symbols.")
    ] = None,
    train: Annotated[str | None, typer.Option(help="File of the training questions.")] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            help="File of the validation questions, or the number to draw from the training "
            "questions."
        ),
    ] = None,
    test: Annotated[str | None, typer.Option(help="File of the test questions.")] = None,
    documents: Annotated[
        str | None, typer.Option(help="Corpus: file, saved dataset, or dataset on the Hub.")
    ] = None,
    knowledge_base: Annotated[
        str | None,
        typer.Option(help="Folder or Hub id; if it exists, it is checked instead of the corpus."),
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="Folder, base64 TSV, Parquet file or dataset of images.")
    ] = None,
    image_layout: Annotated[
        str | None, typer.Option(help="folder, coco, tsv or dataset; detected by default.")
    ] = None,
    images_decode: Annotated[
        int, typer.Option(help="Number of images to open, drawn at random.")
    ] = 0,
    shown: Annotated[int, typer.Option(help="Number of examples of each kind.")] = 3,
) -> None:
    """Count questions, documents and images, and list what does not match.

    Exits with code 1 if training is impossible with this data.

    Example: gemkr data check --format okvqa --train train.json --validation 896
    --documents okvqa_train_corpus.csv --images coco
    """
    from gemkr_hf.data import DataConfig, load_benchmark
    from gemkr_hf.data.data_check import check_data, describe

    for name, number in (("--images-decode", images_decode), ("--shown", shown)):
        if number < 0:
            raise ValueError(f"{name} must not be negative, got {number}")
    if config is None and format is None:
        raise ValueError("Give a configuration with --config, or the data format with --format")
    options = {
        "format": format,
        "train": train,
        "validation": int(validation) if validation and validation.isdecimal() else validation,
        "test": test,
        "documents": documents,
        "knowledge_base": knowledge_base,
        "images": images,
        "image_layout": image_layout,
    }
    given = {name: value for name, value in options.items() if value is not None}
    if config is None:
        settings = DataConfig.from_mapping(given, "the options")
    else:
        settings = DataConfig.from_file(config, given)
    result = check_data(load_benchmark(settings), settings, images_decode, shown)
    typer.echo(describe(result))
    if result.error is not None:
        typer.echo(f"Error: {result.error}", err=True)
        raise typer.Exit(1)
    typer.echo(
        "\nThe data can be used for training"
        if any(split.name == "train" for split in result.splits)
        else "\nThe data can be used for evaluation; there are no training questions"
    )


__all__ = ["data"]
