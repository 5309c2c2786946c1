"""Instruction tuning: what is trained, and what a stopped tuning leaves."""

from dataclasses import replace

import pytest
import torch
from transformers import TrainerCallback

from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.small_world.assemble import load_processor, load_untuned_model
from gemkr_hf.symbols.dataset import SymbolsConfig, load_symbols
from gemkr_hf.symbols.knowledge import load_documents
from gemkr_hf.training.config import TuningConfig
from gemkr_hf.training.instructions import (
    InstructionDataset,
    prepare_pictures,
    write_instructions,
)
from gemkr_hf.training.tuning import add_lora, last_whole_checkpoint, tune

CONFIG = TuningConfig(
    learning_rate=1e-3, batch_size=4, epochs=1.0, warmup_steps=1, bf16=False, save_steps=2
)


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """Processor and 24 instructions about 6 pictures: 6 steps."""
    processor = load_processor()
    model = load_untuned_model(processor)
    few = SymbolsConfig(
        train_scenes=6, validation_scenes=1, test_scenes=1, unseen_scenes=1, train_questions=2
    )
    train = load_symbols(few, cache_dir=tmp_path_factory.mktemp("data"))["train"]
    pictures = prepare_pictures(
        dict(zip(train["image_id"], train["image"], strict=True)), model, processor
    )
    knowledge_base = KnowledgeBase.from_documents(load_documents(), processor.tokenizer)
    instructions = write_instructions(
        train, knowledge_base, processor.tokenizer, CONFIG.sampling, CONFIG.seed
    )
    return processor, InstructionDataset(instructions, pictures, processor)


class StopAfter(TrainerCallback):
    """Stops as an interrupted process does, without anything being saved."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self._step:
            raise KeyboardInterrupt


def tuned(ground, folder, config=CONFIG, callbacks=None):
    processor, instructions = ground
    return tune(
        load_untuned_model(processor, seed=config.seed),
        processor,
        instructions,
        folder,
        config,
        callbacks,
    )


def test_a_stopped_tuning_ends_as_if_it_had_not_stopped(ground, tmp_path) -> None:
    whole = tuned(ground, tmp_path / "whole").state_dict()
    with pytest.raises(KeyboardInterrupt):
        tuned(ground, tmp_path / "stopped", callbacks=[StopAfter(5)])
    assert last_whole_checkpoint(tmp_path / "stopped").endswith("checkpoint-4")
    # The process was killed while it wrote the next state.
    half = tmp_path / "stopped" / "checkpoint-6"
    half.mkdir()
    (half / "adapter_config.json").write_text("{")
    resumed = tuned(ground, tmp_path / "stopped").state_dict()
    assert whole.keys() == resumed.keys()
    for name, weight in whole.items():
        torch.testing.assert_close(weight, resumed[name], rtol=1e-4, atol=1e-6, msg=name)


def test_towers_stay_frozen_but_for_what_the_paper_tunes(ground, tmp_path) -> None:
    processor, _ = ground
    before = load_untuned_model(processor, seed=CONFIG.seed).state_dict()
    after = tuned(ground, tmp_path, replace(CONFIG, save_steps=100)).state_dict()
    changed = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    language = {name for name in changed if "q_proj" in name or "v_proj" in name}
    visual = {
        name for name in changed if name.startswith(("prefix.", "object_projection.", "alignment."))
    }
    assert language
    assert {name.split(".")[0] for name in visual} == {"prefix", "object_projection", "alignment"}
    assert changed == language | visual
    assert not [name for name in language if "vision" in name]


def test_lora_is_on_the_language_model_only(ground) -> None:
    processor, _ = ground
    adapted = add_lora(load_untuned_model(processor), CONFIG)
    lora = [name for name, p in adapted.named_parameters() if "lora_" in name and p.requires_grad]
    assert lora
    assert not [name for name in lora if "vision" in name]


def test_no_checkpoint_is_no_checkpoint(tmp_path) -> None:
    assert last_whole_checkpoint(tmp_path) is None


@pytest.mark.parametrize("name", ["learning_rate", "batch_size", "epochs", "save_steps"])
def test_settings_are_checked_before_any_work(name) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
        TuningConfig(**{name: 0})
