"""Batches: trees of tensors."""

from collections.abc import Callable, Sequence
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
    if isinstance(x, dict):
        return {key: map_tree(function, value) for key, value in x.items()}
    if isinstance(x, tuple | list):
        return type(x)([map_tree(function, value) for value in x])
    return function(x)


def leaves(x: Any) -> list[Any]:
    """The tensors of a tree, in order.

    Args:
        x: A tree of tensors.

    Returns:
        The tensors themselves; what is no tensor is there, too.
    """
    found: list[Any] = []
    map_tree(found.append, x)
    return found


def take(x: Any, which: Tensor | slice) -> Any:
    """Some items of a batch.

    Args:
        x: A tree of tensors with the item as first axis.
        which: Their positions.

    Returns:
        A tree of the same form.
    """
    return map_tree(lambda leaf: leaf[which], x)


def join(parts: Sequence[Any]) -> Any:
    """Batches of the same form one after the other, as one.

    Args:
        parts: Trees of tensors with the item as first axis, at least one.

    Returns:
        A tree of the same form.
    """
    first = parts[0]
    if isinstance(first, dict):
        return {key: join([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple | list):
        return type(first)([join(members) for members in zip(*parts, strict=True)])
    if first is None:
        return None
    return torch.cat(list(parts))


def place(x: Any, device: torch.device) -> Any:
    """A batch on a device.

    Args:
        x: A tree of tensors.
        device: Where they should be; those that are there already are not copied.

    Returns:
        A tree of the same form.
    """
    return map_tree(lambda leaf: leaf.to(device), x)


def bits(tensor: Tensor) -> bytes:
    """The elements of a tensor as they lie in memory, row by row.

    Args:
        tensor: On any device.

    Returns:
        Its bytes.
    """
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()  # (bytes,)


def items_of(x: Any) -> int:
    """How many items a batch holds.

    Args:
        x: A tree of tensors whose first axis is the item.

    Returns:
        n.

    Raises:
        InvalidArgument: It is not made of tensors.
    """
    first = next(iter(leaves(x)), x)
    if not isinstance(first, Tensor):
        raise InvalidArgument(f"a batch is a torch tensor or a tree of them, not {type(first).__name__}")
    return len(first)


def bytes_in(x: Any) -> int:
    """The memory that a batch takes.

    Args:
        x: A tree of tensors.

    Returns:
        Bytes.
    """
    return sum(leaf.nbytes for leaf in leaves(x))


def differ(a: Any, b: Any) -> bool:
    """Whether two batches of the same form hold other values anywhere.

    Args:
        a: A tree of tensors.
        b: Another.

    Returns:
        True if they do.
    """
    if isinstance(a, dict):
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
    """The shapes of a batch without the item axis: what a network's path may depend on.

    Args:
        x: A tree of tensors.

    Returns:
        A hashable value.
    """
    if isinstance(x, dict):
        return tuple((key, shapes(value)) for key, value in x.items())
    if isinstance(x, tuple | list):
        return tuple(shapes(value) for value in x)
    if x is None:
        return None
    return (tuple(x.shape[1:]), x.dtype)
