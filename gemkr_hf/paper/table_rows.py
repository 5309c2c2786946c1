"""One row of a table: a system asked all questions, once for each seed; each run is kept."""

import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gemkr_hf.baselines import Retriever
from gemkr_hf.evaluation.hits import reads_texts
from gemkr_hf.evaluation.question_records import make_records, write_records
from gemkr_hf.evaluation.run_files import write_trec_run
from gemkr_hf.evaluation.run_metrics import Scores, score
from gemkr_hf.paper.evaluation_context import Ground
from gemkr_hf.retrieval.types import Run
from gemkr_hf.utils.io import atomic_write_text
from gemkr_hf.utils.run_dir import first_difference
from gemkr_hf.utils.text import slug

logger = logging.getLogger(__name__)

_COMMON = ("data", "model", "split", "k")


@dataclass(frozen=True)
class Row:
    """A system whose runs are wanted.

    Attributes:
        label: in tables; its runs are kept under it.
        build: makes the retriever for a seed; documents are not indexed yet.
        seeds: of the runs; one where nothing is drawn.
        reads_captions: needs the images in words.
        settings: what its runs follow from, besides data, model, split and k.
        after: labels of rows that train a part of it, which come first where they are wanted too.
        looks: its training needs the training images.
    """

    label: str
    build: Callable[[Ground, int], Retriever]
    seeds: tuple[int, ...]
    reads_captions: bool = False
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    after: tuple[str, ...] = ()
    looks: bool = False


@dataclass(frozen=True)
class Answered:
    """A row's runs.

    Attributes:
        label: of the row.
        runs: one a seed.
        folders: where each of them is kept.
        seconds: of wall time for all that one seed needed before its first answer: training,
            unless an earlier row had it, and the index; means over seeds.
    """

    label: str
    runs: tuple[Run, ...]
    folders: tuple[Path, ...]
    seconds: float

    @property
    def seconds_a_question(self) -> float:
        """Mean over the runs."""
        return sum(run.seconds or 0.0 for run in self.runs) / len(self.runs)


def answer(ground: Ground, row: Row) -> Answered:
    """The row's runs: those that are there already, and new ones for the other seeds.

    Raises:
        ValueError: a run that is there was made with other settings.
    """
    runs, folders, seconds = [], [], []
    for seed in row.seeds:
        run, took = answer_seed(ground, row, seed)
        runs.append(run)
        folders.append(folder_of(ground, row, seed))
        seconds.append(took)
    return Answered(row.label, tuple(runs), tuple(folders), sum(seconds) / len(seconds))


def answer_seed(ground: Ground, row: Row, seed: int) -> tuple[Run, float]:
    """One run of a row, kept or new, and the seconds before its first answer."""
    folder, settings = folder_of(ground, row, seed), _settings(ground, row, seed)
    kept = _kept(folder, settings, ground.overwrite)
    return _run(ground, row, seed, folder, settings) if kept is None else kept


def is_there(ground: Ground, row: Row, seed: int) -> bool:
    """Whether a run need not be made.

    Raises:
        ValueError: it was made with other settings, and is not to be replaced.
    """
    folder, settings = folder_of(ground, row, seed), _settings(ground, row, seed)
    return _kept(folder, settings, ground.overwrite) is not None


def folder_of(ground: Ground, row: Row, seed: int) -> Path:
    """Where a run is kept; that of a checkpoint beside those of what was trained here."""
    name = slug(row.label)
    if "checkpoints" in row.settings:
        named = json.dumps(row.settings["checkpoints"], sort_keys=True)
        name += f"-{hashlib.sha256(named.encode()).hexdigest()[:8]}"
    return ground.path("rows", name, f"seed-{seed}")


def _settings(ground: Ground, row: Row, seed: int) -> dict[str, Any]:
    common = {**ground.settings_of(*_COMMON), "asked": ground.asked_digest}
    return json.loads(json.dumps({**common, **row.settings, "seed": seed}))


def _kept(folder: Path, settings: Mapping[str, Any], overwrite: bool) -> tuple[Run, float] | None:
    path = folder / "run.json"
    if not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["settings"] != settings:
        if overwrite:
            return None
        changed = first_difference(content["settings"], settings)
        raise ValueError(
            f"'{folder}' holds a run with other settings ({changed}): name another output, or "
            "replace it with --overwrite"
        )
    return Run(**content["run"]), float(content["seconds"])


def _run(
    ground: Ground, row: Row, seed: int, folder: Path, settings: Mapping[str, Any]
) -> tuple[Run, float]:
    asked = ground.asked
    captions = ground.captions_of(asked) if row.reads_captions else None
    several = f", seed {seed}" if len(row.seeds) > 1 else ""
    ground.say(f"{row.label}{several}: {len(asked):,} questions")
    torch.manual_seed(seed)
    started = time.perf_counter()
    retriever = row.build(ground, seed)
    retriever.index(ground.documents)
    took = time.perf_counter() - started
    questions = [record["question"] for record in asked]
    # What is compiled or opened with the first question is no part of a question's time.
    retriever.retrieve(_first(ground.images), questions[:1], ground.config.k, _first(captions))
    started = time.perf_counter()
    found = retriever.retrieve(ground.images, questions, ground.config.k, captions)
    seconds = (time.perf_counter() - started) / len(asked)
    names = [str(record["question_id"]) for record in asked]
    clues = {
        name: [one.clue for one in of_question]
        for name, of_question in zip(names, found, strict=True)
    }
    run = Run(
        row.label,
        {n: [one.id for one in f] for n, f in zip(names, found, strict=True)},
        {n: [one.score for one in f] for n, f in zip(names, found, strict=True)},
        seconds,
        clues if any(any(written) for written in clues.values()) else {},
    )
    _keep(folder, run, settings, took)
    return run, took


def _first(of_questions: Sequence[Any] | None) -> Sequence[Any] | None:
    return None if of_questions is None else of_questions[:1]


def _keep(folder: Path, run: Run, settings: Mapping[str, Any], seconds: float) -> None:
    """As JSON, which the next command finds, and in the format of TREC for other programs."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        write_trec_run(run, folder / "run.trec")
    except ValueError as error:
        logger.warning(f"{run.name} has no TREC file: {error}")
    content = {"settings": settings, "seconds": seconds, "run": dataclasses.asdict(run)}
    text = json.dumps(content, ensure_ascii=False)
    atomic_write_text(folder / "run.json", text)


def score_row(ground: Ground, answered: Answered) -> list[Scores]:
    """Each run's measures; the records of its questions are written beside it."""
    texts = texts_of(ground, answered)
    scored = []
    for run, folder in zip(answered.runs, answered.folders, strict=True):
        scores = score(run, ground.asked, ground.config.hit, ground.config.measures, texts)
        write_records(make_records(run, scores, ground.asked), folder / "records.jsonl")
        scored.append(scores)
    return scored


def texts_of(ground: Ground, answered: Answered) -> dict[str, str]:
    """Id -> text of what was retrieved, where the hit preset reads texts."""
    if not reads_texts(ground.config.hit):
        return {}
    wanted = sorted(
        {name for run in answered.runs for found in run.documents.values() for name in found}
    )
    found = ground.knowledge_base.documents_of(wanted)
    return {name: document["text"] for name, document in found.items()}


__all__ = ["Answered", "Row", "answer", "answer_seed", "is_there", "score_row"]
