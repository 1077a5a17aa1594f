import os
import sqlite3

import pytest
from tests.store.one_round import IN_FOLDER, ON_SERVER, go_through, past_the_library, write

from baldur.errors import RunNotFound
from baldur.store import Store, doctor


@pytest.fixture
def folder(run, trial):
    """A sound run of one round, closed."""
    run.record_start({"versions": {"torch": "2.13.0", "numpy": "2.4"}, "threads": 2, "device": "cpu"})
    go_through(trial, 0, following="de")
    run.close()
    return run.folder


def troubles(folder):
    findings = [finding for finding in doctor(folder) if finding.level != "ok"]
    for finding in findings:
        assert finding.what
        assert finding.mend[0].isupper() or finding.mend[0] == "`"
        assert finding.mend.endswith("."), "the mend is a sentence"
    return findings


def test_a_sound_run(folder, url):
    findings = doctor(folder)
    assert [finding.level for finding in findings] == ["ok"] * len(findings)
    version = sqlite3.sqlite_version if url is None else "PostgreSQL 1"
    assert any(version in finding.what for finding in findings)


def test_a_server_that_does_not_answer(folder, server):
    record = folder / "database.toml"
    record.write_text('url = "postgresql://ann@127.0.0.1:1/x"\nschema = "baldur_run"\n')
    [finding] = troubles(folder)
    assert finding.level == "error"
    assert "Check that the server runs" in finding.what
    assert "pg_dump" not in finding.mend


@ON_SERVER
def test_a_server_that_may_forget(folder):
    past_the_library(folder, "ALTER ROLE postgres SET synchronous_commit = off")
    try:
        [finding] = troubles(folder)
    finally:
        past_the_library(folder, "ALTER ROLE postgres RESET synchronous_commit")
    assert (finding.level, "synchronous_commit" in finding.what) == ("warning", True)


def test_no_run(tmp_path):
    with pytest.raises(RunNotFound):
        doctor(tmp_path)
    assert not list(tmp_path.iterdir())


def test_looking_changes_nothing(folder):
    write(folder / "artefacts" / ".new-1", b"half")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    doctor(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM events WHERE number = 2", "lacks 1 of its 3 events"),
        ("DELETE FROM events WHERE number = 3", "lacks 1 of its 3 events"),
        ("UPDATE rounds SET round = 5 WHERE round = 1", "not consecutive"),
        ("UPDATE rounds SET cut = NULL", "without a recorded cut"),
        ("UPDATE requests SET state = 'answered'", "2 answered requests have no label"),
        ("UPDATE alembic_version SET version_num = '9999'", "newer"),
    ],
)
def test_rows_that_cannot_be(folder, statement, words):
    past_the_library(folder, statement)
    found = troubles(folder)
    assert [finding for finding in found if finding.level == "error" and words in finding.what], found


@IN_FOLDER
def test_rows_that_refer_to_nothing(folder):
    past_the_library(folder, "DELETE FROM rounds WHERE round = 0")
    assert "rows refer to missing rows" in troubles(folder)[0].what


@pytest.mark.parametrize("how", ["altered", "cut short", "missing"])
def test_a_damaged_artefact(folder, how):
    [weights] = folder.glob("artefacts/*/*/posterior*/weights")
    if how == "altered":
        write(weights, b"v" * 100)
    elif how == "cut short":
        os.truncate(weights, 10)
    else:
        weights.unlink()
        weights.parent.rmdir()
    [finding] = troubles(folder)
    assert finding.level == "error"
    assert how in finding.what
    assert "backup" in finding.mend
    with Store.open(folder) as run, run.lock("trainer"):  # what the mend says, done
        if weights.exists():
            weights.unlink()
            weights.parent.rmdir()
        run.sweep()
    assert not [finding for finding in troubles(folder) if finding.level == "error"]


def test_files_that_nobody_names(folder, run):
    write(folder / "artefacts" / ".new-1", b"half")
    [finding] = troubles(folder)
    assert (finding.level, ".new-1" in finding.what) == ("warning", True)
    with Store.open(folder) as again, again.lock("trainer"):
        assert troubles(folder) == [], "they may be half written at this moment"
        again.sweep()
    assert troubles(folder) == []


@IN_FOLDER
@pytest.mark.parametrize("where", [0, 4096])
def test_a_damaged_database(folder, where):
    content = bytearray((folder / "baldur.db").read_bytes())
    content[where : where + 8192] = b"\xff" * 8192
    write(folder / "baldur.db", content)
    [finding] = troubles(folder)
    assert finding.level == "error"
    assert "restore the last backup" in finding.mend


@IN_FOLDER
def test_an_empty_database(folder):
    write(folder / "baldur.db", b"")
    [finding] = troubles(folder)
    assert (finding.level, finding.what) == ("error", "the database is empty")


def test_settings_that_were_changed(folder):
    (folder / "settings.toml").write_text("rounds = 9\n")
    [finding] = troubles(folder)
    assert (finding.level, "settings.toml differs from" in finding.what) == ("warning", True)
    (folder / "settings.toml").unlink()
    [finding] = troubles(folder)
    assert "is missing" in finding.what


def test_starts_in_different_environments(folder):
    with Store.open(folder) as run:
        run.record_start({"versions": {"torch": "2.14.0", "numpy": "2.4"}, "threads": 4, "device": "cpu"})
    versions, threads = troubles(folder)
    assert versions.what.endswith("different versions of torch")
    assert threads.what.endswith("different threads: 2, 4")
