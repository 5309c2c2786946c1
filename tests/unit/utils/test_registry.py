"""Registries and plug-ins."""

import math
import os
import subprocess
import sys

import pytest

from gemkr_hf.utils.registry import PLUGINS_VARIABLE, Registry, enable_plugin, register


@pytest.fixture
def plugin(tmp_path, monkeypatch) -> str:
    """Name of a plug-in module that registers a provider."""
    (tmp_path / "test_plugin.py").write_text(
        "from gemkr_hf.utils.registry import register\n"
        "register('test kind', 'plugged', 'math:sqrt')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(PLUGINS_VARIABLE, os.environ.get(PLUGINS_VARIABLE, ""))
    return "test_plugin"


def test_providers_are_found_by_kind_and_name() -> None:
    first = Registry[object]("first test kind")
    register("first test kind", "one", 1)
    first.register("two", 2)
    assert [first.get(name) for name in first.names()] == [1, 2]
    assert "one" in first
    assert "one" not in Registry("second test kind")
    with pytest.raises(ValueError, match="Unknown first test kind 'three': choose one, two"):
        first.get("three")


def test_a_plugin_is_used_here_and_in_child_processes(plugin, tmp_path) -> None:
    enable_plugin(plugin)
    assert Registry("test kind").get("plugged") is math.sqrt
    code = "from gemkr_hf.utils.registry import Registry; print(Registry('test kind').names())"
    path = os.pathsep.join([str(tmp_path), *sys.path])
    child = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.strip() == "['plugged']"


def test_the_toy_world_is_a_plugin() -> None:
    assert "symbols" in Registry("benchmark format")
    assert "small-world" in Registry("checkpoint source")
