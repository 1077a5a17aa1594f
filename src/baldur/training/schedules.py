"""What the learning rate is multiplied by as a fit goes on: functions of the share of its steps that is done."""

import math
from collections.abc import Sequence


def cosine(share: float, *, warm_up: float = 0.0) -> float:
    """½ (1 + cos π s), from 1 down to 0 (Loshchilov & Hutter, ICLR 2017).

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
    """Multiplied by `factor` each time one of the shares is reached (He et al., CVPR 2016).

    Args:
        share: The share of the steps that is done, in [0, 1).
        at: Where the rate falls.
        factor: By how much.

    Returns:
        A factor.
    """
    return factor ** sum(share >= place for place in at)


def linear(share: float, *, warm_up: float = 0.0) -> float:
    """1 - s, as transformers are fine-tuned (Devlin et al., NAACL 2019).

    Args:
        share: The share of the steps that is done, in [0, 1).
        warm_up: The share during which the rate first grows from 0.

    Returns:
        A factor.
    """
    return share / warm_up if share < warm_up else (1 - share) / (1 - warm_up)
