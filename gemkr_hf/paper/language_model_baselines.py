"""The language models of Table 1 that read captions: SEAL and CorpusBrain."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from gemkr_hf.baselines import (
    CorpusBrainRetriever,
    Example,
    Retriever,
    SEALRetriever,
    TextModel,
    fit_text_model,
    name_of,
    pretraining_examples,
    write_prompt,
)
from gemkr_hf.knowledge_base import tokenizer_fingerprint
from gemkr_hf.knowledge_base.tokenization import encode_documents
from gemkr_hf.paper.evaluation_context import Ground
from gemkr_hf.training.instruction_dataset import write_instructions


def _text_model(
    ground: Ground,
    name: str,
    seed: int,
    examples: Callable[[Ground, TextModel, int], Sequence[Sequence[Example]]],
) -> TextModel:
    """The language model of a checkpoint, of an earlier run in this folder, or GeMKR's, trained."""
    named = ground.config.checkpoints.get(name)
    if named is not None:
        return _on_device(ground, named)

    def train() -> TextModel:
        whole = ground.new_model(seed)
        model = TextModel(whole.language_model, ground.processor.tokenizer)
        config = dataclasses.replace(ground.config.text_models, seed=seed)
        for number, stage in enumerate(examples(ground, model, seed)):
            work = ground.path("work", f"{name}-{number}-seed-{seed}")
            fit_text_model(model, stage, config, work, f"train {name}")
        return model

    settings = ("text_models", "sampling", "captions")
    return _on_device(ground, ground.trained(name, seed, settings, train))


def _on_device(ground: Ground, name: str | Path) -> TextModel:
    model = TextModel.from_pretrained(name)
    model.model.to(ground.device)
    return model


def _prompts(ground: Ground) -> dict[str, str]:
    """Question id -> prompt with the caption, of the training questions."""
    captions = ground.captions_of(ground.taught)
    return {
        record["question_id"]: write_prompt(record["question"], caption)
        for record, caption in zip(ground.taught, captions, strict=True)
    }


def clue_examples(ground: Ground, model: TextModel, seed: int) -> list[list[Example]]:
    """What GeMKR learns to write, behind prompts in words: n-grams of relevant documents."""
    # Clues are cut from the index's tokens.
    ground.knowledge_base.check_tokenizer(model.tokenizer)
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
    first = pretraining_examples(
        ground.knowledge_base.documents, model, len(behind_questions), seed
    )
    return [first, behind_questions]


def seal(ground: Ground, seed: int) -> Retriever:
    """SEAL on question and caption, over the evaluation\'s index where the tokenizer is its own."""
    model = _text_model(ground, "seal", seed, clue_examples)
    fits = ground.knowledge_base.tokenizer_fingerprint == tokenizer_fingerprint(model.tokenizer)
    return SEALRetriever(
        model, captions=True, knowledge_base=ground.knowledge_base if fits else None
    )


def corpusbrain(ground: Ground, seed: int) -> Retriever:
    """CorpusBrain on question and caption."""
    return CorpusBrainRetriever(
        _text_model(ground, "corpusbrain", seed, name_examples), captions=True
    )


__all__ = ["clue_examples", "corpusbrain", "name_examples", "seal"]
