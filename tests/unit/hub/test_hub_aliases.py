"""Names of version 0.1 work for one more version, with a warning."""

import pytest

from gemkr_hf import hub


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("FACTS_FILE", "TRAINING_RECORD_FILE"),
        ("Refused", "UploadRefused"),
        ("Result", "EvaluationResult"),
        ("Uploaded", "UploadResult"),
        ("read_facts", "read_training_record"),
        ("write_facts", "write_training_record"),
    ],
)
def test_old_names_of_the_hub(old: str, new: str) -> None:
    with pytest.warns(FutureWarning, match=f"'gemkr_hf.hub.{old}' is deprecated.*{new}"):
        assert getattr(hub, old) is getattr(hub, new)


def test_the_old_option_of_an_upload(client) -> None:
    code = """
    from gemkr_hf.hub import PlannedFile, UploadPlan, upload
    upload(UploadPlan("alice/x", "model", (PlannedFile("model.safetensors", b"x"),)), say=print)
    """
    with pytest.warns(FutureWarning, match="'say' is deprecated.*use 'log'"):
        assert client(code) == "Uploaded 1 B of 1 B\n"
