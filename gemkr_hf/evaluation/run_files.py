"""Runs: what a system retrieved, kept in files of TREC and read from those of others."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.utils.io import atomic_write_text


@dataclass(frozen=True)
class Run:
    """What a system retrieved for some questions.

    Attributes:
        name: of the system; a TREC file holds it in its last column.
        documents: question id -> document ids, best first.
        scores: question id -> a score for each document, larger is better.
        seconds: wall time a question; None where nobody measured it.
        clues: question id -> what led to each document, in words; empty where nothing was written.
    """

    name: str
    documents: dict[str, list[str]]
    scores: dict[str, list[float]]
    seconds: float | None = None
    clues: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def from_lists(
        cls, name: str, documents: Mapping[str, Sequence[str]], seconds: float | None = None
    ) -> "Run":
        """A run whose order alone is known: scores are 1 / rank."""
        lists = {question: list(found) for question, found in documents.items()}
        scores = {
            question: [1.0 / rank for rank in range(1, len(found) + 1)]
            for question, found in lists.items()
        }
        return cls(name, lists, scores, seconds)


def write_trec_run(run: Run, path: str | Path) -> None:
    """A run as ``question Q0 document rank score name``, one line a document.

    Programs that read such a file order by score, in single precision, and ignore the rank: where
    scores of neighbours are equal to them, or out of order, all of the question's are written as
    minus the rank. Questions for which nothing came back have no line.

    Raises:
        ValueError: an id holds a space, which would end its column, or a document came back twice,
            which the format forbids.
    """
    for kind, names in (
        ("question", run.documents),
        ("document", (name for found in run.documents.values() for name in found)),
    ):
        for name in names:
            if not name or any(character.isspace() for character in name):
                raise ValueError(
                    f"The {kind} id '{name}' cannot stand in a TREC file: it is empty or holds a "
                    "space"
                )
    for question, found in run.documents.items():
        if len(set(found)) < len(found):
            raise ValueError(
                f"A document came back twice for question '{question}': a TREC file cannot say so"
            )
    tag = "_".join(run.name.split()) or "run"
    lines = []
    for question, found in run.documents.items():
        scores = run.scores[question]
        single = _single(scores)
        if np.isnan(single).any() or not (single[:-1] > single[1:]).all():
            scores = [-float(rank) for rank in range(1, len(found) + 1)]
        lines += [
            f"{question} Q0 {document} {rank} {float(score)!r} {tag}\n"
            for rank, (document, score) in enumerate(zip(found, scores, strict=True), start=1)
        ]
    atomic_write_text(path, "".join(lines))


def read_trec_run(path: str | Path) -> Run:
    """A run in the format of TREC, its documents in trec_eval's order.

    That is by score in single precision, whatever the rank says; equal ones by their ids, the last
    in the alphabet first.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is none of a run, or names a document a second time, with its number.
    """
    path = _existing(path)
    found: dict[str, dict[str, float]] = {}
    name = ""
    for number, line in enumerate(_text_of(path).split("\n"), start=1):
        if not line.strip():
            continue
        columns = line.split()
        try:
            question, _, document, _, score, name = columns
            value = float(score)
        except ValueError:
            raise ValueError(
                f"Line {number} of '{path}' is none of a run: there must be six columns, "
                "'question Q0 document rank score name'"
            ) from None
        if np.isnan(value):
            raise ValueError(f"Line {number} of '{path}' has no number for a score")
        of_question = found.setdefault(question, {})
        if document in of_question:
            raise ValueError(
                f"Line {number} of '{path}' names document '{document}' a second time for question "
                f"'{question}'"
            )
        of_question[document] = value
    if not found:
        raise ValueError(f"'{path}' holds no retrieved document")
    return _by_score(name, found)


def _by_score(name: str, found: Mapping[str, Mapping[str, float]]) -> Run:
    documents, scores = {}, {}
    for question, of_question in found.items():
        ordered = zip(_single(list(of_question.values())).tolist(), of_question, strict=True)
        documents[question] = [document for _, document in sorted(ordered, reverse=True)]
        scores[question] = [of_question[document] for document in documents[question]]
    return Run(name, documents, scores)


def _single(scores: Sequence[float]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.asarray(scores, dtype=np.float64).astype(np.float32)


def read_run(
    path: str | Path,
    question_ids: Sequence[str],
    document_id: Callable[[str], str] = str,
) -> Run:
    """A run of somebody else, in whichever format it is.

    JSON holds a list of document ids for each question, best first: a list of lists in the order of
    the questions (as the paper's authors released theirs), or a mapping from question id to list.
    An entry is an id, or an object with ``id``, ``doc_id`` or ``kid``. A mapping may hold document
    ids with their scores instead of lists, as ranx saves its runs. Any other file is read as a TREC
    run.

    Args:
        path: of the file.
        question_ids: of the benchmark's split, in the order of its file.
        document_id: makes the ids of run and corpus alike.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is neither, or holds another number of questions.
    """
    path = _existing(path)
    if path.suffix.lower() != ".json":
        return _named(read_trec_run(path), path, document_id)
    try:
        content = json.loads(_text_of(path))
    except ValueError as error:
        raise ValueError(f"'{path}' is no JSON: {error}") from None
    if isinstance(content, dict) and any(isinstance(found, dict) for found in content.values()):
        scored = {question: _scored(found, question, path) for question, found in content.items()}
        run = _by_score(path.stem, scored)
        return _named(run, path, document_id)
    if isinstance(content, dict):
        lists = dict(content)
    elif isinstance(content, list):
        if len(content) != len(question_ids):
            raise ValueError(
                f"'{path}' holds lists for {len(content):,} questions, and the split has "
                f"{len(question_ids):,}"
            )
        lists = dict(zip(question_ids, content, strict=True))
    else:
        raise ValueError(f"'{path}' must hold a list of document ids for each question")
    documents = {
        question: [_id_of(entry, question, path) for entry in _list(found, path)]
        for question, found in lists.items()
    }
    return _named(Run.from_lists(path.stem, documents), path, document_id)


def _named(run: Run, path: Path, document_id: Callable[[str], str]) -> Run:
    """With the ids of the corpus."""
    named = {question: list(map(document_id, found)) for question, found in run.documents.items()}
    if not any(named.values()):
        raise ValueError(f"'{path}' holds no retrieved document")
    return Run(run.name, named, run.scores)


def _list(found: object, path: Path) -> Iterable[object]:
    if not isinstance(found, list):
        told = f"{found!r:.60}"
        raise ValueError(f"'{path}' must hold a list of document ids for each question, not {told}")
    return found


def _scored(found: Any, question: str, path: Path) -> dict[str, float]:
    scores = found.values() if isinstance(found, dict) else [None]
    if any(isinstance(s, bool) or not isinstance(s, (int, float)) or s != s for s in scores):
        raise ValueError(f"'{path}', question '{question}': {found!r:.60} has no ids with scores")
    return found


def _id_of(entry: object, question: str, path: Path) -> str:
    if isinstance(entry, dict):
        entry = next((entry[name] for name in ("id", "doc_id", "kid") if name in entry), None)
    if isinstance(entry, bool) or not isinstance(entry, (str, int)):
        raise ValueError(f"'{path}', question '{question}': {entry!r:.60} is no document id")
    return str(entry)


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no run file '{path}'")
    return path


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"'{path}' is no text in UTF-8") from None


def with_first_ids(
    run: Run, questions: Iterable[Mapping[str, Any]], first: Mapping[str, str]
) -> tuple[Run, list[dict[str, Any]]]:
    """A run and what is relevant to its questions, where documents have several ids.

    Args:
        run: names a document by any of its ids.
        questions: records with ``relevant_ids``, of any of the ids too.
        first: further id -> the document's first id.

    Returns:
        Both with first ids alone.
    """
    documents = {
        question: [first.get(name, name) for name in found]
        for question, found in run.documents.items()
    }
    named = [
        {**record, "relevant_ids": first_ids(record["relevant_ids"], first)} for record in questions
    ]
    return replace(run, documents=documents), named


def first_ids(ids: Iterable[str], first: Mapping[str, str]) -> list[str]:
    """Documents by their first ids, each once.

    >>> first_ids(["9", "1", "2"], {"9": "1"})
    ['1', '2']
    """
    return list(dict.fromkeys(first.get(name, name) for name in ids))


__all__ = ["Run", "first_ids", "read_run", "read_trec_run", "with_first_ids", "write_trec_run"]
