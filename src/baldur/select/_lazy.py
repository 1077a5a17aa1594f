"""Greedy maximisation of functions whose gains only fall."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from baldur.protocols import Picks

_ROUNDING = 1e-12
_BATCH = 32

Gains = Callable[[NDArray[np.intp]], NDArray[np.float64]]


def lazy_greedy(
    gains: Gains, add: Callable[[int], float], candidates: NDArray[np.intp]
) -> Iterator[tuple[int, float, int]]:
    """Greedy maximisation where gains only fall: an old gain is a bound, so few gains are computed again.

    Gains are computed again in the order of their bounds, until no bound reaches the best gain. Among equal gains
    (within rounding) the first item is taken, as plain greedy search would.

    Args:
        gains: Gives the gains of some candidates over the items chosen so far.
        add: Chooses a candidate, and returns the size of the objective's terms, which sets the rounding.
        candidates: Positions of the items that may be chosen, ascending.

    Yields:
        The next pick, its gain, and how many gains were computed so far.
    """
    bounds = gains(candidates) if len(candidates) else np.zeros(0)
    fresh = np.ones(len(candidates), bool)
    scale = float(np.abs(bounds).max(initial=0.0))
    work = len(candidates)
    for _ in range(len(candidates)):
        best = float(bounds[fresh].max(initial=-np.inf))
        while True:
            slack = _ROUNDING * scale
            stale = np.flatnonzero(~fresh & (bounds >= best - slack) & (bounds > -np.inf))
            if len(stale) == 0:
                break
            if len(stale) > _BATCH:
                stale = stale[np.argpartition(-bounds[stale], _BATCH)[:_BATCH]]
            bounds[stale] = gains(candidates[stale])
            fresh[stale] = True
            work += len(stale)
            best = max(best, float(bounds[stale].max()))
        place = int(np.flatnonzero(fresh & (bounds >= best - slack))[0])
        gain = float(bounds[place])
        bounds[place] = -np.inf
        fresh[:] = False
        scale = max(scale, add(int(candidates[place])))
        yield int(candidates[place]), gain, work


def collect(
    chosen: Iterator[tuple[int, float, int]], k: int, objective: float, least: float = -np.inf
) -> Picks:
    """The first k picks of a lazy greedy search.

    Args:
        chosen: The iterator of `lazy_greedy`.
        k: How many to take.
        objective: The objective before the first pick.
        least: The smallest gain; picks end before the first gain below it.

    Returns:
        The picks with their gains; `info["objective"]` after each, `info["evaluations"]` in all.
    """
    indices: list[int] = []
    scores: list[float] = []
    work = 0
    while len(indices) < k:
        u, gain, work = next(chosen)
        if gain < least:
            break
        indices.append(u)
        scores.append(gain)
    gains = np.array(scores, np.float64)
    info = {"gap": 0.0, "objective": objective + np.cumsum(gains), "evaluations": work}
    return Picks(np.array(indices, np.intp), gains, info)
