import index_fake_pysdsl as fake_pysdsl
import pytest

from gemkr_hf.index import pysdsl_backend


@pytest.fixture(
    params=["numba", "pysdsl", "pysdsl stand-in"],
)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each backend; pysdsl's adapter is tested on a stand-in where pysdsl itself is missing."""
    if request.param == "pysdsl" and pysdsl_backend.pysdsl is None:
        pytest.skip("pysdsl is not importable (it is not on PyPI)")
    if request.param == "pysdsl stand-in":
        monkeypatch.setattr(pysdsl_backend, "pysdsl", fake_pysdsl)
        return "pysdsl"
    return request.param
