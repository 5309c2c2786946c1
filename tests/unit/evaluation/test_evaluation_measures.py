"""Measures equal those of trec_eval, and the definitions of the paper's benchmarks."""

import random
import subprocess
import sys
from typing import Any

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, P, Success, nDCG

from gemkr_hf.evaluation.metrics import score_run
from gemkr_hf.evaluation.run_files import read_trec_run
from gemkr_hf.evaluation.run_metrics import MEASURES, Scores, score
from gemkr_hf.retrieval.types import Run

THEIRS = {
    **{f"P@{k}": P @ k for k in (1, 3, 5, 20)},
    **{f"R@{k}": Success @ k for k in (1, 5, 10)},
    **{f"MRR@{k}": RR for k in (3, 10, 100)},
    **{f"nDCG@{k}": nDCG @ k for k in (3, 10)},
}


def question(name: str, relevant: list[str], answers: list[str] | None = None) -> dict[str, Any]:
    return {"question_id": name, "relevant_ids": relevant, "answers": answers or []}


def random_questions(
    rng: random.Random,
) -> tuple[list[dict[str, Any]], dict[str, dict[str, float]]]:
    """Questions with 1 to 8 relevant documents; 0 to 15 retrieved ones, half of the scores equal;
    a tenth of the questions is not in the run, which holds one that nobody asked."""
    names = [f"d{number}" for number in range(25)]
    questions, found = [], {"asked-by-nobody": {"d1": 1.0}}
    order = list(range(30))
    rng.shuffle(order)
    for number in order:
        questions.append(question(f"q{number}", rng.sample(names, rng.randint(1, 8))))
        retrieved = rng.sample(names, rng.randint(0, 15))
        if rng.random() > 0.1 and retrieved:
            scores = [
                rng.choice([rng.random(), float(rng.randint(0, 3)), 2.0 + rng.randint(0, 3) * 1e-9])
                for _ in retrieved
            ]
            found[f"q{number}"] = dict(zip(retrieved, scores, strict=True))
    return questions, found


@pytest.mark.parametrize("seed", range(12))
def test_values_of_every_question_are_those_of_trec_eval(seed: int, tmp_path) -> None:
    questions, found = random_questions(random.Random(seed))
    path = tmp_path / "run.trec"
    path.write_text(
        "".join(
            f"{name} Q0 {document} 0 {value!r} any\n"
            for name, of_question in found.items()
            for document, value in of_question.items()
        )
    )
    ours = score(read_trec_run(path), questions, measures=list(THEIRS))
    qrels = {q["question_id"]: dict.fromkeys(q["relevant_ids"], 1) for q in questions}
    provider = ir_measures.providers.registry["pytrec_eval"]
    theirs = {
        (value.query_id, str(value.measure)): value.value
        for value in provider.iter_calc(set(THEIRS.values()), qrels, found)
    }
    assert ours.question_ids == tuple(q["question_id"] for q in questions)
    assert ours.missing == len(qrels.keys() - found.keys()) > 0
    for name, measure in THEIRS.items():
        expected = [theirs.get((key, str(measure)), 0.0) for key in ours.question_ids]
        if measure is RR:  # trec_eval looks through the whole run
            smallest = 1 / int(name.split("@")[1])
            expected = [value if value >= smallest else 0.0 for value in expected]
        np.testing.assert_allclose(ours.values[name], expected, atol=1e-9, err_msg=name)
    assert all(0 < ours.mean(name) < 1 for name in ("P@5", "R@10", "MRR@10", "nDCG@10"))


@pytest.mark.parametrize("seed", range(5))
def test_the_metrics_of_training_are_the_same(seed: int) -> None:
    rng = random.Random(seed)
    names = [f"d{number}" for number in range(12)]
    questions = [question(f"q{row}", rng.sample(names, rng.randint(1, 4))) for row in range(25)]
    # With documents that came back twice, and lists that are short or empty.
    found = {q["question_id"]: rng.choices(names, k=rng.randint(0, 12)) for q in questions}
    light = score_run(found, {q["question_id"]: q["relevant_ids"] for q in questions})
    full = score(Run.from_lists("any", found), questions, measures=list(light.as_dict()))
    assert light.questions == len(full.question_ids)
    assert light.as_dict() == pytest.approx(full.means())
    assert light.precision_at_5 < light.recall_at_5


@pytest.mark.slow
def test_training_does_not_load_ranx() -> None:
    script = (
        "import sys, gemkr_hf.evaluation.metrics, gemkr_hf.cli; "
        "import gemkr_hf.training.retrieval_validation; "
        "print({'ranx', 'faiss'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout.strip() == "set()", result.stderr


def scored(found: list[str], relevant: list[str], *measures: str, **options: Any) -> Scores:
    run = Run.from_lists("any", {"q": found})
    return score(run, [question("q", relevant, ["ram"])], measures=measures, **options)


def test_k_is_the_denominator_with_fewer_results() -> None:
    assert scored(["a", "b"], ["a", "b", "c"], "P@5", "P@1").means() == {
        "P@5": 0.4,
        "P@1": 1.0,
    }


def test_a_document_that_came_back_twice_is_one_hit_and_takes_a_place() -> None:
    scores = scored(
        ["x", "a", "a", "b"], ["a", "b"], "P@3", "P@4", "MRR@10", "nDCG@4", "distinct@3"
    )
    ideal = 1 + 1 / np.log2(3)
    assert scores.means() == pytest.approx(
        {
            "P@3": 1 / 3,
            "P@4": 2 / 4,
            "MRR@10": 1 / 2,
            "nDCG@4": (1 / np.log2(3) + 1 / np.log2(5)) / ideal,
            "distinct@3": 2,
        }
    )


def test_presets_differ_in_what_came_back_twice() -> None:
    texts = {"a": "the ram", "b": "the ox", "c": "a ram", "d": "a Ram"}
    found = ["a", "a", "b", "c", "d"]
    means = {
        preset: scored(found, ["b"], "P@3", "P@5", "R@1", preset=preset, texts=texts).means()
        for preset in ("gold", "vrr", "gemkr")
    }
    assert means["gold"] == pytest.approx({"P@3": 1 / 3, "P@5": 1 / 5, "R@1": 0})
    assert means["vrr"] == pytest.approx({"P@3": 2 / 3, "P@5": 4 / 5, "R@1": 1})
    assert means["gemkr"] == pytest.approx({"P@3": 2 / 3, "P@5": 2 / 5, "R@1": 1})


def test_ndcg_is_not_defined_where_relevant_documents_are_not_known() -> None:
    scores = scored(["a"], [], "nDCG@5", "P@1", preset="vrr", texts={"a": "ram"})
    assert np.isnan(scores.mean("nDCG@5"))
    assert scores.mean("P@1") == 1.0


def test_one_relevant_document_makes_p_at_1_r_at_1() -> None:
    """As ReMuQ has it."""
    rng = random.Random(0)
    questions = [question(f"q{row}", [f"d{rng.randint(0, 3)}"]) for row in range(40)]
    run = Run.from_lists("any", {q["question_id"]: [f"d{rng.randint(0, 3)}"] for q in questions})
    scores = score(run, questions, measures=("P@1", "R@1"))
    assert scores.values["P@1"].tolist() == scores.values["R@1"].tolist()
    assert 0 < scores.mean("P@1") < 1


def test_questions_keep_their_order_and_ids_of_numbers() -> None:
    questions = [question(name, ["a"]) for name in ("10", "9", "b")] + [
        {"question_id": 2, "relevant_ids": ["a"]}
    ]
    run = Run.from_lists("any", {"9": ["a"], "2": ["a"], "b": []})
    scores = score(run, questions, measures=("P@1",))
    assert scores.question_ids == ("10", "9", "b", "2")
    assert scores.values["P@1"].tolist() == [0, 1, 0, 1]
    assert scores.missing == 1


def test_the_measures_asked_for_come_back_in_their_order() -> None:
    assert list(scored(["a"], ["a"], *reversed(MEASURES)).values) == list(reversed(MEASURES))


@pytest.mark.slow
def test_values_of_every_question_are_exactly_those_of_ranx(recwarn) -> None:
    from ranx import Qrels, evaluate
    from ranx import Run as RanxRun

    rng = random.Random(0)
    names = [f"d{number}" for number in range(25)]
    questions = [question(f"q{row:02}", rng.sample(names, rng.randint(1, 15))) for row in range(40)]
    found = {q["question_id"]: rng.sample(names, rng.randint(1, 20)) for q in questions}
    ranx_names = {"P": "precision", "R": "hit_rate", "MRR": "mrr", "nDCG": "ndcg"}
    measures = [f"{kind}@{k}" for kind in ranx_names for k in (1, 5, 10, 15)]
    ours = score(Run.from_lists("any", found), questions, measures=measures)
    theirs = evaluate(
        Qrels({q["question_id"]: dict.fromkeys(q["relevant_ids"], 1) for q in questions}),
        RanxRun({name: {d: -float(n) for n, d in enumerate(ids)} for name, ids in found.items()}),
        [ranx_names[kind] + "@" + k for kind, k in (name.split("@") for name in measures)],
        return_mean=False,
    )
    for name, values in zip(measures, theirs.values(), strict=True):
        assert ours.values[name].tolist() == list(values), name


@pytest.mark.parametrize("name", ["P", "P@0", "P@-1", "p@5", "MAP@5", "P@5 ", "P@1.5", ""])
def test_an_unknown_measure_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=r"with its K, such as P@5, got '"):
        scored(["a"], ["a"], name)


@pytest.mark.parametrize(
    ("found", "questions", "options", "message"),
    [
        ({"q": ["a"]}, [], {}, "no questions to score"),
        (
            {"p": ["a"]},
            [question("q", ["a"])],
            {},
            "'any' contains none of the 1 questions, such",
        ),
        ({}, [question("q", ["a"])], {}, "'any' contains none of the 1 questions"),
        ({"q": ["a"]}, [question("q", [])], {}, "1 of 1 questions have no relevant documents"),
        ({"q": ["a"]}, [{"question_id": "q"}], {}, "have no relevant documents"),
        (
            {"q": ["a"]},
            [question("q", [], [" "])],
            {"preset": "dpr", "texts": {"a": "ram"}},
            "have no answers, which the hit preset 'dpr' needs; the first is 'q'",
        ),
        (
            {"q": ["a"]},
            [question("q", [], ["b"])],
            {"preset": "vrr"},
            "'vrr' needs the documents'",
        ),
        ({"q": ["a"]}, [question("q", ["a"])], {"preset": "em"}, "Unknown hit preset"),
    ],
)
def test_runs_that_cannot_be_scored(found, questions, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        score(Run.from_lists("any", found), questions, **options)
