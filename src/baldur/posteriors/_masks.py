"""Dropout masks that are a function of (seed, site, sample, coordinates) and of nothing else.

A counter-based generator: the random number of a unit is a hash of where it stands. So a mask is the same in
every batch, order, device and process; T samples are a prefix of T + 1; and padding a sequence, along
whichever axis, moves no mask of the part that is not padding.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baldur._seeds import derive

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: steps that never fall into a short pattern


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Stafford's variant 13 of the 64-bit finaliser (the mixer of SplitMix64; Steele, Lea & Flood, OOPSLA 2014)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniforms(seed: int, site: int, samples: range, shape: Sequence[int]) -> NDArray[np.float64]:
    """One number in [0, 1) for every sample and coordinate of a site, shape (T, *shape).

    Args:
        seed: The seed of the draws.
        site: Which dropout call of the network, in order of execution.
        samples: The absolute numbers of the T samples.
        shape: The shape of the site inside one item.

    Returns:
        53-bit uniform numbers.
    """
    hashes = np.array([derive(seed, "mask", site)], dtype=np.uint64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is meant
        for size in (samples, *map(range, shape)):
            steps = np.arange(size.start, size.stop, size.step).astype(np.uint64) + np.uint64(1)
            hashes = _mix(_mix(hashes)[..., None] + steps * _GOLDEN)
    numbers: NDArray[np.float64] = (hashes[0] >> np.uint64(11)) * 2.0**-53
    return numbers


def keep(seed: int, site: int, samples: range, shape: Sequence[int], p: float) -> Tensor:
    """Which units every sample keeps: Bernoulli(1 - p), bool, shape (T, *shape).

    Args:
        seed: The seed of the draws.
        site: Which dropout call of the network, in order of execution.
        samples: The absolute numbers of the T samples.
        shape: The shape of the site inside one item.
        p: The probability of dropping a unit.

    Returns:
        A tensor on the CPU.
    """
    return torch.from_numpy(uniforms(seed, site, samples, shape) >= p)
