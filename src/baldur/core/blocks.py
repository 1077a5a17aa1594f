"""Blocks of rows: large arrays are worked on a part at a time, so that memory stays bounded."""

from collections.abc import Iterator
from typing import Any

import array_api_compat


def on_cpu(x: Any) -> bool:
    """Whether an array lies in the memory of the processor.

    Args:
        x: An array of NumPy or torch.

    Returns:
        False for a GPU.
    """
    return str(array_api_compat.device(x)) == "cpu"


def room(x: Any, on_processor: int, elsewhere: int = 2**26) -> int:
    """How many numbers a temporary array may hold, so that memory stays bounded.

    Args:
        x: An array on the device in question.
        on_processor: The number for a processor, whose caches are small.
        elsewhere: The number for a GPU, which needs large blocks to be busy.

    Returns:
        One of the two.
    """
    return on_processor if on_cpu(x) else elsewhere


def blocks(n: int, width: int, numbers: int) -> Iterator[slice]:
    """Slices of 0..n, so that each block of rows holds a bounded count of numbers.

    Args:
        n: How many rows there are.
        width: How many numbers one row takes.
        numbers: How many numbers a block may hold; a block has one row at least.

    Yields:
        The slices in order.
    """
    step = max(1, numbers // max(1, width))
    for start in range(0, n, step):
        yield slice(start, min(n, start + step))
