"""Dropout masks as a function of (seed, site, sample, coordinates) only.

A counter-based generator: the random number of a unit is a hash of where it stands. So a mask is the same in
every batch, order, device and process; T samples are a prefix of T + 1; and padding a sequence, along
whichever axis, moves no mask of the part that is not padding.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baldur.core.seeds import derive

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: steps that never fall into a short pattern


# Numbers at a time: what stays in a processor's nearest caches.
_BLOCK = 2**13
# Axes that are added column by column.
_SHORT = 16


def _mix(z: NDArray[np.uint64]) -> None:
    """Stafford's variant 13 of the 64-bit finaliser, in place (the mixer of SplitMix64; Steele et al., OOPSLA 2014)."""
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)


def _hashes(seed: int, site: int | str, samples: range, shape: Sequence[int]) -> NDArray[np.uint64]:
    """64 bits for every sample and coordinate, (T, *shape)."""
    hashes = np.array([derive(seed, "mask", site)], dtype=np.uint64)
    for size in (samples, *map(range, shape)):
        steps = np.arange(size.start, size.stop, size.step).astype(np.uint64) + np.uint64(1)
        steps *= _GOLDEN  # arithmetic modulo 2**64 is meant
        longer = np.empty((len(hashes), len(steps)), np.uint64)
        rows = max(1, _BLOCK // max(1, len(steps)))
        for start in range(0, len(hashes), rows):
            before, block = hashes[start : start + rows], longer[start : start + rows]
            _mix(before)
            if len(steps) < _SHORT:
                for column, step in enumerate(steps):
                    np.add(before, step, out=block[:, column])
            else:
                np.add(before[:, None], steps, out=block)  # (rows, size): hashes with coordinates
            _mix(block)
        hashes = longer.reshape(-1)  # (T * coordinates so far,)
    return hashes.reshape(len(samples), *shape)  # (T, *shape)


def uniforms(seed: int, site: int | str, samples: range, shape: Sequence[int]) -> NDArray[np.float64]:
    """One number in [0, 1) for every sample and coordinate of a site, shape (T, *shape).

    Args:
        seed: The seed of the draws.
        site: Which dropout call of the network, in order of execution; or the name of the weights that are masked.
        samples: The absolute numbers of the T samples.
        shape: The shape of the site inside one item.

    Returns:
        53-bit uniform numbers.
    """
    return (_hashes(seed, site, samples, shape) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def keep(seed: int, site: int | str, samples: range, shape: Sequence[int], p: float) -> Tensor:
    """Which units every sample keeps: Bernoulli(1 - p), bool, shape (T, *shape).

    Args:
        seed: The seed of the draws.
        site: Which dropout call of the network, in order of execution; or the name of the weights that are masked.
        samples: The absolute numbers of the T samples.
        shape: The shape of the site inside one item.
        p: The probability of dropping a unit.

    Returns:
        A tensor on the CPU.
    """
    least = np.uint64(math.ceil(p * 2.0**53))  # the uniform numbers are multiples of 2**-53
    return torch.from_numpy(_hashes(seed, site, samples, shape) >> np.uint64(11) >= least)
