import pytest

from gemkr_hf.index import pysdsl_backend
from tests.unit.index import index_fake_pysdsl as fake_pysdsl


@pytest.fixture(
    params=["numba", "pysdsl", "pysdsl stand-in"],
)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each backend; pysdsl is replaced by a stand-in where it is not installed."""
    if request.param == "pysdsl" and pysdsl_backend.pysdsl is None:
        pytest.skip("pysdsl is not importable (it is not on PyPI)")
    if request.param == "pysdsl stand-in":
        monkeypatch.setattr(pysdsl_backend, "pysdsl", fake_pysdsl)
        return "pysdsl"
    return request.param
