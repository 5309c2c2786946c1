"""SEAL and CorpusBrain, the text-only language models of Table 1."""

import dataclasses
from collections.abc import Callable, Sequence

from gemkr_hf.baselines import (
    CorpusBrainRetriever,
    Example,
    Retriever,
    SEALRetriever,
    TextModel,
    fit_text_model,
    pretraining_examples,
    title_or_first_sentence,
    write_prompt,
)
from gemkr_hf.knowledge_base import tokenizer_fingerprint
from gemkr_hf.knowledge_base.tokenization import encode_documents
from gemkr_hf.paper.system_evaluation import Evaluation
from gemkr_hf.training.instruction_dataset import write_instructions

Stages = Callable[[Evaluation, TextModel, int], Sequence[Sequence[Example]]]
"""Returns the training examples of each stage, for a seed."""


def _text_model(evaluation: Evaluation, name: str, seed: int, stages: Stages) -> TextModel:
    """Return the model of a checkpoint, or GeMKR's language model trained on the examples."""

    def train() -> TextModel:
        untuned = evaluation.untuned_model(seed)
        model = TextModel(untuned.language_model, evaluation.processor.tokenizer)
        config = dataclasses.replace(evaluation.config.text_models, seed=seed)
        for number, examples in enumerate(stages(evaluation, model, seed)):
            work = evaluation.path("work", f"{name}-{number}-seed-{seed}")
            fit_text_model(model, examples, config, work, f"train {name}")
        return model

    checkpoint = evaluation.config.checkpoints.get(name)
    settings = ("text_models", "sampling", "captions")
    model = TextModel.from_pretrained(
        checkpoint or evaluation.trained_model(name, seed, settings, train)
    )
    model.model.to(evaluation.device)
    return model


def _prompts(evaluation: Evaluation) -> dict[str, str]:
    """Return question id -> prompt with the caption, of the training questions."""
    records = evaluation.training_questions
    return {
        record["question_id"]: write_prompt(record["question"], caption)
        for record, caption in zip(records, evaluation.captions_for(records), strict=True)
    }


def clue_examples(evaluation: Evaluation, model: TextModel, seed: int) -> list[list[Example]]:
    """Return SEAL's examples: the clues that GeMKR is trained on, after text-only prompts."""
    # Clues are cut from the index's tokens.
    evaluation.knowledge_base.check_tokenizer(model.tokenizer)
    prompts = _prompts(evaluation)
    instructions = write_instructions(
        evaluation.training_questions,
        evaluation.knowledge_base,
        model.tokenizer,
        evaluation.config.sampling,
        seed,
    )
    pairs = zip(instructions["question_id"], instructions["clue"], strict=True)
    return [[Example(prompts[question], tuple(clue)) for question, clue in pairs]]


def title_examples(evaluation: Evaluation, model: TextModel, seed: int) -> list[list[Example]]:
    """Return CorpusBrain's examples: titles after sentences of documents, then after questions."""
    prompts = _prompts(evaluation)
    ids = list(evaluation.relevant_texts)
    kb = evaluation.knowledge_base
    documents = [kb[row] for row in kb.rows_of(ids).tolist()]
    titles = [title_or_first_sentence(document) for document in documents]
    tokens = dict(zip(ids, encode_documents(titles, model.tokenizer), strict=True))
    examples = [
        Example(prompts[record["question_id"]], tuple(tokens[name]))
        for record in evaluation.training_questions
        for name in record["relevant_ids"]
        if name in tokens
    ]
    return [pretraining_examples(kb.documents, model, len(examples), seed), examples]


def seal(evaluation: Evaluation, seed: int) -> Retriever:
    """Return SEAL on question and caption; it shares the evaluation's index if possible."""
    model = _text_model(evaluation, "seal", seed, clue_examples)
    kb = evaluation.knowledge_base
    same_tokenizer = kb.tokenizer_fingerprint == tokenizer_fingerprint(model.tokenizer)
    return SEALRetriever(model, captions=True, knowledge_base=kb if same_tokenizer else None)


def corpusbrain(evaluation: Evaluation, seed: int) -> Retriever:
    """Return CorpusBrain on question and caption."""
    model = _text_model(evaluation, "corpusbrain", seed, title_examples)
    return CorpusBrainRetriever(model, captions=True)


__all__ = ["clue_examples", "corpusbrain", "seal", "title_examples"]
