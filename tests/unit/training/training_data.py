"""A few images of the small world with instructions about them, for tests of training."""

from dataclasses import dataclass
from typing import Any

import datasets

from gemkr_hf.data import Benchmark
from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.toy.stand_ins.assemble import load_processor, load_untuned_model
from gemkr_hf.toy.symbols.symbols_benchmark import symbols_benchmark
from gemkr_hf.toy.symbols.symbols_dataset import SymbolsConfig, load_symbols
from gemkr_hf.training.instruction_dataset import InstructionDataset, write_instructions
from gemkr_hf.training.prepared_images import PreparedImages, prepare_images

FEW = SymbolsConfig(
    train_scenes=6, validation_scenes=3, test_scenes=1, unseen_scenes=1, train_questions=2
)


@dataclass(frozen=True)
class TrainingData:
    """What a training needs besides a model."""

    benchmark: Benchmark
    processor: Any
    knowledge_base: KnowledgeBase
    prepared: PreparedImages
    train: datasets.Dataset
    validation: datasets.Dataset

    def dataset(self, instructions: datasets.Dataset | None = None) -> InstructionDataset:
        return InstructionDataset(instructions or self.train, self.prepared, self.processor)


def make_training_data(folder) -> TrainingData:
    """24 instructions about 6 images, and those of 3 others for validation."""
    processor = load_processor()
    benchmark = symbols_benchmark(load_symbols(FEW, cache_dir=folder / "data"))
    knowledge_base = KnowledgeBase.from_documents(benchmark.documents, processor.tokenizer)
    train, validation = (
        write_instructions(benchmark.questions[split], knowledge_base, processor.tokenizer)
        for split in ("train", "validation")
    )
    names = [*train["image_id"], *validation["image_id"]]
    images = prepare_images(
        benchmark.images, names, load_untuned_model(processor), processor, folder / "images"
    )
    return TrainingData(benchmark, processor, knowledge_base, images, train, validation)
