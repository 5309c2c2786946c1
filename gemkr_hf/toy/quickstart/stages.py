"""The stages of ``gemkr quickstart``; each leaves a result that the next run finds again."""

import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import datasets
import torch

from gemkr_hf.baselines.bm25 import BM25Retriever
from gemkr_hf.data import DataConfig
from gemkr_hf.data.benchmark import symbols_benchmark
from gemkr_hf.evaluation.metrics import score_run
from gemkr_hf.evaluation.run_files import Run
from gemkr_hf.hub import Result, record_results
from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.knowledge_base.storage import FORMAT_VERSION
from gemkr_hf.retrieval.retriever import GeMKRRetriever, Hit
from gemkr_hf.toy.quickstart.quickstart_report import draw_example, example_lines, metrics_table
from gemkr_hf.toy.quickstart.quickstart_systems import (
    any_object_right_aspect,
    relevant_ids,
    run_bm25,
    run_gemkr,
    score_by_objects,
)
from gemkr_hf.toy.stand_ins.assemble import checkpoints_fingerprint, load_processor
from gemkr_hf.toy.stand_ins.toy_tuning import small_world_tuning
from gemkr_hf.toy.symbols.symbol_documents import documents_fingerprint, load_documents
from gemkr_hf.toy.symbols.symbols_dataset import SymbolsConfig, load_symbols
from gemkr_hf.training.arguments import ModelConfig, TrainConfig, TuningConfig
from gemkr_hf.training.clue_sampling import SamplingConfig
from gemkr_hf.training.starting_model import SMALL_WORLD
from gemkr_hf.training.training_run import run_training
from gemkr_hf.utils.io import write_json

logger = logging.getLogger(__name__)

Say = Callable[[str], None]


@dataclass(frozen=True)
class QuickstartConfig:
    """Sizes and settings of the quickstart.

    Attributes:
        symbols: how much of the small world is made.
        sampling: how clues are cut from relevant documents.
        tuning: the paper's procedure with a learning rate and a batch for a small model.
        k: documents retrieved for each question.
        aggregate: a document's score from those of its clues; the validation split's choice.
    """

    symbols: SymbolsConfig = field(default_factory=SymbolsConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    tuning: TuningConfig = field(default_factory=small_world_tuning)
    k: int = 10
    aggregate: Literal["max", "logsumexp"] = "logsumexp"


@dataclass
class _Workshop:
    """Folder of a run, its settings, and where its words go."""

    folder: Path
    config: QuickstartConfig
    say: Say

    def path(self, name: str) -> Path:
        return self.folder / name

    def stage(self, number: int, what: str) -> None:
        self.say(f"\n[{number}/5] {what}")


def run_quickstart(
    folder: str | Path, config: QuickstartConfig | None = None, say: Say = print
) -> dict[str, Any]:
    """Do what is not done yet in ``folder`` and report.

    Args:
        folder: everything made stays here: ``knowledge_base``, ``model``, ``examples``,
            ``metrics.json``, ``quickstart.log``.
        config: sizes and settings; another config than the folder's starts it anew.
        say: takes each line for the reader.

    Returns:
        The content of ``metrics.json``.
    """
    config = config or QuickstartConfig()
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    started = time.time()

    def say_and_log(line: str) -> None:
        say(line)
        with (folder / "quickstart.log").open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    shop = _Workshop(folder, config, say_and_log)
    _keep_or_clear(shop)
    shop.stage(1, "Knowledge base: documents about symbols, and the FM-index over their tokens")
    _knowledge_base(shop)
    shop.stage(2, "Instruction tuning: prefix, gates, projections and LoRA learn to write clues")
    world = load_symbols(config.symbols, cache_dir=folder / "data")
    _tune(shop, world)
    shop.stage(3, "Loading the checkpoint as its users do: AutoModel and AutoProcessor")
    retriever = GeMKRRetriever.from_pretrained(
        folder / "model", knowledge_base=folder / "knowledge_base"
    )
    say_and_log(f"  {folder / 'model'}")
    shop.stage(4, "Answering test questions by constrained diverse beam search")
    metrics = _evaluate(shop, world, retriever)
    say_and_log(metrics_table(metrics))
    shop.stage(5, "Three examples")
    _examples(shop, world["test"], retriever)
    metrics["seconds"] = round(time.time() - started, 1)
    write_json(folder / "metrics.json", metrics, ensure_ascii=True)
    say_and_log(f"\nDone in {metrics['seconds']:.0f} s. Figures: {folder / 'metrics.json'}")
    image = _relative(folder / "examples" / "scene-1.png")
    _keep_results(shop, metrics)
    say_and_log(
        "Ask a question of your own:\n"
        f'  gemkr retrieve --image {image} --question "What does this sign mean?" '
        f"--model {_relative(folder / 'model')} "
        f"--knowledge-base {_relative(folder / 'knowledge_base')}"
    )
    return metrics


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _keep_or_clear(shop: _Workshop) -> None:
    """What was made with other settings, documents or stand-ins is not mixed with this run's."""
    stated = {
        **asdict(shop.config),
        "documents": documents_fingerprint(),
        "stand_ins": checkpoints_fingerprint(),
        "format_version": FORMAT_VERSION,
    }
    path, wanted = shop.path("quickstart.json"), json.loads(json.dumps(stated))
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != wanted:
        shop.say(
            "Settings, documents or stand-ins have changed since the last run in "
            f"{_relative(shop.folder)}: starting anew"
        )
        for name in ("knowledge_base", "model", "training", "answers", "examples", "data"):
            shutil.rmtree(shop.path(name), ignore_errors=True)
        shop.path("metrics.json").unlink(missing_ok=True)
    write_json(path, wanted, ensure_ascii=True)


# -- 1. knowledge base -----------------------------------------------------------------------


def _knowledge_base(shop: _Workshop) -> None:
    target = shop.path("knowledge_base")
    if not target.exists():
        tokenizer = load_processor().tokenizer
        KnowledgeBase.from_documents(load_documents(), tokenizer).save_pretrained(target)
    knowledge_base = KnowledgeBase.from_pretrained(target)
    index = knowledge_base.index
    shop.say(
        f"  {len(knowledge_base)} documents, {index.num_tokens:,} tokens, "
        f"an index of {index.nbytes / 1024:,.0f} KB"
    )


# -- 2. tuning -------------------------------------------------------------------------------


def _tune(shop: _Workshop, world: datasets.DatasetDict) -> None:
    """What `gemkr train` does, on the training split alone."""
    target = shop.path("model")
    if target.exists():
        shop.say("  tuned before")
        return
    training = shop.path("training")
    config = TrainConfig(
        data=DataConfig(format="symbols", knowledge_base="knowledge_base"),
        output=str(training),
        model=ModelConfig(
            checkpoint=SMALL_WORLD,
            # Backwards through short sequences in bfloat16 it takes half the time of "sdpa" on a
            # CPU.
            attention=None if torch.cuda.is_available() else "eager",
        ),
        sampling=shop.config.sampling,
        tuning=shop.config.tuning,
        aggregate=shop.config.aggregate,
    )
    benchmark = symbols_benchmark(
        datasets.DatasetDict({"train": world["train"]}), str(shop.path("knowledge_base"))
    )
    run_training(config, shop.folder, say=lambda line: shop.say(f"  {line}"), benchmark=benchmark)
    (training / "model").rename(target)


# -- 4. evaluation ---------------------------------------------------------------------------


def _evaluate(
    shop: _Workshop, world: datasets.DatasetDict, retriever: GeMKRRetriever
) -> dict[str, Any]:
    bm25 = BM25Retriever()
    bm25.index(retriever.knowledge_base)
    k = shop.config.k
    metrics: dict[str, Any] = {"preset": "gold", "k": k, "splits": {}}
    for split in ("test", "unseen"):
        questions = list(world[split])
        relevant = relevant_ids(questions)
        systems: dict[str, Callable[[], Run]] = {
            "GeMKR": partial(run_gemkr, retriever, questions, k),
            "without the image": partial(run_gemkr, retriever, questions, k, with_image=False),
            "without constraints": partial(run_gemkr, retriever, questions, k, strategy="free"),
            "BM25 on the question": partial(run_bm25, bm25, questions, k),
        }
        rows: dict[str, Any] = {}
        for name, run_system in systems.items():
            run = _kept_run(shop, f"{split}-{name.replace(' ', '-')}", run_system)
            rows[name] = {
                **score_run(run.documents, relevant).as_dict(),
                "seconds per query": round(run.seconds or 0.0, 4),
                "P@1 by objects": {
                    str(number): value.precision_at_1
                    for number, value in score_by_objects(run, questions).items()
                },
            }
        numbers = [len(record["objects"]) for record in questions]
        rows["any object, right aspect"] = {
            **any_object_right_aspect(numbers).as_dict(),
            "seconds per query": None,
            "P@1 by objects": {str(n): 1 / n for n in sorted(set(numbers))},
        }
        metrics["splits"][split] = {"questions": len(questions), "systems": rows}
    return metrics


def _keep_results(shop: _Workshop, metrics: dict[str, Any]) -> None:
    """Have the figures on the cards, should model or adapter be pushed."""
    names = ("P@1", "P@5", "R@5", "R@10")
    results = []
    for split, found in metrics["splits"].items():
        ours = {name: found["systems"]["GeMKR"][name] for name in names}
        stage = "after instruction tuning"
        results.append(Result(split, stage, found["questions"], metrics["preset"], ours))
    for folder in (shop.path("model"), shop.path("training") / "adapter"):
        if folder.is_dir():
            record_results(folder, *results)


def _kept_run(shop: _Workshop, name: str, run_system: Callable[[], Run]) -> Run:
    """The run of an earlier quickstart in this folder, or a new one."""
    path = shop.path("answers") / f"{name}.json"
    if path.exists():
        return Run(**json.loads(path.read_text(encoding="utf-8")))
    run = run_system()
    path.parent.mkdir(exist_ok=True)
    write_json(path, asdict(run), ensure_ascii=True)
    return run


# -- 5. examples -----------------------------------------------------------------------------


def _examples(shop: _Workshop, test: datasets.Dataset, retriever: GeMKRRetriever) -> None:
    """Three questions about three scenes of 2 to 4 objects, in words and as images."""
    folder = shop.path("examples")
    folder.mkdir(exist_ok=True)
    numbers = [len(objects) for objects in test["objects"]]
    asked = []
    for number, wanted in enumerate((2, 3, 4), start=1):
        if wanted not in numbers:
            continue
        record = test[numbers.index(wanted)]
        objects = retriever.processor.detect([record["image"]])[0]
        hits: list[Hit] = retriever.retrieve(record["image"], record["question"], k=3)
        for line in example_lines(record, objects, hits):
            shop.say(line)
        record["image"].save(folder / f"scene-{number}.png")
        asked.append({"image": f"scene-{number}.png", "question": record["question"]})
        drawn = folder / f"example-{number}.png"
        draw_example(retriever.processor.draw(record["image"], objects), record, hits).save(drawn)
        shop.say(f"  image: {_relative(drawn)}")
    write_json(folder / "examples.json", asked, ensure_ascii=True)  # for the demo
