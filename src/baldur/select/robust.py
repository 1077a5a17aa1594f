"""Coverage by balls, where a few outliers may lie outside."""

from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from baldur.core.arrays import Array, to_numpy
from baldur.errors import InvalidArgument
from baldur.protocols import Picks
from baldur.select._arguments import count, host_features
from baldur.select.coreset import Cover, farthest_first, k_center

_EXACT_LIMIT = 5000


def robust_k_center(
    features: Shaped[Array, "..."],
    k: SupportsIndex,
    *,
    labelled: Shaped[Array, "..."] | None = None,
    outliers: SupportsIndex | None = None,
    exact: bool = False,
    seconds: float = 60.0,
) -> Picks:
    """k centres with the smallest radius that covers all items except a few outliers.

    Greedy: as `k_center`, but each pick passes over the Ξ farthest items. Exact: the smallest distance δ for which
    u ∈ {0, 1}^N, Σ u = k, Σ_{j: d_ij ≤ δ} u_j + z_i ≥ 1 for all i and Σ z ≤ Ξ is feasible. HiGHS solves these integer
    programs, in a bisection that begins at the better of the greedy radii.

    O. Sener and S. Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018;
    M. Charikar, S. Khuller, D. M. Mount and G. Narasimhan, Algorithms for Facility Location Problems with Outliers,
    SODA 2001.

    Needs: features, features of the labelled. Cost: O(k N (D + log N)); exact: N² distances and an integer
    program for each bisection. Use: as `k_center`, where the pool has outliers; exact for pools of some
    thousands.

    Args:
        features: Features, shape (N, D).
        k: How many to choose; more than there are gives all.
        labelled: Features of the labelled items, shape (M, D), or their positions in `features`, shape (M,).
        outliers: Ξ, how many items may lie outside; N / 10,000, rounded, where it is not given.
        exact: Whether the smallest possible radius is searched; this needs N² distances, so N is limited.
        seconds: The time of an exact search; then the best centres so far are returned.

    Returns:
        The picks; exact ones are in greedy order. Each score is its distance to the nearest centre before.
        `info["radius"]` is the radius without the Ξ farthest items after each pick. `info["gap"]` bounds the distance
        of the last radius to the smallest one (greedy: unknown, so the radius itself).

    Raises:
        InvalidArgument: A shape does not fit, or a row is not finite. Or k or Ξ is negative, or N is too large for an
            exact search.
    """
    cover = Cover(features, labelled, "labelled items")
    size = count(k, cover.free)
    spared = _round_outliers(outliers, cover.n)
    if exact and cover.n > _EXACT_LIMIT:
        raise InvalidArgument(
            f"an exact search is for at most {_EXACT_LIMIT} items, not {cover.n}; take exact=False, or a sample"
        )
    picks = _greedy(cover, size, spared)
    if not exact or size == 0:
        return picks
    x = to_numpy(cover.x).astype(np.float64)
    found, gap = _search(x, size, labelled, spared, picks, seconds)
    return _in_greedy_order(x, found, labelled, spared, gap)


def _round_outliers(outliers: Any, n: int) -> int:
    return count(round(n / 10_000) if outliers is None else outliers, n, "outliers")


def _greedy(cover: Cover, size: int, spared: int) -> Picks:
    """Greedy coverage that passes over the farthest few items."""
    picks = farthest_first(
        cover,
        size,
        lambda: _farthest_but(cover, spared, True),
        lambda: cover.distance(_farthest_but(cover, spared, False)),
    )
    radii = picks.info["radius"]
    return Picks(picks.indices, picks.scores, {"gap": radii[-1] if len(radii) else 0.0, **picks.info})


def _farthest_but(cover: Cover, spared: int, free: bool) -> int:
    """The item with the largest distance after the spared ones; the first of equally far ones.

    With `free` only items that are not centres are considered: the nearest of them, where too few are left.
    """
    values = to_numpy(cover.nearest)
    order = np.argsort(-values, kind="stable")
    if free:
        order = order[: np.count_nonzero(values >= 0)]
    return int(order[min(spared, len(order) - 1)])


def _distances(
    x: Float[np.ndarray, "N D"], labelled: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64], Any]:
    """Distances among the items, to the nearest labelled one (or inf), and which items may be chosen."""
    from scipy.spatial.distance import cdist

    among = cdist(x, x)
    free = np.ones(len(x), bool)
    if labelled is None:
        return among, np.full(len(x), np.inf), free
    if len(labelled.shape) == 1:
        at = to_numpy(labelled)
        free[at] = False
        return among, among[:, at].min(axis=1, initial=np.inf), free
    given = host_features(labelled, "labelled items", x.shape[1])
    return among, cdist(x, given).min(axis=1, initial=np.inf), free


def _search(
    x: Float[np.ndarray, "N D"], size: int, labelled: Any, spared: int, start: Picks, seconds: float
) -> tuple[NDArray[np.intp], float]:
    """The best centres, and how far their radius is from the smallest at most: bisection over distances."""
    import time

    among, before, free = _distances(x, labelled)
    end = time.monotonic() + seconds
    plain = k_center(x, size, labelled).indices
    best = min((start.indices, plain), key=lambda picks: _radius(among, before, picks, spared))
    radius = _radius(among, before, best, spared)
    steps = np.unique(np.concatenate([among.ravel(), before[np.isfinite(before)], [0.0]]))  # all radii
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
    """Centres that leave at most the spared items outside, or None; and whether it is proved that none exist."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array, eye_array, hstack

    if seconds <= 0:
        return None, False
    n = len(among)
    open_ = np.flatnonzero(before > radius)
    near = csr_array((among[open_] <= radius).astype(np.float64))
    matrix = hstack([near, eye_array(len(open_))])  # (open, N + open)
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
    x: Float[np.ndarray, "N D"], chosen: NDArray[np.intp], labelled: Any, spared: int, gap: float
) -> Picks:
    """The chosen centres, farthest first, as picks."""
    among, nearest, _ = _distances(x, labelled)
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
