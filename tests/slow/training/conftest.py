"""The fixtures of the fast tests."""

from tests.unit.training.conftest import data  # noqa: F401
