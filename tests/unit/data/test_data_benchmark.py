"""Benchmarks of every format: questions in splits, documents, images."""

import csv
import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from gemkr_hf.data import (
    BENCHMARK_FORMATS,
    DOCUMENT_FEATURES,
    QUESTION_FEATURES,
    Benchmark,
    DataConfig,
    load_benchmark,
)
from gemkr_hf.data.benchmark import draw_validation
from gemkr_hf.data.images import NoImages
from tests.unit.data.data_files import (
    COLORS,
    okvqa_records,
    remuq_records,
    write_images,
    write_json,
    write_okvqa_corpus,
    write_tsv,
)

COCO_NAME = "val2014/COCO_val2014_{:012d}.jpg"


def check(benchmark: Benchmark, relevant: list[str]) -> None:
    """What holds of every benchmark here: question n is of image n, with its document there."""
    for questions in benchmark.questions.values():
        assert questions.features == QUESTION_FEATURES
    documents = list(benchmark.documents)
    assert list(benchmark.documents) == documents
    assert all(list(document) == list(DOCUMENT_FEATURES) for document in documents)
    known = {document["id"] for document in documents}
    train = benchmark.questions["train"]
    assert [row["relevant_ids"][0] for row in train] == relevant
    assert known.issuperset(relevant)
    for row in train:
        image = benchmark.images[row["image_id"]]
        number = row["question"].removesuffix("?")[-1]
        assert image.getpixel((0, 0)) == pytest.approx(COLORS[number], abs=1)


@pytest.mark.parametrize(("corpus", "questions"), [("", "google:"), ("GS_", ""), ("google:", "")])
def test_okvqa_gs112k(corpus: str, questions: str, tmp_path: Path) -> None:
    write_okvqa_corpus(tmp_path / "okvqa_train_corpus.csv", corpus)
    write_json(tmp_path / "train.json", okvqa_records(questions))
    write_json(tmp_path / "test.json", okvqa_records(questions)[:2])
    write_images(tmp_path / "coco", COCO_NAME)
    config = DataConfig(
        format="okvqa",
        train="train.json",
        validation="test.json",
        test="test.json",
        documents="okvqa_train_corpus.csv",
        images="coco",
    )
    benchmark = load_benchmark(config, tmp_path)
    check(benchmark, ["1", "2", "3"])
    assert list(benchmark.questions) == ["train", "validation", "test"]
    assert benchmark.name == "okvqa (train.json, test.json, test.json)"
    assert next(iter(benchmark.documents)) == {
        "id": "0", "title": "", "text": 'Text 0, with "quotes".',
    }  # fmt: skip


def test_okvqa_wk21m(tmp_path: Path) -> None:
    rows = "".join(f'{n}\t"Text ""{n}"" of\'it"\tTitle {n}\n' for n in range(1, 6))
    (tmp_path / "psgs_w100.tsv").write_text("id\ttext\ttitle\n" + rows)
    write_json(tmp_path / "train.json", okvqa_records("wiki:"))
    write_images(tmp_path / "coco", COCO_NAME)
    config = DataConfig(
        format="okvqa", train="train.json", documents="psgs_w100.tsv", images="coco"
    )
    benchmark = load_benchmark(config, tmp_path)
    check(benchmark, ["1", "2", "3"])
    assert len(benchmark.documents) == 5
    assert next(iter(benchmark.documents)) == {
        "id": "1", "title": "Title 1", "text": "Text \"1\" of'it",
    }  # fmt: skip


def test_remuq(tmp_path: Path) -> None:
    rows = "".join(f"webqa_{n},Text {n}\n" for n in range(1, 10))
    (tmp_path / "open_corpus.csv").write_text("kid,text\n" + rows)
    write_json(tmp_path / "train.json", remuq_records())
    write_tsv(tmp_path / "imgs.tsv")
    config = DataConfig(
        format="remuq", train="train.json", documents="open_corpus.csv", images="imgs.tsv"
    )
    check(load_benchmark(config, tmp_path), ["webqa_1", "webqa_2", "webqa_3"])


def test_table(tmp_path: Path) -> None:
    with (tmp_path / "q.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "image", "document", "answer"])
        writer.writerows([f"What is {n}?", f"{n}.png", f"doc {n}", "red"] for n in (1, 2, 3))
    documents = [{"name": f"doc {n}", "words": f"Text {n}"} for n in (1, 2, 3)]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, documents)))
    config = DataConfig(
        format="table",
        train="q.csv",
        documents="d.jsonl",
        images=str(write_images(tmp_path / "own")),
        id_column="name",
        text_column="words",
        knowledge_base="kb",
    )
    benchmark = load_benchmark(config, tmp_path)
    check(benchmark, ["doc 1", "doc 2", "doc 3"])
    assert benchmark.knowledge_base == str(tmp_path / "kb")


def test_without_documents_and_images(tmp_path: Path) -> None:
    write_json(tmp_path / "train.json", okvqa_records())
    config = DataConfig(format="okvqa", train="train.json", knowledge_base="org/kb")
    benchmark = load_benchmark(config, tmp_path)
    assert len(benchmark.documents) == len(benchmark.images) == 0
    assert "1" not in benchmark.images
    assert benchmark.knowledge_base == "org/kb"


def questions_of(tmp_path: Path, images: list[int]) -> Any:
    records = [
        {**okvqa_records()[0], "question_id": number, "img_id": image}
        for number, image in enumerate(images)
    ]
    write_json(tmp_path / "train.json", records)
    config = DataConfig(format="okvqa", train="train.json")
    return load_benchmark(config, tmp_path).questions["train"]


def test_validation_is_drawn_by_whole_images(tmp_path: Path) -> None:
    questions = questions_of(tmp_path, [row // 2 if row < 20 else row for row in range(60)])
    train, validation = draw_validation(questions, 13, seed=0)
    assert (len(train), len(validation)) == (47, 13)
    assert set(train["question_id"]) | set(validation["question_id"]) == set(
        questions["question_id"]
    )
    assert not set(train["image_id"]) & set(validation["image_id"])
    again = draw_validation(questions.select(reversed(range(60))), 13, seed=0)[1]
    assert set(again["question_id"]) == set(validation["question_id"])
    other = draw_validation(questions, 13, seed=1)[1]
    assert set(other["question_id"]) != set(validation["question_id"])
    with pytest.raises(ValueError, match=r"validation is 60, but there are only 60 training"):
        draw_validation(questions, 60, 0)
    with pytest.raises(ValueError, match=r"Cannot draw 1 validation .* increase validation"):
        draw_validation(questions_of(tmp_path, [1, 1, 2, 2]), 1, 0)


def test_validation_by_number(tmp_path: Path) -> None:
    write_json(tmp_path / "train.json", okvqa_records())
    config = DataConfig(format="okvqa", train="train.json", validation=1)
    questions = load_benchmark(config, tmp_path).questions
    assert {split: len(rows) for split, rows in questions.items()} == {"train": 2, "validation": 1}


def test_several_ids_of_one_image_stay_together(tmp_path: Path) -> None:
    write_images(tmp_path / "coco", COCO_NAME)
    names = [name for n in (1, 2, 3) for name in (f"{n}", f"{n:012d}", f"COCO_val2014_{n:012d}")]
    rows = [{**okvqa_records()[0], "question_id": n, "img_id": n} for n in names]
    write_json(tmp_path / "train.json", rows)
    config = DataConfig(format="okvqa", train="train.json", validation=3, images="coco")
    questions = load_benchmark(config, tmp_path).questions
    assert len({int(image_id[-12:]) for image_id in questions["validation"]["image_id"]}) == 1
    assert len({int(image_id[-12:]) for image_id in questions["train"]["image_id"]}) == 2


def test_the_small_world() -> None:
    benchmark = load_benchmark(DataConfig(format="symbols", scenes=3))
    assert list(benchmark.questions) == ["train", "validation", "test", "unseen"]
    assert len(benchmark.questions["train"]) == 9
    known = {document["id"] for document in benchmark.documents}
    for split in benchmark.questions.values():
        assert split.features == QUESTION_FEATURES
        row = split[0]
        assert row["answers"] and row["answer_scores"] == [1.0]
        assert known.issuperset(row["relevant_ids"])
        assert benchmark.images[row["image_id"]].mode == "RGB"


@pytest.mark.parametrize("setting", ["train", "validation", "test", "documents", "images"])
def test_a_missing_path_is_reported_before_reading(setting: str, tmp_path: Path) -> None:
    write_json(tmp_path / "train.json", ["broken"])
    settings = {"train": "train.json", setting: "nowhere.csv"}
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
        load_benchmark(DataConfig(format="okvqa", **settings), tmp_path)


def test_invalid_documents_of_a_corpus_are_errors(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"id": 1, "text": "a"}\n{"id": 2, "text": null}\n')
    write_json(tmp_path / "train.json", okvqa_records())
    config = DataConfig(format="okvqa", train="train.json", documents="d.jsonl")
    with pytest.raises(ValueError, match=r"Document 2 of '.*d.jsonl' has no text"):
        list(load_benchmark(config, tmp_path).documents)
    (tmp_path / "d.jsonl").write_text('{"no": 1, "text": "a"}\n')
    with pytest.raises(ValueError, match=r"No column 'id' in '.*d.jsonl', which has no, text"):
        load_benchmark(config, tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"format": "zip", "train": "a"}, r"format must be one of .*okvqa, remuq, .*, got 'zip'"),
        ({"format": "okvqa"}, r"No question file is given"),
        ({"format": "okvqa", "validation": 3}, r"No question file is given"),
        ({"format": "okvqa", "test": "t", "validation": 3}, r"but train is missing"),
        ({"format": "okvqa", "train": "a", "validation": 0}, r"validation must be positive, got 0"),
        ({"format": "okvqa", "train": 7}, r"train: Input should be a valid string, got 7"),
        ({"format": "okvqa", "train": ""}, r"train must not be empty"),
        (
            {"format": "okvqa", "train": "a", "seed": "0"},
            r"seed: .* valid integer, got '0'",
        ),
        (
            {"format": "okvqa", "train": "a", "seed": True},
            r"seed: .* valid integer, got True",
        ),
        (
            {"format": "okvqa", "train": "a", "validation": 0.5},
            r"validation: Input should be a valid .*, got 0.5",
        ),
        (
            {"format": "okvqa", "train": "a", "text_column": None},
            r"text_column: Input should be a valid string, got None",
        ),
        (
            {"format": "okvqa", "train": "a", "image_layout": "x"},
            r"image_layout must be one of auto",
        ),
        (
            {"format": "okvqa", "train": "a", "scenes": 3},
            r"scenes does not apply to the format 'okvqa'",
        ),
        ({"format": "symbols", "train": "a"}, r"'symbols' generates its own train: omit train"),
        ({"format": "symbols", "scenes": 0}, r"scenes must be positive, got 0"),
        (
            {"format": "table", "trian": "a"},
            r"Section 'data' of 'f': Unknown setting trian: did you mean train",
        ),
        ({"train": "a"}, r"Section 'data' of 'f': The setting format is missing"),
        (["okvqa"], r"The section 'data' of 'f' must hold settings"),
    ],
)
def test_invalid_settings_are_errors(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig.from_mapping(settings, "'f'")


def test_renamed_settings_still_work() -> None:
    old = {"format": "okvqa", "train": "a", "pictures": "coco", "picture_layout": "coco"}
    with pytest.warns(FutureWarning) as warned:
        config = DataConfig.from_mapping(old)
    messages = [str(warning.message) for warning in warned]
    assert "'pictures' is deprecated" in messages[0] and "use 'images'" in messages[0]
    assert "'picture_layout' is deprecated" in messages[1]
    assert (config.images, config.image_layout) == ("coco", "coco")
    with pytest.warns(FutureWarning, match="is deprecated"):
        assert DataConfig(**old) == config
    with pytest.warns(FutureWarning, match=r"DataConfig\.pictures"):
        assert config.pictures == "coco"
    with pytest.raises(ValueError, match="'pictures' is the old name of 'images'"):
        DataConfig.from_mapping({**old, "images": "coco"})


def test_renamed_settings_of_a_training_configuration_still_work() -> None:
    from gemkr_hf.training.arguments import TrainConfig
    from gemkr_hf.utils.config import parse

    content = {"data": {"format": "okvqa", "train": "a", "pictures": "coco"}, "output": "runs/a"}
    with pytest.warns(FutureWarning, match="'pictures' is deprecated"):
        assert parse(TrainConfig, content).data.images == "coco"


def test_a_registered_format_loads_its_own_benchmark(tmp_path: Path) -> None:
    def load(config: DataConfig, base: Path) -> Benchmark:
        return Benchmark(f"{config.format} in {base}", datasets.DatasetDict(), (), NoImages())

    BENCHMARK_FORMATS.register("mine", load)
    try:
        benchmark = load_benchmark(DataConfig(format="mine"), tmp_path)
        assert benchmark.name == f"mine in {tmp_path}"
        with pytest.raises(ValueError, match="'mine' generates its own images"):
            DataConfig(format="mine", images="coco")
    finally:
        del BENCHMARK_FORMATS._providers["mine"]


def test_the_old_names_of_image_sources_still_work() -> None:
    import gemkr_hf.data as data
    import gemkr_hf.data.images as images

    with pytest.warns(FutureWarning, match="use 'gemkr_hf.data.ImageSource'"):
        assert data.Pictures is data.ImageSource
    with pytest.warns(FutureWarning, match="use 'gemkr_hf.data.open_images'"):
        assert data.open_pictures is data.open_images
    with pytest.warns(FutureWarning, match="use 'gemkr_hf.data.images.NoImages'"):
        assert images.NoPictures is NoImages
