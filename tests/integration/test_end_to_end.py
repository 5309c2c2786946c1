"""The whole way, short: documents, index, tuning, checkpoint, answers."""

import json
import subprocess
import sys
import textwrap

import pytest
import torch
from transformers import AutoModel, AutoProcessor, LlamaConfig, LlamaForCausalLM

from gemkr_hf import KnowledgeBase
from gemkr_hf.toy.quickstart import run_quickstart
from gemkr_hf.toy.symbols import load_symbols
from tests.conftest import SHORT


@pytest.fixture(scope="module")
def questions(short_quickstart):
    return load_symbols(SHORT.symbols, cache_dir=short_quickstart / "data")["test"]


def test_the_image_is_what_finds_the_document(short_quickstart) -> None:
    metrics = json.loads((short_quickstart / "metrics.json").read_text())
    systems = metrics["splits"]["test"]["systems"]
    assert systems["GeMKR"]["R@5"] > systems["without the image"]["R@5"] + 0.2
    assert systems["GeMKR"]["R@5"] > systems["BM25 on the question"]["R@5"] + 0.2


def test_every_clue_stands_in_its_document_and_in_no_other(retriever, questions) -> None:
    texts = [" " + record["text"] for record in retriever.knowledge_base]
    seen = 0
    for record in questions.select(range(12)):
        for hit in retriever.retrieve(record["image"], record["question"], k=10):
            for clue in hit.clues:
                holders = [row for row, text in enumerate(texts) if clue.text in text]
                assert holders == [hit.row], clue.text
                seen += 1
    assert seen >= 60


def test_hits_are_different_documents_best_first(retriever, questions) -> None:
    hits = retriever.retrieve(questions[0]["image"], questions[0]["question"], k=10)
    assert len({hit.row for hit in hits}) == len(hits)
    assert 3 <= len(hits) <= 10
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_batch_answers_as_single_queries_do(retriever, questions) -> None:
    records = [questions[row] for row in range(4)]
    images = [record["image"] for record in records]
    together = retriever.retrieve(images, [record["question"] for record in records], k=3)
    for record, hits in zip(records, together, strict=True):
        [first, *_] = retriever.retrieve(record["image"], record["question"], k=3)
        assert first.row == hits[0].row
        assert first.score == pytest.approx(hits[0].score, abs=1e-3)


def test_the_call_of_the_design(short_quickstart, questions) -> None:
    model = AutoModel.from_pretrained(short_quickstart / "model", trust_remote_code=True)
    processor = AutoProcessor.from_pretrained(short_quickstart / "model", trust_remote_code=True)
    kb = KnowledgeBase.from_pretrained(short_quickstart / "knowledge_base")
    image, question = questions[0]["image"], questions[0]["question"]

    inputs = processor(images=image, text=question, return_tensors="pt")
    fmindex_constraint = kb.constraint()
    clues = model.generate(**inputs, logits_processor=fmindex_constraint)

    written = clues[0, inputs["input_ids"].shape[1] :].tolist()
    ends = {processor.tokenizer.eos_token_id, processor.tokenizer.pad_token_id}
    assert kb.lookup([[token for token in written if token not in ends]])[0] >= 0


@pytest.mark.parametrize("settings", [{}, {"num_beams": 4}])
def test_the_call_of_the_design_on_a_plain_language_model(
    short_quickstart, retriever, settings
) -> None:
    tokenizer = retriever.processor.tokenizer
    kb = KnowledgeBase.from_pretrained(short_quickstart / "knowledge_base")
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    inputs = tokenizer("What does the anchor mean?", return_tensors="pt")
    inputs.pop("token_type_ids", None)
    fmindex_constraint = kb.constraint()
    clues = model.generate(
        **inputs, logits_processor=fmindex_constraint, max_new_tokens=16, **settings
    )
    written = clues[0, inputs["input_ids"].shape[1] :].tolist()
    ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
    clue = [token for token in written if token not in ends]
    assert kb.index.count([clue])[0] >= 1
    assert len(clue) <= 15
    # A clue may be shorter than min_length where its document ends.
    assert len(clue) >= 10 or len(kb.index.get_next([clue])[0]) == 0


def test_a_second_run_reuses_what_is_there(short_quickstart) -> None:
    weights = short_quickstart / "model" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    lines: list[str] = []
    again = run_quickstart(short_quickstart, SHORT, log=lines.append)
    assert weights.stat().st_mtime_ns == before
    assert any("already tuned" in line for line in lines)
    assert again["splits"]["test"]["questions"] == SHORT.symbols.test_scenes
    assert any("gemkr retrieve --image" in line for line in lines)


@pytest.mark.slow
def test_the_checkpoint_answers_where_the_library_cannot_be_imported(
    short_quickstart, retriever, questions, tmp_path
) -> None:
    record = questions[0]
    record["image"].save(tmp_path / "scene.png")
    script = textwrap.dedent(f"""
        import sys
        sys.modules["gemkr_hf"] = None  # importing it fails from here on
        import json, torch
        from PIL import Image
        from transformers import AutoModel, AutoProcessor
        folder = {str(short_quickstart / "model")!r}
        model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
        inputs = processor(images=Image.open("scene.png"), text={record["question"]!r},
                           return_tensors="pt")
        clues = model.generate(**inputs, max_new_tokens=12, num_return_sequences=3)
        print("ANSWER" + json.dumps(clues.tolist()))
    """)
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**__import__("os").environ, "HF_MODULES_CACHE": str(tmp_path / "modules")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    [line] = [line for line in result.stdout.splitlines() if line.startswith("ANSWER")]
    inputs = retriever.processor(
        images=record["image"], text=record["question"], return_tensors="pt"
    )
    here = retriever.model.generate(**inputs, max_new_tokens=12, num_return_sequences=3)
    assert json.loads(line.removeprefix("ANSWER")) == here.tolist()
