"""Items and disks that fail in the middle of a run."""

import threading
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image
from tests.tiny_runs import QUICK, Flaky, blobs, factory

from baldur import loop
from baldur.data import from_arrays, from_dataset, in_memory
from baldur.distributed.threads import side_by_side
from baldur.errors import UnreadableItems
from baldur.loop import Budget
from baldur.runs import run
from baldur.runs.faults import Faults
from baldur.runs.observer import Observer
from baldur.store import ItemRecord, Store

X, Y = blobs()

pytestmark = pytest.mark.usefixtures("without_charts")


def data_of(source):
    pool, labels = from_dataset(source)
    return in_memory(pool, labels, test_fraction=0.2)


def told(path, source, **more):
    messages = []
    options = QUICK | {"strategies": ["bald"], "network": factory} | more
    done = run.run(data_of(source), path, observer=Observer(message=messages.append), **options)
    return done, messages


def asked(path):
    with Store.open(path) as store:
        items = store.items()
        return [row.item for row in store.labels()], {
            i: r.reason for i, r in items.items() if r.state != "ok"
        }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a run whose items could all be read."""
    folder = tmp_path_factory.mktemp("undisturbed")
    told(folder, Flaky())
    return folder


@pytest.fixture
def whole(undisturbed):
    """What was labelled where all items could be read."""
    return asked(undisturbed)[0]


@pytest.mark.parametrize("value", [None, np.nan])
def test_unlabelled_items_that_vanish_are_named_and_left_out(tmp_path, whole, value):
    free = [int(i) for i in data_of(Flaky()).train.ids if i not in whole]
    done, messages = told(tmp_path / "run", Flaky(free[:3], after=305, value=value))
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
    data = data_of(source)

    def vanish(event):
        if (event.round, event.phase) == (0, "choose"):
            labelled, _ = asked(tmp_path / "run")
            source.gone, source.left = {next(int(i) for i in data.train.ids if i not in labelled)}, 0

    options = QUICK | {"strategies": ["bald"], "network": factory, "stop": "stabilising-predictions"}
    run.run(data, tmp_path / "run", observer=Observer(event=vanish), **options | {"rounds": 1})
    assert asked(tmp_path / "run")[1].keys() == set(map(str, source.gone))
    assert run.run(data, tmp_path / "run", **options).state == "done"
    assert len(asked(tmp_path / "run")[0]) == QUICK["initial"] + QUICK["rounds"] * QUICK["query_size"]


def test_what_is_labelled_by_now_stops_the_run_with_a_sentence_and_goes_on_later(
    tmp_path, whole, undisturbed
):
    source = Flaky([int(whole[0])], after=305)
    with pytest.raises(
        UnreadableItems, match=rf"^{whole[0]}: FileNotFound.*labelled.*restore it and start the run again"
    ):
        told(tmp_path / "run", source)
    again, _ = told(tmp_path / "run", Flaky())
    assert (again.state, asked(tmp_path / "run")[0]) == ("done", whole)
    assert (tmp_path / "run/curves.csv").read_text() == (undisturbed / "curves.csv").read_text()


def test_a_disk_that_is_gone_is_no_fault_of_single_items(tmp_path, whole):
    gone = [int(i) for i in data_of(Flaky()).train.ids if i not in whole]
    with pytest.raises(UnreadableItems, match=r"items could not be read; check their disk"):
        told(tmp_path / "run", Flaky(gone, after=305))
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
    with pytest.raises(UnreadableItems, match=r"^77: gone.*check their disk"):
        Faults(store, print).advance(store.trial("bald", 0), parts, budget)
    assert store.items()["77"] == ItemRecord("77", 3, "77.png", "patient", "train", "ab", 9, 10)


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
