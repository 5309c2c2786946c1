"""The fixtures of the fast tests."""

from tests.unit.modeling.conftest import tiny  # noqa: F401
