"""The runs of a system: made once for each seed, kept, and scored."""

import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gemkr_hf.evaluation.hits import reads_texts
from gemkr_hf.evaluation.question_records import make_records, write_records
from gemkr_hf.evaluation.run_files import write_trec_run
from gemkr_hf.evaluation.run_metrics import Scores, score
from gemkr_hf.paper.system_evaluation import UPGRADE, Evaluation
from gemkr_hf.paper.systems import System
from gemkr_hf.retrieval.types import Hit, Run
from gemkr_hf.utils.io import read_json, write_json
from gemkr_hf.utils.run_dir import settings_match
from gemkr_hf.utils.text import slug

logger = logging.getLogger(__name__)

_PREFIX = 256
"""Bytes read of each tensor: training changes them, and 7 billion weights take a second."""


def questions_digest(evaluation: Evaluation) -> str:
    """Return a digest of test questions and documents, as a file may change and keep its name."""
    kb = evaluation.knowledge_base
    digest = hashlib.sha256(f"{len(kb)} {kb.index.num_tokens}".encode())
    for record in evaluation.test_questions:
        parts = [str(record[name]) for name in ("question_id", "image_id", "question")]
        digest.update(json.dumps(parts).encode())
    return digest.hexdigest()[:16]


def weights_digest(checkpoint: str) -> str | None:
    """Return a digest of the first bytes of each tensor and of the sizes of weight files.

    Args:
        checkpoint: a folder, or two folders separated by a comma.

    Returns:
        None if it is not a local folder.
    """
    folders = [Path(name.strip()) for name in checkpoint.split(",")]
    if not all(folder.is_dir() for folder in folders):
        return None
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix in {".safetensors", ".bin", ".pt"}:
                digest.update(f"{path.relative_to(folder)} {path.stat().st_size} ".encode())
            if path.suffix == ".safetensors":
                with path.open("rb") as file:
                    length = int.from_bytes(file.read(8), "little")
                    header = json.loads(file.read(length))
                    header.pop("__metadata__", None)
                    for tensor in header.values():
                        begin, end = tensor["data_offsets"]
                        file.seek(8 + length + begin)
                        digest.update(file.read(min(_PREFIX, end - begin)))
    return digest.hexdigest()[:16]


def run_settings(evaluation: Evaluation, system: System, seed: int) -> dict[str, Any]:
    """Return everything that a run depends on, as plain values."""
    settings = evaluation.settings("data", "model", "split", "k")
    settings["questions"] = questions_digest(evaluation)
    if system.is_trained(evaluation):
        settings |= evaluation.settings(*system.settings)
    checkpoints = system.checkpoints(evaluation)
    if checkpoints:
        settings["checkpoints"] = checkpoints
        settings["weights"] = {part: weights_digest(name) for part, name in checkpoints.items()}
    if system.reads_captions:
        settings |= evaluation.settings("captions")
        if "captions" in evaluation.config.checkpoints:
            settings["captions by"] = evaluation.config.checkpoints["captions"]
    return json.loads(json.dumps({**settings, **system.variant, "seed": seed}))


def run_folder(evaluation: Evaluation, system: System, seed: int) -> Path:
    """Return the folder of a run. Runs of checkpoints are kept apart from those trained here."""
    name = slug(system.label)
    if checkpoints := system.checkpoints(evaluation):
        digest = hashlib.sha256(json.dumps(checkpoints, sort_keys=True).encode())
        name += f"-{digest.hexdigest()[:8]}"
    return evaluation.path("rows", name, f"seed-{seed}")


def kept_run(evaluation: Evaluation, system: System, seed: int) -> tuple[Run, float] | None:
    """Return the run of an earlier command and its seconds of preparation; None if there is none.

    Raises:
        ValueError: The run was made with other settings, and ``overwrite`` is False.
    """
    folder = run_folder(evaluation, system, seed)
    if not (folder / "run.json").exists():
        return None
    content = read_json(folder / "run.json")
    saved = UPGRADE(content["settings"])
    if "asked" in saved:  # its name in version 0.1
        saved["questions"] = saved.pop("asked")
    wanted = run_settings(evaluation, system, seed)
    if not settings_match(folder, saved, wanted, evaluation.overwrite):
        return None
    return Run(**content["run"]), float(content["seconds"])


def make_run(evaluation: Evaluation, system: System, seed: int) -> tuple[Run, float]:
    """Return a system's run for a seed: the kept one, or a new one.

    Returns:
        The run, and the wall time in seconds before the first question: training, unless an earlier
        run trained the model, and indexing.
    """
    if kept := kept_run(evaluation, system, seed):
        return kept
    records = evaluation.test_questions
    captions = evaluation.captions_for(records) if system.reads_captions else None
    with_seed = f", seed {seed}" if len(system.seeds(evaluation)) > 1 else ""
    evaluation.log(f"{system.label}{with_seed}: {len(records):,} questions")
    torch.manual_seed(seed)
    started = time.perf_counter()
    retriever = system.build(evaluation, seed)
    retriever.index(evaluation.knowledge_base)
    preparation = time.perf_counter() - started
    images, k = evaluation.test_images, evaluation.config.k
    questions = [record["question"] for record in records]
    # Compiling and opening on the first question do not count as time per question.
    retriever.retrieve(_first(images), questions[:1], k, captions=_first(captions))
    started = time.perf_counter()
    results = retriever.retrieve(images, questions, k, captions=captions)
    seconds = (time.perf_counter() - started) / len(records)
    run = _to_run(system.label, [str(one["question_id"]) for one in records], results, seconds)
    folder = run_folder(evaluation, system, seed)
    try:
        write_trec_run(run, folder / "run.trec")
    except ValueError as error:
        logger.warning(f"No TREC file for {run.name}: {error}")
    content = {
        "settings": run_settings(evaluation, system, seed),
        "seconds": preparation,
        "run": dataclasses.asdict(run),
    }
    write_json(folder / "run.json", content, indent=None)
    return run, preparation


def _first(values: Sequence[Any] | None) -> Sequence[Any] | None:
    return None if values is None else values[:1]


def _to_run(
    name: str, question_ids: Sequence[str], results: Sequence[Sequence[Hit]], seconds: float
) -> Run:
    by_question = dict(zip(question_ids, results, strict=True))
    clues = {
        question: [hit.clues[0].text if hit.clues else "" for hit in hits]
        for question, hits in by_question.items()
    }
    return Run(
        name,
        {question: [hit.document_id for hit in hits] for question, hits in by_question.items()},
        {question: [hit.score for hit in hits] for question, hits in by_question.items()},
        seconds,
        clues if any(any(texts) for texts in clues.values()) else {},
    )


def score_runs(evaluation: Evaluation, system: System, runs: Mapping[int, Run]) -> list[Scores]:
    """Score a system's runs, and write the records of the questions beside each run.

    Args:
        evaluation: the evaluation.
        system: the system.
        runs: seed -> run.
    """
    config, records = evaluation.config, evaluation.test_questions
    texts: dict[str, str] = {}
    if reads_texts(config.hit):
        names = {name for run in runs.values() for ids in run.documents.values() for name in ids}
        documents = evaluation.knowledge_base.documents_of(sorted(names))
        texts = {name: document["text"] for name, document in documents.items()}
    scored = []
    for seed, run in runs.items():
        scores = score(run, records, config.hit, config.measures, texts)
        path = run_folder(evaluation, system, seed) / "records.jsonl"
        write_records(make_records(run, scores, records), path)
        scored.append(scores)
    return scored


__all__ = [
    "kept_run",
    "make_run",
    "questions_digest",
    "run_folder",
    "run_settings",
    "score_runs",
    "weights_digest",
]
