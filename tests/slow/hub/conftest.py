"""The fixtures of the fast tests."""

from tests.unit.hub.conftest import client, full_hub, hub  # noqa: F401
