import pytest
from training_ground import Ground, make_ground


@pytest.fixture(scope="session")
def ground(tmp_path_factory) -> Ground:
    return make_ground(tmp_path_factory.mktemp("ground"))
