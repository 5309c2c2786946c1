"""Settings that train every system of the tables for a few steps."""

import re
from pathlib import Path

from gemkr_hf.paper.evaluation_config import EvaluationConfig, LanguageModelSize
from gemkr_hf.toy.stand_ins.language_model_stand_in import LanguageModelTraining
from gemkr_hf.toy.stand_ins.toy_tuning import small_world_tuning

QUESTIONS = 6
TWO_STEPS = small_world_tuning(
    per_device_train_batch_size=4,
    num_train_epochs=1.0,
    max_steps=2,
    warmup_steps=0,
    logging_steps=1,
)
TINY_MODEL = LanguageModelTraining(
    hidden_size=32,
    intermediate_size=32,
    layers=1,
    heads=1,
    steps=2,
    copy_batch=2,
    clue_batch=2,
    document_batch=1,
    warmup=1,
)


def config(folder: Path, **changes) -> EvaluationConfig:
    settings = {
        "tuning": TWO_STEPS,
        "encoders": TWO_STEPS,
        "pretraining": TWO_STEPS,
        "text_models": TWO_STEPS,
        "captioner": TWO_STEPS,
        "seeds": (0,),
        "language_models": (LanguageModelSize("tiny", training=TINY_MODEL),),
    }
    return EvaluationConfig(output=str(folder), **{**settings, **changes})


def quiet(line: str) -> None:
    """A log that prints nothing."""


def squeezed(text: str) -> str:
    """Text without the spaces that align the columns of a table."""
    return re.sub(" +", " ", text)
