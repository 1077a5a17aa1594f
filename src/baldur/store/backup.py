"""Backups: a whole run in one file, and its restoration.

The file always has the record as an SQLite database. So a run may be restored to another kind of database.
"""

import os
import shutil
import sqlite3
import tarfile
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path, PurePosixPath
from typing import IO, cast
from uuid import uuid4

import sqlalchemy as sa

from baldur.errors import DamagedArtefact, RunNotFound, StoreError
from baldur.store import artefacts, database, place, postgres, schema
from baldur.store.database import Database
from baldur.store.place import FILE, RECORD, Place

SETTINGS = "settings.toml"
_ROWS = 1000  # copied at a time


def save(run: Database, settings: str, archive: Path) -> None:
    """Save a run to one tar file: the settings, the recorded artefacts, and last the database.

    The database is copied as it is at one instant. If an artefact is deleted meanwhile, the backup leaves it out,
    together with its row.

    Args:
        run: The run's database.
        settings: TOML text.
        archive: The file; replaced whole if it is there.

    Raises:
        DamagedArtefact: A file of the run differs from the recorded one.
        StoreError: `archive` cannot be written.
        DiskFull: The disk is full.
    """
    archive = archive.absolute()
    if archive.is_dir():
        raise StoreError(f"{archive} is a folder; a backup is one file, such as {archive / 'run.tar'}")
    with artefacts.room(archive.parent):
        archive.parent.mkdir(parents=True, exist_ok=True)
    with (
        artefacts.room(archive.parent),
        tempfile.TemporaryDirectory(prefix=".baldur-backup-", dir=archive.parent) as work,
    ):
        copy, text, packed = (Path(work) / name for name in (FILE, SETTINGS, "packed.tar"))
        _copy_database(run, copy)
        text.write_text(settings, encoding="utf-8")
        with tarfile.open(packed, "w", dereference=True) as tar:
            tar.add(text, text.name)
            _pack_artefacts(tar, run.folder, copy)
            tar.add(copy, copy.name)
        artefacts.sync(packed)
        packed.replace(archive)
        artefacts.sync(archive.parent)


def restore(archive: Path, folder: Path, *, url: str | None = None) -> None:
    """Unpack a backup into a new folder, whole and verified or not at all.

    Args:
        archive: A file that `Store.backup` wrote.
        folder: A new or empty folder.
        url: Of a PostgreSQL database that shall keep the run; None for a file in the folder.

    Raises:
        RunNotFound: There is no such archive.
        StoreError: The folder is not empty, the archive is not a whole backup, or the server cannot be used.
        InvalidSettings: The URL is not valid.
        DamagedArtefact: A file in the archive differs from the recorded one.
        NewerStore: A newer version of Baldur wrote it.
        DiskFull: The disk is full.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"{folder} is not empty; give a new folder to restore the backup into")
    at = place.choose(folder, url)
    with artefacts.room(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
    work = folder.parent / f".baldur-restore-{uuid4().hex}"
    try:
        with artefacts.room(folder.parent), ExitStack() as undone:
            _unpack(archive, work)
            _verify(work, archive)
            if at != place.inside(folder):
                undone.callback(_move_database(work, folder, at).discard)
            for path in (*work.rglob("*"), work):
                artefacts.sync(path)
            work.replace(folder)
            undone.pop_all()
            artefacts.sync(folder.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _move_database(work: Path, folder: Path, at: Place) -> Database:
    """Move the database of an unpacked backup to another place. Returns it, closed."""
    target = Database(folder, at=at)
    with closing(target), closing(Database(work)) as source:
        if source.outdated():
            source.bring_up_to_date()
        _copy_rows(source, target)
    for path in work.glob(f"{FILE}*"):
        path.unlink()
    (work / RECORD).write_text(place.record(folder, at), encoding="utf-8")
    return target


def _copy_database(run: Database, copy: Path) -> None:
    if run.file is None:
        database.refuse_newer(str(run.revision()), run)
        with closing(Database(copy.parent, at=place.inside(copy.parent))) as file:
            _copy_rows(run, file)
    with run.sentences(), closing(sqlite3.connect(copy)) as target:
        if run.file is not None:
            with closing(sqlite3.connect(run.file, timeout=database.BUSY_SECONDS)) as source:
                source.backup(target)
        target.execute("PRAGMA journal_mode=DELETE").close()


def _copy_rows(source: Database, target: Database) -> None:
    """Copy every table into a new database. Both have the schema of this version."""
    with source.snapshot() as read, target.write() as written:
        if database.revision_of(written) is not None:
            raise StoreError(f"there is a run in {target.place} already; give another place")
        database.make_tables(written, target.place)
        for table in schema.metadata.sorted_tables:
            for rows in read.execute(sa.select(table).order_by(*table.primary_key)).partitions(_ROWS):
                written.execute(table.insert(), [dict(row._mapping) for row in rows])
            if target.file is None:
                postgres.go_on_counting(written, table)


def _pack_artefacts(tar: tarfile.TarFile, folder: Path, copy: Path) -> None:
    with closing(sqlite3.connect(copy)) as connection:
        rows = connection.execute("SELECT path, sha256 FROM artefacts ORDER BY id").fetchall()
        for path, sha256 in rows:
            try:
                found = _pack(tar, folder, path)
            except FileNotFoundError:
                connection.execute("DELETE FROM artefacts WHERE path = ?", (path,))
                continue
            if found != sha256:
                raise DamagedArtefact(f"{folder / path} was altered or cut short; {artefacts.mend(folder)}")
        connection.commit()


def _pack(tar: tarfile.TarFile, folder: Path, path: str) -> str:
    """Add a file, or all files of a folder, and return their digest."""
    whole, parts = folder / path, {}
    for file in artefacts.files(whole):
        with file.open("rb") as opened:  # held open, it can be read to its end even if it is deleted
            parts[file.relative_to(whole).as_posix()] = artefacts.digest_open(opened)
            opened.seek(0)
            tar.addfile(tar.gettarinfo(arcname=file.relative_to(folder).as_posix(), fileobj=opened), opened)
    return parts["."][0] if "." in parts else artefacts.combine(parts)[0]


def _unpack(archive: Path, work: Path) -> None:
    """Write the regular files of an archive, and nothing else, under `work`."""
    (work / artefacts.FOLDER).mkdir(parents=True)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = PurePosixPath(member.name)
                expected = member.name in (FILE, SETTINGS) or name.parts[:1] == (artefacts.FOLDER,)
                if not (member.isfile() and expected) or name.is_absolute() or ".." in name.parts:
                    raise StoreError(
                        f"{archive} holds {member.name!r}, which is not part of a run; nothing was restored"
                    )
                target = work / name
                target.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                with target.open("xb") as file:
                    shutil.copyfileobj(cast(IO[bytes], source), file)  # a regular file has content
                if os.path.getsize(target) != member.size:
                    raise tarfile.ReadError("unexpected end of data")
    except FileNotFoundError:
        raise RunNotFound(f"there is no backup {archive}") from None
    except (tarfile.TarError, EOFError, FileExistsError) as error:
        raise StoreError(
            f"{archive} is not a whole backup of a run ({error}); nothing was restored"
        ) from error


def _verify(work: Path, archive: Path) -> None:
    if not (work / FILE).exists() or not (work / SETTINGS).exists():
        raise StoreError(f"{archive} is not a whole backup of a run; nothing was restored")
    copy = Database(work)
    try:
        revision = copy.revision()
        if revision is None:
            raise StoreError(f"{archive} holds an empty database; nothing was restored")
        database.refuse_newer(revision, copy)
        table = schema.artefacts.c
        for path, sha256 in copy.rows(sa.select(table.path, table.sha256)):
            trouble = artefacts.verify(work / path, sha256)
            if trouble:
                raise DamagedArtefact(f"{path} in {archive} {trouble}; nothing was restored")
    finally:
        copy.close()
