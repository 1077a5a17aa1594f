"""One look at all values of arrays: equal rows, values that are not finite, and the range."""

import hashlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from baldur.errors import InvalidData

_BLOCK = (
    1 << 20
)  # bytes that are read at a time, so that several looks at them find them in the processor's cache
_WORDS = 16  # of 8 bytes each: rows that agree in these are compared as a whole
_LARGEST = float(np.finfo(np.float32).max)
_FACTORS = np.cumprod(np.full(_WORDS, 0x9E3779B97F4A7C15, np.uint64))  # odd


class Scan(NamedTuple):
    """The result of one look at all values.

    Args:
        first: For each row, the position of the first row that is equal to it, shape (N,).
        low: The smallest value.
        high: The largest value.
    """

    first: NDArray[np.int64]
    low: float
    high: float


def scan(parts: Sequence[NDArray[Any]], finite: bool = True, prefixes: Sequence[str] = ()) -> Scan:
    """Look at all rows once: find equal ones, the smallest and the largest value.

    Args:
        parts: Arrays of one row shape and type whose first axis is the item; positions go on from one to the next.
        finite: Whether values must be finite as float32.
        prefixes: For each part what stands before the position of an item in a message.

    Returns:
        What was found.

    Raises:
        InvalidData: A row holds a value that is not finite, or too large for float32.
    """
    keys, low, high = [], np.inf, -np.inf
    for part, prefix in zip(parts, prefixes or [""] * len(parts), strict=True):
        for start, rows in _blocks(part):
            if rows.dtype.kind != "b" and rows.size:
                least, most = float(rows.min()), float(rows.max())
                if finite and not -_LARGEST <= least <= most <= _LARGEST:
                    _refuse_extreme(rows, prefix, start)
                low, high = min(low, least), max(high, most)
            keys.append(_keys(rows))
    every = np.concatenate(keys) if keys else np.empty(0, np.uint64)
    return Scan(_equal(parts, every), low, high)


def _refuse_extreme(rows: NDArray[Any], prefix: str, start: int) -> None:
    """Raise an error that names the first item whose values float32 does not hold."""
    bad = int(np.flatnonzero(~(np.abs(rows) <= _LARGEST).all(1))[0])
    name = f"{prefix}{start + bad}"
    if not np.isfinite(rows[bad]).all():
        raise InvalidData(f"item {name} holds NaN or an infinite value; correct or remove it")
    raise InvalidData(
        f"item {name} holds {rows[bad][np.abs(rows[bad]).argmax()]:g}, but inputs are read as float32, up to "
        f"{_LARGEST:.2g}; divide the values by a constant, or correct or remove the item"
    )


def _blocks(x: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Some rows at a time, each as a vector, with the position of the first."""
    step = max(1, _BLOCK // max(1, x[:1].nbytes))
    for start in range(0, len(x), step):
        some = np.ascontiguousarray(x[start : start + step])
        yield start, some.reshape(len(some), -1)


def _keys(rows: NDArray[Any]) -> NDArray[np.uint64]:
    """A number for each row that is equal for equal rows, from some of its bytes."""
    n, width = rows.shape[0], rows[:1].nbytes
    if width < 8:
        wide = np.zeros((n, 8), np.uint8)
        wide[:, :width] = rows.view(np.uint8).reshape(n, width)
        rows, width = wide, 8
    count = min(_WORDS, -(-width // 8))
    step = (width - 8) // max(1, count - 1)
    words: NDArray[np.uint64] = np.ndarray((n, count), np.uint64, rows.data, 0, (width, step))
    mixed = words >> np.uint64(32)
    mixed ^= words  # so that the high bits of a word reach all bits of the key
    return (mixed @ _FACTORS[:count]).astype(np.uint64, copy=False)  # modulo 2^64


def _equal(parts: Sequence[NDArray[Any]], keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """For each row the position of the first equal one; only rows that share a key are read again."""
    found = np.arange(len(keys))
    ordered = np.sort(keys)
    shared = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if len(shared):
        may = np.flatnonzero(np.isin(keys, shared))
        starts = np.cumsum([0, *map(len, parts)])
        digests: list[bytes] = []
        for part, start, end in zip(parts, starts[:-1], starts[1:], strict=True):
            some = may[(may >= start) & (may < end)] - start
            step = max(1, _BLOCK // max(1, part[:1].nbytes))
            for i in range(0, len(some), step):
                rows = np.ascontiguousarray(part[some[i : i + step]])
                octets = rows.reshape(len(rows), -1).view(np.uint8)
                digests += [hashlib.blake2b(row.data, digest_size=16).digest() for row in octets]
        found[may] = may[first_of(digests)]
    return found


def first_of(digests: Iterable[Hashable]) -> NDArray[np.int64]:
    """The position of the first equal digest, for each.

    Args:
        digests: A digest of the content of each item; None equals nothing.

    Returns:
        Positions, shape (N,).
    """
    first: dict[Hashable, int] = {}
    return np.array(
        [i if digest is None else first.setdefault(digest, i) for i, digest in enumerate(digests)], np.int64
    )


def as_numpy(tensor: Any) -> NDArray[Any]:
    """The values of a tensor, without a copy where NumPy has their type.

    Args:
        tensor: A tensor on any device.

    Returns:
        An array; bfloat16 and other types of PyTorch alone become float32.
    """
    tensor = tensor.detach().cpu()
    try:
        values: NDArray[Any] = tensor.numpy()
    except TypeError:
        values = tensor.float().numpy()
    return values


def digest_of(item: Any) -> bytes | None:
    """A digest of the content of one item.

    Args:
        item: A tensor, an array, an image, a number, a text, or a tuple, list or dict of these.

    Returns:
        16 bytes; None if the item is made of anything else.
    """
    digest = hashlib.blake2b(digest_size=16)
    return digest.digest() if _added(digest, item) else None


def _added(digest: Any, item: Any) -> bool:
    from torch import Tensor

    if isinstance(item, dict):
        return all(_added(digest, str(key)) and _added(digest, value) for key, value in item.items())
    if isinstance(item, tuple | list):
        digest.update(b"(%d" % len(item))
        return all(_added(digest, part) for part in item)
    if isinstance(item, Tensor):
        item = as_numpy(item)
    elif not isinstance(item, np.ndarray | np.generic | str | int | float | bool | None):
        from PIL.Image import Image

        if not isinstance(item, Image):
            return False
        item = np.asarray(item)
    if isinstance(item, np.ndarray):
        digest.update(f"{item.dtype}{item.shape}".encode())
        digest.update(np.ascontiguousarray(item).reshape(-1).view(np.uint8).data if item.size else b"")
    else:
        digest.update(f"{type(item).__name__} {item!r}".encode())
    return True
