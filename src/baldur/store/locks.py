"""One process for each role on a run, by file locks. The operating system releases them when a process ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from baldur.errors import RunBusy
from baldur.store.artefacts import room


@contextmanager
def hold(folder: Path, role: str) -> Iterator[None]:
    """Be the only process with a role on a run, until the end of the `with`.

    Args:
        folder: The run's.
        role: For example "trainer".

    Yields:
        Nothing.

    Raises:
        RunBusy: Another process has the role, or this one has it already.
    """
    with room(folder):
        descriptor = os.open(_file(folder, role), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _take(descriptor):
            holder = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
            raise RunBusy(
                f"process {holder} is already the {role} of {folder}. Wait until it has ended, or end it, "
                "and start again. Nothing is lost by ending it"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)  # the file stays: removing it would let two processes lock two files of one name


def is_held(folder: Path, role: str) -> bool:
    """Whether some process has a role on a run at this instant.

    Args:
        folder: The run's.
        role: For example "trainer".

    Returns:
        True if a process has it.
    """
    try:
        descriptor = os.open(_file(folder, role), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _take(descriptor)
    finally:
        os.close(descriptor)


def held(folder: Path, role: str) -> list[str]:
    """Roles of one kind that processes have on a run at this instant.

    Args:
        folder: The run's.
        role: "job" for "job-0", "job-1", ...

    Returns:
        The roles.
    """
    files = sorted(folder.glob(f"{_file(folder, role).name}-*"))
    roles = [file.name.removeprefix(_file(folder, "").name) for file in files]
    return [one for one in roles if is_held(folder, one)]


def _file(folder: Path, role: str) -> Path:
    return folder / f".lock-{role}"


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
