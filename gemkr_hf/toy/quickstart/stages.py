"""The five stages of ``gemkr quickstart``; a stage that finished before is not repeated."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import datasets
import torch

from gemkr_hf.baselines.bm25 import BM25Retriever
from gemkr_hf.data import DataConfig
from gemkr_hf.evaluation.metrics import score_run
from gemkr_hf.hub import EvaluationResult, record_results
from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.knowledge_base.storage import FORMAT_VERSION
from gemkr_hf.retrieval.retriever import GeMKRRetriever
from gemkr_hf.retrieval.types import Run
from gemkr_hf.toy.quickstart.quickstart_report import draw_example, example_lines, metrics_table
from gemkr_hf.toy.quickstart.quickstart_systems import (
    any_object_right_aspect,
    relevant_ids,
    run_retriever,
    score_by_objects,
)
from gemkr_hf.toy.stand_ins.assemble import checkpoints_fingerprint, load_processor
from gemkr_hf.toy.stand_ins.toy_tuning import small_world_tuning
from gemkr_hf.toy.symbols.symbol_documents import documents_fingerprint, load_documents
from gemkr_hf.toy.symbols.symbols_benchmark import symbols_benchmark
from gemkr_hf.toy.symbols.symbols_dataset import SymbolsConfig, load_symbols
from gemkr_hf.training.arguments import ModelConfig, TrainConfig, TuningConfig
from gemkr_hf.training.clue_sampling import SamplingConfig
from gemkr_hf.training.training_run import run_training
from gemkr_hf.utils.config import upgrade_settings
from gemkr_hf.utils.deprecation import renamed_arguments
from gemkr_hf.utils.io import read_json, write_json
from gemkr_hf.utils.run_dir import RunDirectory

Log = Callable[[str], None]


@dataclass(frozen=True)
class QuickstartConfig:
    """Sizes and settings of the quickstart.

    Attributes:
        symbols: Size and seed of the symbols dataset.
        sampling: How clues are sampled from relevant documents.
        tuning: The paper's instruction tuning, with rates and a batch size for a small model.
        k: Documents retrieved for each question.
        aggregate: How the scores of a document's clues are combined; chosen on the validation
            split.
    """

    symbols: SymbolsConfig = field(default_factory=SymbolsConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    tuning: TuningConfig = field(default_factory=small_world_tuning)
    k: int = 10
    aggregate: Literal["max", "logsumexp"] = "logsumexp"


@renamed_arguments({"say": "log"})
def run_quickstart(
    folder: str | Path,
    config: QuickstartConfig | None = None,
    log: Log = print,
) -> dict[str, Any]:
    """Run the stages that are not finished in a folder, and report.

    Args:
        folder: Everything is saved here: ``knowledge_base``, ``model``, ``examples``,
            ``metrics.json``, ``quickstart.log``.
        config: Sizes and settings. If the folder was made with others, its content is replaced.
        log: Receives each line of the report.

    Returns:
        The content of ``metrics.json``.
    """
    config = config or QuickstartConfig()
    folder = Path(folder).resolve()
    started = time.time()
    changed = _run_directory(folder, config).prepare(overwrite=True)
    log = _with_log_file(log, folder / "quickstart.log")
    if changed is not None:
        log(f"Starting again, since a setting has changed in {_relative(folder)}: {changed}")

    log("\n[1/5] Knowledge base: documents about symbols, and an FM-index over their tokens")
    if not (folder / "knowledge_base").exists():
        built = KnowledgeBase.from_documents(load_documents(), load_processor().tokenizer)
        built.save_pretrained(folder / "knowledge_base")
    knowledge_base = KnowledgeBase.from_pretrained(folder / "knowledge_base")
    index = knowledge_base.index
    log(
        f"  {len(knowledge_base)} documents, {index.num_tokens:,} tokens, "
        f"index size {index.nbytes / 1024:,.0f} KB"
    )

    log("\n[2/5] Instruction tuning: prefix, gates, projections and LoRA learn to generate clues")
    splits = load_symbols(config.symbols, cache_dir=folder / "data")
    if (folder / "model").exists():
        log("  already tuned")
    else:
        _tune(folder, config, splits["train"], log)

    log("\n[3/5] Loading the checkpoint with AutoModel and AutoProcessor")
    retriever = GeMKRRetriever.from_pretrained(
        folder / "model", knowledge_base=folder / "knowledge_base"
    )
    log(f"  {folder / 'model'}")

    log("\n[4/5] Answering test questions by constrained diverse beam search")
    metrics = _evaluate(folder / "answers", config.k, splits, retriever)
    log(metrics_table(metrics))

    log("\n[5/5] Three examples")
    _show_examples(folder / "examples", splits["test"], retriever, log)

    metrics["seconds"] = round(time.time() - started, 1)
    write_json(folder / "metrics.json", metrics, ensure_ascii=True)
    _record_results(folder, metrics)
    log(f"\nDone in {metrics['seconds']:.0f} s. Metrics: {folder / 'metrics.json'}")
    log(
        "Ask your own question:\n"
        f"  gemkr retrieve --image {_relative(folder / 'examples' / 'scene-1.png')} "
        '--question "What does this sign mean?" '
        f"--model {_relative(folder / 'model')} "
        f"--knowledge-base {_relative(folder / 'knowledge_base')}"
    )
    return metrics


def _with_log_file(log: Log, path: Path) -> Log:
    def log_to_both(line: str) -> None:
        log(line)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    return log_to_both


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _run_directory(folder: Path, config: QuickstartConfig) -> RunDirectory:
    settings = {
        **asdict(config),
        "documents": documents_fingerprint(),
        "stand_ins": checkpoints_fingerprint(),
        "format_version": FORMAT_VERSION,
    }
    contents = ("knowledge_base", "model", "training", "answers", "examples", "data")
    upgrade = partial(upgrade_settings, QuickstartConfig)
    return RunDirectory(folder, settings, "quickstart.json", (*contents, "metrics.json"), upgrade)


def _tune(folder: Path, config: QuickstartConfig, train: datasets.Dataset, log: Log) -> None:
    """Tune on the training split, as ``gemkr train`` does, and move the model to ``model``."""
    training = folder / "training"
    train_config = TrainConfig(
        data=DataConfig(format="symbols", knowledge_base="knowledge_base"),
        output=str(training),
        model=ModelConfig(
            checkpoint="small-world",
            # On a CPU, "eager" takes half the time of "sdpa" for the backward pass of short
            # sequences in bfloat16.
            attention=None if torch.cuda.is_available() else "eager",
        ),
        sampling=config.sampling,
        tuning=config.tuning,
        aggregate=config.aggregate,
    )
    benchmark = symbols_benchmark(
        datasets.DatasetDict({"train": train}), str(folder / "knowledge_base")
    )
    trained, moved = training / "model", folder / "model"
    run_training(
        train_config,
        folder,
        lambda line: log(f"  {line}".replace(str(trained), str(moved))),
        benchmark=benchmark,
    )
    trained.rename(moved)


def _evaluate(
    answers: Path, k: int, splits: datasets.DatasetDict, retriever: GeMKRRetriever
) -> dict[str, Any]:
    """Measure all systems on ``test`` and ``unseen``; their runs are stored in ``answers``."""
    bm25 = BM25Retriever()
    bm25.index(retriever.knowledge_base)
    metrics: dict[str, Any] = {"preset": "gold", "k": k, "splits": {}}
    for split in ("test", "unseen"):
        questions = list(splits[split])
        relevant = relevant_ids(questions)
        systems: dict[str, Callable[[], Run]] = {
            "GeMKR": partial(run_retriever, retriever, questions, k),
            "without the image": partial(run_retriever, retriever, questions, k, with_image=False),
            "without constraints": partial(run_retriever, retriever, questions, k, strategy="free"),
            "BM25 on the question": partial(
                run_retriever, bm25, questions, k, "BM25", with_image=False
            ),
        }
        rows: dict[str, Any] = {}
        for name, run_system in systems.items():
            run = _stored_run(answers / f"{split}-{name.replace(' ', '-')}.json", run_system)
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
            "P@1 by objects": {str(number): 1 / number for number in sorted(set(numbers))},
        }
        metrics["splits"][split] = {"questions": len(questions), "systems": rows}
    return metrics


def _stored_run(path: Path, run_system: Callable[[], Run]) -> Run:
    """Return the run in a file; if there is none, run the system and store its run."""
    if path.exists():
        return Run(**read_json(path))
    run = run_system()
    path.parent.mkdir(exist_ok=True)
    write_json(path, asdict(run), ensure_ascii=True)
    return run


def _record_results(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Store GeMKR's metrics with the model and the adapter, for their cards on the Hub."""
    results = [
        EvaluationResult(
            split,
            "after instruction tuning",
            content["questions"],
            metrics["preset"],
            {name: content["systems"]["GeMKR"][name] for name in ("P@1", "P@5", "R@5", "R@10")},
        )
        for split, content in metrics["splits"].items()
    ]
    for checkpoint in (folder / "model", folder / "training" / "adapter"):
        if checkpoint.is_dir():
            record_results(checkpoint, *results)


def _show_examples(
    folder: Path, test: datasets.Dataset, retriever: GeMKRRetriever, log: Log
) -> None:
    """Answer questions about scenes of 2, 3 and 4 objects; report them as text and as images."""
    folder.mkdir(exist_ok=True)
    numbers = [len(objects) for objects in test["objects"]]
    demo_examples = []
    for number, size in enumerate((2, 3, 4), start=1):
        if size not in numbers:
            continue
        record = test[numbers.index(size)]
        image, question = record["image"], record["question"]
        objects = retriever.processor.detect([image])[0]
        hits = retriever.retrieve(image, question, k=3)
        for line in example_lines(record, objects, hits):
            log(line)
        image.save(folder / f"scene-{number}.png")
        demo_examples.append({"image": f"scene-{number}.png", "question": question})
        page = draw_example(retriever.processor.draw(image, objects), record, hits)
        page.save(folder / f"example-{number}.png")
        log(f"  image: {_relative(folder / f'example-{number}.png')}")
    write_json(folder / "examples.json", demo_examples, ensure_ascii=True)
