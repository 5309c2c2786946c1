"""Module paths of version 0.1 import for one more version."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from gemkr_hf.utils.moved_modules import MOVED


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_the_new_module_exists_and_the_old_one_does_not(old: str, new: str) -> None:
    assert find_spec(f"gemkr_hf.{new}") is not None
    assert old not in MOVED.values()


def test_an_old_path_imports_the_new_module_with_a_warning() -> None:
    script = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import gemkr_hf.recipes
    from gemkr_hf.settings import parse
import gemkr_hf.training
import gemkr_hf.utils.config as config
assert gemkr_hf.recipes is gemkr_hf.training and parse is config.parse
assert config.__spec__.name == config.__name__ == "gemkr_hf.utils.config", config.__spec__
messages = {str(warning.message): warning.filename for warning in caught}
for name in ("settings", "recipes"):
    [message] = [message for message in messages if f"'gemkr_hf.{name}' is deprecated" in message]
    assert messages[message] == "<string>", messages
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_what_never_existed_is_still_an_error() -> None:
    with pytest.raises(ModuleNotFoundError):
        __import__("gemkr_hf.no_such_module")
