import re
from collections import Counter

import pytest

from gemkr_hf.toy.symbols.symbol_documents import (
    ASPECTS,
    UNSEEN_NAMES,
    load_catalogue_symbols,
    load_documents,
    load_known_symbols,
)


def test_at_least_80_symbols_have_three_documents_of_30_to_80_words() -> None:
    symbols = load_known_symbols()
    assert len(symbols) >= 80
    for symbol in symbols:
        assert set(symbol.aspects) == set(ASPECTS)
        for aspect, text in symbol.aspects.items():
            assert 30 <= len(text.split()) <= 80, (symbol.name, aspect)
            assert symbol.name.lower() in text.lower(), (symbol.name, aspect)


def test_the_knowledge_base_holds_several_hundred_near_misses() -> None:
    documents = load_documents()
    assert sum(document["aspect"] == "catalogue" for document in documents) >= 200
    assert len({document["id"] for document in documents}) == len(documents)
    assert len({document["char"] for document in documents}) == len(load_known_symbols()) + len(
        load_catalogue_symbols()
    )


def test_at_least_12_symbols_are_unseen_and_all_of_them_exist() -> None:
    names = {symbol.name for symbol in load_known_symbols()}
    assert len(UNSEEN_NAMES) >= 12
    assert names >= UNSEEN_NAMES


def test_no_two_documents_share_eight_words_in_a_row() -> None:
    grams: Counter[tuple[str, ...]] = Counter()
    for document in load_documents():
        if document["aspect"] == "catalogue":
            continue
        words = re.findall(r"\w+", document["text"].lower())
        grams.update({tuple(words[start : start + 8]) for start in range(len(words) - 7)})
    assert [gram for gram, number in grams.items() if number > 1] == []


def test_a_symbol_without_an_aspect_is_named(tmp_path, monkeypatch) -> None:
    (tmp_path / "broken.yaml").write_text("- {char: x, name: ex, aspects: {meaning: a word}}\n")
    monkeypatch.setattr("gemkr_hf.toy.symbols.symbol_documents._DATA", tmp_path)
    load_known_symbols.cache_clear()
    try:
        with pytest.raises(ValueError, match="'ex' needs exactly the aspects"):
            load_known_symbols()
    finally:
        load_known_symbols.cache_clear()
