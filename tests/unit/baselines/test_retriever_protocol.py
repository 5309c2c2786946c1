"""Every system keeps the protocol: the same answers to the same kinds of queries."""

from collections.abc import Callable

import pytest
import torch
from transformers import CLIPModel

from gemkr_hf.baselines import (
    BM25Retriever,
    CLIPRetriever,
    CLIPTowers,
    CorpusBrainRetriever,
    DenseRetriever,
    FusionRetriever,
    ImageReader,
    SEALRetriever,
    SentenceRetriever,
    TextModel,
)
from gemkr_hf.baselines.baseline import document_hit
from gemkr_hf.baselines.tower_factory import encoder_tokenizer
from gemkr_hf.retrieval import GeMKRRetriever
from gemkr_hf.toy.stand_ins.assemble import CHECKPOINTS
from tests.unit.baselines import retriever_parts as parts

READ_CAPTIONS = {"bm25-caption", "dpr", "corpusbrain", "seal", "vrr", "sentence"}
READ_IMAGES = {"clip", "clip-fusion", "vrr", "reviz"}


class Sentences:
    """What a SentenceTransformer offers, on the letters of a text."""

    def encode(self, texts, normalize_embeddings=False):
        counts = torch.tensor([[t.lower().count(chr(97 + n)) for n in range(26)] for t in texts])
        return torch.nn.functional.normalize(counts.float(), dim=-1).numpy()


@pytest.fixture(scope="module")
def systems() -> dict[str, Callable[[], object]]:
    processor = parts.processor()
    model = parts.gemkr(processor)
    reader = ImageReader(model.vision_tower, processor)
    text_model = TextModel(parts.llama(processor), processor.tokenizer)
    clip = CLIPModel.from_pretrained(CHECKPOINTS / "clip", dtype=torch.float32)
    tokenizer = encoder_tokenizer(processor.tokenizer)

    def dense(kind: str, captions: bool = False) -> DenseRetriever:
        return DenseRetriever(parts.towers(kind, processor), reader, captions)

    return {
        "bm25": BM25Retriever,
        "bm25-caption": lambda: BM25Retriever(captions=True),
        "dpr": lambda: dense("text", captions=True),
        "sentence": lambda: SentenceRetriever(Sentences(), captions=True),
        "corpusbrain": lambda: CorpusBrainRetriever(text_model, captions=True, num_beams=4),
        "seal": lambda: SEALRetriever(text_model, captions=True),
        "clip": lambda: CLIPRetriever(CLIPTowers(clip, tokenizer), processor.image_processor),
        "clip-fusion": lambda: CLIPRetriever(
            CLIPTowers(clip, tokenizer, 0.5), processor.image_processor
        ),
        "vrr": lambda: FusionRetriever([BM25Retriever(captions=True), dense("objects")]),
        "reviz": lambda: dense("image"),
        "gemkr": lambda: GeMKRRetriever(model, processor),
    }


NAMES = (
    "bm25", "bm25-caption", "dpr", "sentence", "corpusbrain", "seal", "clip", "clip-fusion", "vrr",
    "reviz", "gemkr",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_system_returns_hits(name: str, systems) -> None:
    system = systems[name]()
    with pytest.raises(ValueError, match=r"no documents yet: call index\(documents\) first"):
        system.retrieve(parts.IMAGES, parts.QUESTIONS, 2, parts.CAPTIONS)
    system.index(parts.DOCUMENTS)
    found = system.retrieve(parts.IMAGES, parts.QUESTIONS, 2, parts.CAPTIONS)
    assert len(found) == 2
    known = {document["id"] for document in parts.DOCUMENTS}
    for of_question in found:
        assert 1 <= len(of_question) <= 2
        assert {hit.document_id for hit in of_question} <= known
        assert len({hit.document_id for hit in of_question}) == len(of_question)
        scores = [hit.score for hit in of_question]
        assert scores == sorted(scores, reverse=True)
    # For a k above the number of documents, all documents are returned.
    more = system.retrieve(parts.IMAGES, parts.QUESTIONS, 50, parts.CAPTIONS)
    assert all(len(of_question) <= len(known) for of_question in more)
    # One question alone gets the answer that it gets among others.
    alone = system.retrieve(parts.IMAGES[1:], parts.QUESTIONS[1:], 2, parts.CAPTIONS[1:])
    assert [hit.document_id for hit in alone[0]] == [hit.document_id for hit in found[1]]


@pytest.mark.parametrize("name", NAMES)
def test_every_system_reports_mistakes(name: str, systems) -> None:
    system = systems[name]()
    system.index(parts.DOCUMENTS)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        system.retrieve(parts.IMAGES, parts.QUESTIONS, 0, parts.CAPTIONS)
    with pytest.raises(ValueError, match="1 images for 2 questions"):
        system.retrieve(parts.IMAGES[:1], parts.QUESTIONS, 1, parts.CAPTIONS)
    if name in READ_CAPTIONS:
        with pytest.raises(ValueError, match="needs captions: give one for each question"):
            system.retrieve(parts.IMAGES, parts.QUESTIONS, 1)
    if name in READ_IMAGES:
        with pytest.raises(ValueError, match="needs images: give one for each question"):
            system.retrieve(None, parts.QUESTIONS, 1, parts.CAPTIONS)


def test_captions_and_images_change_the_answers(systems) -> None:
    bm25 = systems["bm25-caption"]()
    bm25.index(parts.DOCUMENTS)
    other = ["a taurus", "a taurus"]
    assert bm25.retrieve(None, ["What?", "What?"], 1, other)[0][0].document_id == "bull"
    reviz = systems["reviz"]()
    reviz.index(parts.DOCUMENTS)
    question = [parts.QUESTIONS[0]] * 2
    white, red = reviz.retrieve(parts.IMAGES, question, 1)
    assert white[0].score != red[0].score


def test_generative_systems_return_their_clues(systems) -> None:
    texts = {document["id"]: document["text"] for document in parts.DOCUMENTS}
    for name in ("seal", "gemkr"):
        system = systems[name]()
        system.index(parts.DOCUMENTS)
        for of_question in system.retrieve(parts.IMAGES, parts.QUESTIONS, 3, parts.CAPTIONS):
            for hit in of_question:
                assert all(
                    piece in texts[hit.document_id] for piece in hit.clues[0].text.split(" ... ")
                )
    brain = systems["corpusbrain"]()
    brain.index(parts.DOCUMENTS)
    names = {
        hit.document_id: hit.clues[0].text
        for hit in brain.retrieve(None, ["?"], 3, ["an image"])[0]
    }
    # The title, or the first sentence of what has none.
    assert names == {"ram": "Aries", "bull": "Taurus", "anchor": "An anchor holds a ship."}


def test_fusion_is_by_reciprocal_ranks() -> None:
    from gemkr_hf.baselines.rank_fusion import _fuse

    fused = _fuse(
        [
            [document_hit("a", 9.0), document_hit("b", 8.0)],
            [document_hit("b", 0.2), document_hit("c", 0.1)],
        ],
        3,
    )
    assert [hit.document_id for hit in fused] == ["b", "a", "c"]
    assert fused[0].score == pytest.approx(1 / 62 + 1 / 61)
    assert fused[1].score == pytest.approx(1 / 61)


def test_documents_with_equal_titles_are_all_returned(systems) -> None:
    brain = systems["corpusbrain"]()
    brain.index([*parts.DOCUMENTS, {"id": "ram 2", "title": "Aries", "text": "Another text."}])
    found = [hit.document_id for hit in brain.retrieve(None, ["?"], 4, ["an image"])[0]]
    assert sorted(found) == ["anchor", "bull", "ram", "ram 2"]
    assert abs(found.index("ram") - found.index("ram 2")) == 1


def test_clip_needs_a_tokenizer_with_an_end() -> None:
    clip = CLIPModel.from_pretrained(CHECKPOINTS / "clip", dtype=torch.float32)
    with pytest.raises(ValueError, match="reads a text's vector at its end token"):
        CLIPTowers(clip, parts.processor().tokenizer)


def test_fusion_sums_the_reciprocal_ranks_of_all_retrievers() -> None:
    class Fixed:
        def __init__(self, order: str) -> None:
            self.order, self.indexed = order, 0

        def index(self, documents) -> None:
            self.indexed = len(list(documents))

        def retrieve(self, images, questions, k, captions):
            return [[document_hit(name, 1.0) for name in self.order[:k]] for _ in questions]

    joined = [Fixed("abcd"), Fixed("bcd"), Fixed("dbx")]
    fused = FusionRetriever(joined)
    fused.index(iter(parts.DOCUMENTS))
    assert {part.indexed for part in joined} == {len(parts.DOCUMENTS)}
    [found] = fused.retrieve(None, ["?"], k=3)
    # b: 1/62 + 1/61 + 1/62; d: 1/64 + 1/63 + 1/61; c: 1/63 + 1/62; a: 1/61
    assert [hit.document_id for hit in found] == ["b", "d", "c"]
    assert found[0].score == pytest.approx(2 / 62 + 1 / 61)
