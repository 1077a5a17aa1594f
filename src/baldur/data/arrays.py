"""Pools over arrays, in memory or memory-mapped."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.data.cache import refuse_cut
from baldur.errors import InvalidArgument, InvalidData, InvalidLabel
from baldur.protocols import Batch, Pool, Positions


@dataclass(frozen=True)
class Normalise:
    """Normalises stored pixels, x ↦ (x / scale − mean) / std for each channel, as float32.

    Args:
        mean: Of each channel, after scaling.
        std: Of each channel, after scaling.
        scale: The largest stored value.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 255.0

    def __call__(self, x: Batch) -> Batch:
        """Normalise a batch.

        Args:
            x: Stored pixels, (n, channels, height, width).

        Returns:
            The same shape, float32.
        """
        import torch

        mean, std = (np.array(v, np.float64).reshape(-1, 1, 1) for v in (self.mean, self.std))
        factor, shift = 1 / (self.scale * std), -mean / std
        if x.dtype in (torch.uint16, torch.uint32, torch.uint64):  # PyTorch only stores these
            x = x.float()
        out = torch.mul(x, torch.from_numpy(factor.astype(np.float32)))
        return out.add_(torch.from_numpy(shift.astype(np.float32))) if shift.any() else out


@dataclass(frozen=True)
class Faded:
    """Makes stored pixels of three colours grey, with the weights of ITU-R BT.601, and then normalises them.

    Args:
        normalise: Of one channel.
    """

    normalise: Normalise

    def __call__(self, x: Batch) -> Batch:
        """Make a batch grey.

        Args:
            x: Stored pixels, (n, 3, height, width).

        Returns:
            Shape (n, 1, height, width), float32.
        """
        red, green, blue = x.float().split(1, 1)
        return self.normalise(0.299 * red + 0.587 * green + 0.114 * blue)


@dataclass(frozen=True)
class Divide:
    """Divides by a constant, x ↦ x / scale, as float32.

    Args:
        scale: The largest value that a pixel can have.
    """

    scale: float

    def __call__(self, x: Batch) -> Batch:
        """Scale a batch.

        Args:
            x: A tensor of shape (n, ...).

        Returns:
            The same shape, float32.
        """
        return x.float() / self.scale


def as_float(x: Batch) -> Batch:
    """Numbers of any type as float32.

    Args:
        x: A tensor.

    Returns:
        A tensor of the same shape.
    """
    return x.float()


def image_preprocessing(shape: tuple[int, ...], normalise: Normalise) -> dict[str, Any]:
    """The preprocessing of images, as values that JSON can hold.

    Args:
        shape: Of one input: channels, height, width.
        normalise: The normalisation of the pixels.

    Returns:
        The `preprocessing` of a data set.
    """
    moments = {"scale": normalise.scale, "mean": list(normalise.mean), "std": list(normalise.std)}
    mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(shape[0], f"{shape[0]} channels")
    return {"kind": "image", "mode": mode, "shape": list(shape), **moments}


@dataclass(frozen=True)
class ArrayPool:
    """A pool of the rows of arrays. Batches are copies, so the caller's arrays never change.

    Args:
        x: An array, a tensor, `cache.Blocks`, or a tuple or dict of them; the first axis is the item.
        ids: Unique.
        groups: The group of each item; a split never divides a group.
        labels: The class of each item, shape (N,), -1 for unknown; None if no labels are known.
        transform: Applied to each batch of tensors; for example `Normalise`.
    """

    x: Any
    ids: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    labels: NDArray[np.int64] | None = None
    transform: Callable[[Batch], Batch] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def batches(self, positions: Positions, size: int) -> Iterator[tuple[Positions, Batch]]:
        """Read the items at `positions`, in that order, at most `size` at a time.

        Args:
            positions: Positions in this pool, shape (n,).
            size: The number of items in a batch.

        Yields:
            The positions of a batch, and their inputs as torch tensors.

        Raises:
            InvalidArgument: `size` is not positive.
        """
        if size < 1:
            raise InvalidArgument(f"a batch holds at least 1 item, not {size}")
        for start in range(0, len(positions), size):
            part = positions[start : start + size]
            x = _each(self.x, partial(_rows, positions=part))
            yield part, x if self.transform is None else self.transform(x)


def from_arrays(
    x: Any,
    y: Any = None,
    ids: Iterable[Any] | None = None,
    groups: Iterable[Any] | None = None,
    transform: Callable[[Batch], Batch] | None = None,
) -> ArrayPool:
    """A pool of the rows of arrays.

    Args:
        x: Inputs: a NumPy array (memory-mapped or not), a torch tensor, or a tuple or dict of them. The first
            axis is the item. Floating-point inputs are read as float32; other types stay as they are.
        y: Classes of the items, integers of shape (N,), -1 for unknown; kept as `labels` of the pool.
        ids: Unique names of the items; by default their positions "0", "1", ...
        groups: The group (patient, track, ...) of each item; a split never divides a group.
        transform: Applied to each batch of tensors as it is read; for example `Normalise` for uint8 images.

    Returns:
        The pool.

    Raises:
        InvalidArgument: Lengths differ, ids repeat, or an array is not of numbers.
        InvalidLabel: A label is not an integer of at least -1.
    """
    refuse_other_rows(x, y)
    x = _each(x, _leaf)
    lengths: set[int] = set()
    _each(x, lambda leaf: lengths.add(len(leaf)))
    if len(lengths) != 1:
        raise InvalidArgument(f"all arrays of x must have the same length, not {sorted(lengths)}")
    n = lengths.pop()
    names = tuple(map(str, range(n))) if ids is None else tuple(map(str, ids))
    together = None if groups is None else tuple(map(str, groups))
    labels = None if y is None else class_indices(y)
    for what, values in (("y", labels), ("ids", names), ("groups", together)):
        if values is not None and len(values) != n:
            raise InvalidArgument(f"x has {n} items, but {what} has {len(values)}; give one for each item")
    if len(set(names)) != n:
        twice, _ = Counter(names).most_common(1)[0]
        raise InvalidArgument(f"the id {twice!r} occurs twice; every item needs its own")
    return ArrayPool(x, names, together, labels, transform)


def refuse_other_rows(x: Any, labels: Any) -> None:
    """Refuse labels of pandas with another index than that of their data frame.

    Args:
        x: Inputs of any kind.
        labels: Their labels, of any kind.

    Raises:
        InvalidArgument: Both are of pandas, and their indexes differ.
    """
    if all(hasattr(part, "iloc") for part in (x, labels)) and not x.index.equals(labels.index):
        raise InvalidArgument(
            "the data frame and its labels have different indexes, so a row may get the label of another; give "
            "labels.loc[frame.index], or both with reset_index(drop=True) if they are in the same order"
        )


def as_pool(x: Any) -> Pool:
    """The pool itself, or a pool of the rows of a plain array of inputs.

    Args:
        x: A pool, or inputs as `from_arrays` takes them.

    Returns:
        A pool.
    """
    pool: Pool = x if is_pool(x) else from_arrays(x)
    return pool


def is_pool(x: Any) -> bool:
    """Whether an object is a pool.

    Args:
        x: Any object.

    Returns:
        True if it has all members of `protocols.Pool`.
    """
    return isinstance(x, Pool)


def class_indices(y: Any) -> NDArray[np.int64]:
    """Labels as int64 class indices, -1 for unknown.

    Args:
        y: Integers of shape (N,), as an array, a tensor or a sequence.

    Returns:
        A new array of shape (N,).

    Raises:
        InvalidLabel: They are not of that shape or type, or one is below -1.
    """
    labels = np.asarray(y.detach().cpu().numpy() if hasattr(y, "detach") else y)
    if labels.ndim != 1 or (labels.size and labels.dtype.kind not in "iu"):
        raise InvalidLabel(
            f"labels must be class indices, integers of shape (N,), not {labels.dtype} of shape {labels.shape}; "
            "numpy.unique(labels, return_inverse=True)[1] converts names, and labels.argmax(1) converts one-hot rows"
        )
    labels = labels.astype(np.int64)
    if labels.size and labels.min() < -1:
        at = int(labels.argmin())
        raise InvalidLabel(
            f"label {labels[at]} at position {at} is not valid; a class is 0 or more, -1 is unknown"
        )
    return labels


def digests(x: NDArray[Any], chunk: int = 4096) -> list[bytes]:
    """A digest of the content of each row (BLAKE2b, 128 bits), to find equal rows.

    Args:
        x: An array whose first axis is the item.
        chunk: The number of rows that are read at a time.

    Returns:
        One digest for each row.

    Raises:
        InvalidData: A row holds a value that is not finite.
    """
    found = []
    for start in range(0, len(x), chunk):
        rows = np.ascontiguousarray(x[start : start + chunk])
        rows = rows.reshape(len(rows), -1)
        if rows.dtype.kind == "f" and not np.isfinite(rows).all():
            bad = start + int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
            raise InvalidData(f"item {bad} holds NaN or an infinite value; correct or remove it")
        found += [hashlib.blake2b(row.data, digest_size=16).digest() for row in rows.view(np.uint8)]
    return found


def _each(x: Any, apply: Callable[[Any], Any]) -> Any:
    """The tree `x` with `apply` called on each of its arrays."""
    if isinstance(x, tuple):
        return tuple(_each(part, apply) for part in x)
    if isinstance(x, Mapping):  # also what a tokenizer gives
        return {key: _each(part, apply) for key, part in x.items()}
    return apply(x)


def _leaf(leaf: Any) -> Any:
    """An array as the pool keeps it, without a copy."""
    if isinstance(leaf, np.ma.MaskedArray):
        raise InvalidArgument("the inputs are a masked array, whose mask would be lost; fill it: x.filled(0)")
    if hasattr(leaf, "toarray"):
        raise InvalidArgument(
            f"dense inputs were expected, not a sparse {type(leaf).__name__}; give x.toarray()"
        )
    if hasattr(leaf, "detach"):
        leaf = leaf.detach()
    elif not hasattr(leaf, "take") or hasattr(leaf, "to_numpy"):  # a data frame is an array, too
        try:
            leaf = np.asarray(leaf)
        except ValueError:  # NumPy makes no array of items of different shapes
            _refuse_uneven(leaf)
            raise
    if isinstance(leaf, np.ndarray) and leaf.dtype == object and leaf.ndim:
        _refuse_uneven(leaf)
    if isinstance(leaf, np.ndarray) and leaf.dtype.kind not in "biuf":
        raise InvalidArgument(f"inputs must be arrays of numbers, not of {leaf.dtype}")
    if len(leaf.shape) == 0:
        raise InvalidArgument("the first axis of an input array must be the item; this array has no axis")
    if 0 in leaf.shape[1:]:
        raise InvalidArgument(f"the inputs have the shape {tuple(leaf.shape)}, so an item has no values")
    return leaf


def _refuse_uneven(items: Any) -> None:
    """Raise an error that names the first item whose shape is not that of the item before."""
    shapes = []
    for i, item in enumerate(items):
        try:
            shapes.append(np.shape(item))
        except ValueError:  # uneven itself
            shapes.append(None)
        if shapes[0] == () or shapes[i] is None:
            return
        if shapes[i] != shapes[0]:
            raise InvalidArgument(
                f"item {i} has the shape {shapes[i]}, but item 0 has the shape {shapes[0]}; give all items one shape: "
                "for example, resize images to one size, and pad sequences to one length"
            )
    if shapes:
        raise InvalidArgument(f"the {len(shapes)} items are arrays in an array of objects; give np.stack(x)")


def _rows(leaf: Any, positions: Positions) -> Any:
    """A new tensor of some rows; consecutive ones are read at the speed of a plain copy."""
    import torch

    first, last = int(positions[0]), int(positions[-1])
    together = last - first == len(positions) - 1 and bool((np.diff(positions) == 1).all())
    if isinstance(leaf, torch.Tensor):
        picked = (
            leaf[first : last + 1].clone() if together else leaf[torch.from_numpy(positions).to(leaf.device)]
        )
        return picked.float() if picked.is_floating_point() else picked
    if isinstance(leaf, np.ndarray):
        refuse_cut(leaf)
        rows = (
            np.array(leaf[first : last + 1], order="C") if together else np.ascontiguousarray(leaf[positions])
        )
    else:
        rows = leaf.take(positions)
    kind = np.dtype(np.float32) if rows.dtype.kind == "f" else rows.dtype.newbyteorder("=")
    return torch.from_numpy(rows.astype(kind, copy=False))
