"""A user's mistake gets one clear sentence."""

from pathlib import Path

import pytest
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from gemkr_hf import GeMKRRetriever, KnowledgeBase
from gemkr_hf.cli import app

QUESTION = "What does the red sign mean?"


@pytest.fixture(scope="module")
def image() -> Image.Image:
    return Image.new("RGB", (80, 60), "white")


def test_a_missing_image(retriever) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        retriever.retrieve("nowhere.png", QUESTION)


def test_a_truncated_image(retriever, image, tmp_path) -> None:
    image.resize((400, 400)).save(tmp_path / "whole.jpg")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes((tmp_path / "whole.jpg").read_bytes()[:700])
    with pytest.raises(ValueError, match=r"cut\.jpg"):
        retriever.retrieve(str(cut), QUESTION)


def test_a_file_that_is_no_image(retriever, tmp_path) -> None:
    (tmp_path / "notes.png").write_text("no image at all")
    with pytest.raises(ValueError, match=r"notes\.png"):
        retriever.retrieve(str(tmp_path / "notes.png"), QUESTION)


@pytest.mark.parametrize("question", ["", "  \n"])
def test_an_empty_question(retriever, image, question) -> None:
    with pytest.raises(ValueError, match=r"(?i)question"):
        retriever.retrieve(image, question)


def test_k_of_zero(retriever, image) -> None:
    with pytest.raises(ValueError, match="k is the number of documents wanted, at least 1, got 0"):
        retriever.retrieve(image, QUESTION, k=0)


def test_k_beyond_the_knowledge_base_is_clamped(retriever) -> None:
    small = KnowledgeBase.from_documents(
        [dict(retriever.knowledge_base[row]) for row in range(3)], retriever.processor.tokenizer
    )
    hits = GeMKRRetriever(retriever.model, retriever.processor, small).retrieve(
        None, QUESTION, k=50, num_beams=8
    )
    assert 1 <= len(hits) <= 3


def test_a_knowledge_base_of_another_tokenizer(retriever) -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1, "</s>": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    other = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="[UNK]")
    foreign = KnowledgeBase.from_documents([{"id": "1", "text": "a a"}], other)
    with pytest.raises(ValueError, match="tokenizer"):
        GeMKRRetriever(retriever.model, retriever.processor, foreign)


def test_a_folder_that_is_no_checkpoint(short_quickstart, tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"not found in .*config\.json is missing"):
        GeMKRRetriever.from_pretrained(tmp_path, knowledge_base=short_quickstart / "knowledge_base")


def test_a_repository_that_cannot_be_reached(short_quickstart, monkeypatch) -> None:
    def unreachable(*args, **kwargs):
        raise OSError("We couldn't connect.\nCheck your internet connection.")

    monkeypatch.setattr("gemkr_hf.hub.download.snapshot_download", unreachable)
    with pytest.raises(FileNotFoundError, match="the Hub cannot be reached") as error:
        GeMKRRetriever.from_pretrained(
            "nobody/nothing", knowledge_base=short_quickstart / "knowledge_base"
        )
    assert "\n" not in str(error.value)


def test_the_command_line_says_it_in_one_line(short_quickstart, tmp_path) -> None:
    from typer.testing import CliRunner

    where = [
        "--model", str(short_quickstart / "model"),
        "--knowledge-base", str(short_quickstart / "knowledge_base"),
    ]  # fmt: skip
    for arguments, said in (
        (["--question", QUESTION, "--image", "nowhere.png"], "Image not found: "),
        (["--question", " "], "The question is empty"),
        (["--question", QUESTION, "-k", "0"], "at least 1, got 0"),
        (["--question", QUESTION, "--model", str(tmp_path)], "Checkpoint not found in"),
    ):
        result = CliRunner().invoke(app, ["retrieve", *where, *arguments])
        assert result.exit_code == 2, result.output
        assert said in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("which", ["photograph", "nothing to see"])
def test_the_command_line_answers_for_any_image(short_quickstart, tmp_path, which) -> None:
    from matplotlib.cbook import get_sample_data
    from typer.testing import CliRunner

    path = tmp_path / "image.png"
    Image.new("L", (640, 480), 128).save(path)
    if which == "photograph":
        path = Path(get_sample_data("grace_hopper.jpg", asfileobj=False))
    result = CliRunner().invoke(
        app,
        [
            "retrieve",
            "--image", str(path),
            "--question", "What is this sign used for?",
            "--model", str(short_quickstart / "model"),
            "--knowledge-base", str(short_quickstart / "knowledge_base"),
            "-k", "2",
            "--boxes", str(tmp_path / "boxes.png"),
        ],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "1. " in result.stdout and ">>" in result.stdout
    assert (tmp_path / "boxes.png").exists()
