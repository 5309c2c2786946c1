import hashlib

import pytest

from gemkr_hf.toy.symbols import SymbolsConfig, load_documents, load_known_symbols, load_symbols
from gemkr_hf.toy.symbols.symbols_dataset import SPLITS

SMALL = SymbolsConfig(
    seed=3, train_scenes=30, validation_scenes=8, test_scenes=12, unseen_scenes=12
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return load_symbols(SMALL, cache_dir=tmp_path_factory.mktemp("symbols"))


def digest(record) -> str:
    return hashlib.sha256(record["image"].tobytes()).hexdigest()


def test_the_same_seed_gives_the_same_benchmark(world, tmp_path) -> None:
    again = load_symbols(SMALL, cache_dir=tmp_path)
    for split in SPLITS:
        assert again[split]["question"] == world[split]["question"]
        assert [digest(record) for record in again[split]] == [
            digest(record) for record in world[split]
        ]


def test_scenes_of_the_splits_are_disjoint(world) -> None:
    images = {split: {digest(record) for record in world[split]} for split in SPLITS}
    for split in SPLITS:
        for other in SPLITS:
            assert split == other or not images[split] & images[other]


def test_relevant_ids_are_documents_of_the_symbol_that_is_meant(world) -> None:
    documents = {document["id"]: document for document in load_documents()}
    for split in SPLITS:
        for record in world[split]:
            [target] = [item for item in record["objects"] if item["target"]]
            [relevant] = [documents[name] for name in record["relevant_ids"]]
            assert relevant["symbol"] == target["symbol"]
            assert relevant["aspect"] == record["aspect"]


def test_unseen_documents_are_relevant_in_the_unseen_split_only(world) -> None:
    unseen = {symbol.name for symbol in load_known_symbols() if not symbol.seen}
    for split in SPLITS:
        asked = {name for record in world[split] for name in record["answers"]}
        assert asked <= unseen if split == "unseen" else not asked & unseen


def test_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match="test_scenes must be at least 1, got 0"):
        SymbolsConfig(test_scenes=0)
