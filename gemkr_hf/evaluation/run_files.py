"""Read and write runs: TREC files, and the JSON of other systems."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.retrieval.types import Run
from gemkr_hf.utils.io import atomic_write_text


def write_trec_run(run: Run, path: str | Path) -> None:
    """Write a run as ``question Q0 document rank score name``, one line for each document.

    Programs that read such a file sort by score in single precision and ignore the rank. If a
    question's scores are not strictly decreasing in single precision, minus the rank is written
    instead. Questions without retrieved documents have no line.

    Raises:
        ValueError: If an id is empty or contains white space, or a document was retrieved twice for
            a question: the format allows neither.
    """
    for kind, names in (
        ("question", run.documents),
        ("document", (name for ids in run.documents.values() for name in ids)),
    ):
        for name in names:
            if not name or any(character.isspace() for character in name):
                raise ValueError(
                    f"A TREC file cannot contain the {kind} id '{name}': it is empty or contains "
                    "white space"
                )
    tag = "_".join(run.name.split()) or "run"
    lines = []
    for question, documents in run.documents.items():
        if len(set(documents)) < len(documents):
            raise ValueError(
                f"A document was retrieved twice for question '{question}': a TREC file cannot "
                "contain duplicates"
            )
        scores = run.scores[question]
        single = _single_precision(scores)
        if np.isnan(single).any() or not (single[:-1] > single[1:]).all():
            scores = [-float(rank) for rank in range(1, len(documents) + 1)]
        lines += [
            f"{question} Q0 {document} {rank} {float(score)!r} {tag}\n"
            for rank, (document, score) in enumerate(zip(documents, scores, strict=True), start=1)
        ]
    atomic_write_text(path, "".join(lines))


def read_trec_run(path: str | Path) -> Run:
    """Read a TREC run, with the documents in trec_eval's order.

    trec_eval sorts by score in single precision and ignores the rank; documents with equal scores
    are in reverse alphabetical order of their ids.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a line is invalid, or repeats a document, with its number.
    """
    found: dict[str, dict[str, float]] = {}
    name = ""
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            question, _, document, _, score, name = line.split()
            value = float(score)
        except ValueError:
            raise ValueError(
                f"Line {number} of '{path}' must have six columns: "
                "'question Q0 document rank score name'"
            ) from None
        if np.isnan(value):
            raise ValueError(f"Line {number} of '{path}': the score is not a number")
        documents = found.setdefault(question, {})
        if document in documents:
            raise ValueError(
                f"Line {number} of '{path}' repeats document '{document}' for question '{question}'"
            )
        documents[document] = value
    if not found:
        raise ValueError(f"'{path}' contains no retrieved documents")
    return _sort_by_score(name, found)


def _sort_by_score(name: str, found: Mapping[str, Mapping[str, float]]) -> Run:
    documents, scores = {}, {}
    for question, score_of in found.items():
        pairs = zip(_single_precision(list(score_of.values())).tolist(), score_of, strict=True)
        documents[question] = [document for _, document in sorted(pairs, reverse=True)]
        scores[question] = [score_of[document] for document in documents[question]]
    return Run(name, documents, scores)


def _single_precision(scores: Sequence[float]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.asarray(scores, dtype=np.float64).astype(np.float32)


def read_run(
    path: str | Path,
    question_ids: Sequence[str],
    document_id: Callable[[str], str] = str,
) -> Run:
    """Read a run of any system, in any of these formats.

    A ``.json`` file contains a list of document ids for each question, best first: a list of lists
    in the order of the questions (as released by the paper's authors), or a mapping from question
    id to list. An item is an id, or an object with ``id``, ``doc_id`` or ``kid``. A mapping may
    also contain mappings from document id to score, as saved by ranx. Any other file is read as a
    TREC run.

    Args:
        path: The file.
        question_ids: Question ids of the benchmark split, in the order of its file.
        document_id: Normalizes document ids, so that those of the run equal those of the corpus.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is invalid, or a list has another number of questions.
    """
    is_json = Path(path).suffix.lower() == ".json"
    run = _read_json_run(Path(path), question_ids) if is_json else read_trec_run(path)
    documents = {name: list(map(document_id, ids)) for name, ids in run.documents.items()}
    if not any(documents.values()):
        raise ValueError(f"'{path}' contains no retrieved documents")
    return replace(run, documents=documents)


def _read_json_run(path: Path, question_ids: Sequence[str]) -> Run:
    try:
        content = json.loads(_read_text(path))
    except ValueError as error:
        raise ValueError(f"'{path}' is not valid JSON: {error}") from None
    if isinstance(content, dict) and any(isinstance(ids, dict) for ids in content.values()):
        for question, scores in content.items():
            values = scores.values() if isinstance(scores, dict) else [None]
            if any(
                isinstance(v, bool) or not isinstance(v, (int, float)) or v != v for v in values
            ):
                raise ValueError(
                    f"'{path}', question '{question}': expected document ids with scores, got "
                    f"{scores!r:.60}"
                )
        return _sort_by_score(path.stem, content)
    if isinstance(content, list):
        if len(content) != len(question_ids):
            raise ValueError(
                f"'{path}' contains lists for {len(content):,} questions, but the split has "
                f"{len(question_ids):,}"
            )
        content = dict(zip(question_ids, content, strict=True))
    for ids in content.values() if isinstance(content, dict) else [content]:
        if not isinstance(ids, list):
            raise ValueError(
                f"'{path}' must contain a list of document ids for each question, got {ids!r:.60}"
            )
    documents = {
        question: [_read_id(item, f"'{path}', question '{question}'") for item in items]
        for question, items in content.items()
    }
    return Run.from_lists(path.stem, documents)


def _read_id(item: object, place: str) -> str:
    value = item
    if isinstance(item, dict):
        value = next((item[name] for name in ("id", "doc_id", "kid") if name in item), None)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"{place}: {item!r:.60} is not a valid document id")
    return str(value)


def _read_text(path: str | Path) -> str:
    if not Path(path).is_file():
        raise FileNotFoundError(f"Run file not found: '{path}'")
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"'{path}' is not valid UTF-8 text") from None


def first_ids(ids: Iterable[str], first: Mapping[str, str]) -> list[str]:
    """Replace document ids by first ids, and remove duplicates.

    >>> first_ids(["9", "1", "2"], {"9": "1"})
    ['1', '2']
    """
    return list(dict.fromkeys(first.get(name, name) for name in ids))


__all__ = ["first_ids", "read_run", "read_trec_run", "write_trec_run"]
