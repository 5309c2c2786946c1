import pytest

from tests.unit.training.training_data import TrainingData, make_training_data


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> TrainingData:
    return make_training_data(tmp_path_factory.mktemp("training"))
