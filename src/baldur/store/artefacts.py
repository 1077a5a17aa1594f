"""Files that a run keeps, each recorded by a row with its SHA-256.

An artefact is one file or one folder (a saved posterior). It is written under a temporary name, flushed to
the device and renamed to a new name. Only then a row records it. A kill at any instant thus leaves the old artefact
or the new one. At worst it leaves a file without a row, which `sweep` removes.
One artefact is kept for each (trial, round, kind): a new one replaces the old.
"""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baldur.errors import DamagedArtefact, DiskFull, InvalidArgument, StoreError
from baldur.store import schema
from baldur.store.database import Database, no_room_left

FOLDER = "artefacts"
_TEMPORARY = ".new-"
_OURS = re.compile(r"[a-z0-9_-]+-[0-9a-f]{12}(\..*)?")
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
_table = schema.artefacts


def digest(path: Path) -> tuple[str, int]:
    """The SHA-256 of a file, or of the names and digests of all files in a folder.

    Args:
        path: A file or a folder.

    Returns:
        Hexadecimal digest; size in bytes.
    """
    if not path.is_dir():
        with path.open("rb") as file:
            return digest_open(file)
    return combine({f.relative_to(path).as_posix(): digest(f) for f in files(path)})


def digest_open(file: BufferedReader) -> tuple[str, int]:
    """The SHA-256 of an open file.

    Args:
        file: Open for reading, at its beginning.

    Returns:
        Hexadecimal digest; size in bytes.
    """
    return hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size


def combine(parts: dict[str, tuple[str, int]]) -> tuple[str, int]:
    """The digest and size of a folder from those of its files.

    Args:
        parts: For each file, by its name relative to the folder, digest and size.

    Returns:
        Hexadecimal digest; size in bytes.
    """
    listing = "".join(f"{sha}  {name}\n" for name, (sha, _) in sorted(parts.items()))
    return hashlib.sha256(listing.encode()).hexdigest(), sum(size for _, size in parts.values())


def files(path: Path) -> list[Path]:
    """The file itself, or all files in a folder, in the order of their names.

    Args:
        path: A file or a folder.

    Returns:
        Paths of files.
    """
    return sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]


def keep(
    database: Database,
    trial: int | None,
    round: int | None,
    kind: str,
    suffix: str,
    write: Callable[[Path], None],
) -> Path:
    """Write an artefact and record it in place of the last one of its kind.

    Args:
        database: The run's.
        trial: The trial's number; None for an artefact of the whole run.
        round: The round, or None.
        kind: The kind of artefact, in small letters, digits, "-" and "_".
        suffix: Of the file's name, such as ".safetensors"; "" for a folder.
        write: Called with a path that does not exist yet; creates a file or a folder there.

    Returns:
        Its path.

    Raises:
        InvalidArgument: `kind` or `suffix` cannot be part of a file's name.
        DiskFull: The disk is full; the last artefact of this kind is unchanged.
    """
    placed = place(database, trial, round, kind, suffix, write)
    try:
        with database.write() as connection:
            replaced = record(connection, placed)
    except BaseException:
        remove(database.folder, [placed.path])
        raise
    remove(database.folder, replaced)
    return database.folder / placed.path


@dataclass(frozen=True)
class Placed:
    """A file or folder that is on the device, but has no row yet.

    Args:
        trial: The trial's number; None for an artefact of the whole run.
        round: The round, or None.
        kind: The kind of artefact.
        path: Its path, relative to the run, with forward slashes.
        sha256: Its digest.
        bytes: Its size.
        created: The time at which it was written.
    """

    trial: int | None
    round: int | None
    kind: str
    path: str
    sha256: str
    bytes: int
    created: str


def place(
    database: Database,
    trial: int | None,
    round: int | None,
    kind: str,
    suffix: str,
    write: Callable[[Path], None],
) -> Placed:
    """Write an artefact; `record` gives it a row.

    Args:
        database: The run's.
        trial: The trial's number; None for an artefact of the whole run.
        round: The round, or None.
        kind: As in `keep`.
        suffix: As in `keep`.
        write: As in `keep`.

    Returns:
        The facts about the written file or folder.

    Raises:
        InvalidArgument: `kind` or `suffix` cannot be part of a file's name.
        DiskFull: The disk is full.
    """
    if not re.fullmatch(r"[a-z0-9_-]+", kind) or not re.fullmatch(r"(\.[A-Za-z0-9]+)*", suffix):
        raise InvalidArgument(
            f"an artefact needs a kind like 'posterior' and a suffix like '.npy', not {kind!r}, {suffix!r}"
        )
    parts = (
        FOLDER,
        "run" if trial is None else f"trial-{trial}",
        "all" if round is None else f"round-{round}",
    )
    path = database.folder.joinpath(*parts, f"{kind}-{uuid4().hex[:12]}{suffix}")
    sha256, size = _place(database.folder, write, path)
    relative = path.relative_to(database.folder).as_posix()
    return Placed(trial, round, kind, relative, sha256, size, schema.now())


def record(connection: Connection, placed: Placed) -> list[str]:
    """Give an artefact its row, in place of the last one of its kind.

    Args:
        connection: An open write transaction.
        placed: The artefact.

    Returns:
        Paths of the replaced artefact. The caller removes the files after the commit.
    """
    replaced = drop(connection, matching(placed.trial, placed.round, placed.kind))
    connection.execute(_table.insert(), vars(placed))
    return replaced


def find(database: Database, trial: int | None, round: int | None, kind: str) -> Path | None:
    """The artefact of this kind, verified.

    Args:
        database: The run's.
        trial: The trial's number, or None.
        round: The round, or None.
        kind: The kind of artefact.

    Returns:
        Its path; None if there is none.

    Raises:
        DamagedArtefact: It differs from the recorded one, or is missing.
    """
    path, trouble = look_up(database, trial, round, kind)
    if trouble:
        raise DamagedArtefact(f"{path} {trouble}; {mend(database.folder)}")
    return path


def look_up(
    database: Database, trial: int | None, round: int | None, kind: str
) -> tuple[Path | None, str | None]:
    """The artefact of this kind, and its damage, if there is any.

    Args:
        database: The run's.
        trial: The trial's number, or None.
        round: The round, or None.
        kind: The kind of artefact.

    Returns:
        Its recorded path, None if there is none; and the result of `verify`.
    """
    rows = database.rows(sa.select(_table.c.path, _table.c.sha256).where(matching(trial, round, kind)))
    if not rows:
        return None, None
    path = database.folder / rows[0].path
    return path, verify(path, rows[0].sha256)


def matching(trial: int | None, round: int | None, kind: str) -> sa.ColumnElement[bool]:
    """The condition for the row of this trial, round and kind.

    Args:
        trial: The trial's number, or None.
        round: The round, or None.
        kind: The kind of artefact.

    Returns:
        A condition on the table of artefacts.
    """
    c = _table.c
    return sa.and_(c.trial.is_not_distinct_from(trial), c.round.is_not_distinct_from(round), c.kind == kind)


def verify(path: Path, sha256: str) -> str | None:
    """Check an artefact against its recorded digest.

    Args:
        path: Its recorded path.
        sha256: Its recorded digest.

    Returns:
        The damage, as the end of a sentence that begins with the path; None if there is none.
    """
    if not path.exists():
        return "is missing"
    found = digest(path)[0]
    return (
        None
        if found == sha256
        else f"was altered or cut short (SHA-256 {found[:12]}…, recorded {sha256[:12]}…)"
    )


def mend(folder: Path) -> str:
    """Advice about a damaged artefact.

    Args:
        folder: The run's.

    Returns:
        The end of a sentence.
    """
    return (
        f"put it back from a backup, or delete it and start the run in {folder} again. "
        "If the run still needs it, it is then computed again. A finished run needs more rounds for that (--rounds)"
    )


def drop(connection: Connection, which: sa.ColumnElement[bool]) -> list[str]:
    """Delete the rows of some artefacts; the caller removes their files after the commit.

    Args:
        connection: An open write transaction.
        which: A condition on the table of artefacts.

    Returns:
        Their paths, relative to the run.
    """
    paths = [row.path for row in connection.execute(sa.select(_table.c.path).where(which))]
    if paths:
        connection.execute(_table.delete().where(which))
    return paths


def remove(folder: Path, paths: list[str]) -> None:
    """Remove files and folders of a run; missing ones are ignored.

    Args:
        folder: The run's.
        paths: Relative to it.
    """
    for path in paths:
        _remove(folder / path)


def unnamed(folder: Path, named: set[str]) -> list[str]:
    """Temporary files, and artefacts without a row; never a file of somebody else.

    Args:
        folder: The run's.
        named: The recorded paths.

    Returns:
        Paths relative to the run.
    """
    root = folder / FOLDER
    found = [*root.glob(f"{_TEMPORARY}*"), *(p for p in root.glob("*/*/*") if _OURS.fullmatch(p.name))]
    return sorted({p.relative_to(folder).as_posix() for p in found} - named)


@contextmanager
def room(folder: Path) -> Iterator[None]:
    """Turn the errors of a failed write into `DiskFull` or `StoreError`.

    Args:
        folder: The folder that is written to.

    Yields:
        Nothing.

    Raises:
        DiskFull: The device is full.
        StoreError: The folder may not be written to.
    """
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        if getattr(error, "errno", None) in _NOT_WRITABLE:
            raise StoreError(
                f"cannot write in {folder} ({error}); give a folder that you may write to"
            ) from error
        if not no_room_left(error, folder):
            raise
        raise DiskFull(
            f"there is no room left to write in {folder} ({error}). Everything recorded before is safe. "
            "Free some space and start again"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a small text file whole or not at all, and flush it to the device.

    Args:
        path: The file.
        text: Its content.
    """
    temporary = path.with_name(f"{_TEMPORARY}{uuid4().hex}")
    try:
        with room(path.parent):
            temporary.write_text(text, encoding="utf-8")
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
    finally:
        _remove(temporary)


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the device.

    Args:
        path: A file or a folder.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _place(run: Path, write: Callable[[Path], None], path: Path) -> tuple[str, int]:
    temporary = run / FOLDER / f"{_TEMPORARY}{uuid4().hex}"
    try:
        with room(run):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            folders = [f for f in temporary.rglob("*") if f.is_dir()]
            for part in (*files(temporary), *folders, temporary):
                sync(part)
            stamp = digest(temporary)
            temporary.replace(path)
            for parent in (path.parent, path.parent.parent, path.parent.parent.parent):
                sync(parent)
    finally:
        _remove(temporary)
    return stamp


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
