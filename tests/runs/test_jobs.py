"""Trials side by side in processes."""

import inspect
import pickle
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.tiny_runs import QUICK, blob_set, blobs, factory
from torch import nn

from baldur import errors
from baldur.data import from_arrays, in_memory
from baldur.data.encoders.exported import Encoder
from baldur.errors import InvalidArgument, InvalidSettings
from baldur.runs import jobs
from baldur.runs.jobs import choose_jobs
from baldur.runs.observer import Observer
from baldur.runs.plan import Given, make_plan
from baldur.runs.run import run
from baldur.runs.settings import create
from baldur.store import Store
from baldur.testing.resume import history

TWO = QUICK | {"strategies": ["random", "bald"], "threads": 1, "rounds": 1}
LONG = {"rounds": 20, "epochs": 20, "epoch_size": 256}


def chosen(trials=15, threads=0, processors=4, monkeypatch=None, **options):
    if monkeypatch is not None:
        monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(processors)))
    plan = make_plan(create(**{"data": "blobs", **LONG, **options}), Given(dataset=blob_set()))
    return choose_jobs(plan, blob_set(), trials, threads)


def test_as_many_jobs_as_processors_with_one_thread_each(monkeypatch):
    choice = chosen(monkeypatch=monkeypatch)
    assert (choice.jobs, choice.threads, choice.why) == (4, 1, "15 trials on 4 processors")
    assert chosen(trials=3, monkeypatch=monkeypatch, epochs=200).jobs == 3


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"trials": 1}, "only one trial"),
        ({"processors": 1}, "all processors"),
        ({"threads": 4}, "all processors"),
        ({"epochs": 1, "rounds": 1}, "too short"),
        ({"oracle": "file"}, "only one process can write the questions"),
    ],
)
def test_one_process_where_several_gain_nothing(options, why, monkeypatch):
    choice = chosen(monkeypatch=monkeypatch, **options)
    assert choice.jobs == 1
    assert why in choice.why


def test_a_run_keeps_the_threads_that_it_was_begun_with(monkeypatch):
    assert chosen(threads=2, monkeypatch=monkeypatch) == jobs.Choice(2, 2, "15 trials on 2 processors")
    assert chosen(threads=1, monkeypatch=monkeypatch, jobs=1) == jobs.Choice(1, 1, "as --jobs says")


@pytest.mark.parametrize(("network", "threads"), [("mlp", 1), ("resnet18", 3), (f"{__name__}:factory", 3)])
def test_one_trial_of_a_small_network_gets_one_thread(network, threads, monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    plan = make_plan(create(data="blobs", network=network), Given(dataset=images()))
    assert choose_jobs(plan, images(), 1, 0).threads == threads


def images():
    x = np.random.default_rng(0).random((30, 1, 8, 8)).astype(np.float32)
    return in_memory(from_arrays(x), np.arange(30) % 3, test_fraction=0.2)


def test_large_data_are_not_held_several_times(monkeypatch):
    monkeypatch.setattr(jobs, "_memory", lambda: 2**30)
    assert chosen(monkeypatch=monkeypatch).jobs == 1


def test_the_encoder_of_each_job_is_counted(monkeypatch):
    with torch.device("meta"):  # weights of 1 GiB that take no memory
        large = Encoder("large", nn.Linear(2**14, 2**14), "", "cpu")
    plan = make_plan(create(data="blobs", **LONG), Given(dataset=blob_set()))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)))
    monkeypatch.setattr(jobs, "_memory", lambda: 4 * 2**30)
    assert choose_jobs(plan, blob_set(), 15, 0).jobs > 1
    choice = choose_jobs(replace(plan, encoder=large), blob_set(), 15, 0)
    assert (choice.jobs, choice.why) == (1, "the data and the encoder do not fit into memory twice")


def test_several_jobs_that_cannot_be_are_refused(monkeypatch):
    with pytest.raises(InvalidSettings, match=r"--jobs 2 is not possible: with --oracle file"):
        chosen(monkeypatch=monkeypatch, jobs=2, oracle="file")


def test_side_by_side_it_comes_to_the_same_and_shows_itself_once(tmp_path):
    events, messages = [], []
    observer = Observer(event=lambda e: events.append((e, threading.get_ident())), message=messages.append)
    run(blobs(), tmp_path / "one", network=factory, jobs=1, **TWO)
    done = run(blobs(), tmp_path / "two", network=factory, jobs=2, observer=observer, **TWO)
    assert done.state == "done"
    assert by_trial(tmp_path / "one") == by_trial(tmp_path / "two")
    one, two = ((tmp_path / name / "curves.csv").read_text() for name in ("one", "two"))
    assert one == two
    measured = {(e.strategy, e.seed, e.round) for e, _ in events if e.metrics is not None}
    assert measured == {(s, 0, r) for s in ("random", "bald") for r in (0, 1)}
    assert any("2 trials side by side" in text for text in messages)
    with Store.open(tmp_path / "two") as store:
        assert store.starts()[0]["jobs"] == 2


def by_trial(folder):
    """The history of a run, sorted: trials side by side write to one ledger, in any order."""
    return {what: sorted(rows) if isinstance(rows, list) else rows for what, rows in history(folder).items()}


def failing(posterior, labelled, unlabelled, k, rng, scorer):
    raise InvalidArgument("this strategy cannot choose")


def test_an_error_of_a_trial_is_raised_as_it_was(tmp_path):
    options = TWO | {"strategies": ["random", failing]}
    with pytest.raises(InvalidArgument, match="this strategy cannot choose"):
        run(blobs(), tmp_path / "run", jobs=2, **options)
    with Store.open(tmp_path / "run") as store:
        (trial,) = [t for t in store.trials() if t.strategy != "random"]
        assert (trial.state, trial.reason) == ("failed", "this strategy cannot choose")


def test_a_worker_that_ends_just_as_it_gets_work_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "_IDLE", 0.001)
    for folder in ("a", "b"):
        assert run(blobs(), tmp_path / folder, jobs=2, **TWO).state == "done"


def test_objects_that_cannot_travel_stay_in_one_process(tmp_path):
    lock, messages = threading.Lock(), []

    def locked(shape, classes):
        with lock:
            return factory(shape, classes)

    observer = Observer(message=messages.append)
    done = run(blobs(), tmp_path / "run", network=locked, jobs=2, observer=observer, **TWO)
    assert done.state == "done"
    assert any("in this process" in text for text in messages)


@pytest.mark.parametrize(
    "kind",
    [k for _, k in inspect.getmembers(errors, inspect.isclass) if issubclass(k, errors.BaldurError)],
)
def test_errors_survive_pickling(kind):
    error = kind({"a": "gone"}) if issubclass(kind, errors.UnreadableItems) else kind("a sentence")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert type(jobs._portable(error)) is kind


def test_an_error_that_cannot_travel_arrives_as_its_text():
    class Local(Exception):
        pass

    told = jobs._portable(Local("something odd"))
    assert type(told) is errors.BaldurError
    assert "Local in a process that ran trials: something odd" in str(told)


def test_the_size_of_data_is_reckoned_from_an_item():
    dataset = blob_set()
    items = len(dataset.train) + len(dataset.test)
    assert jobs._size_of(dataset) == items * 4 * np.dtype(np.float32).itemsize
