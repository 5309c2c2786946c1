"""``gemkr data``: questions, documents and images to train and measure on."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gemkr_hf.cli.command_errors import be_quiet, one_sentence_errors
from gemkr_hf.utils.config import read_yaml

data = typer.Typer(
    no_args_is_help=True,
    help="Questions, documents and images to train and measure on.\n"
    "\nExample: gemkr data check --config own.yaml",
)


@data.callback()
def _commands() -> None:
    """Keeps `check` a command of its own while it is the only one."""


@data.command()
@one_sentence_errors
def check(
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file with a section 'data'; other options win over it."),
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="okvqa, remuq, gemkr, table or symbols.")
    ] = None,
    train: Annotated[str | None, typer.Option(help="File of the training questions.")] = None,
    validation: Annotated[
        str | None,
        typer.Option(help="File of the validation questions, or how many are drawn from --train."),
    ] = None,
    test: Annotated[str | None, typer.Option(help="File of the test questions.")] = None,
    documents: Annotated[
        str | None, typer.Option(help="Corpus: file, saved data set, or data set on the Hub.")
    ] = None,
    knowledge_base: Annotated[
        str | None, typer.Option(help="Folder or Hub id; if there, it is checked, not the corpus.")
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="Folder, base64 TSV, Parquet or data set of images.")
    ] = None,
    image_layout: Annotated[
        str | None, typer.Option(help="folder, coco, tsv or dataset; found out by default.")
    ] = None,
    images_decode: Annotated[int, typer.Option(help="Open so many images, drawn at random.")] = 0,
    shown: Annotated[int, typer.Option(help="Examples shown of each kind.")] = 3,
) -> None:
    """Count what is there and what does not match. Exits with 1 where nothing could be trained on.

    Example: gemkr data check --format okvqa --train train.json --validation 896
    --documents okvqa_train_corpus.csv --images coco
    """
    be_quiet()
    from gemkr_hf.data import DataConfig, load_benchmark
    from gemkr_hf.data.data_check import check_data
    from gemkr_hf.data.data_report import describe

    for name, number in (("--images-decode", images_decode), ("--shown", shown)):
        if number < 0:
            raise ValueError(f"{name} must not be negative, got {number}")
    options: dict[str, Any] = {
        "format": format,
        "train": train,
        "validation": _number_or_name(validation),
        "test": test,
        "documents": documents,
        "knowledge_base": knowledge_base,
        "images": images,
        "image_layout": image_layout,
    }
    given = {name: value for name, value in options.items() if value is not None}
    if config is None and format is None:
        raise ValueError("Name a file with --config, or the questions' format with --format")
    settings = {} if config is None else _data_section(config)
    where = "the options" if config is None else f"'{config}'"
    read = DataConfig.from_mapping(
        {**settings, **given} if isinstance(settings, dict) else settings, where
    )
    found = check_data(load_benchmark(read), read, images_decode, shown)
    typer.echo(describe(found))
    if found.stop is not None:
        typer.echo(f"Error: {found.stop}", err=True)
        raise typer.Exit(1)
    typer.echo("\nThe data can be trained on")


def _number_or_name(value: str | None) -> str | int | None:
    return int(value) if value is not None and value.isdecimal() else value


def _data_section(path: Path) -> Any:
    """What stands under ``data:`` in a YAML file."""
    settings = read_yaml(path)
    if "data" not in settings:
        raise ValueError(f"'{path}' has no section 'data'")
    return settings["data"]


__all__ = ["data"]
