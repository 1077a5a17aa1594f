"""A pool over a map-style PyTorch data set."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.data.arrays import from_arrays
from baldur.data.scanning import digest_of
from baldur.errors import InvalidArgument, InvalidLabel, UnreadableItems
from baldur.protocols import Batch, Pool, Positions

LABEL_NAMES = (
    "label",
    "labels",
    "target",
    "targets",
    "class",
    "y",
)
"""The names of the label in an item that is a dict."""

_TWICE = 32  # items that are read twice


@dataclass(frozen=True)
class DatasetPool:
    """A pool over a map-style data set, which reads items one by one; ids are positions.

    Args:
        source: A data set with a length, which returns items as `from_dataset` takes them.
        ids: Unique.
        groups: The group of each item; a split never divides a group.
        ahead: Whether a thread reads the next batch while the last one is used.
        content: A digest of each item as it was first read, to find equal ones; None where there is none.
        notes: Sentences for the user.
        bare: Whether an item may be an input without a label.
    """

    source: Any
    ids: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    ahead: bool = True
    content: tuple[bytes | None, ...] | None = None
    notes: tuple[str, ...] = ()
    bare: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    def batches(self, positions: Positions, size: int) -> Iterator[tuple[Positions, Batch]]:
        """Read the items at `positions`, in that order, at most `size` at a time.

        Args:
            positions: Positions in this pool, shape (n,).
            size: The number of items in a batch.

        Yields:
            The positions of a batch, and their inputs, collated as in a PyTorch loader.

        Raises:
            InvalidArgument: `size` is not positive.
            UnreadableItems: The data set fails on an item.
        """
        if size < 1:
            raise InvalidArgument(f"a batch holds at least 1 item, not {size}")
        read = self._read(positions, size)
        yield from _ahead(read) if self.ahead and len(positions) > size else read

    def _read(self, positions: Positions, size: int) -> Iterator[tuple[Positions, Batch]]:
        for start in range(0, len(positions), size):
            part = positions[start : start + size]
            yield part, _collated(self._items(part), [self.ids[i] for i in part])

    def _items(self, positions: Positions) -> list[Any]:
        """The inputs of a batch; an error names all unreadable items of the batch."""
        items, reasons = [], {}
        for i in positions:
            try:
                items.append(_parts(self.source[int(i)], int(i), self.bare)[0])
            except (MemoryError, InvalidArgument):
                raise
            except Exception as error:  # somebody else's code reads it
                reasons[self.ids[int(i)]] = f"{type(error).__name__}: {error}"
        if reasons:
            raise UnreadableItems(reasons)
        return items


def _ahead(batches: Iterator[tuple[Positions, Batch]]) -> Iterator[tuple[Positions, Batch]]:
    """The same batches; a thread reads the next one while the last one is used."""
    with ThreadPoolExecutor(1, "reading") as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch


def is_dataset(x: Any) -> bool:
    """Whether an object is a map-style data set of PyTorch, and no array, list or dict.

    Args:
        x: Any object.

    Returns:
        True if it is.
    """
    plain = isinstance(x, np.ndarray | list | tuple | dict) or hasattr(x, "shape")
    return not plain and hasattr(x, "__len__") and hasattr(x, "__getitem__")


def from_dataset(dataset: Any, ahead: bool = True, bare: bool = False) -> tuple[Pool, NDArray[Any]]:
    """A pool of the inputs of a map-style PyTorch data set, and its labels.

    An item is a tuple (x, y), or a dict with the label under "label", "labels", "target", "targets", "class" or "y".
    Further values of a tuple are not used. x is a number, an array, a tensor, an image of Pillow, or a tree of them; y
    is a name, a number or a one-hot vector. Every item is read once to find its label, and 32 are read twice, to see
    whether they stay the same. A `TensorDataset` of pairs is taken as it is.

    Args:
        dataset: A `torch.utils.data.Dataset` with a length.
        ahead: Whether a thread reads the next batch while the last one is used. Give False if items must be read
            in the thread that made the data set.
        bare: Whether an item may be an input x without a label, as when people will label it.

    Returns:
        The pool, with positions as ids, and the label of each item: values of shape (N,), or one-hot rows.

    Raises:
        InvalidArgument: It has no length, its items are not of that form or differ in shape, or an item changes when it
            is read again.
        InvalidLabel: A label is neither a name nor a number nor a vector.
        UnreadableItems: The data set fails on an item.
    """
    from torch.utils.data import TensorDataset

    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise InvalidArgument(f"expected a data set with a length and items, not {type(dataset).__name__}")
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        x, y = dataset.tensors
        return from_arrays(x), np.asarray(y.detach().cpu())
    if bare and isinstance(dataset, TensorDataset) and len(dataset.tensors) == 1:
        return from_arrays(dataset.tensors[0]), np.full(len(dataset), None, object)
    n = len(dataset)
    if not n:
        raise InvalidArgument("the data set has no items; give at least two")
    twice = set(np.linspace(0, n - 1, min(n, _TWICE)).astype(int).tolist())
    kept, labels, content, first, more = {}, [], [], None, 0
    for i in range(n):
        item = _read(dataset, i)
        x, y = _parts(item, i, bare)
        form = _form(x)
        more = max(more, len(item) - 2 if isinstance(item, tuple | list) else 0)
        first = form if first is None else first
        if form != first:
            raise InvalidArgument(
                f"item {i} of the data set has {_in_words(form)}, but item 0 has {_in_words(first)}. Give all items "
                "one form: for example, resize images to one size, and pad sequences to one length"
            )
        labels.append(_label(y, i))
        content.append(digest_of(x))
        if i in twice:
            kept[i] = x
    _collated([kept[0]], ["0"])  # says what cannot be a tensor
    for i, before in kept.items():
        x, y = _parts(_read(dataset, i), i, bare)
        if repr(_label(y, i)) != repr(labels[i]) or not _same(
            _collated([before], [str(i)]), _collated([x], [str(i)])
        ):
            raise InvalidArgument(
                f"item {i} of the data set is another one when it is read again, perhaps by random augmentation. Then "
                "strategies cannot be compared, and a run cannot be resumed. Give the data set without augmentation, "
                'and the augmentation apart: augment="weak", or augment="module:function", a function of (x, generator)'
            )
    notes = (f"of each item, only (x, y) is used, and not the {more} further values",) * bool(more)
    pool = DatasetPool(
        dataset, tuple(map(str, range(n))), ahead=ahead, content=tuple(content), notes=notes, bare=bare
    )
    if len({type(y) for y in labels}) > 1:
        if tuple in map(type, labels):
            raise InvalidLabel("some labels are vectors and others are not; give all labels one form")
        return pool, np.array(labels, object)
    if isinstance(labels[0], tuple) and len({len(y) for y in labels}) > 1:
        raise InvalidLabel("the labels are vectors of different lengths; give one-hot vectors of one length")
    return pool, np.array(labels)


def _read(dataset: Any, position: int) -> Any:
    try:
        return dataset[position]
    except MemoryError:
        raise
    except Exception as error:  # somebody else's code reads it
        why = f"{type(error).__name__}: {error}; correct it, or leave it out with torch.utils.data.Subset"
        raise UnreadableItems({str(position): why}) from error


def _parts(item: Any, position: int, bare: bool = False) -> tuple[Any, Any]:
    """The input and the label of an item; None if it has no label, and needs none."""
    if bare and isinstance(item, list) and len(item) > 1 and all(isinstance(v, int | float) for v in item):
        raise InvalidArgument(
            f"item {position} is a list of numbers, which may be an input or a pair; give an array or a tensor for an "
            "input, or a tuple (x, y)"
        )
    if isinstance(item, tuple | list) and len(item) >= 2:
        return item[0], item[1]
    if bare and isinstance(item, tuple | list) and len(item) == 1:
        return item[0], None
    if bare and not isinstance(item, tuple | list | Mapping):
        return item, None
    if isinstance(item, Mapping):
        name = next((name for name in LABEL_NAMES if name in item), None)
        rest = {key: value for key, value in item.items() if key != name}
        if name is not None and rest:
            return (next(iter(rest.values())) if len(rest) == 1 else rest), item[name]
        if bare and item:
            return (next(iter(item.values())) if len(item) == 1 else item), None
        raise InvalidArgument(
            f"item {position} is a dict with {', '.join(map(str, item)) or 'nothing'}; it needs an input, and the "
            f"label under one of {', '.join(LABEL_NAMES)}"
        )
    raise InvalidArgument(
        f"item {position} is not a pair (x, y), but {type(item).__name__}; give arrays as a tuple (x, y)"
    )


def _label(y: Any, position: int) -> Any:
    """A label as a plain value; a vector as a tuple."""
    if isinstance(y, list | tuple) or (getattr(y, "ndim", 0) == 1 and len(y) > 1):
        y = tuple(y.tolist() if hasattr(y, "tolist") else y)
        if all(isinstance(value, int | float) for value in y):
            return y
    if hasattr(y, "item") and getattr(y, "shape", ()) in ((), (1,)):
        y = y.item()
    if y is None or isinstance(y, str | int | float | bool):
        return y
    shape = f" of shape {tuple(y.shape)}" if hasattr(y, "shape") else ""
    raise InvalidLabel(
        f"item {position}: the label is a {type(y).__name__}{shape}; give a name, a number or a one-hot vector as the "
        "second value of an item"
    )


def _form(x: Any) -> Any:
    """What must be the same for all items: shapes, and the names of a dict."""
    if _is_sequence(x):
        return dict.fromkeys(x, "a sequence")
    if isinstance(x, Mapping):
        return {key: _form(value) for key, value in x.items()}
    if isinstance(x, tuple | list):
        return [_form(value) for value in x]
    if _is_image(x):
        return (len(_pixels(x)), *x.size[::-1])
    return tuple(x.shape) if hasattr(x, "shape") else type(x).__name__ if isinstance(x, str) else ()


def _is_sequence(x: Any) -> bool:
    """Whether an item is a sequence of a tokenizer, which a batch pads."""
    from torch import Tensor

    plain = (Tensor, np.ndarray, list)
    return isinstance(x, Mapping) and "attention_mask" in x and all(isinstance(v, plain) for v in x.values())


def _is_image(x: Any) -> bool:
    from PIL.Image import Image

    return isinstance(x, Image)


def _in_words(form: Any) -> str:
    return f"the shape {form}" if isinstance(form, tuple) else str(form)


def _pixels(image: Any) -> NDArray[Any]:
    """An image of Pillow as numbers from 0 to 1, (channels, height, width); transparent pixels are white."""
    from PIL import Image

    if image.mode in ("I;16", "I;16B", "I", "F"):
        values = np.asarray(image).astype(np.float32)[None]
        return values if image.mode == "F" else values / np.float32(65535)
    if "A" in image.getbands() or "transparency" in image.info:
        shown = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), shown).convert(
            "L" if image.mode == "LA" else "RGB"
        )
    if image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    rows = np.asarray(image).astype(np.float32) / np.float32(255)
    return rows[None] if rows.ndim == 2 else np.ascontiguousarray(np.moveaxis(rows, 2, 0))


def _collated(items: list[Any], ids: list[str]) -> Any:
    """Inputs as one batch of tensors, floating-point numbers as float32; integers stay as they are."""
    import torch
    from torch.utils.data import default_collate

    from baldur.core.trees import join, leaves, map_tree

    try:
        if all(map(_is_sequence, items)):
            batch = join([{key: torch.as_tensor(part)[None] for key, part in x.items()} for x in items])
        else:
            batch = default_collate([_without_images(item) for item in items])
        if not all(isinstance(leaf, torch.Tensor) for leaf in leaves(batch)):
            raise TypeError("it holds texts")
    except (RuntimeError, TypeError, KeyError, ValueError) as error:
        raise InvalidArgument(
            f"the inputs of the items {', '.join(ids[:3])}{', ...' if len(ids) > 3 else ''} cannot be joined to a "
            f"batch of tensors ({str(error).splitlines()[0]}); give numbers, arrays, tensors or images of one shape"
        ) from error
    return map_tree(lambda leaf: leaf.float() if leaf.is_floating_point() else leaf, batch)


def _without_images(x: Any) -> Any:
    if isinstance(x, Mapping):
        return {key: _without_images(value) for key, value in x.items()}
    if isinstance(x, tuple | list):
        return [_without_images(value) for value in x]
    return _pixels(x) if _is_image(x) else x


def _same(a: Any, b: Any) -> bool:
    """Whether two batches hold the same values; NaN equals NaN."""
    from baldur.core.trees import leaves

    pairs = zip(leaves(a), leaves(b), strict=True)
    return all(x.shape == y.shape and bool(((x == y) | ((x != x) & (y != y))).all()) for x, y in pairs)
