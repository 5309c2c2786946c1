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
    TextEncoder,
    TwoTowers,
    fit_towers,
    new_towers,
    with_caption,
)
from gemkr_hf.baselines.contrastive_training import Towers
from gemkr_hf.baselines.tower_factory import encoder_tokenizer
from gemkr_hf.baselines.two_towers import SETTINGS_FILE
from gemkr_hf.paper.system_evaluation import Evaluation
from gemkr_hf.training.starting_model import checkpoint_source
from gemkr_hf.utils.text import SENTENCE_END

INVERSE_CLOZE = "reviz-ict"


def _fit(evaluation: Evaluation, towers: Towers, name: str, seed: int) -> Towers:
    """Train encoders on the training questions, after pretraining for ReViz-ICT."""
    config = evaluation.config
    images = None if towers.kind == "text" else evaluation.training_images
    if name == INVERSE_CLOZE:
        pairs, texts = inverse_cloze_pairs(evaluation, seed)
        work = evaluation.path("work", f"inverse-cloze-seed-{seed}")
        settings = dataclasses.replace(config.pretraining, seed=seed)
        fit_towers(towers, pairs, texts, settings, work, images, "pretrain by inverse cloze")
    return fit_towers(
        towers,
        question_pairs(evaluation, captions=towers.kind == "text"),
        list(evaluation.relevant_texts.values()),
        dataclasses.replace(config.encoders, seed=seed),
        evaluation.path("work", f"{name}-seed-{seed}"),
        images,
        f"train {name}",
    )


def _towers(evaluation: Evaluation, name: str, kind: str, seed: int) -> TwoTowers:
    """Return the encoders of a checkpoint, or new ones trained on the benchmark."""
    checkpoint = evaluation.config.checkpoints.get(name)
    if checkpoint is not None:
        return load_towers(checkpoint, kind).to(evaluation.device)

    def train() -> TwoTowers:
        model = evaluation.untuned_model(seed)
        towers = new_towers(
            kind,
            evaluation.processor.tokenizer,
            model.get_input_embeddings().weight.detach(),
            model.vision_tower,
            seed=seed,
            attention=evaluation.config.model.attention,
        )
        return _fit(evaluation, towers, name, seed)

    settings = ("encoders",) + (("captions",) if kind == "text" else ())
    settings += ("pretraining",) if name == INVERSE_CLOZE else ()
    folder = evaluation.trained_model(name, seed, settings, train)
    return TwoTowers.from_pretrained(folder).to(evaluation.device)


def load_towers(name: str, kind: str) -> TwoTowers:
    """Load encoders from a folder, or DPR's by ``QUESTION_ENCODER,CONTEXT_ENCODER``.

    Raises:
        FileNotFoundError: They do not exist.
        ValueError: The query encoder is of another kind.
    """
    if (Path(name) / SETTINGS_FILE).is_file():
        towers = TwoTowers.from_pretrained(name)
        if towers.kind != kind:
            raise ValueError(f"The encoders in '{name}' read {towers.kind}, not {kind}")
        return towers
    question, comma, context = (part.strip() for part in name.partition(","))
    if not comma or kind != "text":
        raise FileNotFoundError(
            f"Encoders not found: '{name}' is not a folder with {SETTINGS_FILE}"
            + (" and not two DPR encoders separated by a comma" if kind == "text" else "")
        )
    return TwoTowers(
        TextEncoder(DPRQuestionEncoder.from_pretrained(question)),
        DPRContextEncoder.from_pretrained(context),
        AutoTokenizer.from_pretrained(question),
    )


# -- training pairs --------------------------------------------------------------------------------


def question_pairs(evaluation: Evaluation, captions: bool) -> list[Pair]:
    """Return each training question with each of its relevant documents.

    Args:
        evaluation: the evaluation; documents are numbered as in its ``relevant_texts``.
        captions: append the images' captions to the questions.
    """
    records = evaluation.training_questions
    numbers = {name: number for number, name in enumerate(evaluation.relevant_texts)}
    texts = evaluation.captions_for(records) if captions else [""] * len(records)
    pairs = []
    for record, caption in zip(records, texts, strict=True):
        relevant = [numbers[name] for name in record["relevant_ids"] if name in numbers]
        query = with_caption(record["question"], caption)
        for number in relevant:
            others = tuple(other for other in relevant if other != number)
            pairs.append(Pair(query, record["image_id"], number, others))
    return pairs


def inverse_cloze_pairs(evaluation: Evaluation, seed: int) -> tuple[list[Pair], list[str]]:
    """Return images with sentences as queries, and the documents without these sentences.

    As in the VL-ICT of ReViz (Luo et al. 2023), what the image shows is removed from the sentence,
    so that both must be read. Here the answers are what the image shows.

    Returns:
        A pair for each training question and relevant document, and the texts that they refer to.
    """
    rng = np.random.default_rng(seed)
    texts: list[str] = []
    positions: dict[str, list[int]] = {}
    sentences: dict[str, list[str]] = {}
    for name, text in evaluation.relevant_texts.items():
        parts = SENTENCE_END.split(text.strip())
        rests = [" ".join(parts[:row] + parts[row + 1 :]) for row in range(len(parts))]
        # The full text replaces the empty rest of a one-sentence document, and is also the answer
        # of one query in ten (Lee et al. 2019).
        rests = [rest or text for rest in rests]
        positions[name] = list(range(len(texts), len(texts) + len(rests) + 1))
        sentences[name] = parts
        texts += [*rests, text]
    pairs = []
    for record in evaluation.training_questions:
        for name in record["relevant_ids"]:
            if name not in positions:
                continue
            row = int(rng.integers(len(sentences[name])))
            query = without(sentences[name][row], record["answers"])
            position = positions[name][-1 if rng.random() < 0.1 else row]
            others = tuple(other for other in positions[name] if other != position)
            pairs.append(Pair(query, record["image_id"], position, others))
    return pairs, texts


def without(text: str, words: Sequence[str]) -> str:
    """Return a text without some words.

    >>> without("Aries stands for the ram.", ["aries"])
    'stands for the ram.'
    """
    for word in words:
        if word.strip():
            text = re.sub(rf"(?<!\w){re.escape(word.strip())}(?!\w)", "", text, flags=re.I)
    return " ".join(text.split())


# -- systems ---------------------------------------------------------------------------------------


def dpr(evaluation: Evaluation, seed: int) -> Retriever:
    """Return DPR on question and caption, or a model of sentence-transformers."""
    checkpoint = evaluation.config.checkpoints.get("dpr")
    if checkpoint and "," not in checkpoint and not (Path(checkpoint) / SETTINGS_FILE).is_file():
        return SentenceRetriever(checkpoint, captions=True)
    return DenseRetriever(_towers(evaluation, "dpr", "text", seed), captions=True, name="DPR")


def reviz(evaluation: Evaluation, seed: int, name: str = "reviz") -> Retriever:
    """Return ReViz: ViLT on question and image; with inverse-cloze pretraining by that name."""
    towers = _towers(evaluation, name, "image", seed)
    return DenseRetriever(towers, evaluation.image_reader, name="ReViz")


def vrr(evaluation: Evaluation, seed: int) -> Retriever:
    """Return VRR: BM25, DPR and LXMERT joined by rank fusion."""
    towers = _towers(evaluation, "lxmert", "objects", seed)
    lxmert = DenseRetriever(towers, evaluation.image_reader, name="LXMERT")
    return FusionRetriever([BM25Retriever(captions=True), dpr(evaluation, seed), lxmert])


def clip(evaluation: Evaluation, seed: int, name: str = "clip", question: float = 0.0) -> Retriever:
    """Return the CLIP of a checkpoint as it is, or GeMKR's CLIP trained on images and documents."""

    def train() -> CLIPRetriever:
        untrained = _untrained_clip(evaluation, question)
        _fit(evaluation, untrained.towers, name, seed)
        return untrained

    checkpoint = evaluation.config.checkpoints.get("clip")
    retriever = CLIPRetriever.from_pretrained(
        checkpoint or evaluation.trained_model(name, seed, ("encoders",), train), question
    )
    retriever.towers.to(evaluation.device)
    return retriever


def _untrained_clip(evaluation: Evaluation, question: float) -> CLIPRetriever:
    model = evaluation.config.model
    if model.checkpoint is None:
        return CLIPRetriever.from_pretrained(model.vision_model, question)
    folder = checkpoint_source(model).clip_folder
    if folder is None:
        raise ValueError(
            "A GeMKR checkpoint does not contain CLIP's text tower: give --checkpoint clip=FOLDER"
        )
    # The stand-in's text tower reads a text's vector at the end token.
    tokenizer = encoder_tokenizer(evaluation.processor.tokenizer)
    towers = CLIPTowers(AutoModel.from_pretrained(folder, dtype=torch.float32), tokenizer, question)
    return CLIPRetriever(towers, evaluation.processor.image_processor)


__all__ = [
    "clip",
    "dpr",
    "inverse_cloze_pairs",
    "load_towers",
    "question_pairs",
    "reviz",
    "vrr",
    "without",
]
