import pytest

from baldur.store import Store


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "run", settings="", classes=("even", "odd")) as store:
        yield store
