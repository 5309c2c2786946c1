"""Instruction tuning: trained parts, the kept checkpoint, and resuming."""

from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from transformers import TrainerCallback

from gemkr_hf.evaluation.metrics import Metrics
from gemkr_hf.toy.stand_ins.assemble import load_untuned_model
from gemkr_hf.training import trainer as tuning
from gemkr_hf.training.arguments import TuningConfig, ValidationConfig
from gemkr_hf.training.trainer import add_lora, last_complete_checkpoint, tune

CONFIG = TuningConfig(
    learning_rate=1e-3,
    per_device_train_batch_size=4,
    num_train_epochs=1.0,
    warmup_steps=1,
    save_steps=2,
    logging_steps=1,
)


class StopAfter(TrainerCallback):
    """Stops as an interrupted process does, without anything being saved."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self._step:
            raise KeyboardInterrupt


def tuned(data, folder, config=CONFIG, **options):
    model = load_untuned_model(data.processor, seed=config.seed)
    return tune(model, data.processor, data.dataset(), folder, config, **options)


def losses(result):
    return [entry["loss"] for entry in result.history if "loss" in entry]


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    return tuned(data, tmp_path_factory.mktemp("whole"))


def test_a_resumed_tuning_equals_an_uninterrupted_one(data, whole, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        tuned(data, tmp_path, callbacks=[StopAfter(5)])
    assert last_complete_checkpoint(tmp_path).endswith("checkpoint-4")
    # The process was killed while it wrote the next state.
    half = tmp_path / "checkpoint-6"
    half.mkdir()
    (half / "adapter_config.json").write_text("{")
    resumed = tuned(data, tmp_path)
    assert losses(resumed) == losses(whole)
    state = resumed.model.state_dict()
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, state[name]), name


def test_results_follow_from_the_seed(data, whole, tmp_path) -> None:
    again = tuned(data, tmp_path / "again")
    assert losses(again) == losses(whole)
    assert len(losses(whole)) == 6
    other = tuned(data, tmp_path / "other", replace(CONFIG, seed=1))
    assert losses(other) != losses(whole)


def test_only_the_parts_that_the_paper_tunes_change(data, whole) -> None:
    before = load_untuned_model(data.processor, seed=CONFIG.seed).state_dict()
    after = whole.model.state_dict()
    changed = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    language = {name for name in changed if "q_proj" in name or "v_proj" in name}
    visual = {
        name for name in changed if name.startswith(("prefix.", "object_projection.", "alignment."))
    }
    assert language
    assert {name.split(".")[0] for name in visual} == {"prefix", "object_projection", "alignment"}
    assert changed == language | visual
    assert not [name for name in language if "vision" in name]


def test_rank_0_leaves_the_language_model_frozen(data, tmp_path) -> None:
    result = tuned(data, tmp_path, replace(CONFIG, lora_r=0, max_steps=2))
    before = load_untuned_model(data.processor, seed=CONFIG.seed).language_model.state_dict()
    for name, weight in result.model.language_model.state_dict().items():
        assert torch.equal(weight, before[name]), name
    assert result.trainable_parameters < 0.2 * result.parameters


def test_lora_is_on_the_language_model_only(data) -> None:
    adapted = add_lora(load_untuned_model(data.processor), CONFIG)
    lora = [name for name, p in adapted.named_parameters() if "lora_" in name and p.requires_grad]
    assert lora
    assert not [name for name in lora if "vision" in name]


def test_two_small_batches_make_one_large_one(data, tmp_path) -> None:
    config = replace(CONFIG, lora_dropout=0.0, max_steps=3, per_device_train_batch_size=4)
    large = tuned(data, tmp_path / "large", config)
    small = tuned(
        data,
        tmp_path / "small",
        replace(config, per_device_train_batch_size=2, gradient_accumulation_steps=2),
    )
    torch.testing.assert_close(losses(small), losses(large), rtol=1e-4, atol=1e-5)


def test_the_best_checkpoint_is_kept_and_the_loss_breaks_ties(data, tmp_path) -> None:
    recalls = iter([0.2, 0.8, 0.8, 0.5, 0.1, 0.0])

    def retrieval(model):
        assert type(model).__name__ == "GeMKRForRetrieval"  # as a retriever takes it
        return Metrics(0.0, 0.0, next(recalls), 1.0, 10)

    result = tuned(
        data,
        tmp_path,
        validation=ValidationConfig(eval_steps=1),
        validation_set=data.dataset(data.validation),
        retrieval=retrieval,
    )
    validated = [entry for entry in result.history if "eval_R@5" in entry]
    assert [entry["eval_R@5"] for entry in validated] == [0.2, 0.8, 0.8, 0.5, 0.1, 0.0]
    best = min(validated[1:3], key=lambda entry: entry["eval_loss"])
    assert result.best_step == best["step"]
    # What came back is that state, not the last one, and so is the adapter.
    for folder in (tmp_path / f"checkpoint-{result.best_step}", tmp_path / "adapter"):
        model = load_untuned_model(data.processor, seed=CONFIG.seed)
        state = PeftModel.from_pretrained(model, folder).merge_and_unload().state_dict()
        for name, weight in result.model.state_dict().items():
            torch.testing.assert_close(weight, state[name], rtol=1e-6, atol=1e-7, msg=name)


def test_gradient_checkpointing_gives_the_same_losses(data, whole, tmp_path) -> None:
    result = tuned(data, tmp_path, replace(CONFIG, gradient_checkpointing=True))
    torch.testing.assert_close(losses(result), losses(whole), rtol=1e-5, atol=1e-6)


def test_data_loader_workers_give_the_same_batches(data, whole, tmp_path) -> None:
    result = tuned(data, tmp_path, replace(CONFIG, dataloader_num_workers=2))
    assert losses(result) == losses(whole)


def test_trained_weights_are_in_float32_during_training(data, tmp_path) -> None:
    """In bfloat16 the steps of a small learning rate would be rounded away."""
    model = load_untuned_model(data.processor, seed=CONFIG.seed).to(torch.bfloat16)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    trained = []

    class Look(TrainerCallback):
        def on_train_begin(self, args, state, control, model=None, **kwargs):
            trained.extend(p.dtype for p in model.parameters() if p.requires_grad)

    config = replace(CONFIG, precision="bf16", max_steps=3)
    result = tune(
        model,
        data.processor,
        data.dataset(),
        tmp_path,
        config,
        callbacks=[Look()],
    )
    assert set(trained) == {torch.float32}
    state = result.model.state_dict()
    assert {weight.dtype for weight in state.values()} == {torch.bfloat16}
    assert not torch.equal(state["alignment.weight"], before["alignment.weight"])


def test_a_finished_tuning_is_not_repeated(data, whole, tmp_path) -> None:
    first = tuned(data, tmp_path)

    class Never(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            raise AssertionError("a step was taken")

    again = tuned(data, tmp_path, callbacks=[Never()])
    assert losses(again) == losses(first) == losses(whole)
    state = again.model.state_dict()
    for name, weight in first.model.state_dict().items():
        assert torch.equal(weight, state[name]), name


def test_sharded_weights_are_merged_from_the_saved_adapter(
    data, whole, tmp_path, monkeypatch
) -> None:
    """As with FSDP, where no process holds the whole model."""
    monkeypatch.setattr(tuning, "weights_are_sharded", lambda: True)
    result = tuned(
        data,
        tmp_path,
        load_untuned=lambda: load_untuned_model(data.processor, seed=CONFIG.seed),
    )
    state = result.model.state_dict()
    for name, weight in whole.model.state_dict().items():
        torch.testing.assert_close(weight, state[name], rtol=1e-6, atol=1e-7, msg=name)


@pytest.mark.parametrize(
    ("variables", "divided"),
    [
        ({}, False),
        ({"ACCELERATE_USE_FSDP": "true"}, True),
        ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}, False),
        ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, True),
    ],
)
def test_sharding_is_read_from_accelerate(variables, divided, monkeypatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert tuning.weights_are_sharded() is divided


def test_an_empty_folder_has_no_checkpoint(tmp_path) -> None:
    assert last_complete_checkpoint(tmp_path) is None


def test_fewer_instructions_than_a_batch_raise(data, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"24 instructions are fewer than a batch of 25"):
        tuned(data, tmp_path, replace(CONFIG, per_device_train_batch_size=25))


def test_validation_needs_a_validation_set(data, tmp_path) -> None:
    with pytest.raises(ValueError, match="give validation_set"):
        tuned(data, tmp_path, validation=ValidationConfig())


@pytest.mark.parametrize(
    "name", ["learning_rate", "per_device_train_batch_size", "num_train_epochs", "save_steps"]
)
def test_settings_are_checked_before_any_work(name) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
        TuningConfig(**{name: 0})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora_dropout": 1.0}, "lora_dropout must be at least 0 and below 1"),
        ({"precision": "int8"}, "precision must be fp32, bf16 or fp16, got 'int8'"),
        ({"warmup_steps": -1}, "warmup_steps must not be negative"),
        ({"max_steps": 0}, "max_steps must be positive"),
    ],
)
def test_further_settings_are_checked(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        TuningConfig(**settings)
