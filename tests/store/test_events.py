"""Events of annotators."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from tests.store.one_round import CLASSES, go_through

from baldur.errors import RunBusy, StoreError
from baldur.store import Event, ItemRecord, Request, Store, database, locks, schema


def labels(trial, cut=None):
    return {row.item: row.value for row in trial.labels(cut)}


def test_an_event_that_is_sent_twice_counts_once(run, trial):
    event = Event("1", "label", "a", "ann", "cat")
    assert trial.tell([event, event]).repeated == ("1",)
    assert trial.tell([event]) == ((), ("1",), {})
    assert len(run.ledger()) == 1
    told = trial.tell([event._replace(value="dog")])
    assert "an id of its own" in told.refused["1"]
    assert labels(trial) == {"a": "cat"}


def test_a_correction_supersedes_and_a_withdrawal_takes_the_label_back(run, trial):
    trial.tell([Event("1", "label", "a", "ann", "cat"), Event("2", "correction", "a", "ann", "dog")])
    assert labels(trial) == {"a": "dog"}
    trial.tell([Event("3", "withdrawal", "a", "ann")])
    assert labels(trial) == {}
    assert labels(trial, cut=2) == {"a": "dog"}
    trial.tell([Event("4", "label", "a", "ann", "bird")])
    assert labels(trial) == {"a": "bird"}
    assert [(row.kind, row.supersedes) for row in run.ledger()] == [
        ("label", None),
        ("correction", 1),
        ("withdrawal", 2),
        ("label", None),
    ]


def test_items_that_get_no_label_are_refused(tmp_path):
    with Store.create(tmp_path, settings="", classes=CLASSES, seed=0) as store:
        bad = ItemRecord("bad", state="quarantined", reason="it is no image")
        store.record_items([bad, ItemRecord("test", split="test"), ItemRecord("good", key=1)])
        told = store.trial("s", 0).tell(
            [Event(i, "label", i, "ann", CLASSES[0]) for i in ("bad", "test", "good")]
            + [Event("note", "note", "bad", "ann", "blurred")]
        )
    assert told.accepted == ("good", "note")
    assert "left out 'bad': it is no image" in told.refused["bad"]
    assert "'test' is a test item" in told.refused["test"]


def test_requests_are_answered_and_skipped(run, trial):
    trial.tell([Event("1", "label", "a", "ann", "cat"), Event("2", "skip", "b", "ann")])
    assert trial.open_requests(0) == ["c"]
    trial.tell([Event("3", "unlabelable", "c", "ann"), Event("4", "note", "a", "ann", "blurred")])
    assert trial.open_requests(0) == []
    assert [row.state for row in run.requests()] == ["answered", "skipped", "skipped"]
    assert trial.left_out() == {"c"}
    assert trial.cut(0) == 4
    assert trial.latest().labels == 1
    trial.tell([Event("5", "label", "b", "ann", "dog")])  # later
    assert [row.state for row in run.requests()] == ["answered", "answered", "skipped"]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Event("2", "label", "z", "ann", "cat"), "there is no item 'z'"),
        (Event("2", "label", "b", "ann", "fish"), "'fish' is not a class; the classes are cat, dog, bird"),
        (Event("2", "correction", "b", "ann", "cat"), "has no label yet"),
        (Event("2", "withdrawal", "b", "ann"), "has no label yet"),
        (Event("2", "label", "a", "ann", "dog"), "'ann' said 'cat' for 'a' before, and now 'ann' says 'dog'"),
        (Event("2", "label", "a", "bob", "dog"), "'ann' said 'cat' for 'a' before, and now 'bob' says 'dog'"),
        (Event("2", "label", "b", "ann", "birds"), "did you mean 'bird'?"),
    ],
)
def test_an_event_that_cannot_be_believed_is_named_and_the_rest_is_taken(asking, event, words):
    trial = asking.trial("bald", 0)
    told = trial.tell([Event("1", "label", "a", "ann", "cat"), event, Event("3", "label", "c", "ann", "dog")])
    assert told.accepted == ("1", "3")
    assert words in told.refused["2"]
    assert labels(trial) == {"a": "cat", "c": "dog"}


@pytest.mark.parametrize("part", ["id", "item", "annotator", "value", "source"])
@pytest.mark.parametrize("letter", ["\0", "\udcff"])
def test_a_text_that_no_database_holds_is_named_and_the_rest_is_taken(run, trial, part, letter):
    note = Event("1", "note", "a", "ann", "blurred")
    bad = note._replace(**{part: f"{note._asdict()[part]}{letter}"})
    told = trial.tell([note._replace(id="0"), bad, note._replace(id="2")])
    assert told.accepted == ("0", "2")
    assert f"the {part} " in told.refused[bad.id]
    assert len(run.ledger()) == 2


def test_a_file_name_that_is_not_unicode_is_named(run):
    with pytest.raises(StoreError, match=r"b\\udcff.png.*rename it"):
        run.record_items([ItemRecord("a"), ItemRecord("b\udcff.png")])
    assert run.items() == {}


def test_an_item_that_no_round_asked_for_may_have_a_label(run, trial):
    trial.tell([Event("1", "label", "x", "ann", "cat")])
    assert labels(trial) == {"x": "cat"}
    assert run.ledger()[0].round is None


def test_an_answer_to_a_test_item_is_never_for_training(asking):
    asking.trial("bald", 0).tell(
        [Event("1", "label", "e", "ann", "cat"), Event("2", "label", "a", "ann", "cat")]
    )
    assert [row.purpose for row in asking.ledger()] == ["test", "train"]


def test_votes_decide_nothing(trial):
    trial.answer(0, {"a": "cat"}, "consensus", votes={"ann": {"a": "dog"}, "bob": {"a": "cat"}})
    assert labels(trial) == {"a": "cat"}
    assert trial.votes() == {"ann": {"a": "dog"}, "bob": {"a": "cat"}}


SAID = st.lists(
    st.tuples(
        st.sampled_from(["label", "correction", "withdrawal", "skip", "unlabelable", "note"]),
        st.sampled_from("abcx"),
        st.sampled_from(["ann", "bob"]),
        st.sampled_from([*CLASSES, "fish"]),
    ),
    max_size=25,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory, url):
    """One run for many examples: to make one takes long on a server."""
    with Store.create(tmp_path_factory.mktemp("run") / "run", settings="", classes=CLASSES, url=url) as run:
        yield run


@given(said=SAID, cut=st.integers(0, 25))
def test_the_current_labels_are_those_of_a_replay(shared, said, cut):
    earlier, seed = len(shared.ledger()), len(shared.trials())
    events = [Event(f"{seed} {n}", *row[:3], row[3]) for n, row in enumerate(said)]
    trial = shared.trial("bald", seed)
    trial.begin([Request(item, rank) for rank, item in enumerate("abc")])
    told = trial.tell(events)
    assert len(told.accepted) + len(told.refused) == len(events)
    for until in (earlier + cut, None):
        current = {}
        for row in shared.ledger()[earlier:until]:
            if row.kind in ("label", "correction"):
                current[row.item] = row.value
            elif row.kind in ("withdrawal", "unlabelable"):
                current.pop(row.item, None)
        assert labels(trial, until) == current


def as_the_first_version(folder):
    """Rewrite a run's database as the first version would have: tables of its schema, labels in the ledger."""
    from alembic import command

    with closing(database.Database(folder)) as run:
        tables = {table.name: run.rows(sa.select(table)) for table in schema.metadata.sorted_tables}
        if run.file is not None:
            run.close()
            run.file.unlink()
        with run.write() as connection:
            if run.file is None:
                connection.exec_driver_sql(f"DROP SCHEMA {run.place.schema} CASCADE")
                connection.exec_driver_sql(f"CREATE SCHEMA {run.place.schema}")
            config = database._alembic()
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
            old = sa.MetaData()
            old.reflect(connection)
            for table in old.sorted_tables:
                rows = tables.get("events" if table.name == "ledger" else table.name, ())
                kept = [{c.name: getattr(row, c.name) for c in table.columns} for row in rows]
                if kept:
                    connection.execute(table.insert(), kept)


def test_the_ledger_of_the_first_version_is_copied(run, trial):
    trial.answer(0, {"a": "cat", "b": "dog"}, "ann")
    go_through(trial, 0, following="a")
    trial.answer(1, {"a": "bird"}, "ann")
    trial.artefact(0, "scores", ".npy", lambda path: path.write_bytes(b"1") and None)
    run.record_items([ItemRecord("a", position=0)])
    run.record_start({"threads": 2})
    before, folder = everything(run), run.folder
    run.close()
    as_the_first_version(folder)
    with Store.open(folder) as again:
        assert everything(again) == before
        trial = again.trial("bald", 0)
        trial.tell([Event("new", "label", "x", "ann", "cat")])
        assert again.ledger()[-1].number == before[0][-1].number + 1
        assert database_of(again).revision() == schema.REVISION


def test_a_run_of_the_first_version_is_not_updated_while_it_is_trained(run, trial, monkeypatch):
    monkeypatch.setattr("baldur.store.store._MIGRATION", 0.2)
    trial.answer(0, {"a": "cat"}, "ann")
    run.close()
    as_the_first_version(run.folder)
    with closing(database.Database(run.folder)) as old:
        with locks.hold(old, "trainer"), pytest.raises(RunBusy, match=r"older version.*try again"):
            Store.open(run.folder)
        assert old.revision() == "0001"


def test_several_may_open_a_run_of_the_first_version_at_once(run, trial):
    trial.answer(0, {"a": "cat"}, "ann")
    before = run.ledger()
    run.close()
    as_the_first_version(run.folder)

    def ledger(_):
        with Store.open(run.folder) as again:
            return again.ledger()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ledger, range(4))) == [before] * 4


def everything(run):
    return (
        run.ledger(),
        run.requests(),
        run.phases(),
        run.metrics(),
        run.artefacts(),
        run.items(),
        run.starts(),
    )


def database_of(run):
    return run._database


def test_eight_processes_at_once_lose_nothing(run, trial):
    count, teller = 15, Path(__file__).with_name("teller.py")
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, str(teller), str(run.folder), f"ann {n}", str(count)],
                    **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE},
                )
            )
            for n in range(8)
        ]
        for process in processes:
            assert process.stdout.readline() == b"ready\n"
        for process in processes:
            process.stdin.write(b"go\n")
            process.stdin.flush()
        seen = []
        while any(process.poll() is None for process in processes):
            now = run.ledger()
            assert now[: len(seen)] == seen, "an event became visible after a later one"
            seen = now
            time.sleep(0.01)
        assert [process.returncode for process in processes] == [0] * 8
    rows = run.ledger()
    assert [row.number for row in rows] == list(range(1, 8 * count + 1))
    for n in range(8):
        own = [row.event for row in rows if row.annotator == f"ann {n}"]
        assert own == [f"ann {n}-{k}" for k in range(count)]
