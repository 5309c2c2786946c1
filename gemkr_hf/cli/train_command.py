"""``gemkr train``: from a configuration to a tuned model."""

from pathlib import Path
from typing import Annotated

import typer

from gemkr_hf.cli.command_errors import log_to_standard_error, one_sentence_errors


@one_sentence_errors
def train(
    config: Annotated[Path, typer.Option(help="YAML file of settings, see configs/.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a setting, such as tuning.seed=1; repeatable."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the run.")] = None,
    check_only: Annotated[
        bool, typer.Option("--check", help="Check settings and files without training.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run with other settings.")
    ] = False,
) -> None:
    """Tune a model on questions about images; a stopped run resumes.

    Example: gemkr train --config configs/symbols.yaml --set tuning.max_steps=50

    Several processes: accelerate launch --config_file configs/accelerate/multi_gpu.yaml
    -m gemkr_hf.cli train --config configs/okvqa_gs112k.yaml
    """
    from gemkr_hf.training.arguments import TrainConfig
    from gemkr_hf.utils.config import override, parse, read_yaml

    log_to_standard_error()
    settings = override(read_yaml(config), set_ or [])
    if output is not None:
        settings["output"] = str(output)
    parsed = parse(TrainConfig, settings)
    from gemkr_hf.training.training_checks import check_training
    from gemkr_hf.training.training_run import run_training

    if check_only:
        questions = check_training(parsed, Path()).questions["train"]
        typer.echo(f"{len(questions):,} training questions: ready to train")
    else:
        run_training(parsed, log=typer.echo, overwrite=overwrite)


__all__ = ["train"]
