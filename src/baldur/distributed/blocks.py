"""The blocks of a pass over a pool, and their results on disk. Each result is written whole or not at all."""

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
    """Cut the positions of a pool into blocks, at the boundaries of the batches of a plain pass.

    Args:
        n: Number of items.
        size: Items in a batch.
        most: Maximum number of items in a block, rounded down to whole batches, but at least one batch.

    Returns:
        Consecutive ranges.
    """
    step = size * max(1, most // size)
    return [range(start, min(start + step, n)) for start in range(0, n, step)]


class Kept:
    """Stores the results of the blocks of one pass in a folder.

    Args:
        folder: The parent folder; None stores nothing.
        key: A hash, from `digest`, of everything that the results depend on.
    """

    def __init__(self, folder: Path | None, key: str) -> None:
        self.folder = None if folder is None else folder / key[:32]

    def load(self, block: int, rows: int) -> tuple[NDArray[Any], bool] | None:
        """Load the result of a block, if it exists and is complete.

        Args:
            block: The number of the block.
            rows: The number of its items.

        Returns:
            The values, and whether the samples differed; None if the block must be computed.
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
        """Save the result of a block.

        Args:
            block: The number of the block.
            values: The values, one row for each item.
            differ: Whether the samples differed.

        Raises:
            DiskFull: There is no space; earlier blocks are kept.
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
        """Describe an interrupted pass.

        Args:
            done: Number of finished items.
            n: Number of all items.

        Returns:
            A sentence.
        """
        where = (
            "their results are not stored" if self.folder is None else f"their results are in {self.folder}"
        )
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
                f"there is no space left in {folder} for the results of a pass; finished blocks are kept. Free some "
                "space and start again to continue"
            ) from error
        raise


def digest(posterior: Posterior, pool: Pool, *told: bytes) -> str:
    """A hash of everything that the results of a pass depend on.

    Args:
        posterior: The posterior; the hash contains its saved files.
        pool: The pool; the hash contains its ids and the contents of 64 items.
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
