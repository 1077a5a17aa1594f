from pathlib import Path

import pytest
from tests.store.one_round import CLASSES

from baldur.store import Request, Store


@pytest.fixture
def run(tmp_path: Path):
    with Store.create(tmp_path / "run", settings="rounds = 3\n", classes=CLASSES) as store:
        yield store


@pytest.fixture
def trial(run: Store):
    """A trial that asks for a, b and c in round 0."""
    trial = run.trial("bald", 0)
    trial.begin([Request(item, rank) for rank, item in enumerate("abc")])
    return trial
