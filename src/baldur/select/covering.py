"""Coverage by balls of one radius: a typical item in every dense region first."""

from typing import SupportsIndex

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from baldur.core.arrays import Array
from baldur.errors import InvalidArgument
from baldur.protocols import Picks
from baldur.select._arguments import LARGEST, count, host_features, labelled_features
from baldur.select._lazy import collect, lazy_greedy
from baldur.select._products import row_blocks
from baldur.select.clusters import k_means
from baldur.select.coreset import k_center


def prob_cover(
    features: Shaped[Array, "..."],
    k: SupportsIndex,
    *,
    labelled: Shaped[Array, "..."] | None = None,
    delta: float,
) -> Picks:
    """The balls that cover the most items: greedy maximum coverage, within 1 - 1/e of the best.

    Each pick is argmax_x |{y : ‖x - y‖ < δ, y not yet covered}|; labelled items and earlier picks cover too. Once
    everything is covered, the item farthest from all centres follows (k-center greedy), with the gain 0. The graph is
    never in memory, since gains only fall and old ones are bounds.

    O. Yehuda, A. Dekel, G. Hacohen and D. Weinshall, Active Learning Through a Covering Lens, NeurIPS 2022.

    Needs: features, features of the labelled. Cost: O(N² D) once, then little for each pick; memory O(N). Use:
    as `typiclust`: for the first labels, on features learned without labels; δ has to fit the features.

    Args:
        features: Features, shape (N, D); the paper takes self-supervised ones of length 1.
        k: How many to choose; more than N gives all.
        labelled: Features of the labelled items, shape (M, D).
        delta: δ, the radius of a ball, in the units of the features; see `purity_radius`.

    Returns:
        The picks; each score counts the items that it covers first. `info["objective"]` counts the covered items after
        each pick, and `info["evaluations"]` the gains computed.

    Raises:
        InvalidArgument: A shape does not fit, a row is not finite, δ is not above 0, or k is negative.
    """
    if not 0 < delta <= LARGEST:
        raise InvalidArgument(f"delta is a distance above 0 and at most {LARGEST:g}, not {delta!r}")
    x = host_features(features)
    given = labelled_features(labelled, x)
    balls = _Balls(x, float(delta))
    for point in given:
        balls.cover(point - balls.mean)
    size = count(k, len(x))
    picks = collect(lazy_greedy(balls.gains, balls.add, np.arange(len(x))), size, balls.total(), least=0.5)
    missing = size - len(picks)
    if missing == 0:
        return picks
    rest = np.setdiff1d(np.arange(len(x)), picks.indices)
    known = np.concatenate([given, x[picks.indices]])  # (M + picks, D)
    more = k_center(x[rest], missing, known)
    objective = np.concatenate([picks.info["objective"], np.full(missing, balls.total())])
    return Picks(
        np.concatenate([picks.indices, rest[more.indices]]),
        np.concatenate([picks.scores, np.zeros(missing)]),
        {**picks.info, "objective": objective},
    )


def purity_radius(
    features: Shaped[Array, "..."],
    classes: int,
    *,
    rng: np.random.Generator | int,
    purity: float = 0.95,
    sample: int = 2000,
) -> float:
    """The largest radius at which most balls hold one class, by the clusters of k-means: δ for `prob_cover`.

    A ball is pure if every item in it has the cluster of its centre. The share of pure balls falls as δ grows.

    O. Yehuda, A. Dekel, G. Hacohen and D. Weinshall, Active Learning Through a Covering Lens, NeurIPS 2022.

    Needs: features. Cost: O(S² D) for a sample of S items. Use: before `prob_cover`; it is as good as k-means at
    finding the classes.

    Args:
        features: Features, shape (N, D).
        classes: How many classes there are; k-means looks for as many clusters.
        rng: A generator, or a seed.
        purity: The share of balls that must be pure.
        sample: The size of the sample at most, drawn uniformly.

    Returns:
        The radius. If there is one cluster only, it is slightly more than the largest distance.

    Raises:
        InvalidArgument: A shape does not fit, a row is not finite, or there are fewer items than classes.
    """
    from scipy.spatial.distance import cdist

    x = host_features(features)
    if not 1 <= classes <= len(x):
        raise InvalidArgument(f"{len(x)} items cannot be of {classes} classes")
    random = np.random.default_rng(rng)
    x = x[random.choice(len(x), size=min(sample, len(x)), replace=False)]
    clusters = k_means(x, classes, random, exact_up_to=np.inf)
    distances = cdist(x, x)
    others = clusters[:, None] != clusters  # (S, S)
    impure = np.min(np.where(others, distances, np.inf), axis=1)
    # A ball is pure as long as δ is at most the distance to the nearest item of another cluster.
    radius = float(np.sort(impure)[::-1][max(0, int(np.ceil(purity * len(x))) - 1)])
    return min(radius, float(np.nextafter(distances.max(), np.inf)))


class _Balls:
    """The items that no ball covers yet."""

    def __init__(self, x: Float[np.ndarray, "N D"], delta: float) -> None:
        self.mean = x.mean(axis=0) if len(x) else np.zeros(x.shape[1])
        self.x, self.delta = x - self.mean, delta
        self.squares = np.einsum("nd,nd->n", self.x, self.x)  # (N,)
        self.open = np.ones(len(x), bool)

    def _inside(self, rows: NDArray[np.intp], points: Float[np.ndarray, "R D"]) -> NDArray[np.bool_]:
        """Whether ‖x - point‖ < δ, shape (rows, points); by differences where rounding could decide."""
        sums = self.squares[rows, None] + np.einsum("rd,rd->r", points, points)  # (rows, points)
        margin = sums - 2 * (self.x[rows] @ points.T) - self.delta**2  # (rows, points)
        inside = np.asarray(margin < 0)
        doubtful, there = np.nonzero(np.abs(margin) <= 1e-12 * (sums + self.delta**2))
        for part in row_blocks(len(doubtful), points.shape[1]):
            r, p = doubtful[part], there[part]
            distances = np.linalg.norm(self.x[rows[r]] - points[p], axis=1)
            # On a grid of features a distance may be exactly δ. Then it is outside, however it was rounded.
            inside[r, p] = distances < self.delta * (1 - 1e-12)
        return inside

    def gains(self, items: NDArray[np.intp]) -> NDArray[np.float64]:
        rows = np.flatnonzero(self.open)
        result = np.zeros(len(items))
        for some in row_blocks(len(items), 4 * self.x.shape[1]):
            points = self.x[items[some]]
            for part in row_blocks(len(rows), max(len(points), self.x.shape[1])):
                result[some] += np.count_nonzero(self._inside(rows[part], points), axis=0)
        return result

    def cover(self, point: Float[np.ndarray, " D"]) -> None:
        """Cover the items in the ball about a point, which is given relative to the mean."""
        rows = np.flatnonzero(self.open)
        for part in row_blocks(len(rows), self.x.shape[1]):
            self.open[rows[part]] = ~self._inside(rows[part], point[None])[:, 0]  # (part,)

    def add(self, item: int) -> float:
        self.cover(self.x[item])
        return 0.0

    def total(self) -> float:
        return float(np.count_nonzero(~self.open))
