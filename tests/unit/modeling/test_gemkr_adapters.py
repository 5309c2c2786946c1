"""PEFT on top: LoRA on the language model, `modules_to_save` for the rest."""

import pytest
import torch

from gemkr_hf.modeling import GeMKRForRetrieval

peft = pytest.importorskip("peft")


def lora(model):
    return peft.LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=model.lora_target_modules(),
        modules_to_save=model.modules_to_save,
        task_type="CAUSAL_LM",
    )


@pytest.mark.parametrize("kind", ["llama", "opt"])
def test_lora_targets_the_language_model_only(tiny, kind):
    model = peft.get_peft_model(tiny.gemkr(kind), lora(tiny.gemkr(kind)))
    adapted = {name for name, _ in model.named_parameters() if "lora_" in name}
    assert len(adapted) == 2 * 2 * 2
    assert all("language_model" in name for name in adapted)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad} - adapted
    assert {
        name.split(".modules_to_save.default.")[0].rsplit(".", 1)[-1] for name in trainable
    } == {
        "prefix",
        "object_projection",
        "alignment",
    }


def test_lora_with_unknown_layer_names(tiny):
    with pytest.raises(ValueError, match="no layer called q_proj, v_proj; choose among c_attn"):
        tiny.gemkr("gpt2").lora_target_modules(("q_proj", "v_proj"))
    assert "c_attn" in tiny.gemkr("gpt2").lora_target_modules()


@pytest.mark.parametrize("switches", [{"use_prefix": False}, {"use_object_features": False}])
def test_ablated_models_with_adapters(tiny, switches):
    model = tiny.gemkr(**switches)
    adapted = peft.get_peft_model(model, lora(model))
    kept = {n.split(".")[2] for n, p in adapted.named_parameters() if "modules_to_save" in n}
    assert kept == {name for name in model.modules_to_save if getattr(model, name) is not None}


def test_train_save_load_merge(tiny, tmp_path):
    base, inputs = tiny.gemkr(), tiny.inputs((2, 0, 1))
    base.save_pretrained(tmp_path / "base")
    labels = inputs["input_ids"].clamp_max(50)
    model = peft.get_peft_model(base, lora(base)).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(8):
        loss = model(**inputs, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != parameter.requires_grad, name
    model.eval()
    with torch.no_grad():
        trained = model(**inputs).logits
    clues = model.generate(**inputs, num_beams=4, max_new_tokens=4)

    model.save_pretrained(tmp_path / "adapter")
    fresh = GeMKRForRetrieval.from_pretrained(tmp_path / "base")
    loaded = peft.PeftModel.from_pretrained(fresh, tmp_path / "adapter").eval()
    with torch.no_grad():
        assert torch.equal(loaded(**inputs).logits, trained)

    injected = GeMKRForRetrieval.from_pretrained(tmp_path / "base")
    injected.load_adapter(str(tmp_path / "adapter"))
    with torch.no_grad():
        assert torch.equal(injected.eval()(**inputs).logits, trained)

    merged = loaded.merge_and_unload()
    assert type(merged) is GeMKRForRetrieval
    with torch.no_grad():
        torch.testing.assert_close(merged(**inputs).logits, trained, rtol=1e-4, atol=1e-4)
    assert torch.equal(merged.generate(**inputs, num_beams=4, max_new_tokens=4), clues)
    merged.save_pretrained(tmp_path / "merged")
    whole = GeMKRForRetrieval.from_pretrained(tmp_path / "merged")
    with torch.no_grad():
        assert torch.equal(whole(**inputs).logits, merged(**inputs).logits)


def test_hf_trainer_divides_by_the_clue_tokens(tiny, tmp_path):
    """Two batches of one row under gradient accumulation are one batch of two rows."""
    from transformers import Trainer, TrainingArguments

    inputs = tiny.inputs((2, 2))
    labels = inputs["input_ids"].clone()
    labels[0, :-1] = -100  # one clue token in the first row, three in the second
    labels[1, :-3] = -100
    rows = [{**{k: v[i] for k, v in inputs.items()}, "labels": labels[i]} for i in range(2)]
    weights = []
    for batch_size, accumulation in ((2, 1), (1, 2)):
        model = tiny.gemkr()
        model.freeze_backbones()
        arguments = TrainingArguments(
            output_dir=str(tmp_path / str(batch_size)),
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
            max_steps=1,
            learning_rate=0.1,
            optim="sgd",
            lr_scheduler_type="constant",
            remove_unused_columns=False,
            report_to=[],
            use_cpu=True,
            save_strategy="no",
            disable_tqdm=True,
        )
        Trainer(model=model, args=arguments, train_dataset=rows).train()
        weights.append(model.alignment.weight.detach())
    torch.testing.assert_close(weights[0], weights[1])
    assert not torch.equal(weights[0], tiny.gemkr().alignment.weight)
