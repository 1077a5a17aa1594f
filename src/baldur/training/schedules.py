"""Learning-rate schedules: functions of the finished share of the steps that return a factor for the rate."""

import math
from collections.abc import Sequence


def cosine(share: float, *, warm_up: float = 0.0) -> float:
    """Cosine schedule ½ (1 + cos π s), from 1 down to 0 (Loshchilov & Hutter, ICLR 2017).

    Args:
        share: The share of the steps that is done, in [0, 1).
        warm_up: The share during which the rate first grows from 0.

    Returns:
        A factor.
    """
    if share < warm_up:
        return share / warm_up
    return 0.5 * (1 + math.cos(math.pi * (share - warm_up) / (1 - warm_up)))


def steps(share: float, *, at: Sequence[float] = (0.5, 0.75), factor: float = 0.1) -> float:
    """Step schedule: multiply the rate by `factor` at each of the given shares (He et al., CVPR 2016).

    Args:
        share: The share of the steps that is done, in [0, 1).
        at: The shares at which the rate falls.
        factor: The factor at each of them.

    Returns:
        A factor.
    """
    return factor ** sum(share >= place for place in at)


def linear(share: float, *, warm_up: float = 0.0) -> float:
    """Linear schedule 1 - s, as used to fine-tune transformers (Devlin et al., NAACL 2019).

    Args:
        share: The share of the steps that is done, in [0, 1).
        warm_up: The share during which the rate first grows from 0.

    Returns:
        A factor.
    """
    return share / warm_up if share < warm_up else (1 - share) / (1 - warm_up)
