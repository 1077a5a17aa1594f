"""How the loop keeps and compares the predictions that criteria look at."""

from dataclasses import replace
from unittest.mock import Mock

import numpy as np

from baldur.data import from_arrays
from baldur.loop import Stopping
from baldur.protocols import Labelled, View
from baldur.store import Round, Store


class Looks:
    """A criterion that keeps what it was shown."""

    rounds, splits, limit = 3, frozenset(), None

    def reason(self, *, predictions, **other):
        self.seen = [p[:, 0].astype(int).tolist() for p in predictions]
        return ""


def test_successive_models_are_compared_on_the_same_items_whatever_was_left_out(tmp_path):
    x = np.zeros((2100, 1), np.float32)
    pool, looks = from_arrays(x), Looks()
    before = Stopping(looks, lambda posterior, items, seed: np.array([[float(i)] for i in items.ids]))
    with Store.create(tmp_path / "run", settings="", classes=["a"]) as store:
        trial = store.trial("bald", 0)
        nothing = Mock(), Mock(spec=Labelled)
        said = [Round(n, "fitted", 0, 0) for n in range(3)]
        before.measured(trial, said[0], *nothing, pool)
        before.reason(trial, said[0], View(pool, np.arange(10, 2100)))
        (stop_set,) = looks.seen
        outside = min(set(range(10, 2100)) - set(stop_set))
        gone = {stop_set[5], outside}
        less = View(pool, np.array([i for i in range(2100) if i not in gone]))
        after = replace(before, whole=pool)
        for latest in said[1:]:
            after.measured(trial, latest, *nothing, less)
        after.reason(trial, said[2], View(less, np.arange(10, len(less))))
        assert looks.seen == [[i for i in stop_set if i not in gone]] * 3


def save(path, **arrays):
    with path.open("wb") as file:
        np.savez(file, **arrays)


def test_predictions_that_were_kept_without_ids_are_of_the_whole_stop_set(tmp_path):
    pool, looks = from_arrays(np.zeros((5, 1), np.float32)), Looks()
    with Store.create(tmp_path / "run", settings="", classes=["a"]) as store:
        trial, column = store.trial("bald", 0), np.arange(5.0)[:, None]
        trial.artefact(0, "stop", ".npz", lambda path: save(path, log_probs=column))
        for whole, seen in ((None, [[2, 3, 4]]), (pool, [])):
            stopping = Stopping(looks, lambda *told: column, whole=whole)
            stopping.reason(trial, Round(0, "measured", 0, 0), View(pool, np.arange(2, 5)))
            assert looks.seen == seen
