import os
import signal
import subprocess
import sys

import pytest
from tests.store import server as server_
from tests.store.one_round import CLASSES, ON_SERVER, go_through, past_the_library

from baldur.errors import RunBusy, StoreError
from baldur.store import Event, Request, Store

HOLD = """
import sys, time
from pathlib import Path
from baldur.store import Store
with Store.open(Path(sys.argv[1])) as store, store.lock("trainer"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(run):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(run.folder)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_trainer_is_told_who_is_the_first(run, holder):
    assert run.is_held("trainer")
    with (
        pytest.raises(RunBusy, match=rf"process {holder.pid}( on \S+)? is already the trainer"),
        run.lock("trainer"),
    ):
        pass
    with run.lock("server"):
        assert not run.is_held("other")
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with run.lock("trainer"):
        assert run.is_held("trainer")


def test_roles_of_one_kind(run, tmp_path, url):
    with (
        Store.create(tmp_path / "other", settings="", classes=CLASSES, url=url) as other,
        run.lock("job-1"),
        run.lock("job-0"),
        run.lock("trainer"),
        other.lock("job-7"),
    ):
        assert [run.is_held(role) for role in ("job-0", "job-1", "job-7", "job")] == [
            True,
            True,
            False,
            False,
        ]
        with pytest.raises(RunBusy, match="job-0, job-1 of"):
            run.wait_for("job", lambda said: None)
        other_roles = []
        with pytest.raises(RunBusy, match="job-7 of"):
            other.wait_for("job", other_roles.append)
    run.wait_for("job", pytest.fail)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr("baldur.store.store._PATIENCE", 0.2)


def test_one_process_cannot_have_a_role_twice(run):
    with (
        run.lock("trainer"),
        Store.open(run.folder) as again,
        pytest.raises(RunBusy, match=f"process {os.getpid()}"),
        again.lock("trainer"),
    ):
        pass
    with pytest.raises(KeyError), run.lock("trainer"):
        raise KeyError
    assert not run.is_held("trainer")


def cut_lock(run):
    """End the connection that holds the lock of the trainer, as a broken network does."""
    ended = past_the_library(
        run.folder,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'baldur trainer %'",
    )
    assert ended == [(True,)]
    while run.is_held("trainer"):
        pass


WRITES = {
    "label": lambda trial: go_through(trial, 0),
    "cut": lambda trial: trial.cut(0),
    "answer": lambda trial: trial.answer(0, {"a": "cat"}, "ann"),
    "artefact": lambda trial: trial.artefact(
        0, "scores", ".npy", lambda path: path.write_bytes(b"1") and None
    ),
    "checkpoint": lambda trial: trial.checkpoint(0).save(lambda path: path.write_bytes(b"1") and None),
    "finish": lambda trial: trial.finish("waiting", "for labels"),
    "incident": lambda trial: trial.incident(0, "a problem"),
}


@ON_SERVER
@pytest.mark.parametrize("write", WRITES)
def test_a_trainer_that_was_replaced_writes_nothing(run, trial, write):
    with run.lock("trainer"):
        run.record_start({})
        cut_lock(run)
        run.record_start({})  # nobody has taken its place
        with Store.open(run.folder) as again, again.lock("trainer"):
            assert (run.token, again.token) == (1, 2)
            before = everything(run)
            with pytest.raises(RunBusy, match="another process has become the trainer"):
                WRITES[write](trial)
            assert everything(run) == before
            assert not [path for path in (run.folder / "artefacts").rglob("*") if path.is_file()]
            go_through(again.trial("bald", 0), 0)
        with pytest.raises(RunBusy):
            trial.finish("done", "")  # not even after the other has ended
    trial.tell([Event("1", "label", "a", "ann", "dog")])  # anybody may
    with run.lock("trainer"):
        assert run.token == 3


@ON_SERVER
def test_a_phase_that_was_interrupted_by_another_trainer_records_nothing(run, trial):
    def label():
        with trial.phase(0, "label") as phase:
            cut_lock(run)
            with Store.open(run.folder) as again, again.lock("trainer"):
                pass
            phase.labelled()

    with run.lock("trainer"), pytest.raises(RunBusy):
        label()
    assert trial.latest().state == "requested"


@ON_SERVER
def test_a_job_writes_for_its_trainer_only(run, trial):
    with run.lock("trainer"), Store.open(run.folder) as job, job.lock("job-0", run.token):
        job.record_start({})
        cut_lock(run)
        with Store.open(run.folder) as again, again.lock("trainer"), pytest.raises(RunBusy):
            job.record_start({})
    assert run.token is None


@pytest.mark.parametrize("how", ["immediate", "fast"])
def test_a_server_that_stops_in_the_middle_of_a_commit(tmp_path, server, how):
    server = server_.begin()
    try:
        url = server.url.replace("postgres@", "postgres:geheim%3A%201%2F2%403@")
        with Store.create(tmp_path / "run", settings="", classes=CLASSES, url=url) as run:
            trial = run.trial("bald", 0)
            trial.begin([Request(item, rank) for rank, item in enumerate("abc")])
            with run.lock("trainer"):
                go_on_until_it_stops(run, trial, server, how)
            server.start()
            assert trial.latest() == (0, "labelled", 1, 1), (
                "what was acknowledged is there, and no half of a phase"
            )
            with run.lock("trainer"), trial.phase(0, "fit") as phase:
                phase.fitted()
            assert [row.item for row in run.ledger()] == ["a"]
    finally:
        server.remove()


def go_on_until_it_stops(run, trial, server, how):
    trial.answer(0, {"a": "cat"}, "ann")
    with trial.phase(0, "label") as phase:
        phase.labelled()

    def commit():
        with run._database.write() as connection:
            connection.exec_driver_sql("UPDATE rounds SET state = 'fitted'")
            server.stop(how)

    with pytest.raises(StoreError, match=r"was lost .*Everything acknowledged before is safe"):
        commit()
    with pytest.raises(StoreError, match=r"cannot connect to postgresql.*Check that the server runs"):
        trial.answer(0, {"b": "cat"}, "ann")


def everything(run):
    return run.ledger(), run.requests(), run.phases(), run.artefacts(), run.incidents(), run.starts()
