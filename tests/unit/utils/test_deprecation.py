"""Old names work with a warning; old and new together are an error."""

from types import ModuleType

import pytest

from gemkr_hf.utils.deprecation import renamed_attributes, warn_renamed, with_new_keys


def test_a_warning_names_both_and_the_version() -> None:
    with pytest.warns(FutureWarning, match=r"'old' is deprecated and .* gemkr-hf 0\.3: use 'new'"):
        warn_renamed("old", "new")


def test_attributes_of_a_module(monkeypatch) -> None:
    module = ModuleType("some_module")
    module.new = 3
    module.__getattr__ = renamed_attributes(
        "some_module", {"old": "new", "moved": "gemkr_hf.utils.deprecation:warn_renamed"}
    )
    monkeypatch.setitem(__import__("sys").modules, "some_module", module)
    with pytest.warns(FutureWarning, match=r"'some_module\.old' .* use 'some_module\.new'"):
        assert module.old == 3
    with pytest.warns(FutureWarning, match=r"use 'gemkr_hf\.utils\.deprecation\.warn_renamed'"):
        assert module.moved is warn_renamed
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        _ = module.other


def test_keys_of_settings() -> None:
    with pytest.warns(FutureWarning, match=r"'data\.pictures' .* use 'data\.images'"):
        settings = with_new_keys({"pictures": "a", "k": 1}, {"pictures": "images"}, "data")
    assert settings == {"images": "a", "k": 1}
    with pytest.raises(ValueError, match="'pictures' is the old name of 'images'"):
        with_new_keys({"pictures": "a", "images": "b"}, {"pictures": "images"})
