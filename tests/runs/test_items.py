"""The items of a run: validation parts, initial labels, labels that are missing, pictures."""

from dataclasses import replace

import numpy as np
import pytest
from tests.tiny_runs import QUICK, blob_set, blobs, factory

from baldur.data import from_arrays
from baldur.errors import InvalidData
from baldur.runs import run
from baldur.runs import settings as settings_
from baldur.runs.items import validation_part
from baldur.store import Store

pytestmark = pytest.mark.usefixtures("without_charts")


def test_balanced_initial_labels_are_even_and_paired(tmp_path):
    run.run(blob_set(), tmp_path / "run", initial_balanced=True, **QUICK | {"rounds": 0, "seeds": 2})
    with Store.open(tmp_path / "run") as store:
        labels = store.labels()
    picks = {}
    for row in labels:
        picks.setdefault((row.strategy, row.seed), []).append((row.item, row.value))
    for seed in (0, 1):
        assert picks["random", seed] == picks["bald", seed]
        assert sorted(value for _, value in picks["bald", seed]) == ["0", "0", "1", "1", "2", "2"]
    assert picks["bald", 0] != picks["bald", 1]


def test_free_validation_items_leave_the_pool_and_are_declared(tmp_path):
    options = QUICK | {"validation": 12, "validation_free": True, "patience": 1, "epochs": 9}
    outcome = run.run(blob_set(), tmp_path / "run", strategies=["bald"], **options)
    with Store.open(tmp_path / "run") as store:
        assert store.metrics()[0].labels == 6
    assert "12" in str(outcome)


def test_no_group_is_in_the_pool_and_among_the_free_validation_items():
    dataset = blob_set()
    groups = tuple(f"patient {i % 8}" for i in range(len(dataset.train)))
    pool = from_arrays(np.zeros((len(groups), 2), np.float32), groups=groups)
    labels = np.where(
        np.arange(len(pool)) % 5 == 0, -1, dataset.labels
    )  # who is not labelled belongs to somebody too
    told = settings_.create(data="blobs", validation=10, validation_free=True)
    rest, known, free = validation_part(told.learn, replace(dataset, train=pool, labels=labels))
    assert len(rest) == len(known)
    assert 0 < len(free.pool) <= 10
    assert (free.labels >= 0).all()
    assert not set(rest.groups) & set(free.pool.groups)


def test_counted_validation_items_come_out_of_the_labels(tmp_path):
    options = QUICK | {"validation": 2, "initial": 9}
    assert run.run(blob_set(), tmp_path / "run", strategies=["bald"], **options).state == "done"


def test_test_items_without_a_label(tmp_path):
    whole = blob_set()
    nothing = replace(whole, test_labels=np.full(len(whole.test_labels), -1))
    with pytest.raises(InvalidData, match="no test item has a label"):
        run.run(nothing, tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()


def test_items_without_a_label_cannot_be_simulated(tmp_path):
    x, y = blobs()
    y[:5] = -1
    with pytest.raises(InvalidData, match=r"5 of \d+ items have no label.*--oracle file"):
        run.run((x, y), tmp_path / "run", missing=-1, **QUICK)


def test_pictures_are_kept_of_images_and_of_nothing_else(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (40, 1, 8, 8)).astype(np.float32)
    run.run((images, np.arange(40) % 2), tmp_path / "images", network=factory, strategies=["random"], **QUICK)
    run.run(blob_set(), tmp_path / "blobs", strategies=["random"], **QUICK)
    for name, expected in (("images", 2), ("blobs", 0)):
        with Store.open(tmp_path / name) as store:
            assert len(store.artefacts("picks")) == expected
