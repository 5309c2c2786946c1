"""The systems of Table 1: each loaded from its checkpoint, or trained on the benchmark."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoModel,
    AutoTokenizer,
    DPRContextEncoder,
    DPRQuestionEncoder,
)

from gemkr_hf.knowledge_base.tokens import encode_documents
from gemkr_hf.recipes.start import stand_ins_of
from gemkr_hf.retrievers import (
    BM25Retriever,
    CLIPRetriever,
    CLIPTowers,
    CorpusBrainRetriever,
    DenseRetriever,
    Example,
    FusionRetriever,
    Pair,
    Retriever,
    SEALRetriever,
    SentenceRetriever,
    TextModel,
    TwoTowers,
    WordsEncoder,
    fit_text_model,
    fit_towers,
    name_of,
    new_towers,
    pretraining_examples,
    with_caption,
    write_prompt,
)
from gemkr_hf.retrievers.two_towers import SETTINGS_FILE, encoder_tokenizer
from gemkr_hf.tables.gemkr import gemkr_system, trained_gemkr
from gemkr_hf.tables.ground import Ground
from gemkr_hf.text import SENTENCE_END
from gemkr_hf.training.instructions import write_instructions

Build = Callable[[Ground, int], Retriever]


@dataclass(frozen=True)
class System:
    """A row of a comparison.

    Attributes:
        name: on the command line.
        label: in tables.
        paper: the paper's row that it stands beside.
        build: makes the retriever, for a seed; documents are not indexed yet.
        trained: one row for each seed, unless a checkpoint is named.
        reads_captions: needs the pictures in words.
        settings: names of the settings that its training follows from.
        shares: a part of it is another system too, which is trained first.
    """

    name: str
    label: str
    paper: str
    build: Build
    trained: bool = True
    reads_captions: bool = False
    settings: tuple[str, ...] = ()
    shares: bool = False


# -- encoders --------------------------------------------------------------------------------------


def _towers(ground: Ground, name: str, kind: str, seed: int) -> TwoTowers:
    """The encoders of a checkpoint, of an earlier run in this folder, or new ones."""
    named = ground.config.checkpoints.get(name)
    if named is not None:
        return load_towers(named)
    target = ground.path("models", f"{name}-seed-{seed}")
    if not target.exists():
        model = ground.new_model(seed)
        towers = new_towers(
            kind,
            ground.processor.tokenizer,
            model.get_input_embeddings().weight.detach(),
            model.vision_tower,
            seed=seed,
            attention=ground.config.model.attention,
        )
        if name == "reviz-ict":
            _pretrain(ground, towers, seed)
        texts = list(ground.texts.values())
        pairs = question_pairs(ground, captions=kind == "words")
        config = dataclasses.replace(ground.config.encoders, seed=seed)
        fit_towers(
            towers,
            pairs,
            texts,
            config,
            ground.path("work", name),
            None if kind == "words" else ground.pictures,
            f"train {name}",
        ).save_pretrained(target)
    return TwoTowers.from_pretrained(target)


def load_towers(name: str) -> TwoTowers:
    """Encoders of a folder that `TwoTowers.save_pretrained` left, or DPR's two by their Hub ids,
    ``QUESTION_ENCODER,CONTEXT_ENCODER``."""
    if (Path(name) / SETTINGS_FILE).is_file():
        return TwoTowers.from_pretrained(name)
    question, comma, context = name.partition(",")
    if not comma:
        raise FileNotFoundError(
            f"There are no two encoders at '{name}': name a folder with {SETTINGS_FILE}, or two "
            "DPR encoders with a comma between them"
        )
    return TwoTowers(
        WordsEncoder(DPRQuestionEncoder.from_pretrained(question.strip())),
        DPRContextEncoder.from_pretrained(context.strip()),
        AutoTokenizer.from_pretrained(question.strip()),
    )


def question_pairs(ground: Ground, captions: bool) -> list[Pair]:
    """Training questions, each with each of its relevant documents.

    Args:
        ground: the benchmark.
        captions: put the pictures' captions behind the questions.
    """
    numbers = {name: number for number, name in enumerate(ground.texts)}
    described = ground.captions_of(ground.taught) if captions else [""] * len(ground.taught)
    pairs = []
    for record, caption in zip(ground.taught, described, strict=True):
        relevant = [numbers[name] for name in record["relevant_ids"] if name in numbers]
        pairs += [
            Pair(
                with_caption(record["question"], caption),
                record["image_id"],
                number,
                tuple(other for other in relevant if other != number),
            )
            for number in relevant
        ]
    return pairs


def _pretrain(ground: Ground, towers: TwoTowers, seed: int) -> None:
    pairs, texts = inverse_cloze_pairs(ground, seed)
    fit_towers(
        towers,
        pairs,
        texts,
        dataclasses.replace(ground.config.pretraining, seed=seed),
        ground.path("work", "inverse-cloze"),
        ground.pictures,
        "pretrain by inverse cloze",
    )


def inverse_cloze_pairs(ground: Ground, seed: int) -> tuple[list[Pair], list[str]]:
    """Pictures with a sentence each, and the documents that the sentences were taken out of.

    As the VL-ICT of ReViz (Luo et al. 2023) has it: what the picture shows is not said in the
    sentence, so that both must be read. Here the answers are what the picture shows.

    Returns:
        Pairs, one for each training question and relevant document, and the texts that they name.
    """
    rng = np.random.default_rng(seed)
    texts: list[str] = []
    places: dict[str, list[int]] = {}
    sentences: dict[str, list[str]] = {}
    for name, text in ground.texts.items():
        parts = SENTENCE_END.split(text.strip())
        rests = [" ".join(parts[:row] + parts[row + 1 :]) for row in range(len(parts))]
        # A document of one sentence is found by it, as one in ten is (Lee et al. 2019).
        rests = [rest or text for rest in rests]
        places[name] = list(range(len(texts), len(texts) + len(rests) + 1))
        sentences[name] = parts
        texts += [*rests, text]
    pairs = []
    for record in ground.taught:
        for name in record["relevant_ids"]:
            if name not in places:
                continue
            row = int(rng.integers(len(sentences[name])))
            said = without(sentences[name][row], record["answers"])
            place = places[name][-1 if rng.random() < 0.1 else row]
            others = tuple(other for other in places[name] if other != place)
            pairs.append(Pair(said, record["image_id"], place, others))
    return pairs, texts


def without(text: str, words: Sequence[str]) -> str:
    """A text without some words.

    >>> without("Aries stands for the ram.", ["aries"])
    'stands for the ram.'
    """
    for word in words:
        if word.strip():
            text = re.sub(rf"(?<!\w){re.escape(word.strip())}(?!\w)", "", text, flags=re.I)
    return " ".join(text.split())


def _dpr(ground: Ground, seed: int) -> Retriever:
    named = ground.config.checkpoints.get("dpr")
    if named is not None and "," not in named and not (Path(named) / SETTINGS_FILE).is_file():
        return SentenceRetriever(named, captions=True)
    return DenseRetriever(_towers(ground, "dpr", "words", seed), captions=True, name="DPR")


def _reviz(ground: Ground, seed: int, name: str = "reviz") -> Retriever:
    return DenseRetriever(_towers(ground, name, "picture", seed), ground.reader, name="ReViz")


def _reviz_ict(ground: Ground, seed: int) -> Retriever:
    return _reviz(ground, seed, "reviz-ict")


def _vrr(ground: Ground, seed: int) -> Retriever:
    lxmert = DenseRetriever(
        _towers(ground, "lxmert", "objects", seed), ground.reader, name="LXMERT"
    )
    return FusionRetriever([BM25Retriever(captions=True), _dpr(ground, seed), lxmert])


# -- CLIP ------------------------------------------------------------------------------------------


def _clip(ground: Ground, seed: int, name: str = "clip", question: float = 0.0) -> Retriever:
    """The CLIP of a checkpoint as it is; or that of GeMKR, trained on pictures and documents."""
    named = ground.config.checkpoints.get("clip")
    if named is not None:
        return CLIPRetriever.from_pretrained(named, question)
    target = ground.path("models", f"{name}-seed-{seed}")
    if not target.exists():
        start = _untrained_clip(ground, question)
        fit_towers(
            start.towers,
            question_pairs(ground, captions=False),
            list(ground.texts.values()),
            dataclasses.replace(ground.config.encoders, seed=seed),
            ground.path("work", name),
            ground.pictures,
            f"train {name}",
        )
        start.save_pretrained(target)
    return CLIPRetriever.from_pretrained(target, question)


def _untrained_clip(ground: Ground, question: float) -> CLIPRetriever:
    model = ground.config.model
    stand_ins = stand_ins_of(model.checkpoint)
    if stand_ins is not None:
        # Its text tower reads a text's vector at the end token.
        tokenizer = encoder_tokenizer(ground.processor.tokenizer)
        clip = AutoModel.from_pretrained(stand_ins / "clip", dtype=torch.float32)
        towers = CLIPTowers(clip, tokenizer, question)
        return CLIPRetriever(towers, ground.processor.image_processor)
    if model.checkpoint is not None:
        raise ValueError("CLIP's text tower is in no checkpoint of GeMKR: name one for clip")
    return CLIPRetriever.from_pretrained(model.vision_model, question)


def _clip_fusion(ground: Ground, seed: int) -> Retriever:
    return _clip(ground, seed, "clip-fusion", question=0.5)


# -- language models -------------------------------------------------------------------------------


def _text_model(
    ground: Ground,
    name: str,
    seed: int,
    examples: Callable[[Ground, TextModel, int], Sequence[Sequence[Example]]],
) -> TextModel:
    """The language model of a checkpoint, of an earlier run in this folder, or GeMKR's, trained."""
    named = ground.config.checkpoints.get(name)
    if named is not None:
        return TextModel.from_pretrained(named)
    target = ground.path("models", f"{name}-seed-{seed}")
    if not target.exists():
        whole = ground.new_model(seed)
        model = TextModel(whole.language_model, ground.processor.tokenizer)
        config = dataclasses.replace(ground.config.text_models, seed=seed)
        for number, stage in enumerate(examples(ground, model, seed)):
            work = ground.path("work", f"{name}-{number}")
            fit_text_model(model, stage, config, work, f"train {name}")
        model.save_pretrained(target)
    return TextModel.from_pretrained(target)


def _prompts(ground: Ground) -> dict[str, str]:
    """Question id -> prompt with the caption, of the training questions."""
    captions = ground.captions_of(ground.taught)
    return {
        record["question_id"]: write_prompt(record["question"], caption)
        for record, caption in zip(ground.taught, captions, strict=True)
    }


def clue_examples(ground: Ground, model: TextModel, seed: int) -> list[list[Example]]:
    """What GeMKR learns to write, behind prompts in words: n-grams of relevant documents."""
    prompts = _prompts(ground)
    written = write_instructions(
        ground.taught, ground.knowledge_base, model.tokenizer, ground.config.sampling, seed
    )
    return [
        [
            Example(prompts[question], tuple(clue))
            for question, clue in zip(written["question_id"], written["clue"], strict=True)
        ]
    ]


def name_examples(ground: Ground, model: TextModel, seed: int) -> list[list[Example]]:
    """Names of documents: first behind their sentences, then behind questions."""
    prompts = _prompts(ground)
    rows = ground.knowledge_base.rows_of(list(ground.texts)).tolist()
    relevant = [ground.knowledge_base[row] for row in rows]
    names = dict(
        zip(
            ground.texts,
            encode_documents([name_of(document) for document in relevant], model.tokenizer),
            strict=True,
        )
    )
    behind_questions = [
        Example(prompts[record["question_id"]], tuple(names[name]))
        for record in ground.taught
        for name in record["relevant_ids"]
        if name in names
    ]
    documents = list(ground.documents)
    first = pretraining_examples(documents, model, len(behind_questions), seed)
    return [first, behind_questions]


def _seal(ground: Ground, seed: int) -> Retriever:
    model = _text_model(ground, "seal", seed, clue_examples)
    fits = ground.knowledge_base.tokenizer_fingerprint == _fingerprint(model)
    return SEALRetriever(
        model, captions=True, knowledge_base=ground.knowledge_base if fits else None
    )


def _corpusbrain(ground: Ground, seed: int) -> Retriever:
    return CorpusBrainRetriever(
        _text_model(ground, "corpusbrain", seed, name_examples), captions=True
    )


def _fingerprint(model: TextModel) -> str:
    from gemkr_hf.knowledge_base import tokenizer_fingerprint

    return tokenizer_fingerprint(model.tokenizer)


# -- GeMKR -----------------------------------------------------------------------------------------


def _gemkr(ground: Ground, seed: int) -> Retriever:
    return gemkr_system(ground, trained_gemkr(ground, seed))


_ENCODERS = ("encoders",)
_TEXT = ("text_models", "sampling")
GEMKR = "gemkr"

SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        System(
            "bm25", "BM25, question", "BM25", lambda ground, seed: BM25Retriever(), trained=False
        ),
        System(
            "bm25-caption",
            "BM25, question + caption",
            "BM25",
            lambda ground, seed: BM25Retriever(captions=True),
            trained=False,
            reads_captions=True,
        ),
        System("dpr", "DPR", "DPR", _dpr, reads_captions=True, settings=_ENCODERS),
        System(
            "corpusbrain",
            "CorpusBrain",
            "CorpusBrain",
            _corpusbrain,
            reads_captions=True,
            settings=_TEXT,
        ),
        System("seal", "SEAL", "SEAL", _seal, reads_captions=True, settings=_TEXT),
        System("clip", "CLIP, image to text", "CLIP", _clip, settings=_ENCODERS),
        System("clip-fusion", "CLIP, image + question", "CLIP", _clip_fusion, settings=_ENCODERS),
        System("vrr", "VRR", "VRR", _vrr, reads_captions=True, settings=_ENCODERS, shares=True),
        System("reviz", "ReViz", "ReViz", _reviz, settings=_ENCODERS),
        System(
            "reviz-ict",
            "ReViz-ICT",
            "ReViz-ICT",
            _reviz_ict,
            settings=(*_ENCODERS, "pretraining"),
        ),
        System(GEMKR, "GeMKR", "GeMKR", _gemkr, settings=("tuning", "sampling", "aggregate")),
    )
}
"""Table 1's rows in its order."""


def checkpoint_names() -> list[str]:
    """Systems and parts that a checkpoint may be named for."""
    return [*(name for name in SYSTEMS if not name.startswith("bm25")), "lxmert", "captions"]


def check_checkpoints(checkpoints: Mapping[str, str]) -> None:
    """Raise ValueError where a checkpoint is named for something that has none."""
    for name in checkpoints:
        if name not in checkpoint_names():
            raise ValueError(
                f"There is no checkpoint for '{name}': there are {', '.join(checkpoint_names())}"
            )


__all__ = [
    "GEMKR",
    "SYSTEMS",
    "System",
    "check_checkpoints",
    "checkpoint_names",
    "clue_examples",
    "inverse_cloze_pairs",
    "load_towers",
    "name_examples",
    "question_pairs",
]
