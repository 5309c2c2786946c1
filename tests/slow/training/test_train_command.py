"""``gemkr train``: from files to a model, stopped and resumed, in one process and in two."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from gemkr_hf import GeMKRRetriever
from gemkr_hf.cli import app
from gemkr_hf.training import run_training
from gemkr_hf.training.arguments import TrainConfig, TuningConfig, ValidationConfig
from gemkr_hf.utils.config import parse, read_yaml
from tests.project import ROOT
from tests.unit.training.training_files import SETTINGS, losses, write_files, write_settings

CONFIGS = ROOT / "configs"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    write_files(folder)
    return folder


@pytest.fixture(autouse=True)
def inside(files, monkeypatch):
    monkeypatch.chdir(files)


def train(*arguments):
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def command(*arguments):
    return [sys.executable, "-m", "gemkr_hf.cli", "train", *map(str, arguments)]


def environment(**variables):
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        **variables,
    }


@pytest.fixture(scope="module")
def whole(files):
    """A training without interruption."""
    before = Path.cwd()
    os.chdir(files)
    try:
        done = train("--config", "own.yaml")
    finally:
        os.chdir(before)
    assert done.exit_code == 0, done.output
    return files / "runs" / "own", done.output


def test_the_log_names_the_stages(whole) -> None:
    _, log = whole
    assert "596 documents" in log
    assert "instructions of 16 questions" in log
    assert "Validation: P@1" in log
    assert "The model is in runs/own/model" in log


def test_the_model_answers(whole, files) -> None:
    output, _ = whole
    retriever = GeMKRRetriever.from_pretrained(
        output / "model", knowledge_base=files / "runs" / "knowledge_base"
    )
    image = next((files / "images").glob("*.png"))
    assert len(retriever.retrieve(image, "What does this sign mean?", k=3)) == 3


def test_the_card_describes_the_training(whole) -> None:
    output, _ = whole
    card = (output / "model" / "README.md").read_text()
    assert "P@1" in card
    assert "learning_rate: 0.001" in card
    assert "16 questions" in card
    assert str(Path.home()) not in card
    with Image.open(output / "model" / "curves.png") as image:
        assert image.size[0] > 500


def test_validation_is_by_loss_and_by_retrieval(whole) -> None:
    output, _ = whole
    figures = json.loads((output / "metrics.json").read_text())
    validated = [entry for entry in figures["history"] if "eval_R@5" in entry]
    assert len(validated) == len(losses(output)) // 4
    assert {"eval_loss", "eval_P@1", "eval_R@10"} <= set(validated[0])
    best = max(validated, key=lambda entry: (entry["eval_R@5"], -entry["eval_loss"]))
    assert figures["best_step"] == best["step"]
    assert figures["validation"]["R@5"] == pytest.approx(best["eval_R@5"])


def test_a_finished_run_is_not_repeated(whole) -> None:
    done = train("--config", "own.yaml")
    assert done.exit_code == 0
    assert "This run is finished" in done.output


def test_other_settings_are_not_mixed_with_a_run(whole) -> None:
    output, _ = whole
    done = train("--config", "own.yaml", "--set", "tuning.num_train_epochs=1")
    assert done.exit_code == 2
    assert "tuning.num_train_epochs was 2.0 and is 1.0" in done.output
    assert (output / "model").is_dir()


def test_a_run_of_the_earlier_version_is_recognised(whole) -> None:
    """Its settings have the old names."""
    settings = whole[0] / "train.yaml"
    content = settings.read_text()
    names = TuningConfig.renamed_fields.items() | ValidationConfig.renamed_fields.items()
    old_content = content
    for old, new in names:
        old_content = re.sub(rf"^  {new}:", f"  {old}:", old_content, flags=re.MULTILINE)
    assert "  gradient_accumulation: 1" in old_content
    assert "  every: 4" in old_content
    settings.write_text(old_content)
    try:
        done = train("--config", "own.yaml")
        assert "This run is finished" in done.output, done.output
        done = train("--config", "own.yaml", "--set", "tuning.seed=1")
        assert "tuning.seed was 0 and is 1" in done.output
    finally:
        settings.write_text(content)


def test_old_names_of_settings_and_arguments_warn(whole) -> None:
    tuning = json.loads(json.dumps(SETTINGS["tuning"]))
    old = {
        "batch_size": tuning.pop("per_device_train_batch_size"),
        "epochs": tuning.pop("num_train_epochs"),
    }
    validation = {**SETTINGS["validation"], "hit": "gold"}
    old_validation = {"every": validation.pop("eval_steps"), **validation}
    settings = {**SETTINGS, "tuning": tuning | old, "validation": old_validation}
    with pytest.warns(FutureWarning) as warned:
        config = parse(TrainConfig, settings)
    assert {str(one.message).split("'")[1] for one in warned} == {"batch_size", "epochs", "every"}
    log: list[str] = []
    with pytest.warns(FutureWarning, match="'say' is deprecated .*use 'log'"):
        run_training(config, say=log.append)
    assert log == ["This run is finished: runs/own/model"]
    with pytest.warns(FutureWarning, match="'answer' is deprecated .*use 'vrr'"):
        assert parse(TrainConfig, {**settings, "validation": {"hit": "answer"}}).validation.hit == (
            "vrr"
        )


def test_a_training_that_was_killed_gives_the_same_curve(whole, files) -> None:
    output = files / "runs" / "killed"
    arguments = ("--config", "own.yaml", "--output", "runs/killed")
    process = subprocess.Popen(
        command(*arguments),
        env=environment(OMP_NUM_THREADS=str(torch.get_num_threads())),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    state = output / "checkpoints" / "checkpoint-8" / "trainer_state.json"
    deadline = time.monotonic() + 300
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    said = process.communicate()[0].decode()
    assert process.returncode == -signal.SIGKILL, said
    assert not (output / "model").exists()
    done = train(*arguments)
    assert done.exit_code == 0, done.output
    assert "Resuming from checkpoint-" in done.output
    assert losses(output) == losses(whole[0])


def test_two_processes_do_what_one_does_with_twice_the_batch(files) -> None:
    tuning = {"num_train_epochs": 1, "max_steps": 4}
    one = write_settings(
        files, "one.yaml", output="runs/one", tuning={**tuning, "per_device_train_batch_size": 4},
        validation={"eval_steps": 2},
    )  # fmt: skip
    two = write_settings(
        files, "two.yaml", output="runs/two", tuning={**tuning, "per_device_train_batch_size": 2},
        validation={"eval_steps": 2},
    )  # fmt: skip
    assert train("--config", one).exit_code == 0
    launched = subprocess.run(
        [
            *(sys.executable, "-m", "accelerate.commands.launch"),
            *("--config_file", str(CONFIGS / "accelerate" / "two_processes.yaml")),
            *("-m", "gemkr_hf.cli", "train", "--config", str(two)),
        ],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert launched.returncode == 0, launched.stderr[-3000:]
    assert launched.stdout.count("The model is in") == 1
    torch.testing.assert_close(
        losses(files / "runs" / "two"), losses(files / "runs" / "one"), rtol=1e-4, atol=1e-5
    )
    figures = [
        json.loads((files / "runs" / name / "metrics.json").read_text()) for name in ("one", "two")
    ]
    for mine, theirs in zip(*(each["history"] for each in figures), strict=True):
        for name in ("eval_loss", "eval_R@5", "eval_P@1"):
            if name in mine:
                assert theirs[name] == pytest.approx(mine[name], rel=1e-3)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("tuning.lerning_rate=1", "did you mean learning_rate?"),
        ("tuning.num_train_epochs=0", "num_train_epochs must be positive"),
        ("tuning.report_to=[nowhere]", "tuning.report_to: nowhere needs its package"),
        ("tuning.precision=fp16", "fp16 needs a GPU"),
        (
            "model.checkpoint=./nowhere",
            "model.checkpoint not found: no local file or folder './nowhere'",
        ),
        ("data.train=nowhere.csv", "not found: 'nowhere.csv'"),
        ("data.images=cache", "No images found in 'cache'"),
        ("data.images=others", "None of the 8 images"),
        ("data.documents_column=answer2", "No training question has a relevant document"),
        ("validation.metric=R@7", "validation.metric"),
    ],
)
def test_wrong_settings_fail_before_a_model_is_loaded(files, monkeypatch, setting, message) -> None:
    if "fp16" in setting and torch.cuda.is_available():
        setting = "tuning.precision=int7"
        message = "tuning.precision"
    import gemkr_hf.training.training_run as run

    def never(*arguments, **options):
        raise AssertionError("something was loaded")

    for name in ("load_model", "load_processor", "open_or_build"):
        monkeypatch.setattr(run, name, never)
    others = files / "others"
    others.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8)).save(others / "another.png")
    done = train("--config", "own.yaml", "--output", "runs/never", "--set", setting)
    assert done.exit_code == 2, done.output
    assert message in done.output
    assert done.output.count("\n") == 1
    assert not (files / "runs" / "never").exists()


@pytest.mark.parametrize("setting", ["preferences={}", "tuning.lora_r=0", "tuning.seed=0"])
def test_what_needs_all_weights_is_refused_with_fsdp(files, monkeypatch, setting) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    alone = ("--set", "validation.questions=0", "--set", "validation.metric=loss")
    others = alone if "seed" not in setting else ()
    done = train("--config", "own.yaml", "--check", "--set", setting, *others)
    assert done.exit_code == 2
    assert "needs all weights on one GPU" in done.output


def test_files_of_others_are_left_alone(files) -> None:
    own = files / "runs" / "foreign" / "model"
    own.mkdir(parents=True)
    (own / "precious.txt").write_text("mine")
    done = train("--config", "own.yaml", "--output", "runs/foreign")
    assert done.exit_code == 2
    assert "contains 'model', which no run has written" in done.output
    assert (own / "precious.txt").read_text() == "mine"


def test_overwrite_replaces_a_run(files) -> None:
    short = ("--config", "own.yaml", "--output", "runs/replaced", "--set", "tuning.max_steps=2")
    assert train(*short, "--set", "validation.eval_steps=2").exit_code == 0
    before = (files / "runs" / "replaced" / "images" / "images-00000.safetensors").stat()
    others = (*short, "--set", "validation.eval_steps=1", "--overwrite")
    assert train(*others).exit_code == 0
    figures = json.loads((files / "runs" / "replaced" / "metrics.json").read_text())
    assert len([entry for entry in figures["history"] if "eval_R@5" in entry]) == 2
    after = (files / "runs" / "replaced" / "images" / "images-00000.safetensors").stat()
    assert before.st_mtime_ns == after.st_mtime_ns  # images do not depend on these settings


def test_an_output_that_is_a_file_is_refused(files) -> None:
    done = train("--config", "own.yaml", "--output", "train.csv")
    assert done.exit_code == 2
    assert "'train.csv' is a file" in done.output


def test_settings_are_checked_without_training(files) -> None:
    done = train("--config", "own.yaml", "--check")
    assert (done.exit_code, done.output) == (0, "16 training questions: ready to train\n")


def test_tensorboard_gets_the_curve(files, monkeypatch) -> None:
    pytest.importorskip("tensorboard", reason="an extra")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(files / "runs" / "board"))
    done = train(
        *("--config", "own.yaml", "--output", "runs/reported"),
        *("--set", "tuning.report_to=[tensorboard]", "--set", "tuning.max_steps=4"),
    )
    assert done.exit_code == 0, done.output
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(files / "runs" / "board"))
    events.Reload()
    assert len(events.Scalars("train/loss")) == 4
    assert events.Scalars("eval/R@5")


def test_trackio_gets_the_curve(files) -> None:
    pytest.importorskip("trackio", reason="an extra")
    done = subprocess.run(
        command(
            *("--config", "own.yaml", "--output", "runs/tracked"),
            *("--set", "tuning.report_to=[trackio]", "--set", "tuning.max_steps=4"),
        ),
        env=environment(TRACKIO_DIR=str(files / "runs" / "trackio"), TRACKIO_PROJECT="own"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [*(files / "runs" / "trackio").rglob("*.db")]


def test_a_language_model_in_4_bits_is_tuned(files, short_quickstart) -> None:
    pytest.importorskip("bitsandbytes", reason="an extra")
    done = train(
        *("--config", "own.yaml", "--output", "runs/few_bits"),
        *("--set", f"model.checkpoint={short_quickstart / 'model'}", "--set", "model.bits=4"),
        *("--set", "tuning.precision=bf16", "--set", "tuning.max_steps=4"),
        *("--set", "tuning.gradient_accumulation_steps=2"),
    )
    assert done.exit_code == 0, done.output
    retriever = GeMKRRetriever.from_pretrained(
        files / "runs" / "few_bits" / "model", knowledge_base=files / "runs" / "knowledge_base"
    )
    kinds = {type(module).__name__ for module in retriever.model.language_model.modules()}
    assert "Linear4bit" in kinds
    assert retriever.retrieve(None, "What does the anchor mean?", k=2)


def test_preference_tuning_follows(files) -> None:
    pytest.importorskip("trl", reason="preference tuning needs TRL, which needs Python 3.11")
    path = write_settings(
        files, "preferred.yaml", output="runs/preferred", tuning={"max_steps": 4},
        preferences={
            "pairs": 2, "hard_negatives": 1, "per_device_train_batch_size": 4, "warmup_steps": 0,
        },
    )  # fmt: skip
    done = train("--config", path)
    assert done.exit_code == 0, done.output
    assert "of them hard negatives" in done.output
    assert "Validation after preferences: P@1" in done.output
    assert "after preference tuning" in (files / "runs/preferred/model/README.md").read_text()


def test_each_configuration_of_the_project_is_valid() -> None:
    # Those of evaluations are read in tests/unit/paper.
    paths = [path for path in CONFIGS.glob("*.yaml") if not path.name.startswith("evaluate_")]
    assert len(paths) >= 5
    for path in paths:
        parse(TrainConfig, read_yaml(path))


@pytest.mark.parametrize(
    "name", ["two_processes", "multi_gpu", "fsdp", "deepspeed_zero2", "deepspeed_zero3"]
)
def test_each_accelerate_configuration_is_valid(name) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    loaded = load_config_from_file(str(CONFIGS / "accelerate" / f"{name}.yaml"))
    assert loaded.num_processes >= 2


def test_instructions_are_saved_as_a_data_set(whole) -> None:
    output, _ = whole
    kept = datasets.load_from_disk(output / "instructions" / "train")
    assert len(kept) == 32
    assert all(kept["distinctive"])
