"""Overhead of training over the bare model, and the effect of its parts on the symbols benchmark.

python benchmarks/training.py --only speed      # steps/s and data pipeline; 2 minutes
python benchmarks/training.py --only seeds      # two runs with the same seed
python benchmarks/training.py --only curve      # 100, 300, 1,000, all instructions; 15 minutes
python benchmarks/training.py --only preferences
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from transformers import PrinterCallback, TrainerCallback

from gemkr_hf.cli.command_errors import be_quiet
from gemkr_hf.data import Benchmark, load_benchmark
from gemkr_hf.evaluation.metrics import Metrics
from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.modeling import GeMKRForRetrieval
from gemkr_hf.retrieval.retriever import GeMKRRetriever
from gemkr_hf.training.alignment import fit_alignment
from gemkr_hf.training.arguments import (
    PreferenceConfig,
    TrainConfig,
    TuningConfig,
    ValidationConfig,
)
from gemkr_hf.training.instruction_dataset import (
    InstructionCollator,
    InstructionDataset,
    write_instructions,
)
from gemkr_hf.training.preferences import collect_preferences, tune_preferences
from gemkr_hf.training.prepared_images import PreparedImages, prepare_images
from gemkr_hf.training.retrieval_validation import RetrievalValidation
from gemkr_hf.training.starting_model import load_model, load_processor
from gemkr_hf.training.trainer import InstructionTrainer, add_lora, training_arguments, tune
from gemkr_hf.training.training_run import object_captions
from gemkr_hf.utils.config import parse, read_yaml
from gemkr_hf.utils.registry import enable_plugin

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "symbols.yaml"

enable_plugin("gemkr_hf.toy")


class Setup:
    """The symbols benchmark with its instructions and prepared images."""

    def __init__(self, folder: Path, scenes: int | None, instructions: int | None = None) -> None:
        config: TrainConfig = parse(TrainConfig, read_yaml(CONFIG))
        self.config = replace(config, data=replace(config.data, scenes=scenes))
        self.folder = folder
        self.processor = load_processor(config.model)
        self.benchmark: Benchmark = load_benchmark(self.config.data)
        self.knowledge_base = KnowledgeBase.from_documents(
            self.benchmark.documents, self.processor.tokenizer
        )
        self.train = self.write("train")
        if instructions is not None:
            self.train = self.train.select(range(min(instructions, len(self.train))))
        model = load_model(config.model, self.processor)
        self.images: PreparedImages = prepare_images(
            self.benchmark.images,
            self.train["image_id"],
            model,
            self.processor,
            folder / "images",
        )

    def write(self, split: str) -> datasets.Dataset:
        return write_instructions(
            self.benchmark.questions[split],
            self.knowledge_base,
            self.processor.tokenizer,
            self.config.sampling,
        )

    def untuned(self, train: datasets.Dataset | None = None) -> Any:
        """A new model, with projections fitted to the objects of the instructions' images."""
        model = load_model(self.config.model, self.processor)
        model.config.decoding["aggregate"] = self.config.aggregate
        own = set((train or self.train)["image_id"])
        known = {
            name: captions
            for name, captions in object_captions(self.benchmark, self.images).items()
            if name in own
        }
        fit_alignment(model, self.processor.tokenizer, self.images, known)
        return model

    def tune(self, train: datasets.Dataset, tuning: TuningConfig, name: str) -> Any:
        return tune(
            self.untuned(train),
            self.processor,
            InstructionDataset(train, self.images, self.processor),
            self.folder / name,
            tuning,
        )

    def score(self, model: Any, split: str) -> Metrics:
        validation = RetrievalValidation(
            self.benchmark.questions[split],
            self.benchmark.images,
            self.knowledge_base,
            self.processor,
            ValidationConfig(questions=None),
        )
        return validation(model.eval())


def row(*cells: Any) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def head(*cells: str) -> None:
    row(*cells)
    row(*["---"] * len(cells))


# -- speed ---------------------------------------------------------------------------------------


def bare_steps(setup: Setup, batches: list[dict[str, torch.Tensor]]) -> Callable[[], float]:
    """Time forward, backward and AdamW on prepared batches, in seconds."""
    model = add_lora(setup.untuned(), setup.config.tuning).train()
    tuning = setup.config.tuning
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=tuning.learning_rate, fused=True)

    def run() -> float:
        started = time.perf_counter()
        for batch in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=tuning.precision == "bf16"):
                loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, tuning.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
        return time.perf_counter() - started

    return run


class Clock(TrainerCallback):
    """Time from the start of the first step to the end of the last one."""

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seconds = time.perf_counter() - self.started


def trainer_steps(setup: Setup, order: np.ndarray) -> Callable[[], float]:
    """Time the Trainer's loop as `gemkr train` uses it: dataset, collator, scheduler, log."""
    adapted = add_lora(setup.untuned(), setup.config.tuning)
    train = setup.train.select(order)
    dataset = InstructionDataset(train, setup.images, setup.processor)
    tuning = replace(setup.config.tuning, num_train_epochs=1)
    arguments = training_arguments(
        setup.folder / "speed", tuning, disable_tqdm=True, save_strategy="no"
    )

    def run() -> float:
        clock = Clock()
        trainer = InstructionTrainer(
            model=adapted,
            args=arguments,
            train_dataset=dataset,
            data_collator=InstructionCollator(setup.processor.tokenizer.pad_token_id),
            processing_class=setup.processor,
            visual_learning_rate=tuning.visual_learning_rate,
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return clock.seconds

    return run


def speed(setup: Setup, steps: int, rounds: int) -> None:
    tuning = setup.config.tuning
    started = time.perf_counter()
    dataset = InstructionDataset(setup.train, setup.images, setup.processor)
    prompts = (time.perf_counter() - started) / len(dataset)
    collate = InstructionCollator(setup.processor.tokenizer.pad_token_id)
    order = np.random.default_rng(0).permutation(len(dataset))[
        : steps * tuning.per_device_train_batch_size
    ]

    def batches() -> Iterator[dict[str, torch.Tensor]]:
        for start in range(0, len(order), tuning.per_device_train_batch_size):
            yield collate(
                [dataset[int(r)] for r in order[start : start + tuning.per_device_train_batch_size]]
            )

    ready = list(batches())
    started = time.perf_counter()
    for _ in batches():
        pass
    pipeline = (time.perf_counter() - started) / len(order)
    runs = {"bare": bare_steps(setup, ready), "trainer": trainer_steps(setup, order)}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            passed = run()
            if number:  # the first round warms up
                seconds[name].append(passed)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    overhead = statistics.median(
        whole / bare - 1 for whole, bare in zip(seconds["trainer"], seconds["bare"], strict=True)
    )
    print(
        f"\n{len(ready)} steps of {tuning.per_device_train_batch_size} instructions, "
        f"{tuning.precision}, "
        f"{torch.get_num_threads()} threads; medians of {rounds} alternating rounds\n"
    )
    head("training", "steps/s")
    row("forward, backward, AdamW on prepared batches", f"{steps / medians['bare']:.2f}")
    row("gemkr train", f"{steps / medians['trainer']:.2f}")
    print(f"\n{overhead:+.1%} time for everything but the model\n")
    head("data pipeline", "us per example")
    row("prompt and clue, once before training", f"{prompts * 1e6:.0f}")
    row("image, padding, batch, each time", f"{pipeline * 1e6:.0f}")
    row("of a step's time", f"{pipeline * len(order) / medians['bare']:.2%}")
    sampled(setup)


def sampled(setup: Setup) -> None:
    questions = setup.benchmark.questions["train"]
    times = -(-10_000 // len(questions))
    many = datasets.concatenate_datasets([questions] * times).select(range(10_000))
    started = time.perf_counter()
    written = write_instructions(many, setup.knowledge_base, setup.processor.tokenizer)
    row(f"sampling, {len(written):,} instructions in s", f"{time.perf_counter() - started:.1f}")


# -- what it learns --------------------------------------------------------------------------------


def seeds(setup: Setup, steps: int) -> None:
    tuning = replace(setup.config.tuning, max_steps=steps, logging_steps=1)
    results = [setup.tune(setup.train, tuning, f"seed-{number}") for number in range(2)]
    curves = [[e["loss"] for e in result.history if "loss" in e] for result in results]
    weights = [result.model.state_dict() for result in results]
    same = all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    verdict = {True: "equal", False: "DIFFERENT"}
    print(
        f"\nTwo runs of {steps} steps with the same seed: losses "
        f"{verdict[curves[0] == curves[1]]}, all weights {verdict[same]}\n"
    )


def curve(setup: Setup, sizes: list[int | None], split: str) -> list[dict[str, Any]]:
    """Tune on more and more instructions, with the number of steps that all of them have."""
    full = setup.config.tuning
    steps = int(len(setup.train) * full.num_train_epochs / full.per_device_train_batch_size)
    order = np.random.default_rng(0).permutation(len(setup.train))
    head("instructions", "images", "steps", "P@1", "P@5", "R@5", "R@10")
    points = []
    untuned = setup.score(setup.untuned(), split).as_dict()
    row("0 (projections fitted only)", "all", 0, *(f"{value:.3f}" for value in untuned.values()))
    for size in sizes:
        train = setup.train if size is None else setup.train.select(order[:size])
        # At most 30 epochs: more would only memorise a few instructions.
        few = min(steps, max(1, 30 * len(train) // full.per_device_train_batch_size))
        tuning = replace(full, max_steps=few, warmup_steps=min(full.warmup_steps, few // 4))
        result = setup.tune(train, tuning, f"curve-{len(train)}")
        metrics = setup.score(result.model, split).as_dict()
        points.append({"instructions": len(train), **metrics})
        row(
            f"{len(train):,}",
            f"{len(set(train['image_id'])):,}",
            few,
            *(f"{value:.3f}" for value in metrics.values()),
        )
    return points


def plot(points: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axis = figure.subplots()
    for name in ("P@1", "R@5"):
        axis.plot(
            [point["instructions"] for point in points],
            [point[name] for point in points],
            marker="o",
            label=name,
        )
    axis.set(xscale="log", xlabel="instructions", ylabel="validation split", ylim=(0, 1))
    axis.set_xticks([point["instructions"] for point in points])
    axis.set_xticklabels([f"{point['instructions']:,}" for point in points])
    axis.minorticks_off()
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.savefig(path, dpi=120)


def preferences(setup: Setup, split: str, questions: int) -> None:
    """Tune on half of the instructions, with feedback on questions of the other half."""
    middle = len(setup.train) // 2
    first = setup.train.select(range(middle))
    others = setup.train.select(range(middle, len(setup.train)))
    tuning = replace(setup.config.tuning, num_train_epochs=1.0, save_steps=10**6)
    start = setup.folder / "start"
    if not start.exists():
        setup.tune(first, tuning, "preferences-start").model.save_pretrained(start)

    def load() -> Any:
        model = GeMKRForRetrieval.from_pretrained(start)
        model.config.decoding["aggregate"] = setup.config.aggregate
        return model

    head("tuning", "pairs", "P@1", "P@5", "R@5", "R@10", "minutes")

    def report(name: str, pairs: Any, model: Any, started: float) -> None:
        minutes = (time.perf_counter() - started) / 60
        metrics = setup.score(model, split).as_dict()
        row(name, pairs, *(f"{value:.3f}" for value in metrics.values()), f"{minutes:.1f}")

    report("half of the instructions", "-", load(), time.perf_counter())
    settings = PreferenceConfig(
        questions=questions,
        learning_rate=5e-5,
        per_device_train_batch_size=16,
        beta=0.1,
        sft_weight=0.5,
    )
    for name, config in {
        "+ preferences": settings,
        "+ preferences, half hard negatives": replace(settings, hard_negatives=1),
        "+ preferences, all hard negatives": replace(settings, hard_negatives=2),
        "+ preferences, mistakes only": replace(settings, only_mistakes=True),
    }.items():
        started = time.perf_counter()
        model = load()
        pairs = collect_preferences(
            GeMKRRetriever(model, setup.processor, setup.knowledge_base),
            list(setup.benchmark.questions["train"]),
            setup.benchmark.images,
            others,
            config,
            setup.images,
        )
        states = setup.folder / name.strip("+ ").replace(" ", "-")
        preferred, _ = tune_preferences(
            model, setup.processor, pairs, setup.images, states, tuning, config
        )
        report(name, f"{len(pairs):,}", preferred, started)
    # For comparison: instructions of the same number of further questions, two clues each.
    started = time.perf_counter()
    more = others.select(range(min(len(others), 2 * questions)))
    again = replace(
        tuning, learning_rate=5e-5, visual_learning_rate=None, per_device_train_batch_size=16
    )
    result = tune(
        load(),
        setup.processor,
        InstructionDataset(more, setup.images, setup.processor),
        setup.folder / "more",
        replace(again, warmup_steps=settings.warmup_steps),
    )
    report(
        "+ instructions of the same number of questions", f"{len(more):,}", result.model, started
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["speed", "seeds", "curve", "preferences"])
    parser.add_argument("--scenes", type=int, help="number of training images")
    parser.add_argument("--steps", type=int, default=20, help="steps of `speed` and `seeds`")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of `speed`")
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 300, 1000])
    parser.add_argument("--questions", type=int, default=1000, help="questions of `preferences`")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--work", type=Path, help="output folder; by default a temporary one")
    parser.add_argument("--plot", type=Path, help="image file for the learning curve")
    arguments = parser.parse_args()
    be_quiet()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        setup = Setup(folder, arguments.scenes)
        wanted = [arguments.only] if arguments.only else ["speed", "seeds", "curve", "preferences"]
        if "speed" in wanted:
            speed(setup, arguments.steps, arguments.rounds)
        if "seeds" in wanted:
            seeds(setup, arguments.steps)
        if "curve" in wanted:
            points = curve(setup, [*arguments.sizes, None], arguments.split)
            (folder / "curve.json").write_text(json.dumps(points))
            if arguments.plot is not None:
                plot(points, arguments.plot)
        if "preferences" in wanted:
            preferences(setup, arguments.split, arguments.questions)


if __name__ == "__main__":
    main()
