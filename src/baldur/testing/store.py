"""The verifier of stores: the contract that every database keeps."""

import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from baldur.errors import RunBusy
from baldur.store import Event, ItemRecord, LedgerRow, Request, Store, Trial, restore
from baldur.testing._checks import require

_WRITERS, _EVENTS = 4, 15


def verify_store(open_store: Callable[[Path], Store], folder: Path) -> None:
    """Check that a store loses nothing, changes nothing that was said, and keeps writers apart.

    Args:
        open_store: Opens the store of the run in a folder, with at least two classes; begins the run if there is none.
            It is called several times, from several threads.
        folder: An empty folder for runs.

    Raises:
        AssertionError: A check failed. The message names it.
    """
    checks = (_two_views, _events, _cuts, _phases, _requests, _numbers, _leases, _locks, _artefacts, _backup)
    for number, check in enumerate(checks):
        at = folder / f"run-{number}"
        with open_store(at) as store, open_store(at) as other:
            check(store, other, open_store)


Open = Callable[[Path], Store]


def _begun(store: Store, seed: int = 0) -> Trial:
    """A trial that asks for a, b and c."""
    trial = store.trial("random", seed)
    trial.begin([Request(item, rank) for rank, item in enumerate("abc")])
    return trial


def _two_views(store: Store, other: Store, _: Open) -> None:
    _begun(store)
    store.record_start({"threads": 1})
    require(other.requests() == store.requests() != [], "another process does not see what was written")
    require(len(other.starts()) == 1, "another process does not see a start")
    require(_begun(other).id == _begun(store).id, "the same trial was made twice")
    require(other.classes == store.classes and len(set(store.classes)) > 1, "give at least two classes")


def _events(store: Store, other: Store, _: Open) -> None:
    trial, (first, second) = _begun(store), store.classes[:2]
    label = Event("1", "label", "a", "ann", first)
    said = [label, Event("2", "label", "b", "ann", first), Event("3", "correction", "a", "ann", second)]
    said += [
        Event("4", "withdrawal", "b", "ann"),
        Event("5", "note", "c", "ann", "é\n"),
        Event("6", "skip", "c", "bob"),
    ]
    before: list[LedgerRow] = []
    for event in said:
        require(trial.tell([event]).accepted == (event.id,), f"a {event.kind} was not accepted")
        now = other.ledger()
        require(now[: len(before)] == before, "an event was changed or removed by a later one")
        require(len(now) == len(before) + 1, "one event is not one row")
        before = now
    again = _begun(other).tell(said)
    require(
        again.repeated == tuple(event.id for event in said), "an event that was sent twice is not one event"
    )
    refused = trial.tell([label._replace(value=second), Event("7", "label", "c", "ann", "no such class")])
    require(set(refused.refused) == {"1", "7"}, "an event that cannot be believed was taken")
    require(store.ledger() == before, "a repeated or refused event changed the ledger")
    require(
        {row.item: row.value for row in trial.labels()} == {"a": second}, "the newest event does not decide"
    )
    require([row.number for row in before] == list(range(1, len(said) + 1)), "the numbers have gaps")


def _cuts(store: Store, other: Store, _: Open) -> None:
    trial, (first, second) = _begun(store), store.classes[:2]
    trial.tell([Event("1", "label", "a", "ann", first)])
    cut = trial.cut(0)
    then = trial.labels(cut)
    trial.tell([Event("2", "correction", "a", "ann", second), Event("3", "label", "b", "ann", first)])
    require(_begun(other).cut(0) == cut == 1, "a cut moved after it was recorded")
    require(trial.labels(cut) == then, "labels up to a cut changed after it")
    require(len(trial.labels()) == 2, "labels after the cut are missing")


def _phases(store: Store, other: Store, _: Open) -> None:
    trial = _begun(store)
    trial.answer(0, dict.fromkeys("abc", store.classes[0]), "ann")
    steps: tuple[Callable[[Any], Any], ...] = (
        lambda phase: phase.labelled(),
        lambda phase: phase.fitted(),
        lambda phase: phase.measured({("accuracy", "test"): 0.1 + 0.2, ("auroc", "test"): float("nan")}),
        lambda phase: phase.chosen([Request("d", 0, 1 / 3)], [("d", 1 / 3), ("e", 1e-300)]),
    )
    for name, step in zip(("label", "fit", "measure", "choose"), steps, strict=True):
        before = _all(other)
        phases = len(store.phases())
        try:
            with trial.phase(0, name) as phase:
                phase.artefact(0, "half", ".txt", lambda path: _write(path, "half"))
                raise InterruptedError
        except InterruptedError:
            pass
        require(_all(other) == before, f"the phase {name!r} was interrupted, and left something behind")
        require(not list(store.folder.glob("artefacts/*/*/half-*")), "an interrupted phase left a file")
        with trial.phase(0, name) as phase:
            step(phase)
        require(_all(other) != before, f"the result of the phase {name!r} is not there")
        require(len(store.phases()) == phases + 2, "an attempt at a phase was not recorded")
    values = {row.metric: row.value for row in other.metrics()}
    require(
        values["accuracy"] == 0.1 + 0.2 and values["auroc"] != values["auroc"], "a metric is not bit for bit"
    )
    require([row.score for row in trial.ranking(0)] == [1 / 3, 1e-300], "a score is not bit for bit")


def _requests(store: Store, other: Store, _: Open) -> None:
    trial = _begun(store)
    trial.tell([Event("1", "label", "b", "ann", store.classes[0])])
    states = {row.item: row.state for row in other.requests()}
    require(states == {"a": "open", "b": "answered", "c": "open"}, "a label does not answer its request")
    capital = store.trial("Random", 0)
    capital.begin([Request(item, 0) for item in ("é", "Z", "a", "_")])
    order = [row.item for row in other.requests() if row.strategy == "Random"]
    require(order == ["Z", "_", "a", "é"], "items of one rank are not in the order of their bytes")
    require(other.requests()[0].strategy == "Random", "strategies are not in the order of their bytes")


def _numbers(store: Store, other: Store, open_store: Open) -> None:
    """Several writers at once: what a reader has seen is never preceded by anything that it has not."""
    _begun(store)
    broken: list[BaseException] = []

    def write(writer: int) -> None:
        try:
            with open_store(store.folder) as own:
                trial = own.trial("random", 0)
                for n in range(_EVENTS):
                    trial.tell([Event(f"{writer}-{n}", "label", f"{writer}-{n}", "ann", own.classes[0])])
        except BaseException as error:
            broken.append(error)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(_WRITERS)]
    for thread in threads:
        thread.start()
    seen: list[LedgerRow] = []
    while any(thread.is_alive() for thread in threads):
        now = other.ledger()
        require(now[: len(seen)] == seen, "an event became visible after one with a larger number")
        seen = now
        time.sleep(0.002)
    for thread in threads:
        thread.join()
    require(not broken, f"a writer among several failed: {broken[:1]}")
    rows = other.ledger()
    require(
        [row.number for row in rows] == list(range(1, _WRITERS * _EVENTS + 1)),
        "numbers are missing or double",
    )
    require(len({row.event for row in rows}) == len(rows), "an event of one of several writers was lost")
    for writer in range(_WRITERS):
        own = [row.event for row in rows if row.event.startswith(f"{writer}-")]
        require(own == [f"{writer}-{n}" for n in range(_EVENTS)], "the events of one writer are out of order")


def _leases(store: Store, other: Store, _: Open) -> None:
    store.record_items(ItemRecord(item, place, key=place) for place, item in enumerate("abcdef"))
    trial, same = _begun(store), _begun(other)
    mine = [offered.item for offered in trial.queue.offer("ann", 4, minutes=60)]
    theirs = [offered.item for offered in same.queue.offer("bob", 4, minutes=60)]
    require(mine == list("abcd") and theirs == list("ef"), "two were offered the same item, or not all items")
    again = [offered.item for offered in same.queue.offer("ann", 4, minutes=60)]
    require(again == mine, "a holder who asks again is not offered the same items")
    same.queue.give_back(["b"])
    require(
        [o.item for o in trial.queue.offer("bob", 3, 60)] == [*theirs, "b"],
        "an item that was given back is lost",
    )
    trial.tell([Event("1", "label", "b", "bob", store.classes[0])])
    require(same.queue.leased() == {"a", "c", "d", "e", "f"}, "an answer does not end the lease of its item")
    require(trial.queue.offer("cyd", 4, minutes=60) == [], "an item is offered that is held or has a label")


def _locks(store: Store, other: Store, _: Open) -> None:
    with store.lock("trainer"):
        require(other.is_held("trainer") and not other.is_held("server"), "a lock is not seen by others")
        with ExitStack() as stack:
            try:
                stack.enter_context(other.lock("trainer"))
            except RunBusy:
                pass
            else:
                raise AssertionError("two had the same role at once")
        with other.lock("server"):
            require(store.is_held("server"), "another role is not free")
    require(not other.is_held("trainer"), "a lock outlives its end")
    with other.lock("trainer"):
        other.sweep()


def _artefacts(store: Store, other: Store, _: Open) -> None:
    trial = _begun(store)
    for text in ("old", "new"):
        trial.artefact(0, "scores", ".txt", lambda path, text=text: _write(path, text))  # type: ignore[misc]
    found = _begun(other).find(0, "scores")
    require(found is not None and found.read_text() == "new", "an artefact is not the newest one")
    require(len(other.artefacts("scores")) == 1, "an artefact was not replaced")


def _backup(store: Store, _: Store, __: Open) -> None:
    trial = _begun(store)
    trial.tell([Event("1", "label", "a", "ann", store.classes[0])])
    with trial.phase(0, "label") as phase:
        phase.labelled()
    trial.artefact(0, "scores", ".txt", lambda path: _write(path, "scores"))
    with tempfile.TemporaryDirectory(dir=store.folder.parent) as place:
        archive, again = Path(place) / "run.tar", Path(place) / "again"
        store.backup(archive)
        restore(archive, again)
        with Store.open(again) as restored:
            require(_all(restored) == _all(store), "a restored backup differs from the run")
            path = _begun(restored).find(0, "scores")
            require(path is not None and path.read_text() == "scores", "a restored artefact differs")


def _all(store: Store) -> tuple[Any, ...]:
    """What a store says, but for the attempts at phases and the places of files."""
    curve = [(*row[:-1], repr(row.value)) for row in store.metrics()]
    files = [(row.strategy, row.seed, row.round, row.kind, row.sha256) for row in store.artefacts()]
    trials = [(trial.strategy, trial.seed, trial.latest(), trial.ranking(0)) for trial in store.trials()]
    return (store.ledger(), store.requests(), store.labels(), curve, files, trials, store.classes)


def _write(path: Path, text: str) -> None:
    path.write_text(text)
