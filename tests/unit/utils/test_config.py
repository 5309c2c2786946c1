"""Settings from YAML: strict, with one sentence for each mistake."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import pytest

from gemkr_hf.utils.config import Settings, as_plain, override, parse, read_yaml, upgrade_settings
from gemkr_hf.utils.deprecation import renamed_fields


@renamed_fields({"speed": "rate"})
@dataclass(frozen=True)
class Inner(Settings):
    rate: float = 1.0
    kind: Literal["a", "b"] = "a"
    renamed_defaults: ClassVar = {"kind": ("b", "a")}
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError(f"rate must be positive, got {self.rate}")


@dataclass(frozen=True)
class Outer(Settings):
    output: str
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None
    number: int | None = None


def test_nested_settings_are_read_with_their_defaults() -> None:
    read = parse(Outer, {"output": "a", "inner": {"rate": "6e-5"}, "maybe": {"names": ["x"]}})
    assert read == Outer("a", Inner(rate=6e-5), Inner(names=("x",)))
    assert parse(Outer, as_plain(read)) == read


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "The setting output is missing"),
        ({"output": "a", "iner": {}}, r"Unknown setting iner: did you mean inner\?"),
        ({"output": "a", "inner": {"rat": 1}}, r"Unknown setting inner\.rat: did you mean rate\?"),
        (
            {"output": "a", "maybe": {"zzz": 1}},
            r"Unknown setting maybe\.zzz: choose from rate",
        ),
        ({"iner": {}}, r"Unknown setting iner"),
        ({"output": "a", "inner": 3}, "inner must be a section with settings, got 3"),
        ({"output": "a", "inner": {"rate": "fast"}}, r"inner\.rate: .*number.*got 'fast'"),
        ({"output": "a", "inner": {"rate": -1}}, "inner: rate must be positive"),
        ({"output": "a", "inner": {"kind": "c"}}, r"inner\.kind: .*'a' or 'b', got 'c'"),
        ({"output": "a", "number": "many"}, r"number: .*integer.*got 'many'"),
        ({"output": 3}, "output: .*string, got 3"),
    ],
)
def test_each_mistake_is_named(content, message) -> None:
    with pytest.raises(ValueError, match=message) as error:
        parse(Outer, content)
    assert "\n" not in str(error.value)


def test_6e5_is_read_as_a_number(tmp_path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("output: runs/a  # here\ninner:\n  rate: 6e-5\n")
    assert read_yaml(path) == {"output": "runs/a", "inner": {"rate": 6e-5}}


@pytest.mark.parametrize("text", ["a: [", "- a\n- b", "", "\x00"])
def test_an_invalid_file_is_reported(tmp_path, text) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.yaml") as error:
        read_yaml(path)
    assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="Configuration not found"):
        read_yaml(tmp_path / "b.yaml")


def test_settings_are_replaced_one_by_one() -> None:
    content = {"inner": {"rate": 1, "kind": "a"}}
    new = override(content, ["inner.rate=6e-5", "maybe.names=[x, y]", "number=null"])
    assert new == {
        "inner": {"rate": 6e-5, "kind": "a"},
        "maybe": {"names": ["x", "y"]},
        "number": None,
    }
    assert content == {"inner": {"rate": 1, "kind": "a"}}
    with pytest.raises(ValueError, match="Malformed override 'rate'"):
        override({}, ["rate"])


def test_old_names_work_for_one_more_version_with_a_warning() -> None:
    with pytest.warns(FutureWarning, match="'speed' is deprecated .*use 'rate'"):
        assert parse(Outer, {"output": "a", "inner": {"speed": 2}}).inner.rate == 2
    with pytest.warns(FutureWarning, match="use 'rate'"):
        inner = Inner(speed=3)
    with pytest.warns(FutureWarning, match=r"use 'Inner\.rate'"):
        assert inner.speed == inner.rate
    with pytest.raises(ValueError, match="give 'rate' alone"):
        Inner(speed=3, rate=4)


def test_settings_of_an_earlier_version_are_upgraded() -> None:
    saved = {"inner": {"speed": 2, "kind": "b"}, "maybe": None, "number": "odd", "more": [1]}
    assert upgrade_settings(Outer, saved) == {
        "inner": {"rate": 2.0, "kind": "a", "names": []},
        "maybe": None,
        "number": "odd",
        "more": [1],
    }
    # The other names distinguish a renamed default from a chosen value.
    chosen = upgrade_settings(Outer, {"inner": {"rate": 2, "kind": "b"}})
    assert chosen["inner"]["kind"] == "b"
