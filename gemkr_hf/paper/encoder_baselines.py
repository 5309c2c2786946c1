"""The encoders of Table 1: DPR, CLIP, LXMERT in VRR, ReViz with and without inverse cloze."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer, DPRContextEncoder, DPRQuestionEncoder

from gemkr_hf.baselines import (
    BM25Retriever,
    CLIPRetriever,
    CLIPTowers,
    DenseRetriever,
    FusionRetriever,
    Pair,
    Retriever,
    SentenceRetriever,
    TwoTowers,
    WordsEncoder,
    fit_towers,
    new_towers,
    with_caption,
)
from gemkr_hf.baselines.tower_factory import encoder_tokenizer
from gemkr_hf.baselines.two_towers import SETTINGS_FILE
from gemkr_hf.paper.evaluation_context import Ground
from gemkr_hf.training.starting_model import stand_ins_of
from gemkr_hf.utils.text import SENTENCE_END


def _towers(ground: Ground, name: str, kind: str, seed: int) -> TwoTowers:
    """The encoders of a checkpoint, of an earlier run in this folder, or new ones."""
    named = ground.config.checkpoints.get(name)
    if named is not None:
        return load_towers(named, kind).to(ground.device)
    pretrained = name == "reviz-ict"
    settings: tuple[str, ...] = ("encoders", "captions") if kind == "words" else ("encoders",)

    def train() -> TwoTowers:
        model = ground.new_model(seed)
        towers = new_towers(
            kind,
            ground.processor.tokenizer,
            model.get_input_embeddings().weight.detach(),
            model.vision_tower,
            seed=seed,
            attention=ground.config.model.attention,
        )
        if pretrained:
            _pretrain(ground, towers, seed)
        return fit_towers(
            towers,
            question_pairs(ground, captions=kind == "words"),
            list(ground.texts.values()),
            dataclasses.replace(ground.config.encoders, seed=seed),
            ground.path("work", f"{name}-seed-{seed}"),
            None if kind == "words" else ground.prepared,
            f"train {name}",
        )

    settings += ("pretraining",) if pretrained else ()
    folder = ground.trained(name, seed, settings, train)
    return TwoTowers.from_pretrained(folder).to(ground.device)


def load_towers(name: str, kind: str) -> TwoTowers:
    """Encoders of a folder that `TwoTowers.save_pretrained` left, or DPR's two by their Hub ids,
    ``QUESTION_ENCODER,CONTEXT_ENCODER``.

    Raises:
        FileNotFoundError: there are none.
        ValueError: the encoder of queries reads something else than ``kind`` says.
    """
    if (Path(name) / SETTINGS_FILE).is_file():
        towers = TwoTowers.from_pretrained(name)
        if towers.kind != kind:
            raise ValueError(f"The encoders in '{name}' read {towers.kind}, not {kind}")
        return towers
    question, comma, context = name.partition(",")
    if not comma or kind != "words":
        raise FileNotFoundError(
            f"There are no two encoders at '{name}': name a folder with {SETTINGS_FILE}"
            + (", or two DPR encoders with a comma between them" if kind == "words" else "")
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
        captions: put the images' captions behind the questions.
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
        ground.path("work", f"inverse-cloze-seed-{seed}"),
        ground.prepared,
        "pretrain by inverse cloze",
    )


def inverse_cloze_pairs(ground: Ground, seed: int) -> tuple[list[Pair], list[str]]:
    """Images with a sentence each, and the documents that the sentences were taken out of.

    As the VL-ICT of ReViz (Luo et al. 2023) has it: what the image shows is not said in the
    sentence, so that both must be read. Here the answers are what the image shows.

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


def dpr(ground: Ground, seed: int) -> Retriever:
    """DPR on question and caption, or any model of sentence-transformers."""
    named = ground.config.checkpoints.get("dpr")
    if named is not None and "," not in named and not (Path(named) / SETTINGS_FILE).is_file():
        return SentenceRetriever(named, captions=True)
    return DenseRetriever(_towers(ground, "dpr", "words", seed), captions=True, name="DPR")


def reviz(ground: Ground, seed: int, name: str = "reviz") -> Retriever:
    """ViLT over words and image."""
    return DenseRetriever(_towers(ground, name, "image", seed), ground.reader, name="ReViz")


def reviz_ict(ground: Ground, seed: int) -> Retriever:
    """ReViz, pretrained by inverse cloze first."""
    return reviz(ground, seed, "reviz-ict")


def vrr(ground: Ground, seed: int) -> Retriever:
    """BM25, DPR and LXMERT as one."""
    lxmert = DenseRetriever(
        _towers(ground, "lxmert", "objects", seed), ground.reader, name="LXMERT"
    )
    return FusionRetriever([BM25Retriever(captions=True), dpr(ground, seed), lxmert])


# -- CLIP ------------------------------------------------------------------------------------------


def clip(ground: Ground, seed: int, name: str = "clip", question: float = 0.0) -> Retriever:
    """The CLIP of a checkpoint as it is; or that of GeMKR, trained on images and documents."""
    named = ground.config.checkpoints.get("clip")
    if named is not None:
        return _on_device(ground, named, question)

    def train() -> CLIPRetriever:
        start = _untrained_clip(ground, question)
        fit_towers(
            start.towers,
            question_pairs(ground, captions=False),
            list(ground.texts.values()),
            dataclasses.replace(ground.config.encoders, seed=seed),
            ground.path("work", f"{name}-seed-{seed}"),
            ground.prepared,
            f"train {name}",
        )
        return start

    return _on_device(ground, ground.trained(name, seed, ("encoders",), train), question)


def _on_device(ground: Ground, name: str | Path, question: float) -> CLIPRetriever:
    retriever = CLIPRetriever.from_pretrained(name, question)
    retriever.towers.to(ground.device)
    return retriever


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


def clip_fusion(ground: Ground, seed: int) -> Retriever:
    """Image and question, their vectors added up."""
    return clip(ground, seed, "clip-fusion", question=0.5)


__all__ = [
    "clip",
    "clip_fusion",
    "dpr",
    "inverse_cloze_pairs",
    "load_towers",
    "question_pairs",
    "reviz",
    "reviz_ict",
    "vrr",
    "without",
]
