"""The error report: one HTML file that shows why the questions of a run failed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gemkr_hf.data.scenes import SceneAnnotations
from gemkr_hf.evaluation.error_analysis.causes import Cause, Documents, Finding, classify
from gemkr_hf.evaluation.error_analysis.confusion import (
    aspects_table,
    causes_by_objects,
    causes_by_rank,
    causes_by_reference,
    count_causes,
    symbol_pairs,
)
from gemkr_hf.evaluation.error_analysis.evidence import QuestionImages, collect_evidence
from gemkr_hf.evaluation.error_analysis.question_cards import Card, choose_questions, make_card
from gemkr_hf.evaluation.error_analysis.thumbnails import symbol_thumbnail
from gemkr_hf.evaluation.hits import HIT_PRESETS
from gemkr_hf.evaluation.question_records import Record, mean_of
from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.processing import GeMKRProcessor
from gemkr_hf.retrieval.retriever import GeMKRRetriever
from gemkr_hf.utils.deprecation import renamed_arguments
from gemkr_hf.utils.io import atomic_write_text
from gemkr_hf.utils.logging import progress

_MAX_PAIRS = 20  # pairs of symbols that are shown


@dataclass(frozen=True)
class ErrorAnalysis:
    """All questions of a run with their causes.

    Attributes:
        findings: The questions, in the order of the records.
        documents: Document id -> record, of all documents that the records name.
        images: Images and detected objects.
        replayed: Whether the searches of failed questions were replayed.
        scenes: The scene annotations; None if the images are not generated.
    """

    findings: list[Finding]
    documents: Documents
    images: QuestionImages
    replayed: bool = False
    scenes: SceneAnnotations | None = None

    def counts(self) -> dict[Cause, int]:
        """Count the questions of each cause that occurs."""
        return count_causes(self.findings)


@renamed_arguments({"pictures": "images"})
def analyze_errors(
    records: Sequence[Record],
    images: Mapping[str, Any],
    documents: Documents | KnowledgeBase,
    processor: GeMKRProcessor | None = None,
    retriever: GeMKRRetriever | None = None,
    scenes: SceneAnnotations | None = None,
    captions: Mapping[str, str] | None = None,
    decoding: Mapping[str, Any] | None = None,
) -> ErrorAnalysis:
    """Determine why questions failed.

    Args:
        records: Records of one run, one for each question.
        images: Image id -> image (PIL, path, bytes...); questions may lack an image. Empty for a
            text-only system.
        documents: Document id -> record with ``text`` and optionally ``title``; or a knowledge
            base.
        processor: Processor of a system that uses objects: its detector finds those of failed
            questions; if None, the retriever's. Without it, causes about boxes do not apply.
        retriever: The retriever that the run is from. The searches of failed questions are replayed
            with a trace, which shows dropped clues; a replay whose first document differs from the
            run's is ignored.
        scenes: Scene annotations of the split (``benchmark.scenes(split)``), if any.
        captions: Question id -> caption, for a retriever that reads captions.
        decoding: Decoding settings of the run for ``GeMKRRetriever.retrieve``, as far as they
            differ from the checkpoint's.

    Raises:
        ValueError: If there are no records, records of several systems or presets, duplicate
            questions, or questions without a scene in ``scenes``.
    """
    _check_records(records, scenes)
    if retriever is not None and processor is None:
        processor = retriever.processor
    found = _load_documents(documents, records)
    if scenes is not None:
        found = {name: {**scenes.documents.get(name, {}), **doc} for name, doc in found.items()}
    question_images = QuestionImages(images, processor)
    scene_of = {} if scenes is None else scenes.scenes
    evidence = collect_evidence(records, question_images, scene_of, retriever, captions, decoding)
    findings = [classify(known, found) for known in evidence]
    return ErrorAnalysis(findings, found, question_images, retriever is not None, scenes)


@renamed_arguments({"pictures": "images"})
def write_error_report(
    records: Sequence[Record],
    path: str | Path,
    images: Mapping[str, Any],
    documents: Documents | KnowledgeBase,
    processor: GeMKRProcessor | None = None,
    retriever: GeMKRRetriever | None = None,
    scenes: SceneAnnotations | None = None,
    limit: int = 100,
    include_hits: bool = False,
    **options: Any,
) -> ErrorAnalysis:
    """Write an HTML report that shows which questions failed, and why.

    The file embeds its images and styles and contains no script, so it opens anywhere, offline.

    Args:
        records: Records of one run, one for each question.
        path: Path of the HTML file.
        images: See `analyze_errors`.
        documents: See `analyze_errors`.
        processor: See `analyze_errors`.
        retriever: See `analyze_errors`.
        scenes: See `analyze_errors`.
        limit: Maximum number of cards; causes take turns until it is reached.
        include_hits: Add cards of hits if failed questions leave room.
        **options: Further arguments of `analyze_errors`.

    Returns:
        The analysis that the report shows.

    Raises:
        ValueError: If the limit is negative, the path is a folder, or `analyze_errors` raises.
    """
    path = Path(path)
    if limit < 0:
        raise ValueError(f"limit must be at least 0 cards, got {limit}")
    if path.is_dir():
        raise ValueError(f"'{path}' is a folder: give the path of a file")
    analysis = analyze_errors(records, images, documents, processor, retriever, scenes, **options)
    chosen = choose_questions(analysis.findings, limit, include_hits)
    cards = []
    for finding in progress(chosen, "draw cards"):
        image_id, objects = finding.record.image_id, finding.evidence.objects
        image = analysis.images.image(image_id)
        if objects is None:  # a hit
            [objects] = analysis.images.objects([image_id], [image])
        cards.append(make_card(finding, analysis.documents, image, objects))
    atomic_write_text(path, render(analysis, cards, include_hits))
    return analysis


def _check_records(records: Sequence[Record], scenes: SceneAnnotations | None) -> None:
    if not records:
        raise ValueError("There are no records to analyze")
    for field in ("system", "preset"):
        values = sorted({getattr(record, field) for record in records})
        if len(values) > 1:
            raise ValueError(f"The records must be of one {field}, got {values}")
    names = [record.question_id for record in records]
    if len(set(names)) < len(names):
        duplicate = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"The records contain question '{duplicate}' more than once")
    missing = [] if scenes is None else [name for name in names if name not in scenes.scenes]
    if missing:
        raise ValueError(
            f"{len(missing):,} questions have no scene, the first is '{missing[0]}': pass the "
            "scene annotations of the same split"
        )


def _load_documents(
    documents: Documents | KnowledgeBase, records: Iterable[Record]
) -> dict[str, dict[str, Any]]:
    """Load the documents that records name as relevant or retrieved, as far as they exist."""
    names: dict[str, None] = {}
    for record in records:
        names |= dict.fromkeys([*record.relevant_ids, *(hit["id"] for hit in record.retrieved)])
    if isinstance(documents, KnowledgeBase):
        return documents.documents_of(names)
    return {name: dict(documents[name]) for name in names if name in documents}


def render(analysis: ErrorAnalysis, cards: Sequence[Card], include_hits: bool) -> str:
    """Render the HTML of a report, with the given cards."""
    findings, documents, scenes = analysis.findings, analysis.documents, analysis.scenes
    records = [finding.record for finding in findings]
    counts = analysis.counts()
    failed = len(findings) - counts.get(Cause.HIT, 0)
    measures = [name for name in records[0].measures if all(name in r.measures for r in records)]
    tables = [
        aspects_table(findings, documents, scenes.aspects if scenes is not None else ()),
        causes_by_objects(findings),
        causes_by_reference(findings),
        causes_by_rank(findings),
    ]
    pairs = symbol_pairs(findings, documents)
    chars = {char for pair in pairs[:_MAX_PAIRS] for char in pair.chars if char}
    draw = None if scenes is None else scenes.draw_symbol
    replayed = sum(finding.evidence.search is not None for finding in findings)
    requested = len(findings) if include_hits else failed
    with as_file(files("gemkr_hf.evaluation.error_analysis") / "templates") as folder:
        environment = Environment(
            loader=FileSystemLoader(folder), undefined=StrictUndefined,
            autoescape=True, trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        return environment.get_template("report.html.jinja").render(
            system=records[0].system,
            preset=records[0].preset,
            preset_definition=HIT_PRESETS.get(records[0].preset, ""),
            questions=len(findings),
            failed=failed,
            measures={name: mean_of(records, name) for name in measures},
            counts=counts,
            tables=[table for table in tables if table is not None],
            pairs=pairs[:_MAX_PAIRS],
            more_pairs=len(pairs[_MAX_PAIRS:]),
            symbols={} if draw is None else {char: symbol_thumbnail(draw(char)) for char in chars},
            cards=cards,
            shown_causes=[cause for cause in Cause if any(c.finding.cause is cause for c in cards)],
            left_out=requested - len(cards),
            requested=requested,
            include_hits=include_hits,
            not_replayed=failed - replayed if analysis.replayed else 0,
        )


__all__ = ["ErrorAnalysis", "analyze_errors", "render", "write_error_report"]
