"""Items and disks that fail in the middle of a run."""

import errno
import os
import threading
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image
from tests.tiny_runs import QUICK, blobs, factory
from torch.utils.data import Dataset

from baldur import acquire, loop, score
from baldur.data import from_arrays, from_dataset, in_memory
from baldur.distributed import side_by_side
from baldur.errors import DiskFull, InvalidPredictions, UnreadableItems
from baldur.loop import Budget, Stopping
from baldur.loop import stopping as ending
from baldur.posteriors import Deterministic, MCDropout
from baldur.protocols import Labelled, View
from baldur.runs import run
from baldur.runs.faults import Faults
from baldur.runs.observer import Observer
from baldur.store import ItemRecord, Round, Store

X, Y = blobs()


class Flaky(Dataset):
    """The blobs, of which some vanish once a number of items was read."""

    def __init__(self, gone=(), after=10**9, value=None):
        self.gone, self.left, self.value = set(gone), after, value

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        self.left -= 1
        if self.left < 0 and i in self.gone:
            if self.value is None:
                raise FileNotFoundError(2, "No such file or directory", f"{i}.png")
            return torch.full((4,), self.value), Y[i]
        return torch.from_numpy(X[i]), Y[i]


def told(path, source, **more):
    messages = []
    pool, labels = from_dataset(source)
    data = in_memory(pool, labels, test_fraction=0.2)
    options = QUICK | {"strategies": ["bald"], "network": factory} | more
    done = run.run(data, path, observer=Observer(message=messages.append), **options)
    return done, messages, data


def asked(path):
    with Store.open(path) as store:
        items = store.items()
        return [row.item for row in store.labels()], {
            i: r.reason for i, r in items.items() if r.state != "ok"
        }


@pytest.mark.parametrize("value", [None, np.nan, np.inf])
def test_unlabelled_items_that_vanish_are_named_and_left_out(tmp_path, value):
    told(tmp_path / "whole", Flaky())
    whole, _ = asked(tmp_path / "whole")
    data = in_memory(from_arrays(X), Y, test_fraction=0.2)
    free = [int(i) for i in data.train.ids if i not in whole]
    done, messages, _ = told(tmp_path / "run", Flaky(free[:3], after=200, value=value))
    labels, quarantined = asked(tmp_path / "run")
    assert done.state == "done"
    assert quarantined.keys() == {str(i) for i in free[:3]}
    assert labels == whole  # they would not have been chosen, and nothing else has changed
    assert len([m for m in messages if m.startswith("left out: ")]) == 3
    with Store.open(tmp_path / "run") as store:
        assert Faults(store, messages.append).gone == quarantined.keys()
    with Store.open(tmp_path / "run") as store:
        assert any("could not be read" in row.what for row in store.incidents())


def test_what_was_left_out_is_not_needed_when_the_run_is_started_again(tmp_path):
    source = Flaky()
    pool, labels = from_dataset(source)
    data = in_memory(pool, labels, test_fraction=0.2)

    def vanish(event):
        if (event.round, event.phase) == (0, "choose"):
            labelled, _ = asked(tmp_path / "run")
            source.gone, source.left = {next(int(i) for i in data.train.ids if i not in labelled)}, 0

    options = QUICK | {"strategies": ["bald"], "network": factory, "stop": "stabilising-predictions"}
    run.run(data, tmp_path / "run", observer=Observer(event=vanish), **options | {"rounds": 1})
    assert asked(tmp_path / "run")[1].keys() == set(map(str, source.gone))
    assert run.run(data, tmp_path / "run", **options).state == "done"
    assert len(asked(tmp_path / "run")[0]) == QUICK["initial"] + QUICK["rounds"] * QUICK["query_size"]


def test_what_is_labelled_by_now_stops_the_run_with_a_sentence_and_goes_on_later(tmp_path):
    told(tmp_path / "whole", Flaky())
    whole, _ = asked(tmp_path / "whole")
    source = Flaky([int(whole[0])], after=200)
    with pytest.raises(
        UnreadableItems, match=rf"^{whole[0]}: FileNotFound.*labelled.*put it back and start again"
    ):
        told(tmp_path / "run", source)
    again, _, _ = told(tmp_path / "run", Flaky())
    assert (again.state, asked(tmp_path / "run")[0]) == ("done", whole)
    assert (tmp_path / "run/curves.csv").read_text() == (tmp_path / "whole/curves.csv").read_text()


def test_a_disk_that_is_gone_is_no_fault_of_single_items(tmp_path):
    _, _, data = told(tmp_path / "whole", Flaky())
    whole, _ = asked(tmp_path / "whole")
    gone = [int(i) for i in data.train.ids if i not in whole]
    with pytest.raises(UnreadableItems, match=r"items could not be read: is their disk there\? put it back"):
        told(tmp_path / "run", Flaky(gone, after=200))
    told(tmp_path / "run", Flaky())
    assert asked(tmp_path / "run") == (whole, {})  # nothing is held against them


@pytest.fixture
def begun(tmp_path):
    """A store with a record, a budget, and the parts of a trial as far as faults look at them."""
    pool = from_arrays(X)
    budget = Budget(rounds=2, query_size=2)
    nobody = Mock()
    parts = loop.Parts(pool, ["a"], nobody, nobody, nobody, nobody, nobody, lambda rng: pool.ids[:5])
    with Store.create(tmp_path / "run", settings="", classes=["a"]) as store:
        store.record_items([ItemRecord("77", 3, "77.png", "patient", "train", "ab", 9, 10)])
        yield store, budget, parts


def meets(monkeypatch, reasons, times=1, before=lambda: None):
    """Every trial finds items unreadable, so many times, and is done then if its pool is without them."""
    met = {}

    def advance(trial, parts, budget):
        met[trial.id] = met.get(trial.id, 0) + 1
        if met[trial.id] > times:
            return "waiting" if reasons.keys() & set(parts.pool.ids) else "done"
        before()
        raise UnreadableItems(reasons)

    monkeypatch.setattr(loop, "advance", advance)


def test_two_trials_at_a_time_may_meet_the_same_item(begun, monkeypatch):
    store, budget, parts = begun
    messages = []
    meets(monkeypatch, {"77": "gone"}, before=threading.Barrier(2).wait)
    faults = Faults(store, messages.append)
    trials = [store.trial(name, 0) for name in ("random", "bald")]
    calls = [lambda trial=trial: faults.advance(trial, parts, budget) for trial in trials]
    assert side_by_side(calls, 2, threading.Event()) == ["done", "done"]
    assert (len(messages), len(store.incidents())) == (1, 1)
    known = ItemRecord("77", 3, "77.png", "patient", "train", "ab", 9, 10, "quarantined", "gone")
    assert store.items() == {"77": known}  # what was recorded of it stays


def test_a_phase_that_fails_without_the_items_too_stops(begun, monkeypatch):
    store, budget, parts = begun
    meets(monkeypatch, {"77": "gone"}, times=2)
    with pytest.raises(UnreadableItems, match=r"^77: gone.*is their disk there"):
        Faults(store, print).advance(store.trial("bald", 0), parts, budget)
    assert store.items()["77"] == ItemRecord("77", 3, "77.png", "patient", "train", "ab", 9, 10)


class Looks:
    """A criterion that keeps the predictions that it was shown."""

    name, rounds, splits, limit = "looks", 3, frozenset(), None

    def __call__(self, history):
        self.seen = [p[:, 0].astype(int).tolist() for p in history.predictions]
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


def test_predictions_that_were_kept_without_ids_are_of_the_whole_stop_set(tmp_path):
    pool, looks = from_arrays(np.zeros((5, 1), np.float32)), Looks()
    with Store.create(tmp_path / "run", settings="", classes=["a"]) as store:
        trial, column = store.trial("bald", 0), np.arange(5.0)[:, None]
        trial.artefact(0, "stop", ".npz", lambda path: ending._write(path, {"log_probs": column}))
        for whole, seen in ((None, [[2, 3, 4]]), (pool, [])):
            stopping = Stopping(looks, lambda *told: column, whole=whole)
            stopping.reason(trial, Round(0, "measured", 0, 0), View(pool, np.arange(2, 5)))
            assert looks.seen == seen


def test_all_that_fail_in_a_batch_are_named_at_once():
    pool, _ = from_dataset(Flaky())
    pool.source.gone, pool.source.left = {2, 5, 60}, 0
    with pytest.raises(UnreadableItems) as caught:
        list(pool.batches(np.arange(90), 30))
    assert caught.value.reasons.keys() == {"2", "5"}
    with pytest.raises(UnreadableItems, match=r"^5: FileNotFoundError.*Subset"):
        from_dataset(Flaky([5], after=0))


def test_the_next_batch_is_read_meanwhile_and_the_order_stays():
    read = []

    class Watched(Flaky):
        def __getitem__(self, i):
            read.append(i)
            return super().__getitem__(i)

    pool, _ = from_dataset(Watched())
    for ahead in (True, False):
        read.clear()
        batches = type(pool)(pool.source, pool.ids, ahead=ahead).batches(np.arange(90), 30)
        positions, x = next(batches)
        assert (positions.tolist(), x.numpy().tolist()) == (list(range(30)), X[:30].tolist())
        batches.close()
        assert read == list(range(60 if ahead else 30))


def test_what_is_not_finite_is_named_by_its_id():
    x = X.copy()
    x[17, 2] = np.nan
    pool = from_arrays(x, ids=[f"i{n}" for n in range(len(x))])
    for reduce in (None, acquire.bald):
        with pytest.raises(UnreadableItems, match=r"^i17: holds NaN"):
            score.predict(MCDropout(factory((4,), 3)).draw(3), pool, reduce)
    broken = factory((4,), 3)
    torch.nn.init.constant_(broken[1].weight, float("nan"))
    with pytest.raises(InvalidPredictions, match=r"of i0 and of 89 more hold NaN"):
        score.predict(Deterministic(broken).draw(), from_arrays(X, ids=pool.ids), acquire.entropy)


def test_no_room_for_predictions_is_a_sentence(monkeypatch):
    def full(file, start, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DiskFull, match=r"no room for predictions of 0 MiB in .*TMPDIR.*start again"):
        score.predict(MCDropout(factory((4,), 3)).draw(3), X, memory="4KiB")


def test_a_picture_that_was_deleted_is_shown_as_it_was_decoded(tmp_path, monkeypatch):
    monkeypatch.setenv("BALDUR_CACHE", str(tmp_path / "cache"))
    for i in range(40):
        file = tmp_path / f"photos/{'ab'[i % 2]}/{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (6 * i, 0, 255 * (i % 2))).save(file)

    def delete(event):
        if event.phase == "fit":
            for file in (tmp_path / "photos").rglob("*.png"):
                file.unlink()

    options = QUICK | {"strategies": ["bald"], "network": "mlp", "image_size": 8, "rounds": 1}
    done = run.run(str(tmp_path / "photos"), tmp_path / "run", observer=Observer(event=delete), **options)
    assert done.state == "done"
    assert len(list((tmp_path / "run/artefacts").rglob("picks-*.png"))) == 1
