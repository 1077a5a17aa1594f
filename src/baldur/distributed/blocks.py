"""The blocks of a pass over a pool: where they are cut, and their results on disk, each written whole or not at all."""

import errno
import hashlib
import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.errors import DiskFull
from baldur.protocols import Batch, Pool, Posterior


def cut(n: int, size: int, most: int) -> list[range]:
    """Cut the positions of a pool into blocks, at places where the plain pass begins a batch.

    Args:
        n: Items.
        size: Items in a batch.
        most: Items in a block, rounded down to whole batches; at least one batch.

    Returns:
        Consecutive ranges.
    """
    step = size * max(1, most // size)
    return [range(start, min(start + step, n)) for start in range(0, n, step)]


class Kept:
    """Results of the blocks of one pass in a folder of their own.

    Args:
        folder: Where results are kept; None keeps nothing.
        key: Everything that the results depend on, as `digest` makes it.
    """

    def __init__(self, folder: Path | None, key: str) -> None:
        self.folder = None if folder is None else folder / key[:32]

    def load(self, block: int, rows: int) -> tuple[NDArray[Any], bool] | None:
        """The result of a block, if it is there and whole.

        Args:
            block: Which.
            rows: How many items it has.

        Returns:
            Values, and whether samples differed; None where it has to be computed.
        """
        if self.folder is None:
            return None
        try:
            # A damaged file is not closed by np.load, so it is opened here.
            with self._path(block).open("rb") as file, np.load(file, allow_pickle=False) as found:
                values, differ = found["values"], bool(found["differ"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return (values, differ) if len(values) == rows else None

    def save(self, block: int, values: NDArray[Any], differ: bool) -> None:
        """Keep the result of a block.

        Args:
            block: Which.
            values: One row an item.
            differ: Whether samples differed.

        Raises:
            DiskFull: There was no room; the blocks before are kept.
        """
        if self.folder is None:
            return
        path = self._path(block)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        with _room(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("wb") as file:
                    np.savez(file, values=values, differ=np.array(differ))
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)

    def describe(self, done: int, n: int) -> str:
        """What is left of a pass that broke off.

        Args:
            done: Items done.
            n: Items in all.

        Returns:
            In words.
        """
        where = "nothing of it is kept" if self.folder is None else f"they are kept in {self.folder}"
        return f"{done:,} of {n:,} items were done, and {where}"

    def _path(self, block: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{block:08d}.npz"


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"there is no room left in {folder} for the results of a pass; the blocks that are there are kept: "
                "make room and start again, and it goes on with the others"
            ) from error
        raise


def digest(posterior: Posterior, pool: Pool, *told: bytes) -> str:
    """A name for what the results of a pass depend on.

    Args:
        posterior: By the contents of what it saves.
        pool: By its ids and by what 64 of its items hold.
        told: Everything else.

    Returns:
        Hexadecimal SHA-256.
    """
    sha = hashlib.sha256()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        posterior.save(folder)
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                sha.update(path.relative_to(folder).as_posix().encode() + b"\0")
                sha.update(hashlib.sha256(path.read_bytes()).digest())
    sha.update(hashlib.sha256("\0".join(pool.ids).encode()).digest())
    some = np.unique(np.linspace(0, len(pool) - 1, 64).astype(np.intp))
    for _, x in pool.batches(some, len(some)):
        _each(x, sha)
    for part in told:
        sha.update(hashlib.sha256(part).digest())
    return sha.hexdigest()


def _each(x: Batch, sha: Any) -> None:
    from baldur.core.trees import bits, map_tree

    map_tree(lambda leaf: sha.update(bits(leaf)), x)
