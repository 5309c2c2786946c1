"""``gemkr train`` from parts: a language model and a CLIP on disk, with the published formats."""

import base64
import csv
import io
import json

import pytest
import torch
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
)
from typer.testing import CliRunner

from gemkr_hf import GeMKRRetriever, KnowledgeBase
from gemkr_hf.cli import app
from gemkr_hf.toy.stand_ins.build import CHECKPOINTS
from gemkr_hf.toy.stand_ins.tokenizer_stand_in import load_tokenizer
from tests.unit.training.training_files import write_files, write_settings

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
TUNING = {"max_steps": 4, "per_device_train_batch_size": 4, "warmup_steps": 1, "logging_steps": 1}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files of a training, and a tiny language model and CLIP that know nothing."""
    folder = tmp_path_factory.mktemp("parts")
    write_files(folder)
    torch.manual_seed(0)
    tokenizer = load_tokenizer(CHECKPOINTS / "tokenizer")
    text = LlamaConfig(**SIZES, num_attention_heads=4, vocab_size=len(tokenizer))
    LlamaForCausalLM(text).save_pretrained(folder / "llama")
    tokenizer.save_pretrained(folder / "llama")
    vision = CLIPVisionConfig(**SIZES, num_attention_heads=4, image_size=32, patch_size=8)
    CLIPVisionModel(vision).save_pretrained(folder / "clip")
    size = {"height": 32, "width": 32}
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder / "clip")
    return folder


PARTS = {
    "checkpoint": None,
    "language_model": "llama",
    "vision_model": "clip",
    "detector": None,
    "config": {"prefix_length": 4, "max_objects": 3},
}


@pytest.fixture(autouse=True)
def inside(files, monkeypatch):
    monkeypatch.chdir(files)


def train(path):
    done = CliRunner().invoke(app, ["train", "--config", str(path)])
    assert done.exit_code == 0, done.output
    return done.output


def settings(files, name, **sections):
    sections.setdefault("model", PARTS)
    return write_settings(
        files, f"{name}.yaml", output=f"runs/{name}", tuning=TUNING,
        validation={"eval_steps": 2, "questions": 2, "num_beams": 2}, **sections,
    )  # fmt: skip


def test_a_model_of_parts_is_tuned_and_saved(files) -> None:
    said = train(settings(files, "joined"))
    assert "Validation: P@1" in said
    retriever = GeMKRRetriever.from_pretrained(
        files / "runs/joined/model", knowledge_base=files / "runs/knowledge_base"
    )
    assert retriever.model.config.prefix_length == 4
    image = next((files / "images").glob("*.png"))
    assert len(retriever.retrieve(image, "What is it?", k=2, num_beams=2)) == 2


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"config": {"prefix_length": 2}}, "model.config: max_objects=5 objects do not fit"),
        ({"config": {"prefix_size": 2}}, "model.config: unknown setting 'prefix_size'"),
        ({"processor": {"objects": 2}}, "model.processor: unknown setting 'objects'"),
        (
            {"language_model": "./nowhere"},
            "model.language_model not found: no local file or folder './nowhere'",
        ),
        (
            {"detector": "/nowhere/best.pt"},
            "model.detector not found: no local file or folder '/nowhere",
        ),
        ({"detector": "best.pt"}, "model.detector not found: no local file or folder 'best.pt'"),
    ],
)
def test_parts_that_cannot_be_joined_are_told_before_they_are_loaded(files, model, message) -> None:
    path = settings(files, "wrong", model={**PARTS, **model})
    done = CliRunner().invoke(app, ["train", "--config", str(path)])
    assert done.exit_code == 2
    assert message in done.output
    assert not (files / "runs/wrong").exists()


def test_captions_stand_in_for_images(files) -> None:
    """Table 3, "w/o Visual Queries"."""
    with (files / "train.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("captioned", "captioned_validation"):
        with (files / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0], "caption"])
            writer.writeheader()
            writer.writerows({**row, "caption": "a red anchor"} for row in rows[:8])
    captioned = settings(
        files, "captions", captions=True,
        model={**PARTS, "config": {"use_visual_query": False, "use_prefix": False}},
        data={"train": "captioned.csv", "validation": "captioned_validation.csv"},
    )  # fmt: skip
    train(captioned)
    assert not (files / "runs/captions/images").exists()
    retriever = GeMKRRetriever.from_pretrained(
        files / "runs/captions/model", knowledge_base=files / "runs/knowledge_base"
    )
    assert retriever.model.vision_tower is None
    assert retriever.retrieve(None, "What is it?", k=1, captions="a red anchor", num_beams=2)


def records(files, split):
    with (files / f"{split}.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [
        {
            "question_id": str(number),
            "img_id": row["image"].removesuffix(".png"),
            "question": row["question"],
            "caption": "",
            "answers": dict.fromkeys(row["answer"].split(";"), 1.0),
            "ctxs": [
                {"id": f"google:{number_of(files, name)}", "text": "", "has_answer": True}
                for name in row["document"].split(";")
            ],
        }
        for number, row in enumerate(rows)
    ]


def number_of(files, identifier):
    with (files / "documents.csv").open() as file:
        return [row["id"] for row in csv.DictReader(file)].index(identifier)


@pytest.mark.parametrize("built_before", [False, True], ids=["built now", "built before"])
def test_okvqa_is_trained_on_in_its_own_files(files, built_before) -> None:
    """Ids are matched whether the knowledge base kept the prefix of the corpus or not."""
    for split in ("train", "validation"):
        (files / f"{split}.json").write_text(json.dumps(records(files, split)))
    with (files / "documents.csv").open() as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    with (files / "corpus.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["kid", "text"])
        writer.writerows((f"GS_{number}", text) for number, text in enumerate(texts))
    place = f"runs/knowledge_base_{built_before}"
    if built_before:
        done = CliRunner().invoke(
            app,
            [
                "index",
                "corpus.csv",
                "--id-column",
                "kid",
                "--tokenizer",
                "llama",
                "--output",
                place,
            ],
        )
        assert done.exit_code == 0, done.output
    said = train(
        settings(
            files, f"okvqa_{built_before}",
            data={
                "format": "okvqa", "train": "train.json", "validation": "validation.json",
                "documents": "corpus.csv", "knowledge_base": place,
            },
        )
    )  # fmt: skip
    assert "32 instructions of 16 questions" in said
    first = KnowledgeBase.from_pretrained(files / place)[0]["id"]
    assert first == ("GS_0" if built_before else "0")


def test_remuq_is_trained_on_in_its_own_files(files) -> None:
    for split in ("train", "validation"):
        (files / f"remuq_{split}.json").write_text(json.dumps(records(files, split)))
    with (files / "documents.csv").open() as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    with (files / "open_corpus.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["kid", "text"])
        writer.writerows((f"google:{number}", text) for number, text in enumerate(texts))
    offset, offsets = 0, []
    with (files / "imgs.tsv").open("wb") as file:
        for path in sorted((files / "images").glob("*.png")):
            packed = io.BytesIO(path.read_bytes()).getvalue()
            line = path.stem.encode() + b"\t" + base64.b64encode(packed) + b"\n"
            offsets.append(offset)
            offset += len(line)
            file.write(line)
    (files / "imgs.lineidx").write_text("".join(f"{place}\n" for place in offsets))
    said = train(
        settings(
            files, "remuq",
            data={
                "format": "remuq", "train": "remuq_train.json",
                "validation": "remuq_validation.json", "documents": "open_corpus.csv",
                "images": "imgs.tsv", "knowledge_base": "runs/knowledge_base_remuq",
            },
        )
    )  # fmt: skip
    assert "of 16 questions" in said
    assert "Left out" not in said
