"""Preference tuning from relevance feedback, by direct preference optimisation with TRL.

The model writes clues for training questions under the constraint; clues that led to relevant
documents are preferred to clues that did not. This goes beyond the paper; its authors' later work
(Generative multi-modal retrieval with feedback) takes this direction.
"""

import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch

from gemkr_hf.evaluation.hits import GOLD
from gemkr_hf.evaluation.record_retrieval import mark_retrieved, retrieve_for
from gemkr_hf.index import FMIndex
from gemkr_hf.retrieval.retriever import GeMKRRetriever
from gemkr_hf.training.arguments import PreferenceConfig, TuningConfig
from gemkr_hf.training.instruction_dataset import InstructionCollator, pixels_of
from gemkr_hf.training.prepared_images import PreparedImages
from gemkr_hf.training.progress_callback import show_progress
from gemkr_hf.training.retrieval_validation import known_objects
from gemkr_hf.training.trainer import (
    dtypes_of,
    last_complete_checkpoint,
    lora_config,
    restore_dtypes,
    save_peft,
    trained_in_float32,
    training_arguments,
)
from gemkr_hf.utils.extras import require_extra
from gemkr_hf.utils.logging import progress

PREFERENCE_FEATURES = datasets.Features(
    {
        "question_id": datasets.Value("string"),
        "image": datasets.Value("string"),
        "question": datasets.Value("string"),
        "caption": datasets.Value("string"),
        "chosen": datasets.List(datasets.Value("int32")),
        "rejected": datasets.List(datasets.Value("int32")),
        "hard": datasets.Value("bool"),
    }
)
"""A clue that leads to a relevant document, and one that does not; ``image`` is an id."""


def almost_distinctive(
    index: FMIndex, clue: Sequence[int], rng: np.random.Generator
) -> np.ndarray | None:
    """Draw a clue of another document with the longest beginning in common with ``clue``.

    The longest beginning that another token can follow is kept; the tokens after it are drawn from
    those that the index allows.

    Args:
        index: The knowledge base's index.
        clue: int ``(n,)``, a sequence that occurs in the index.
        rng: Random generator.

    Returns:
        int32 ``(m,)``, ``m <= n``, not a clue of the same document alone; None if no other document
        shares a beginning.
    """
    tokens = np.asarray(clue, dtype=np.int32)
    following = index.get_next([tokens[:length] for length in range(1, len(tokens))])
    for length in range(len(tokens) - 1, 0, -1):
        alternatives = following[length - 1][following[length - 1] != tokens[length]]
        if not len(alternatives):
            continue
        negative = np.append(tokens[:length], rng.choice(alternatives)).astype(np.int32)
        while len(negative) < len(tokens):
            [more] = index.get_next([negative])
            if not len(more):
                break
            negative = np.append(negative, rng.choice(more)).astype(np.int32)
        document, other = index.lookup_doc([tokens, negative]).tolist()
        if document < 0 or other != document:
            return negative
    return None


def collect_preferences(
    retriever: GeMKRRetriever,
    questions: Sequence[Mapping[str, Any]],
    images: Mapping[str, Any] | None,
    instructions: datasets.Dataset,
    config: PreferenceConfig,
    prepared: PreparedImages | None = None,
    seed: int = 0,
    batch_size: int = 8,
) -> datasets.Dataset:
    """Retrieve for training questions, and pair clues of relevant documents with other clues.

    Clues are paired in descending order of their scores. If no clue led to a relevant document, a
    clue of the instructions is preferred.

    Args:
        retriever: With the tuned model.
        questions: Records with ``question_id``, ``image_id``, ``question``, ``relevant_ids``.
        images: Image id -> image; None for text-only questions.
        instructions: With ``INSTRUCTION_FEATURES``, of the same questions.
        config: Number and kinds of pairs.
        prepared: Prepared images, whose objects are known and not detected again.
        seed: Seed of random draws.
        batch_size: Questions decoded together.

    Returns:
        A dataset with ``PREFERENCE_FEATURES``.

    Raises:
        ValueError: All clues led to relevant documents.
    """
    rng = np.random.default_rng(seed)
    sampled: dict[str, list[Sequence[int]]] = {}
    captions: dict[str, str] = {}
    for row in instructions:
        sampled.setdefault(row["question_id"], []).append(row["clue"])
        captions[row["question_id"]] = row["caption"]
    records = [record for record in questions if record["question_id"] in sampled]
    if config.questions is not None and config.questions < len(records):
        drawn = np.sort(rng.choice(len(records), config.questions, replace=False))
        records = [records[row] for row in drawn]
    knowledge_base = retriever.knowledge_base
    pairs: list[dict[str, Any]] = []
    for start in progress(range(0, len(records), batch_size), "collect preferences"):
        batch = records[start : start + batch_size]
        results = retrieve_for(
            retriever,
            batch,
            images,
            known_objects(prepared, batch) if images is not None else None,
            [captions[one["question_id"]] for one in batch] if any(captions.values()) else None,
        )
        for record, hits in zip(batch, results, strict=True):
            marks = mark_retrieved(hits, record, GOLD, knowledge_base)
            if config.only_mistakes and marks and marks[0]:
                continue
            clues = sorted(
                (
                    (clue, relevant)
                    for hit, relevant in zip(hits, marks, strict=True)
                    for clue in hit.clues
                ),
                key=lambda one: -one[0].score,
            )
            name = record["question_id"]
            chosen = [clue.pieces[0] for clue, relevant in clues if relevant] or sampled[name]
            rejected = [clue.pieces[0] for clue, relevant in clues if not relevant]
            columns = {
                "question_id": name,
                "image": record["image_id"],
                "question": record["question"],
                "caption": captions[name],
            }
            pairs += [
                {**columns, **pair}
                for pair in _pairs(chosen, rejected, config, knowledge_base.index, rng)
            ]
    if not pairs:
        raise ValueError("Every clue led to a relevant document: there are no preferences to learn")
    return datasets.Dataset.from_list(pairs, features=PREFERENCE_FEATURES)


def _pairs(
    chosen: Sequence[Sequence[int]],
    rejected: Sequence[Sequence[int]],
    config: PreferenceConfig,
    index: FMIndex,
    rng: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    """Pair the clues of one question: hard negatives first, then rejected clues."""
    for number in range(config.pairs):
        preferred = chosen[number % len(chosen)]
        hard = number < config.hard_negatives
        negative: Any = None
        if hard:
            negative = almost_distinctive(index, preferred, rng)
        elif number - config.hard_negatives < len(rejected):
            negative = rejected[number - config.hard_negatives]
        if negative is not None:
            yield {
                "chosen": [int(token) for token in preferred],
                "rejected": [int(token) for token in negative],
                "hard": hard,
            }


class PreferenceCollator:
    """Collates pairs as TRL expects them: rows of all chosen clues, then of all rejected ones.

    The compared log-probabilities are the scores that rank clues (Eq. 1), without an end token.

    Args:
        processor: Writes the prompts.
        images: Prepared images; None for a text-only model.
    """

    def __init__(self, processor: Any, images: PreparedImages | None) -> None:
        self._processor = processor
        self._images = images
        self._pad = InstructionCollator(processor.tokenizer.pad_token_id)

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        images = self._images
        names = [item["image"] for item in items] * 2
        captions = [item["caption"] for item in items] * 2
        rows = self._processor.encode_queries(
            [item["question"] for item in items] * 2,
            sizes=[None if images is None else images.size_of(name) for name in names],
            objects=[() if images is None else images.objects_of(name) for name in names],
            clues=[item[kind] for kind in ("chosen", "rejected") for item in items],
            captions=captions if any(captions) else None,
        )
        batch = self._pad(
            [
                {
                    # Without the end token: a clue's score ends where it is distinctive.
                    "input_ids": torch.tensor(prompt + ending[:-1]),
                    "labels": torch.tensor([-100] * len(prompt) + ending[:-1]),
                    **pixels_of(images, name),
                }
                for (prompt, ending), name in zip(rows, names, strict=True)
            ]
        )
        mask = torch.zeros_like(batch["input_ids"])
        mask[:, -batch.pop("logits_to_keep") :] = (batch.pop("labels") != -100).long()
        batch["completion_mask"] = mask
        return batch


def tune_preferences(
    model: Any,
    processor: Any,
    preferences: datasets.Dataset,
    images: PreparedImages | None,
    output: str | Path,
    tuning: TuningConfig,
    config: PreferenceConfig,
) -> tuple[Any, list[dict[str, float]]]:
    """Make preferred clues more probable than the others, or resume from the last checkpoint.

    Args:
        model: A tuned ``GeMKRForRetrieval`` without adapters; it is also the reference model.
        processor: Its processor.
        preferences: With ``PREFERENCE_FEATURES``.
        images: Prepared images of the preferences.
        output: Folder of the checkpoints; the adapter is saved in ``adapter`` in it.
        tuning: LoRA, precision, optimizer, seed.
        config: What differs in preference tuning.

    Returns:
        The model with LoRA merged, and the entries of the training curve.
    """
    require_extra("preferences", "Preference tuning needs Python 3.11 and")
    from trl import DPOConfig

    common = training_arguments(output, tuning).to_dict()
    losses = ["sigmoid", "sft"] if config.sft_weight else ["sigmoid"]
    arguments = DPOConfig(
        **{
            **{
                name: value
                for name, value in common.items()
                if name in DPOConfig.__dataclass_fields__ and not name.startswith("_")
            },
            "learning_rate": config.learning_rate,
            "per_device_train_batch_size": config.per_device_train_batch_size,
            "num_train_epochs": config.num_train_epochs,
            "max_steps": -1,
            "warmup_steps": config.warmup_steps,
            "label_names": None,
            "beta": config.beta,
            "loss_type": losses,
            "loss_weights": [1.0, config.sft_weight][: len(losses)],
            "max_length": None,
        }
    )
    dtypes = dtypes_of(model)
    trainer = _trainer_class()(
        model=model,
        args=arguments,
        data_collator=PreferenceCollator(processor, images),
        train_dataset=preferences,
        processing_class=processor,
        peft_config=lora_config(model, tuning, tuning.lora_r or 16),
    )
    trained_in_float32(trainer.model)
    show_progress(trainer, "tune preferences")
    trainer.train(resume_from_checkpoint=last_complete_checkpoint(output))
    adapted = trainer.accelerator.unwrap_model(trainer.model)
    del adapted.get_base_model().forward  # the patch of the trainer, see below
    if trainer.is_world_process_zero():
        save_peft(adapted, Path(output) / "adapter")
    merged = restore_dtypes(adapted.merge_and_unload(), dtypes)
    return merged, list(trainer.state.log_history)


def _trainer_class() -> Any:
    """Return the trainer; TRL is an extra, and is imported when it is needed."""
    from trl import DPOTrainer

    class PreferenceTrainer(DPOTrainer):
        """TRL's trainer, with log-probabilities from the model's own forward.

        TRL patches the instance's ``forward`` with one that runs a text-only backbone and a fused
        head; this replaces that patch by one that passes images on.
        """

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            base: Any = self.accelerator.unwrap_model(self.model).get_base_model()
            base.forward = types.MethodType(_forward_with_log_probs, base)

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            # Without the model card that TRL writes into each checkpoint.
            super(DPOTrainer, self)._save_checkpoint(model, trial)

    return PreferenceTrainer


def _forward_with_log_probs(
    self: Any, *args: Any, labels: Any = None, fused_lm_head: bool = False, **kwargs: Any
) -> Any:
    """Run the model's forward; with ``fused_lm_head``, return TRL's ``FusedCausalLMOutput``.

    Its fields have the shape ``(B, T - 1)`` and zeros where there is no label: log-probability and
    entropy of each label, mean logit, and whether the label is the most probable token.
    """
    forward = types.MethodType(type(self).forward, self)
    if not fused_lm_head:
        return forward(*args, labels=labels, **kwargs)
    from trl.trainer.utils import FusedCausalLMOutput

    length = labels.shape[1]
    wanted = labels[:, 1:]
    mask = wanted != -100
    first = int(mask.any(0).float().argmax())
    keep = length - first
    logits = forward(*args, logits_to_keep=keep, **kwargs).logits[:, :-1].float()
    log_probs = logits.log_softmax(-1)
    own = wanted[:, first:]
    picked = log_probs.gather(-1, own.clamp(min=0)[..., None])[..., 0]

    def spread(values: torch.Tensor) -> torch.Tensor:
        """Fill in zeros before the first label and where there is none."""
        values = values * mask[:, first:]
        return torch.nn.functional.pad(values, (length - 1 - values.shape[1], 0))

    log_probs_of_labels = spread(picked)
    return FusedCausalLMOutput(
        loss=-log_probs_of_labels.sum() / mask.sum().clamp(min=1),
        log_probs=log_probs_of_labels,
        entropy=spread(-(log_probs.exp() * log_probs).sum(-1)),
        mean_logits=spread(logits.detach().mean(-1)),
        is_top1=spread((logits.detach().argmax(-1) == own).float()).bool(),
        label_mask=mask,
    )


__all__ = [
    "PREFERENCE_FEATURES",
    "PreferenceCollator",
    "almost_distinctive",
    "collect_preferences",
    "tune_preferences",
]
