"""Coverage by balls that a few outliers may escape."""

from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from baldur.core.arrays import Array, to_numpy
from baldur.errors import InvalidArgument
from baldur.protocols import Picks
from baldur.select._features import check_features, count
from baldur.select.coreset import Cover, k_center

_EXACT_LIMIT = 5000


def robust_k_center(
    features: Shaped[Array, "..."],
    k: SupportsIndex,
    centres: Shaped[Array, "..."] | None = None,
    outliers: SupportsIndex | None = None,
    exact: bool = False,
    seconds: float = 60.0,
) -> Picks:
    """k centres of the smallest radius within which all but a few items lie.

    Greedy: as `k_center`, but of all items the Ξ farthest are passed over each time. Exact: the smallest δ among the
    distances for which u ∈ {0, 1}^N, Σ u = k, Σ_{j: d_ij ≤ δ} u_j + z_i ≥ 1 for all i and Σ z ≤ Ξ is feasible (integer
    programming by HiGHS), by bisection from the better of the greedy radii.

    O. Sener and S. Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018;
    M. Charikar, S. Khuller, D. M. Mount and G. Narasimhan, Algorithms for Facility Location Problems with Outliers,
    SODA 2001.

    Needs: features, features of the labelled. Cost: O(k N (D + log N)); exact: N² distances and an integer
    program for each bisection. Use: as `k_center`, where the pool has outliers; exact for pools of some
    thousands.

    Args:
        features: What distances are measured on, shape (N, D).
        k: How many to choose; more than there are gives all.
        centres: Features (M, D) of what is labelled already, or its positions (M,) in `features`.
        outliers: Ξ, how many items may lie outside; N / 10,000, rounded, where it is not given.
        exact: Whether the radius is made the smallest there is; needs N² distances, so N is limited.
        seconds: Of an exact search, in all; then the best found so far is given.

    Returns:
        The picks, for the exact ones in the greedy order among them; each score is its distance to the nearest centre
        before. `info["radius"]` is the radius, without the Ξ farthest, after each pick; `info["gap"]` how much less the
        last could be at most (greedy: not known, so the radius itself).

    Raises:
        InvalidArgument: A shape does not fit, a row is not finite, k or Ξ is negative, or N is too large for an
            exact search.
    """
    cover = Cover(features, centres)
    size = count(k, cover.n - len(cover.labelled))
    spared = _round_outliers(outliers, cover.n)
    if exact and cover.n > _EXACT_LIMIT:
        raise InvalidArgument(
            f"an exact search is for at most {_EXACT_LIMIT} items, not {cover.n}; take exact=False, or a sample"
        )
    picks = _greedy(cover, size, spared)
    if not exact or size == 0:
        return picks
    x = to_numpy(cover.x).astype(np.float64)
    found, gap = _search(x, size, centres, spared, picks, seconds)
    return _in_greedy_order(x, found, centres, spared, gap)


def _round_outliers(outliers: Any, n: int) -> int:
    return count(round(n / 10_000) if outliers is None else outliers, n)


def _greedy(cover: Cover, size: int, spared: int) -> Picks:
    """Farthest-first, where the farthest few are passed over."""
    picks: list[int] = []
    scores: list[float] = []
    radii: list[float] = []
    for _ in range(size):
        cold = not (picks or cover.covered)
        u = cover.most_central() if cold else _farthest_but(cover, spared, True)
        scores.append(np.nan if cold else cover.distance(u))
        cover.add(u)
        picks.append(u)
        radii.append(cover.distance(_farthest_but(cover, spared, False)))
    if scores and np.isnan(scores[0]):
        scores[0] = radii[0]
    info = {"gap": radii[-1] if radii else 0.0, "radius": np.array(radii, np.float64)}
    return Picks(np.array(picks, np.intp), np.array(scores, np.float64), info)


def _farthest_but(cover: Cover, spared: int, free: bool) -> int:
    """The item with the largest distance after the spared ones; of equal ones the first.

    With `free` only items that are no centre are considered: the farthest of them where so many are not left.
    """
    values = to_numpy(cover.nearest)
    order = np.argsort(-values, kind="stable")
    if free:
        order = order[: np.count_nonzero(values >= 0)]
    return int(order[min(spared, len(order) - 1)])


def _distances(
    x: Float[np.ndarray, "N D"], centres: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64], Any]:
    """Distances among the items, to the nearest first centre (or inf), and which items may be chosen."""
    from scipy.spatial.distance import cdist

    among = cdist(x, x)
    free = np.ones(len(x), bool)
    if centres is None:
        return among, np.full(len(x), np.inf), free
    if len(centres.shape) == 1:
        at = to_numpy(centres)
        free[at] = False
        return among, among[:, at].min(axis=1, initial=np.inf), free
    given = to_numpy(check_features(centres, "centres", x.shape[1])).astype(np.float64)
    return among, cdist(x, given).min(axis=1, initial=np.inf), free


def _search(
    x: Float[np.ndarray, "N D"], size: int, centres: Any, spared: int, start: Picks, seconds: float
) -> tuple[NDArray[np.intp], float]:
    """The best centres found and how much smaller their radius could be: bisection over the distances."""
    import time

    among, before, free = _distances(x, centres)
    end = time.monotonic() + seconds
    plain = k_center(x, size, centres).indices
    best = min((start.indices, plain), key=lambda picks: _radius(among, before, picks, spared))
    radius = _radius(among, before, best, spared)
    steps = np.unique(np.concatenate([among.ravel(), before[np.isfinite(before)], [0.0]]))
    low, high = 0, int(np.searchsorted(steps, radius))  # the optimum is among steps[low : high + 1]
    while low < high:
        middle = (low + high) // 2
        chosen, proved = _feasible(among, before, free, size, spared, steps[middle], end - time.monotonic())
        if chosen is not None:
            best = chosen
            radius = _radius(among, before, best, spared)
            high = min(middle, int(np.searchsorted(steps, radius)))
        elif proved:
            low = middle + 1
        else:
            break
    return best, float(radius - steps[low])


def _radius(
    among: NDArray[np.float64], before: NDArray[np.float64], picks: NDArray[np.intp], spared: int
) -> float:
    nearest = np.minimum(before, among[:, picks].min(axis=1))
    return float(np.sort(nearest)[::-1][spared]) if spared < len(nearest) else 0.0


def _feasible(
    among: NDArray[np.float64],
    before: NDArray[np.float64],
    free: NDArray[np.bool_],
    size: int,
    spared: int,
    radius: float,
    seconds: float,
) -> tuple[NDArray[np.intp] | None, bool]:
    """Centres that leave at most the spared items outside, or None; and whether there are none for certain."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array, eye_array, hstack

    if seconds <= 0:
        return None, False
    n = len(among)
    open_ = np.flatnonzero(before > radius)
    matrix = hstack([csr_array((among[open_] <= radius).astype(np.float64)), eye_array(len(open_))])
    counts = np.zeros((2, n + len(open_)))
    counts[0, :n] = 1
    counts[1, n:] = 1
    result = milp(
        np.zeros(n + len(open_)),
        integrality=np.ones(n + len(open_)),
        bounds=Bounds(0, np.concatenate([free.astype(np.float64), np.ones(len(open_))])),
        constraints=[
            LinearConstraint(matrix.tocsr(), lb=1),
            LinearConstraint(csr_array(counts), lb=[size, 0], ub=[size, spared]),
        ],
        options={"time_limit": seconds},
    )
    if result.x is None:
        return None, bool(result.status == 2)
    return np.flatnonzero(result.x[:n] > 0.5), True


def _in_greedy_order(
    x: Float[np.ndarray, "N D"], chosen: NDArray[np.intp], centres: Any, spared: int, gap: float
) -> Picks:
    """The chosen centres, farthest first, as picks."""
    among, nearest, _ = _distances(x, centres)
    rest = np.sort(chosen).tolist()
    picks: list[int] = []
    scores: list[float] = []
    radii: list[float] = []
    while rest:
        cold = not np.isfinite(nearest).all()
        u = min(rest, key=lambda i: among[:, i].sum()) if cold else max(rest, key=lambda i: nearest[i])
        rest.remove(u)
        picks.append(u)
        scores.append(float(nearest[u]))
        radii.append(_radius(among, nearest, np.array([u]), spared))
        nearest = np.minimum(nearest, among[:, u])
    if scores and not np.isfinite(scores[0]):
        scores[0] = radii[0]
    info = {"gap": gap, "radius": np.array(radii, np.float64)}
    return Picks(np.array(picks, np.intp), np.array(scores, np.float64), info)
