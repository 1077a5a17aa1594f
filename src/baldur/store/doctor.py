"""Checks of a run, with advice for each problem. The checks change nothing."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import sqlalchemy as sa

from baldur.core.sizes import counted
from baldur.errors import NewerStore, StoreError
from baldur.store import artefacts, backup, database, locks, schema
from baldur.store.database import Database, no_run
from baldur.store.rows import Finding


def doctor(folder: Path, *, url: str | None = None) -> list[Finding]:
    """Check a run: its database, its ledger, its artefacts and its environment.

    Args:
        folder: The run's.
        url: Of its database, if it needs a password that is neither in PGPASSWORD nor in ~/.pgpass.

    Returns:
        The findings; the run is sound if no level is "error".

    Raises:
        RunNotFound: There is no run.
    """
    run = Database(folder, url)
    if run.file is not None and not run.file.exists():
        raise no_run(folder, run.file)
    checks: tuple[Callable[[Database], Iterator[Finding]], ...] = (
        *(_integrity, _schema, _connection, _foreign_keys, _ledger, _rounds, _artefacts, _unnamed),
        *(_settings, _starts, _incidents),
    )
    findings: list[Finding] = []
    try:
        for check in checks:
            try:
                findings += check(run)
            except StoreError as error:
                findings.append(Finding("error", str(error), _from_backup(run)))
            if check in (_integrity, _schema) and findings[-1].level == "error":
                break  # the other checks need a readable database
    finally:
        run.close()
    return findings


def _from_backup(run: Database) -> str:
    if run.file is None:
        return "Save the schema as it is with pg_dump, then restore the last backup into a new folder."
    return (
        f"Keep a copy of {run.folder}, then restore the last backup into a new folder. Without a backup, "
        "`sqlite3 baldur.db .recover` saves the readable part."
    )


def _integrity(run: Database) -> Iterator[Finding]:
    if run.file is None:
        try:
            run.text("SELECT 1")
            yield Finding("ok", "the database is on a server, which checks it itself")
        except StoreError as error:
            yield Finding(
                "error", str(error), "If the server is lost, restore the last backup into a new folder."
            )
        return
    troubles = [row[0] for row in run.text("PRAGMA integrity_check")]
    if troubles == ["ok"]:
        yield Finding("ok", "the database is whole")
    else:
        yield Finding("error", f"the database is damaged: {'; '.join(troubles[:3])}", _from_backup(run))


def _schema(run: Database) -> Iterator[Finding]:
    revision = run.revision()
    if revision is None:
        yield Finding("error", "the database is empty", _from_backup(run))
    elif revision == schema.REVISION:
        yield Finding("ok", f"the schema is up to date ({revision})")
    else:
        try:
            database.refuse_newer(revision, run)
        except NewerStore:
            what = f"the schema ({revision}) is newer than that of this version of Baldur ({schema.REVISION})"
            yield Finding("error", what, "Install the version of Baldur that wrote the run, or a later one.")
            return
        what = f"the schema is older ({revision}) than that of this version of Baldur ({schema.REVISION})"
        yield Finding("warning", what, "Make a backup. The next start of the run updates the schema.")


def _connection(run: Database) -> Iterator[Finding]:
    if run.file is None:
        yield from _server(run)
        return
    mode = run.text("PRAGMA journal_mode")[0][0]
    yield Finding("ok", f"SQLite {sqlite3.sqlite_version}, journal mode {mode}")


def _server(run: Database) -> Iterator[Finding]:
    yield Finding("ok", f"PostgreSQL {run.text('SHOW server_version')[0][0].split()[0]}")
    risky = [name for name in ("fsync", "synchronous_commit") if run.text(f"SHOW {name}")[0][0] == "off"]
    if risky:
        what = f"{' and '.join(risky)} of the server is off, so a power cut may lose answers that were acknowledged"
        yield Finding("warning", what, f"Set {' and '.join(risky)} to on in the settings of the server.")


def _foreign_keys(run: Database) -> Iterator[Finding]:
    if run.file is None:
        return
    broken = run.text("PRAGMA foreign_key_check")
    if broken:
        tables = ", ".join(sorted({row[0] for row in broken}))
        what = f"{counted(len(broken), 'row refers', 'rows refer')} to missing rows (in {tables})"
        yield Finding("error", what, _from_backup(run))


def _ledger(run: Database) -> Iterator[Finding]:
    c = schema.events.c
    count, last = run.rows(sa.select(sa.func.count(), sa.func.coalesce(sa.func.max(c.number), 0)))[0]
    cut = run.rows(sa.select(sa.func.coalesce(sa.func.max(schema.rounds.c.cut), 0)))[0][0]
    given = 0
    if run.file is not None:  # SQLite remembers the last number that it ever gave
        given = run.text("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'")[0][0]
    lost = max(given, last, cut) - count
    if lost:
        what = f"the ledger lacks {lost} of its {count + lost} events: labels were deleted by other means"
        yield Finding("error", what, _from_backup(run))
    else:
        yield Finding("ok", f"the ledger holds all of its {count} events")
    r = schema.requests.c
    event = sa.exists().where(c.trial == r.trial, c.item == r.item, c.round == r.round)
    silent = run.rows(sa.select(sa.func.count()).where(r.state == "answered", ~event))[0][0]
    if silent:
        what = f"{counted(silent, 'answered request has', 'answered requests have')} no label in the ledger"
        yield Finding("error", what, _from_backup(run))


def _rounds(run: Database) -> Iterator[Finding]:
    c = schema.rounds.c
    query = sa.select(
        c.trial, sa.func.count(), sa.func.max(c.round), sa.func.count().filter(c.state != "closed")
    )
    for trial, count, last, unclosed in run.rows(query.group_by(c.trial)):
        if count != last + 1 or unclosed > 1:
            what = f"the rounds of trial {trial} are not consecutive ({counted(count, 'round')}, the last is {last})"
            yield Finding("error", what, _from_backup(run))
    uncut = run.rows(sa.select(sa.func.count()).where(c.state != "requested", c.cut.is_(None)))[0][0]
    if uncut:
        what = f"{counted(uncut, 'round was', 'rounds were')} trained without a recorded cut"
        yield Finding("error", what, _from_backup(run))


def _artefacts(run: Database) -> Iterator[Finding]:
    c = schema.artefacts.c
    rows = run.rows(sa.select(c.path, c.sha256))
    damaged = 0
    for path, sha256 in rows:
        trouble = artefacts.verify(run.folder / path, sha256)
        if trouble and run.rows(sa.select(c.id).where(c.path == path)):  # not deleted by the run meanwhile
            damaged += 1
            advice = artefacts.mend(run.folder)
            yield Finding("error", f"{path} {trouble}", advice[0].upper() + advice[1:] + ".")
    if not damaged:
        yield Finding("ok", f"all {len(rows)} artefacts are as recorded")


def _unnamed(run: Database) -> Iterator[Finding]:
    busy = locks.is_held(run, "trainer")
    unnamed = artefacts.unnamed(
        run.folder, {row.path for row in run.rows(sa.select(schema.artefacts.c.path))}
    )
    if busy:
        yield Finding("ok", "a process is working on the run at this moment")
    elif unnamed:
        what = f"{counted(len(unnamed), 'file is', 'files are')} left from an interrupted process, such as {unnamed[0]}"
        mend = "Nothing is lost. Start the run again, which removes them, or delete them."
        yield Finding("warning", what, mend)


def _settings(run: Database) -> Iterator[Finding]:
    file = run.folder / backup.SETTINGS
    recorded = run.rows(sa.select(schema.run.c.settings))[0][0]
    found = file.read_text(encoding="utf-8") if file.exists() else None
    if found != recorded:
        what = f"{file.name} {'is missing' if found is None else 'differs from the recorded settings'}"
        mend = "The run uses the settings in its database. Begin a new run for other settings, or restore the file."
        yield Finding("warning", what, mend)


def _starts(run: Database) -> Iterator[Finding]:
    environments = [row[0] for row in run.rows(sa.select(schema.starts.c.environment))]
    for key in ("versions", "threads", "device"):
        seen = [e[key] for e in environments if key in e]
        distinct = {json.dumps(value, sort_keys=True) for value in seen}
        if len(distinct) > 1:
            if key == "versions":
                names = sorted({n for v in seen for n in v if any(other.get(n) != v[n] for other in seen)})
                what = f"the run was started with different versions of {', '.join(names)}"
            else:
                what = f"the run was started with different {key}: {', '.join(sorted(distinct))}"
            mend = "Repeat the run in one environment if you need the same curve bit for bit."
            yield Finding("warning", what, mend)


def _incidents(run: Database) -> Iterator[Finding]:
    for time, what in run.rows(sa.select(schema.incidents.c.time, schema.incidents.c.what)):
        yield Finding(
            "warning", f"{time}: {what}", "Nothing needs to be done. Check the disk if this happens often."
        )
