"""One process for each role on a run.

In a folder, roles are file locks, which the operating system releases when a process ends. On a server, they are
advisory locks, which the server releases when the connection that holds one ends.
"""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa

from baldur.errors import RunBusy, StoreError
from baldur.store import postgres
from baldur.store.artefacts import room
from baldur.store.database import Database

_ENDING = 1.0
"""Seconds until a server has surely noticed that a process on this machine was killed."""


@contextmanager
def hold(run: Database, role: str) -> Iterator[None]:
    """Be the only process with a role on a run, until the end of the `with`.

    Args:
        run: The run's database.
        role: A word such as "trainer".

    Yields:
        Nothing.

    Raises:
        RunBusy: Another process has the role, or this one has it already.
    """
    with _on_server(run, role) if run.file is None else _in_folder(run.folder, role):
        yield


def is_held(run: Database, role: str) -> bool:
    """Whether some process has a role on a run at this instant.

    Args:
        run: The run's database.
        role: For example "trainer".

    Returns:
        True if a process has it.
    """
    return role in _holders(run) if run.file is None else _is_locked(run.folder, role)


def held(run: Database, kind: str) -> list[str]:
    """Roles of one kind that processes have on a run at this instant.

    Args:
        run: The run's database.
        kind: "job" for "job-0", "job-1", ...

    Returns:
        The roles.
    """
    if run.file is None:
        return sorted(role for role in _holders(run) if role.startswith(f"{kind}-"))
    files = sorted(run.folder.glob(f"{_file(run.folder, kind).name}-*"))
    roles = [file.name.removeprefix(_file(run.folder, "").name) for file in files]
    return [one for one in roles if _is_locked(run.folder, one)]


def _busy(who: str, role: str, folder: Path) -> RunBusy:
    return RunBusy(
        f"process {who} is already the {role} of {folder}. Wait until it has ended, or end it, "
        "and start again. Nothing is lost by ending it"
    )


@contextmanager
def _on_server(run: Database, role: str) -> Iterator[None]:
    lock = postgres.key(run.place.schema, role)
    with run.session() as connection:
        with run.sentences():
            name = sa.select(sa.func.set_config("application_name", f"baldur {role} {_process()}", False))
            connection.execute(name)
            connection.exec_driver_sql(
                "SELECT set_config('idle_session_timeout', '0', false) "
                "WHERE current_setting('server_version_num')::int >= 140000"
            )
            end = time.monotonic() + _ENDING
            take = f"SELECT pg_try_advisory_lock({lock})"
            while not connection.exec_driver_sql(take).scalar():
                if time.monotonic() > end:
                    raise _busy(_holders(run).get(role, "unknown"), role, run.folder)
                time.sleep(0.05)
        yield
        with suppress(StoreError), run.sentences():  # the connection may be lost by now, and the lock with it
            connection.exec_driver_sql(f"SELECT pg_advisory_unlock({lock})")


def _process() -> str:
    return f"{os.getpid()} on {socket.gethostname()}"


def _holders(run: Database) -> dict[str, str]:
    """The process that has each role on a run on a server."""
    rows = run.text(
        "SELECT (classid::bigint << 32) | objid::bigint, application_name "
        "FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND objsubid = 1 AND granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    named = [(lock, *name.split(" ", 2)[1:]) for lock, name in rows if name.startswith("baldur ")]
    return {role: who for lock, role, who in named if lock == postgres.key(run.place.schema, role)}


@contextmanager
def _in_folder(folder: Path, role: str) -> Iterator[None]:
    with room(folder):
        descriptor = os.open(_file(folder, role), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _take(descriptor):
            holder = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
            raise _busy(holder, role, folder)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)  # the file stays: removing it would let two processes lock two files of one name


def _is_locked(folder: Path, role: str) -> bool:
    try:
        descriptor = os.open(_file(folder, role), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _take(descriptor)
    finally:
        os.close(descriptor)


def _file(folder: Path, role: str) -> Path:
    return folder / f".lock-{role}"


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
