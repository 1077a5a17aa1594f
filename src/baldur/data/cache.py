"""A cache of computed rows on disk, in blocks. Each block is written whole or not at all."""

import errno
import hashlib
import io
import json
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.errors import DataNotFound, DiskFull, InvalidArgument, InvalidData
from baldur.protocols import Positions

_ABANDONED = 3600.0  # seconds after which a temporary file belongs to a process that was killed


@dataclass(frozen=True)
class Blocks:
    """Rows in block files, read through memory maps; they may be larger than memory.

    Args:
        paths: The block files, in order.
        starts: The position of the first row of each, shape (blocks,).
        length: The number of rows in all.
        shape: Of one row.
        dtype: Of the rows.
        channels: The number of leading channels that are read; None for all.
    """

    paths: tuple[Path, ...]
    starts: NDArray[np.int64]
    length: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    channels: int | None = None

    def __len__(self) -> int:
        return self.length

    def take(self, positions: Positions) -> NDArray[Any]:
        """The rows at `positions`, in that order.

        Args:
            positions: Row numbers, shape (n,).

        Returns:
            A new array of shape (n, *shape).

        Raises:
            DataNotFound: A block file was removed.
            InvalidData: A block file was cut short.
        """
        out = np.empty((len(positions), *self.shape), self.dtype)
        block = np.searchsorted(self.starts, positions, side="right") - 1
        for b in np.unique(block):
            at = np.flatnonzero(block == b)
            rows = _mapped(self.paths[b])
            refuse_cut(rows)
            out[at] = rows[positions[at] - self.starts[b]][:, : self.channels]
        return out


def refuse_cut(rows: NDArray[Any]) -> None:
    """Refuse a memory-mapped file that became shorter: reading beyond its end would kill the process.

    Args:
        rows: Any array.

    Raises:
        InvalidData: The array is mapped from such a file.
    """
    name = getattr(rows, "filename", None)
    try:
        short = name is not None and os.stat(name).st_size < getattr(rows, "offset", 0) + rows.nbytes
    except OSError:
        return  # a removed file stays readable while it is mapped
    if short:
        raise InvalidData(
            f"{name} was cut short while it was in use; restore or remove the file, and start again"
        )


def cut(ids: Sequence[str], most: int) -> list[range]:
    """Cut positions into blocks at places that depend only on the ids there.

    So a new item in the middle changes only its own block.

    Args:
        ids: Of all items, in order.
        most: The largest number of items in a block.

    Returns:
        Consecutive ranges of positions.
    """
    ends, begin = [], 0
    for i, id in enumerate(ids):
        if i + 1 - begin >= most or zlib.crc32(id.encode()) % most < 2:  # about half of `most` on average
            ends.append(i + 1)
            begin = i + 1
    starts = [0, *ends]
    return [range(a, b) for a, b in zip(starts, [*ends, len(ids)], strict=True) if a < b]


def key_of(*parts: Any) -> str:
    """The key of content that depends only on these values.

    Args:
        parts: All values that the content depends on; JSON must be able to hold them.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def block(
    folder: Path,
    key: str,
    make: Callable[[], tuple[NDArray[Any], dict[str, Any]]],
    usable: Callable[[dict[str, Any]], bool] = bool,
) -> tuple[Path, dict[str, Any]]:
    """The block with this key, read from disk or computed now.

    Args:
        folder: The folder of blocks of this kind; created if needed.
        key: From `key_of`; blocks with the same key are equal.
        make: Computes the rows, and facts about them that JSON can hold; the facts are not empty.
        usable: Whether the facts of a stored block allow its use.

    Returns:
        The file with the rows, and the facts.

    Raises:
        DiskFull: The disk is full.
        InvalidArgument: The folder cannot be written.
    """
    path = folder / key[:2] / f"{key}.npy"
    if (facts := _facts(path)) and usable(facts):
        return path, facts
    rows, facts = make()
    with _explained(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        content = io.BytesIO()
        np.save(content, rows, allow_pickle=False)
        _write(path, content.getbuffer())
        head = {"shape": list(rows.shape), "dtype": rows.dtype.str, "facts": facts}
        _write(path.with_suffix(".json"), json.dumps(head).encode())  # last: it says that the rows are whole
    _mapped.cache_clear()
    return path, facts


def stored(folder: Path, key: str) -> tuple[NDArray[Any], dict[str, Any]] | None:
    """The rows of a block in memory, and its facts, if the block is on disk and whole.

    Args:
        folder: As in `block`.
        key: As in `block`.

    Returns:
        Both, or None.
    """
    path = folder / key[:2] / f"{key}.npy"
    facts = _facts(path)
    if facts is None:
        return None
    try:
        return np.load(path, allow_pickle=False), facts
    except (OSError, ValueError, EOFError):
        return None


def gather(paths: Sequence[Path], lengths: Sequence[int]) -> Blocks:
    """Blocks as one array.

    Args:
        paths: Block files, in order; at least one.
        lengths: The number of rows of each.

    Returns:
        The rows, which are read on demand.
    """
    first = _mapped(paths[0])
    starts = np.cumsum([0, *lengths])
    return Blocks(tuple(paths), starts[:-1].astype(np.int64), int(starts[-1]), first.shape[1:], first.dtype)


@lru_cache(maxsize=256)  # each open map holds a file descriptor
def _mapped(path: Path) -> NDArray[Any]:
    try:
        rows: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise DataNotFound(
            f"{path} was removed from the cache, or cut short; start again to compute it again"
        ) from None
    return rows


def _facts(path: Path) -> dict[str, Any] | None:
    """The facts beside a whole block; None if there is no block, or if it is damaged."""
    try:
        head: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
        whole = list(rows.shape) == head["shape"] and rows.dtype.str == head["dtype"]
    except (OSError, ValueError, KeyError, EOFError):
        return None
    return head["facts"] if whole else None


def _write(path: Path, content: bytes | memoryview) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove temporary files of killed processes."""
    for file in folder.glob("*.tmp"):
        with suppress(FileNotFoundError):  # another process has finished it, or swept it
            if time.time() - file.stat().st_mtime > _ABANDONED:
                file.unlink()


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"there is no room left for the cache {folder}; free some space, or set BALDUR_CACHE to another disk"
            ) from error
        raise InvalidArgument(
            f"the cache {folder} cannot be written ({error.strerror}); set BALDUR_CACHE to another folder"
        ) from error
