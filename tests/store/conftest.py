from pathlib import Path

import pytest
from tests.store.one_round import CLASSES

from baldur.store import ItemRecord, Request, Store


@pytest.fixture
def run(tmp_path: Path, url: str | None):
    with Store.create(tmp_path / "run", settings="rounds = 3\n", classes=CLASSES, url=url) as store:
        yield store


@pytest.fixture
def trial(run: Store):
    """A trial that asks for a, b and c in round 0."""
    trial = run.trial("bald", 0)
    trial.begin([Request(item, rank) for rank, item in enumerate("abc")])
    return trial


@pytest.fixture
def asking(tmp_path: Path, url: str | None):
    """A run in which people label. Its items are a, b, c and d in this order, and e for testing."""
    folder = tmp_path / "asking"
    with Store.create(folder, settings="", classes=CLASSES, seed=0, frontier=50, url=url) as store:
        store.record_items(
            ItemRecord(item, place, key=10 * (place + 1), split="reserve" if item == "e" else "train")
            for place, item in enumerate("abcde")
        )
        store.trial("bald", 0)
        yield store
