"""Batches: trees of tensors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from baldur.errors import InvalidArgument


def map_tree(function: Callable[[Tensor], Any], x: Any) -> Any:
    """Apply a function to every tensor of a tree.

    Args:
        function: Applied to each tensor.
        x: A tensor, or a tuple, list or dict of trees; None stays None.

    Returns:
        A tree of the same form.
    """
    if x is None:
        return None
    if isinstance(x, Mapping):
        return {key: map_tree(function, value) for key, value in x.items()}
    if isinstance(x, tuple | list):
        return type(x)([map_tree(function, value) for value in x])
    return function(x)


def leaves(x: Any) -> list[Any]:
    """The tensors of a tree, in order.

    Args:
        x: A tree of tensors.

    Returns:
        The leaves themselves, including leaves that are not tensors.
    """
    found: list[Any] = []
    map_tree(found.append, x)
    return found


def take(x: Any, which: Tensor | slice) -> Any:
    """Some items of a batch.

    Args:
        x: A tree of tensors whose first axis is the item.
        which: Their positions.

    Returns:
        A tree of the same form.
    """
    return map_tree(lambda leaf: leaf[which], x)


def join(parts: Sequence[Any]) -> Any:
    """Batches of the same form one after the other, as one.

    In a dict with an `attention_mask`, shorter sequences are padded with zeros at their ends.

    Args:
        parts: Trees of tensors with the item as first axis, at least one.

    Returns:
        A tree of the same form.

    Raises:
        InvalidArgument: Items have different shapes.
    """
    first = parts[0]
    if isinstance(first, Mapping):
        each = {key: [part[key] for part in parts] for key in first}
        return {key: join(_padded(values) if _MASK in first else values) for key, values in each.items()}
    if isinstance(first, tuple | list):
        return type(first)([join(members) for members in zip(*parts, strict=True)])
    if first is None:
        return None
    if len(found := {tuple(part.shape[1:]) for part in parts}) > 1:
        shown = " and ".join(map(str, sorted(found)[:3]))
        raise InvalidArgument(
            f"items have different shapes, {shown}; give them one shape, such as images of one size, or sequences as "
            f"dicts with an {_MASK}, which are padded"
        )
    return torch.cat(list(parts))


_MASK = "attention_mask"
"""The part of an item that says which steps of a sequence are no padding, as tokenizers call it."""


def _padded(parts: Sequence[Any]) -> Sequence[Any]:
    """Tensors (n, steps, ...) with as many steps as the longest, or as they are if they have no steps."""
    if not all(isinstance(part, Tensor) and part.ndim > 1 for part in parts):
        return parts
    steps = max(part.shape[1] for part in parts)
    return [
        part
        if part.shape[1] == steps
        else torch.cat([part, part.new_zeros((len(part), steps - part.shape[1], *part.shape[2:]))], 1)
        for part in parts
    ]


def place(x: Any, device: torch.device) -> Any:
    """A batch on a device.

    Args:
        x: A tree of tensors.
        device: The device. Tensors that are already there are not copied.

    Returns:
        A tree of the same form.
    """
    return map_tree(lambda leaf: leaf.to(device), x)


def bits(tensor: Tensor) -> bytes:
    """The elements of a tensor as they lie in memory, row by row.

    Args:
        tensor: A tensor on any device.

    Returns:
        Its bytes.
    """
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()  # (bytes,)


def items_of(x: Any) -> int:
    """The number of items in a batch.

    Args:
        x: A tree of tensors whose first axis is the item.

    Returns:
        n.

    Raises:
        InvalidArgument: The batch is not made of tensors.
    """
    first = next(iter(leaves(x)), x)
    if not isinstance(first, Tensor):
        raise InvalidArgument(f"a batch is a torch tensor or a tree of them, not {type(first).__name__}")
    return len(first)


def bytes_in(x: Any) -> int:
    """The memory of a batch.

    Args:
        x: A tree of tensors.

    Returns:
        Bytes.
    """
    return sum(leaf.nbytes for leaf in leaves(x))


def differ(a: Any, b: Any) -> bool:
    """Whether two batches of the same form have different values.

    Args:
        a: A tree of tensors.
        b: A tree of the same form.

    Returns:
        True if they do.
    """
    if isinstance(a, Mapping):
        return any(differ(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return any(map(differ, a, b))
    return a is not None and not torch.equal(a.nan_to_num(), b.nan_to_num())


def versions(x: Any) -> Any:
    """How often each tensor of a batch was changed.

    Args:
        x: A tree of tensors, made outside inference mode.

    Returns:
        A tree of counts.
    """
    return map_tree(lambda leaf: leaf._version, x)


def shapes(x: Any) -> Any:
    """The shapes and types of a batch without the item axis. A network may take another path for other shapes.

    Args:
        x: A tree of tensors.

    Returns:
        A hashable value.
    """
    if isinstance(x, Mapping):
        return tuple((key, shapes(value)) for key, value in x.items())
    if isinstance(x, tuple | list):
        return tuple(shapes(value) for value in x)
    if x is None:
        return None
    return (tuple(x.shape[1:]), x.dtype)
