import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.store.one_round import IN_FOLDER, go_through, past_the_library

from baldur.errors import DiskFull, NewerStore, RunNotFound, StoreError
from baldur.store import Request, Store, database, doctor, schema


@pytest.fixture
def opened(run):
    """The run's database, by a connection of its own."""
    with closing(database.Database(run.folder)) as opened:
        yield opened


def raw(run):
    return closing(sqlite3.connect(run.folder / "baldur.db", isolation_level=None))


@IN_FOLDER
def test_every_connection_is_a_careful_one(opened):
    settings = {name: opened.text(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous")}
    safe = database.safe_for_wal()
    assert settings == {"journal_mode": "wal" if safe else "truncate", "synchronous": 2 if safe else 3}
    assert opened.text("PRAGMA foreign_keys")[0][0] == 1
    assert opened.text("PRAGMA recursive_triggers")[0][0] == 1
    assert opened.text("PRAGMA busy_timeout")[0][0] == 30_000


@pytest.mark.parametrize(
    ("version", "safe"),
    [((3, 40, 1), False), ((3, 51, 2), False), ((3, 51, 3), True), ((3, 52, 0), False), ((3, 53, 0), True)],
)
def test_the_write_ahead_log_is_for_mended_libraries(version, safe):
    assert database.safe_for_wal(version) is safe


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET value = 'dog'",
        "DELETE FROM events",
        "TRUNCATE events",
        "INSERT OR REPLACE INTO events SELECT * FROM events",
    ],
)
def test_the_ledger_is_append_only(run, opened, trial, statement, url):
    if ("TRUNCATE" if url is None else "REPLACE") in statement:
        pytest.skip("this database has no such statement")
    trial.answer(0, {"a": "cat"}, "ann")
    before = run.ledger()
    with pytest.raises(StoreError, match="append-only"), opened.write() as connection:
        connection.exec_driver_sql(statement)
    assert run.ledger() == before


@IN_FOLDER
def test_other_programs_cannot_change_the_ledger_either(run, trial):
    trial.answer(0, {"a": "cat"}, "ann")
    with raw(run) as connection, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute("DELETE FROM events")


def test_rows_that_name_nothing_are_refused(opened):
    with pytest.raises(StoreError, match=r"(?i)foreign key"), opened.write() as connection:
        connection.execute(schema.metrics.insert(), {"trial": 7, "round": 0, "metric": "a", "split": "b"})


def test_a_write_is_whole_or_nothing(run, opened):
    def fail_half_way():
        with opened.write() as connection:
            connection.execute(schema.starts.insert(), {"time": "now", "environment": {}})
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    assert run.starts() == []


@IN_FOLDER
def test_a_writer_waits_for_the_other_and_says_so_when_it_gives_up(run, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    with Store.open(run.folder) as patient, raw(run) as other:
        other.execute("BEGIN IMMEDIATE")
        assert patient.trials() == [], "reading goes on"
        with pytest.raises(StoreError, match="another process kept"):
            patient.trial("bald", 0)
        other.execute("COMMIT")
        patient.trial("bald", 0)


@IN_FOLDER
def test_a_write_is_alone_from_its_first_instant(run, opened):
    with opened.write(), raw(run) as other:
        other.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")


@IN_FOLDER
def test_a_full_database_keeps_what_was_committed(run, trial):
    go_through(trial, 0, following="d")
    pages = run._database.text("PRAGMA page_count")[0][0]
    run._database.text(f"PRAGMA max_page_count = {pages}")
    other = run.trial("random", 0)
    with pytest.raises(DiskFull, match="committed before is safe"):
        other.begin([Request(f"a long name {i}", i) for i in range(5000)])
    assert other.latest() is None
    assert trial.latest() == (1, "requested", None, None)
    run._database.text("PRAGMA max_page_count = 100000")
    other.begin([Request(f"a long name {i}", i) for i in range(5000)])
    assert run._database.text("PRAGMA integrity_check")[0][0] == "ok"


def test_a_newer_database_is_refused_and_left_alone(run, url):
    run.close()
    past_the_library(run.folder, "UPDATE alembic_version SET version_num = '9999'")
    before = everything(run.folder, url)
    with pytest.raises(NewerStore, match=r"'9999'.*install that version"):
        Store.open(run.folder)
    with pytest.raises(StoreError, match="already"):
        Store.create(run.folder, settings="", classes=["x"], url=url)
    assert everything(run.folder, url) == before


def everything(folder, url):
    """The file of a database, or the tables on a server."""
    if url is None:
        return (folder / "baldur.db").read_bytes()
    return past_the_library(folder, "SELECT schema_to_xml(current_schema(), true, false, '')::text")


def test_what_is_no_database_and_what_is_somebody_elses(tmp_path):
    (tmp_path / "baldur.db").write_bytes(b"This is a text, and a long one. " * 100)
    with pytest.raises(StoreError, match="baldur doctor"):
        Store.open(tmp_path)
    (tmp_path / "baldur.db").unlink()
    with closing(sqlite3.connect(tmp_path / "baldur.db")) as connection:
        connection.execute("CREATE TABLE mine (x)")
    for refused in (lambda: Store.open(tmp_path), lambda: Store.create(tmp_path, settings="", classes=["x"])):
        with pytest.raises(StoreError, match="none of a Baldur run"):
            refused()


@IN_FOLDER
def test_damaged_pages_are_named(run, trial):
    trial.begin([Request(item, rank) for rank, item in enumerate("abc")])
    run.close()
    content = bytearray((run.folder / "baldur.db").read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    (run.folder / "baldur.db").write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        Store.open(run.folder)


def test_the_migrations_make_the_schema(run, opened):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with opened.write() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def test_the_migrations_make_the_schema_to_the_letter(tmp_path):
    declared = sa.create_engine("sqlite://")
    schema.metadata.create_all(declared)
    Store.create(tmp_path, settings="", classes=["x"]).close()
    with closing(database.Database(tmp_path)) as migrated, declared.connect() as connection:
        assert tables(migrated.text(TABLES)) == tables(connection.exec_driver_sql(TABLES).all())
    declared.dispose()


TABLES = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name <> 'alembic_version'"


def tables(rows):
    """The definition of each table: its columns and constraints in any order."""
    return {
        name: sorted(re.split(r",\s+(?![^()]*\))", " ".join(sql[:-1].split()).rstrip())) for name, sql in rows
    }


def test_the_newest_migration_is_the_one_that_is_looked_for():
    from alembic.script import ScriptDirectory

    migrations = Path(database.__file__).parent / "migrations"
    assert ScriptDirectory(migrations).get_current_head() == schema.REVISION


def test_an_older_database_is_brought_up_to_date_in_one_transaction(run, opened, monkeypatch, tmp_path):
    """A third migration, made here, is applied; one that fails leaves the first version whole."""
    import shutil

    migrations = tmp_path / "migrations"
    shutil.copytree(Path(database.__file__).parent / "migrations", migrations)
    third = migrations / "versions" / "third.py"
    text = "from alembic import op\nrevision, down_revision = '0003', '0002'\n"
    text += "branch_labels = depends_on = None\n"
    body = "def upgrade():\n    op.execute('CREATE TABLE more (x INTEGER)')\n"
    monkeypatch.setattr(schema, "REVISION", "0003")
    config = database._alembic()
    config.set_main_option("script_location", str(migrations))
    monkeypatch.setattr(database, "_alembic", lambda: config)
    third.write_text(text + body + "    raise KeyError('half way')\n")
    assert any("older (0002)" in finding.what and "backup" in finding.mend for finding in doctor(run.folder))
    with pytest.raises(KeyError):
        Store.open(run.folder)
    assert (opened.revision(), has_more(opened)) == ("0002", False)
    third.write_text(text + body)
    Store.open(run.folder).close()
    assert (opened.revision(), has_more(opened)) == ("0003", True)


def has_more(opened):
    with opened.write() as connection:
        return sa.inspect(connection).has_table("more")


@pytest.mark.parametrize(
    ("mounts", "refused"),
    [
        ("/dev/a / ext4 rw 0 0\n", False),
        ("/dev/a / ext4 rw 0 0\nserver:/x /data nfs4 rw 0 0\n", True),
        ("server:/x / nfs rw 0 0\n/dev/a /data ext4 rw 0 0\n", False),
        ("/dev/a / ext4 rw 0 0\nx /data/my\\040runs fuse.sshfs rw 0 0\n", True),
        ("/dev/a / ext4 rw 0 0\nserver:/x /dat nfs4 rw 0 0\n", False),
        ("server:/x /data nfs4 rw 0 0\ntmpfs /data tmpfs rw 0 0\n", False),
    ],
)
def test_network_file_systems_are_refused(tmp_path, mounts, refused):
    table = tmp_path / "mounts"
    table.write_text(mounts)
    file = Path("/data/my runs/demo/baldur.db")
    if refused:
        with pytest.raises(StoreError, match="network file system"):
            database.refuse_network_file_system(file, table)
    else:
        database.refuse_network_file_system(file, table)
    database.refuse_network_file_system(file, tmp_path / "not there")


def test_creating_on_a_network_file_system_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(
        database, "_REMOTE", {line.split()[2] for line in Path("/proc/mounts").read_text().splitlines()}
    )
    with pytest.raises(StoreError, match="network file system"):
        Store.create(tmp_path / "run", settings="", classes=["x"])


def test_runs_near_a_wrong_folder_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/demo", "runs/other"):
        Store.create(tmp_path / name, settings="", classes=["x"]).close()
    with pytest.raises(RunNotFound, match="there are runs in runs/demo, runs/other"):
        Store.open(Path("runs/demos"))
    with pytest.raises(RunNotFound, match="there are runs in runs/"):
        Store.open(Path("runs"))
