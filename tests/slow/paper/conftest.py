"""The fixtures of the fast tests."""

from tests.unit.paper.conftest import benchmark  # noqa: F401
