"""Blocks of rows. Large arrays are processed in parts, so that memory stays bounded."""

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
    """The number of elements that a temporary array may have.

    Args:
        x: An array. Its device decides.
        on_processor: The number for a processor, whose caches are small.
        elsewhere: The number for a GPU, which needs large blocks to be busy.

    Returns:
        One of the two.
    """
    return on_processor if on_cpu(x) else elsewhere


def blocks(n: int, width: int, numbers: int) -> Iterator[slice]:
    """Slices of 0..n, so that each block of rows has a bounded number of elements.

    Args:
        n: Number of rows.
        width: Number of elements in a row.
        numbers: Maximum number of elements in a block. A block has at least one row.

    Yields:
        The slices in order.
    """
    step = max(1, numbers // max(1, width))
    for start in range(0, n, step):
        yield slice(start, min(n, start + step))
