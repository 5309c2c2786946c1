"""The symbols dataset as a benchmark: the data format ``symbols``."""

from pathlib import Path

import datasets

from gemkr_hf.data.benchmark import Benchmark, knowledge_base_path
from gemkr_hf.data.data_config import DataConfig
from gemkr_hf.data.features import DOCUMENT_FEATURES, QUESTION_FEATURES
from gemkr_hf.data.images import DatasetImages
from gemkr_hf.toy.symbols.scene_annotations import scene_annotations
from gemkr_hf.toy.symbols.symbol_documents import load_documents
from gemkr_hf.toy.symbols.symbols_dataset import SymbolsConfig, load_symbols


def load_symbols_benchmark(config: DataConfig, base: Path = Path()) -> Benchmark:
    """Generate or load the benchmark that a configuration describes.

    Args:
        config: ``seed``, ``knowledge_base`` and, optionally, ``scenes``, the number of training
            images.
        base: Folder that the path of the knowledge base is resolved against.
    """
    sizes = {} if config.scenes is None else {"train_scenes": config.scenes}
    splits = load_symbols(SymbolsConfig(seed=config.seed, **sizes))
    return symbols_benchmark(splits, knowledge_base_path(config, base))


def symbols_benchmark(splits: datasets.DatasetDict, knowledge_base: str | None = None) -> Benchmark:
    """Convert splits of the symbols dataset into a benchmark.

    Args:
        splits: Splits from `gemkr_hf.toy.symbols.load_symbols`, ``train`` among them.
        knowledge_base: Folder where the knowledge base is or will be built.
    """
    train = splits["train"].select_columns(["image_id", "objects"])
    images = datasets.concatenate_datasets(
        [split.select_columns(["image_id", "image"]) for split in splits.values()]
    )
    return Benchmark(
        name="symbols",
        questions=datasets.DatasetDict(
            {name: _question_columns(split) for name, split in splits.items()}
        ),
        documents=[
            {name: document[name] for name in DOCUMENT_FEATURES} for document in load_documents()
        ],
        images=DatasetImages(images, "the symbols dataset"),
        knowledge_base=knowledge_base,
        captions={
            row["image_id"]: [
                (item["box"], (item["color"], item["symbol"])) for item in row["objects"]
            ]
            for row in train
        },
        scenes=lambda split: scene_annotations(splits[split]),
    )


def _question_columns(split: datasets.Dataset) -> datasets.Dataset:
    """Return the columns of ``QUESTION_FEATURES``; those the dataset lacks are empty."""
    columns = split.select_columns(
        [name for name in split.column_names if name in QUESTION_FEATURES]
    ).to_dict()
    columns["answer_scores"] = [[1.0] * len(answers) for answers in columns["answers"]]
    for name in ("negative_ids", "clues"):
        columns[name] = [[] for _ in range(len(split))]
    return datasets.Dataset.from_dict(
        {name: columns[name] for name in QUESTION_FEATURES}, features=QUESTION_FEATURES
    )
