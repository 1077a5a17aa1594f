"""Blocks of rows cover everything once, in order and within their bound."""

import numpy as np
import pytest
import torch

from baldur.core.blocks import blocks, on_cpu, room


@pytest.mark.parametrize(
    ("n", "width", "numbers"), [(10, 3, 9), (10, 3, 10), (7, 100, 5), (0, 3, 9), (4, 0, 2)]
)
def test_blocks_cover_every_row_once(n, width, numbers):
    parts = list(blocks(n, width, numbers))
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(n))
    assert all(part.stop - part.start == 1 or (part.stop - part.start) * width <= numbers for part in parts)


def test_room_depends_on_the_device():
    assert room(np.zeros(1), 10) == room(torch.zeros(1), 10, 20) == 10
    assert room(torch.zeros(1, device="meta"), 10, 20) == 20
    assert on_cpu(torch.zeros(1))
    assert not on_cpu(torch.zeros(1, device="meta"))
