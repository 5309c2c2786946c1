"""Validation by retrieval: the metrics of the evaluation, and an unchanged model."""

import pytest

from gemkr_hf.evaluation.metrics import score_run
from gemkr_hf.evaluation.record_retrieval import mark_retrieved
from gemkr_hf.toy.quickstart.quickstart_systems import relevant_ids, run_retriever
from gemkr_hf.training.arguments import ValidationConfig
from gemkr_hf.training.retrieval_validation import RetrievalValidation


@pytest.fixture(scope="module")
def questions(short_quickstart):
    from gemkr_hf.toy.symbols.symbols_dataset import load_symbols
    from tests.conftest import SHORT

    return list(load_symbols(SHORT.symbols, cache_dir=short_quickstart / "data")["test"])


def validate(retriever, questions, **options):
    config = ValidationConfig(questions=None, **options)
    return RetrievalValidation(
        questions,
        {record["image_id"]: record["image"] for record in questions},
        retriever.knowledge_base,
        retriever.processor,
        config,
    )


def test_metrics_equal_those_of_the_evaluation(retriever, questions) -> None:
    expected = score_run(
        run_retriever(retriever, questions, 10).documents, relevant_ids(questions)
    ).as_dict()
    model = retriever.model.train()
    found = validate(retriever, questions)(model)
    assert model.training
    model.eval()
    assert found.as_dict() == pytest.approx(expected)
    assert found.questions == len(questions)


def test_processes_share_the_questions(retriever, questions, monkeypatch) -> None:
    import gemkr_hf.training.retrieval_validation as module

    whole = validate(retriever, questions)(retriever.model)
    parts = []
    monkeypatch.setattr(module, "gather_object", lambda found: parts.append(found) or found)
    for rank in range(2):
        part = validate(retriever, questions)
        part.rank, part.processes = rank, 2
        part(retriever.model)
    assert len(parts[0]) + len(parts[1]) == len(questions)
    monkeypatch.setattr(module, "gather_object", lambda found: parts[0] + parts[1])
    assert part(retriever.model) == whole


def test_an_answer_in_the_text_is_a_hit_where_wanted(retriever, questions) -> None:
    hits = retriever.retrieve(questions[0]["image"], questions[0]["question"], k=3)
    text = hits[0].document["text"]
    record = {"relevant_ids": [], "answers": [text[5:25].lower()]}
    knowledge_base = retriever.knowledge_base
    assert mark_retrieved(hits[:1], record, "vrr", knowledge_base)[0]
    assert not mark_retrieved(hits[:1], record, "gold", knowledge_base)[0]
    assert not mark_retrieved(hits[:1], {**record, "answers": ["zzz"]}, "vrr", knowledge_base)[0]
    record = {"relevant_ids": [hits[0].document["id"]], "answers": []}
    assert mark_retrieved(hits[:1], record, "gold", knowledge_base)[0]


def test_only_the_loss_needs_no_questions() -> None:
    assert ValidationConfig(questions=0, metric="loss").questions == 0
    with pytest.raises(ValueError, match="metric R@5 needs questions: set metric to loss"):
        ValidationConfig(questions=0)
