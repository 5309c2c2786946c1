"""The Python code of the guides in docs/ runs, one block after the other."""

import re

from tests.integration.test_readme import run_blocks
from tests.project import ROOT, run_python

(
    HOME_BLOCKS,
    FIRST_BLOCKS,
    INDEX_BLOCKS,
    MODEL_BLOCKS,
    DECODING_BLOCKS,
    TRAINING_BLOCKS,
    HUB_BLOCKS,
    EVALUATION_BLOCKS,
) = (
    re.findall(r"```python\n(.*?)```", (ROOT / "docs" / name).read_text(), re.DOTALL)
    for name in (
        "index.md",
        "getting-started.md",
        "fm-index.md",
        "model.md",
        "decoding.md",
        "training.md",
        "hub.md",
        "evaluation.md",
    )
)


def test_the_pages_for_beginners_run(short_quickstart, tmp_path) -> None:
    printed = run_blocks("".join(HOME_BLOCKS + FIRST_BLOCKS), short_quickstart, tmp_path)
    assert len(HOME_BLOCKS) == 1 and len(FIRST_BLOCKS) == 3
    assert printed.splitlines()[-1] == "1"


def test_the_guide_to_the_model_run(short_quickstart, tmp_path) -> None:
    run_blocks("".join(MODEL_BLOCKS), short_quickstart, tmp_path)
    assert (tmp_path / "runs" / "objects.png").is_file()


def test_the_guide_to_decoding_run(short_quickstart, tmp_path) -> None:
    printed = run_blocks("".join(DECODING_BLOCKS), short_quickstart, tmp_path)
    assert (tmp_path / "runs" / "beams.png").is_file()
    assert "dropped mass" in printed
    for strategy in ("clue", "first_sentence", "document", "free"):
        assert f"\n{strategy} [(" in printed


def test_the_guide_to_training_run(short_quickstart, tmp_path) -> None:
    printed = run_blocks("".join(TRAINING_BLOCKS), short_quickstart, tmp_path)
    assert (tmp_path / "runs" / "sampling.png").is_file()
    assert "off-road circuits" in printed
    assert "The model is in runs/few-symbols/model" in printed
    assert "'R@5': " in printed


def test_the_guide_to_the_hub_run(short_quickstart, tmp_path) -> None:
    """Blocks that need no Hub; uploads are tested in tests/slow/hub."""
    local = "".join(block for block in HUB_BLOCKS if '"org/' not in block)
    run_blocks(local, short_quickstart, tmp_path)


def test_the_guide_to_evaluation_run(short_quickstart, tmp_path) -> None:
    assert EVALUATION_BLOCKS
    run_blocks("".join(EVALUATION_BLOCKS), short_quickstart, tmp_path)


def test_the_guide_to_the_index_say_what_they_print(tmp_path) -> None:
    """A comment behind an expression is its value."""
    script = """
from numpy import array, asarray
def plain(value):
    return [plain(part) for part in value] if isinstance(value, list) else asarray(value).tolist()
"""
    for line in "".join(INDEX_BLOCKS).splitlines():
        code, _, comment = line.partition("  # ")
        value = comment.split(": ")[0]
        if value.startswith(("array(", "[array(")):
            script += f"assert plain({code}) == plain({value}), {code!r}\n"
        else:
            script += line + "\n"
    assert script.count("assert") == 4
    run_python("-c", script, cwd=tmp_path)
