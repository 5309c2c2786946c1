"""Preference tuning from relevance feedback, by TRL's direct preference optimisation.

The model writes clues for training questions under the constraint; those that led to relevant
documents are preferred to those that did not. Beyond the paper; its authors' next work (Generative
multi-modal retrieval with feedback) goes this way.
"""

import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from peft import LoraConfig

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
    last_whole_checkpoint,
    save_peft,
    trained_in_float32,
    training_arguments,
)
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
    """A clue of other documents that begins as ``clue`` does, for as long as possible.

    The longest beginning is kept after which another token may come; from there on tokens are
    drawn among those that the documents hold.

    Args:
        index: of the knowledge base.
        clue: int ``(n,)``, a sequence that occurs.
        rng: draws where there is a choice.

    Returns:
        int32 ``(m,)``, ``m <= n``, no subsequence of the document of ``clue`` alone; None where no
        document shares a beginning.
    """
    tokens = np.asarray(clue, dtype=np.int32)
    following = index.get_next([tokens[:length] for length in range(1, len(tokens))])
    for length in range(len(tokens) - 1, 0, -1):
        others = following[length - 1][following[length - 1] != tokens[length]]
        if not len(others):
            continue
        other = np.append(tokens[:length], rng.choice(others)).astype(np.int32)
        while len(other) < len(tokens):
            [more] = index.get_next([other])
            if not len(more):
                break
            other = np.append(other, rng.choice(more)).astype(np.int32)
        own, its = index.lookup_doc([tokens, other]).tolist()
        if own < 0 or its != own:
            return other
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
    """Retrieve for training questions and pair clues that led to relevant documents with others.

    Where none did, a clue of the instructions is preferred. The most probable clues of either kind
    come first.

    Args:
        retriever: with the tuned model.
        questions: records with ``question_id``, ``image_id``, ``question``, ``relevant_ids``.
        images: id -> image; None for questions in words alone.
        instructions: with ``INSTRUCTION_FEATURES``, of the same questions.
        config: how many pairs, and of which kind.
        images: prepared ones, whose objects need not be found again.
        seed: of what is drawn.
        batch_size: questions decoded together.

    Returns:
        A data set with ``PREFERENCE_FEATURES``.

    Raises:
        ValueError: no clue led elsewhere, so that there is nothing to prefer.
    """
    rng = np.random.default_rng(seed)
    written: dict[str, list[Sequence[int]]] = {}
    captions: dict[str, str] = {}
    for row in instructions:
        written.setdefault(row["question_id"], []).append(row["clue"])
        captions[row["question_id"]] = row["caption"]
    records = [record for record in questions if record["question_id"] in written]
    if config.questions is not None and config.questions < len(records):
        drawn = np.sort(rng.choice(len(records), config.questions, replace=False))
        records = [records[row] for row in drawn]
    rows: list[dict[str, Any]] = []
    knowledge_base = retriever.knowledge_base
    for start in progress(range(0, len(records), batch_size), "collect preferences"):
        some = records[start : start + batch_size]
        words = [captions[record["question_id"]] for record in some]
        found = retrieve_for(
            retriever,
            some,
            images,
            known_objects(prepared, some) if images is not None else None,
            words if any(captions.values()) else None,
        )
        for record, hits in zip(some, found, strict=True):
            marks = mark_retrieved(hits, record, GOLD, knowledge_base)
            if config.only_mistakes and marks and marks[0]:
                continue
            right: list[tuple[float, Sequence[int]]] = []
            wrong: list[tuple[float, Sequence[int]]] = []
            for hit, relevant in zip(hits, marks, strict=True):
                (right if relevant else wrong).extend(
                    (clue.score, clue.pieces[0]) for clue in hit.clues
                )
            chosen = [clue for _, clue in sorted(right, key=lambda one: -one[0])]
            rejected = [clue for _, clue in sorted(wrong, key=lambda one: -one[0])]
            record = {**record, "caption": captions[record["question_id"]]}
            rows += _pairs(record, chosen or written[record["question_id"]], rejected, config,
                           knowledge_base.index, rng)  # fmt: skip
    if not rows:
        raise ValueError("Every clue led to a relevant document: there is nothing to prefer")
    return datasets.Dataset.from_list(rows, features=PREFERENCE_FEATURES)


def _pairs(
    record: Mapping[str, Any],
    chosen: Sequence[Sequence[int]],
    rejected: Sequence[Sequence[int]],
    config: PreferenceConfig,
    index: FMIndex,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    pairs = []
    for number in range(config.pairs):
        preferred = chosen[number % len(chosen)]
        hard = number < config.hard_negatives
        other: Any = None
        if hard:
            other = almost_distinctive(index, preferred, rng)
        elif number - config.hard_negatives < len(rejected):
            other = rejected[number - config.hard_negatives]
        if other is None:
            continue
        pairs.append(
            {
                "question_id": record["question_id"],
                "image": record["image_id"],
                "question": record["question"],
                "caption": record["caption"],
                "chosen": [int(token) for token in preferred],
                "rejected": [int(token) for token in other],
                "hard": hard,
            }
        )
    return pairs


class PreferenceCollator:
    """Pairs as TRL takes them: the rows of all chosen clues, then those of all rejected ones.

    What is compared are the scores by which clues are ranked (Eq. 1), without an end token.

    Args:
        processor: writes the prompts.
        images: what the pairs are about; None for a model that reads captions.
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
                    # The end token has no part in a clue's score: it ends where it is distinctive.
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
    """Tune a model further so that preferred clues become more probable than the others.

    Args:
        model: a tuned ``GeMKRForRetrieval`` without adapters; it is the reference as well.
        processor: its processor.
        preferences: with ``PREFERENCE_FEATURES``.
        images: what they are about.
        output: folder of the states, from which a stopped tuning goes on.
        tuning: LoRA, precision, optimizer, seed.
        config: what is different in preference tuning.

    Returns:
        The model with LoRA merged, and the entries of the curve.
    """
    from trl import DPOConfig

    common = training_arguments(output, tuning).to_dict()
    known = {name for name in common if name in DPOConfig.__dataclass_fields__}
    losses = ["sigmoid"] + (["sft"] if config.sft_weight else [])
    arguments = DPOConfig(
        **{
            **{name: common[name] for name in known if not name.startswith("_")},
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
    lora = LoraConfig(
        **model.lora_arguments(
            tuning.lora_r or 16, tuning.lora_alpha, tuning.lora_dropout, tuning.lora_target_modules
        )
    )
    dtypes = dtypes_of(model)
    trainer = _trainer_class()(
        model=model,
        args=arguments,
        data_collator=PreferenceCollator(processor, images),
        train_dataset=preferences,
        processing_class=processor,
        peft_config=lora,
    )
    trained_in_float32(trainer.model)
    show_progress(trainer, "tune preferences")
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(output))
    adapted = trainer.accelerator.unwrap_model(trainer.model)
    base = adapted.get_base_model()
    if "forward" in base.__dict__:
        del base.forward  # the model's own again
    if trainer.is_world_process_zero():
        save_peft(adapted, Path(output) / "adapter")
    merged = adapted.merge_and_unload()
    for name, dtype in dtypes.items():
        getattr(merged, name).to(dtype)
    return merged, list(trainer.state.log_history)


def _trainer_class() -> Any:
    """TRL's trainer; TRL is imported when it is needed, since it is an extra."""
    from trl import DPOTrainer

    class PreferenceTrainer(DPOTrainer):
        """TRL's, with log-probabilities from the model's own forward.

        TRL takes them from a backbone that ends in hidden states, and a GeMKR has none that takes
        images.
        """

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            base: Any = self.accelerator.unwrap_model(self.model).get_base_model()
            base.forward = types.MethodType(_forward_with_log_probs, base)

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            # TRL writes a model card of its own into each state, where nobody looks for one.
            super(DPOTrainer, self)._save_checkpoint(model, trial)

    return PreferenceTrainer


def _forward_with_log_probs(
    self: Any, *args: Any, labels: Any = None, fused_lm_head: bool = False, **kwargs: Any
) -> Any:
    """The model's forward, or with ``fused_lm_head`` what TRL asks for in its place.

    These are the log-probability and the entropy of each label, the mean logit, and whether the
    label is the first choice; ``(B, T - 1)``, zeros where there is no label.
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
        """Zeros before the first label and where there is none."""
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
