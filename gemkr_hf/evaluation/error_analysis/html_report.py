"""The report: one HTML file that shows why the questions of a run failed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gemkr_hf.evaluation.error_analysis.causes import Cause, Finding, classify
from gemkr_hf.evaluation.error_analysis.confusion import (
    ConfusionTable,
    SymbolPair,
    aspects_table,
    causes_by_objects,
    causes_by_rank,
    causes_by_reference,
    count_causes,
    symbol_pairs,
)
from gemkr_hf.evaluation.error_analysis.evidence import Sight, gather
from gemkr_hf.evaluation.error_analysis.named_documents import look_up, named_in
from gemkr_hf.evaluation.error_analysis.question_cards import Card, choose, make_card
from gemkr_hf.evaluation.error_analysis.scene_truth import SceneTruth, read_truths, with_symbols
from gemkr_hf.evaluation.error_analysis.thumbnails import glyph
from gemkr_hf.evaluation.hits import PRESETS
from gemkr_hf.evaluation.question_records import Record, mean_of
from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.processing import GeMKRProcessor
from gemkr_hf.retrieval.retriever import GeMKRRetriever
from gemkr_hf.utils.io import atomic_write_text
from gemkr_hf.utils.logging import progress

_PAIRS = 20  # of symbols that are shown

Documents = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class ErrorAnalysis:
    """Every question of a run with its cause.

    Attributes:
        findings: of the questions, in the order of the records.
        documents: id -> record, of all that the records name.
    """

    findings: list[Finding]
    documents: Documents

    def counts(self) -> dict[Cause, int]:
        """Questions of each cause that occurs."""
        return count_causes(self.findings)


def analyze_errors(
    records: Sequence[Record],
    images: Mapping[str, Any],
    documents: Documents | KnowledgeBase,
    processor: GeMKRProcessor | None = None,
    retriever: GeMKRRetriever | None = None,
    scenes: Iterable[Mapping[str, Any]] | None = None,
    captions: Mapping[str, str] | None = None,
    decoding: Mapping[str, Any] | None = None,
) -> ErrorAnalysis:
    """Find out why questions failed; the arguments are those of `write_error_report`."""
    truths = _check(records, scenes)
    if retriever is not None and processor is None:
        processor = retriever.processor
    found: Mapping[str, Mapping[str, Any]] = look_up(documents, named_in(records))
    if truths:
        found = with_symbols(found)
    sight = Sight(images, processor)
    evidence = gather(records, sight, truths, retriever, captions, decoding)
    return ErrorAnalysis([classify(known, found) for known in evidence], found)


def write_error_report(
    records: Sequence[Record],
    path: str | Path,
    images: Mapping[str, Any],
    documents: Documents | KnowledgeBase,
    processor: GeMKRProcessor | None = None,
    retriever: GeMKRRetriever | None = None,
    scenes: Iterable[Mapping[str, Any]] | None = None,
    limit: int = 100,
    include_hits: bool = False,
    captions: Mapping[str, str] | None = None,
    decoding: Mapping[str, Any] | None = None,
) -> ErrorAnalysis:
    """Write an HTML report of the questions that failed, and why.

    The file holds its images and styles, and no script: it opens anywhere, without a network.

    Args:
        records: of one run, one a question.
        path: of the file.
        images: image id -> image (PIL, path, bytes...); a question whose image is not there
            has a card without one. Empty for a system that was asked without images.
        documents: id -> record with ``text`` and perhaps ``title``; or a knowledge base.
        processor: of a system that looks at objects: its detector finds those of failed questions;
            the retriever's where None. Without it causes that speak of boxes do not apply.
        retriever: whose run the records are: failed questions are asked again with a trace, which
            shows the clues that were dropped. Where another document comes first than in the run,
            the trace is left aside.
        scenes: rows of a split of ``load_symbols``, one for each question: causes then follow from
            what the scene shows.
        limit: of cards; causes take turns until it is reached.
        include_hits: cards for hits as well, as far as the failed questions leave room.
        captions: question id -> caption, for a retriever that reads captions.
        decoding: settings of the run for ``GeMKRRetriever.retrieve``, where they are not the
            checkpoint's.

    Returns:
        What the report says.

    Raises:
        ValueError: no records, records of several systems or presets, a question that comes twice
            or that ``scenes`` lacks, a negative limit, or a path that is a folder.
    """
    path = Path(path)
    if limit < 0:
        raise ValueError(f"limit is the number of cards, 0 or more, got {limit}")
    if path.is_dir():
        raise ValueError(f"'{path}' is a folder: name the file of the report")
    analysis = analyze_errors(
        records, images, documents, processor, retriever, scenes, captions, decoding
    )
    if retriever is not None and processor is None:
        processor = retriever.processor
    chosen = choose(analysis.findings, limit, include_hits)
    cards = list(_cards(chosen, analysis.documents, Sight(images, processor)))
    text = render(analysis, cards, include_hits, asked_again=retriever is not None)
    atomic_write_text(path, text)
    return analysis


def _check(
    records: Sequence[Record], scenes: Iterable[Mapping[str, Any]] | None
) -> dict[str, SceneTruth]:
    """The scenes of the questions, {} where they are not known; see `write_error_report`."""
    if not records:
        raise ValueError("There are no records to report on")
    for what in ("system", "preset"):
        several = sorted({getattr(record, what) for record in records})
        if len(several) > 1:
            raise ValueError(f"A report is of one {what}, and the records are of {several}")
    names = [record.question_id for record in records]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"The records hold question '{twice}' more than once")
    if scenes is None:
        return {}
    truths = read_truths(scenes)
    missing = [name for name in names if name not in truths]
    if missing:
        raise ValueError(
            f"{len(missing):,} questions have no scene, the first is '{missing[0]}': give the rows "
            "of the split that was asked"
        )
    return truths


def _cards(findings: Sequence[Finding], documents: Documents, sight: Sight) -> Iterator[Card]:
    for number, finding in enumerate(progress(findings, "draw cards"), start=1):
        image_id, objects = finding.record.image_id, finding.evidence.objects
        image = sight.image(image_id)
        if objects is None:  # a hit
            [objects] = sight.objects([image_id], [image])
        yield make_card(number, finding, documents, image, objects)


@dataclass(frozen=True)
class _Glyphs:
    """A pair of symbols with their images."""

    pair: SymbolPair
    relevant: str
    retrieved: str


def render(
    analysis: ErrorAnalysis, cards: Sequence[Card], include_hits: bool, asked_again: bool
) -> str:
    """The report's HTML.

    Args:
        analysis: of the run.
        cards: that are shown.
        include_hits: whether hits were to be shown.
        asked_again: whether failed questions were.
    """
    findings, documents = analysis.findings, analysis.documents
    records = [finding.record for finding in findings]
    counts = analysis.counts()
    failed = len(findings) - counts.get(Cause.HIT, 0)
    measures = [name for name in records[0].measures if all(name in r.measures for r in records)]
    tables: list[ConfusionTable | None] = [
        aspects_table(findings, documents),
        causes_by_objects(findings),
        causes_by_reference(findings),
        causes_by_rank(findings),
    ]
    pairs = symbol_pairs(findings, documents)
    searched = [f for f in findings if f.evidence.search is not None]
    wanted = len(findings) if include_hits else failed
    with as_file(files("gemkr_hf.evaluation.error_analysis") / "templates") as folder:
        environment = Environment(
            loader=FileSystemLoader(folder),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        return environment.get_template("report.html.jinja").render(
            system=records[0].system,
            preset=records[0].preset,
            preset_says=PRESETS.get(records[0].preset, ""),
            questions=len(findings),
            failed=failed,
            measures={name: mean_of(records, name) for name in measures},
            counts=counts,
            tables=[table for table in tables if table is not None],
            pairs=[
                _Glyphs(pair, *(glyph(char) if char else "" for char in pair.chars))
                for pair in pairs[:_PAIRS]
            ],
            more_pairs=len(pairs[_PAIRS:]),
            cards=cards,
            shown_causes=[cause for cause in Cause if any(c.finding.cause is cause for c in cards)],
            left_out=wanted - len(cards),
            wanted=wanted,
            include_hits=include_hits,
            unlike=failed - len(searched) if asked_again else 0,
        )


__all__ = ["ErrorAnalysis", "analyze_errors", "render", "write_error_report"]
