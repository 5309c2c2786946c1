"""Cards are complete and valid."""

from dataclasses import asdict

import pytest
import yaml
from huggingface_hub import ModelCard

from gemkr_hf.demo.space_repository import SpaceSettings, plan_space
from gemkr_hf.hub import (
    CardSettings,
    EvaluationResult,
    plan_model,
    record_results,
    write_training_record,
)
from gemkr_hf.hub.model_card import evaluation_results, model_card
from tests.unit.hub.hub_repositories import problems_of_card

RESULT = EvaluationResult(
    "test", "after instruction tuning", 200, "gold", {"P@1": 0.88, "R@5": 0.98}
)


@pytest.mark.slow
def test_pushed_cards_are_valid_and_complete(full_hub) -> None:
    hub, _ = full_hub
    for repo_id, repo_type in (
        ("alice/gemkr", "model"), ("alice/lora", "model"), ("alice/base", "model"),
        ("alice/symbols", "dataset"),
    ):  # fmt: skip
        card = hub.files(repo_id, repo_type)["README.md"].decode()
        assert problems_of_card(card, repo_type) == ([], [])
        assert "hf_" not in card.replace("gemkr_hf", "")
    card = ModelCard(hub.files("alice/gemkr")["README.md"].decode())
    assert card.data.license == "agpl-3.0" and card.data.datasets == ["alice/symbols"]
    assert {result.dataset_split for result in card.data.eval_results} == {"test", "unseen"}
    for text in ("| `gold` |", "learning_rate: ", "AGPL-3.0", "CPU", "minutes", "## Limits"):
        assert text in card.text, text
    # Settings without effect are not listed.
    assert "checkpoint: small-world" in card.text
    assert "language_model:" not in card.text and "null" not in card.text
    entries = yaml.safe_load(hub.files("alice/gemkr")[".eval_results/gemkr.yaml"])
    assert entries[0]["dataset"] == {"id": "alice/symbols", "task_id": "test-p_at_1-gold"}
    adapter = ModelCard(hub.files("alice/lora")["README.md"].decode())
    assert adapter.data.base_model == ["alice/base"]
    assert adapter.data["base_model_relation"] == "adapter"


@pytest.mark.parametrize(
    ("parts", "given", "license"),
    [
        ([{"part": "checkpoint", "source": "ours", "license": "mit"}], None, "apache-2.0"),
        ([{"part": "language model", "name": "a/llama", "license": "llama2"}], None, "other"),
        ([{"part": "language model", "name": "a/llama"}], None, "other"),
        ([{"part": "language model", "name": "a/llama"}], "llama2", "llama2"),
    ],
)
def test_the_license_follows_from_the_parts(tmp_path, parts, given, license) -> None:
    write_training_record(tmp_path, {"starts_from": parts})
    settings = CardSettings(license=given)
    card = model_card(tmp_path, "alice/x", settings, ask_the_hub=False)
    assert card.data.license == license
    assert problems_of_card(str(card), "model") == ([], [])


def test_results_are_recorded_and_replaced(tmp_path) -> None:
    record_results(tmp_path, RESULT)
    better = EvaluationResult(**{**asdict(RESULT), "metrics": {"P@1": 0.9}})
    record_results(tmp_path, better, EvaluationResult(**{**asdict(RESULT), "preset": "vrr"}))
    card = model_card(tmp_path, "alice/x", CardSettings(knowledge_base="alice/kb"))
    assert "0.900" in card.text and "`vrr`" in card.text
    assert len(card.data.eval_results) == 3
    assert evaluation_results(tmp_path, CardSettings()) is None
    assert b"alice/kb" in evaluation_results(tmp_path, CardSettings(knowledge_base="alice/kb"))


def test_a_space(short_quickstart) -> None:
    plan = plan_space(
        "alice/ask", SpaceSettings("alice/gemkr", "alice/kb"), short_quickstart / "examples"
    )
    files = {file.path: file.read() for file in plan.files}
    assert problems_of_card(files["README.md"].decode(), "space") == ([], [])
    compile(files["app.py"], "app.py", "exec")
    assert b"'alice/gemkr', knowledge_base='alice/kb'" in files["app.py"]
    assert "examples/examples.json" in files and "examples/scene-1.png" in files
    with pytest.raises(ValueError, match="'gemkr' is not a valid Hub id: write 'owner/name'"):
        plan_space("alice/ask", SpaceSettings("gemkr", "alice/kb"))


def test_folders_without_a_checkpoint(short_quickstart, tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No model found in .*config\.json is missing"):
        plan_model(tmp_path, "alice/x")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="No weights found"):
        plan_model(tmp_path, "alice/x")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"processor_config\.json is missing; save the"):
        plan_model(tmp_path, "alice/x")
