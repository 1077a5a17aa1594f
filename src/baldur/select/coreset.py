"""Coverage by balls: no item is far from a labelled one."""

import math
from collections.abc import Callable
from typing import Any, SupportsIndex

import array_api_compat
import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy.typing import NDArray

from baldur.core.arrays import Array, namespace, same_device, to_numpy
from baldur.errors import InvalidArgument
from baldur.protocols import Picks
from baldur.select._arguments import check_features, count
from baldur.select._products import Products, squared_distances


def k_center(
    features: Shaped[Array, "N D"], k: SupportsIndex, centres: Shaped[Array, "..."] | None = None
) -> Picks:
    """The item farthest from all centres so far, k times: k-center greedy, within twice the best radius.

    u = argmax_i min_{j ∈ L ∪ S} ‖x_i - x_j‖. Without centres the first pick is the item nearest the mean. The picks
    are those of plain greedy search in float64. The triangle inequality and a bound on inner products exclude most
    items, so few distances are computed. The memory needed beside the features is O(N).

    O. Sener and S. Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018;
    T. F. Gonzalez, Clustering to Minimize the Maximum Intercluster Distance, Theoretical Computer Science, 1985.

    Needs: features, features of the labelled. Cost: O(k N D), memory O(N). Use: for large batches on good features.
    Outliers are the farthest items, so it takes them first.

    Args:
        features: Features, shape (N, D).
        k: How many to choose; more than there are gives all.
        centres: Features of the labelled items, shape (M, D). Or their positions in `features`, whole numbers of shape
            (M,), which are then never chosen.

    Returns:
        The picks; each score is its distance to the nearest centre when it was chosen. The first pick without centres
        has the radius after it as its score. `info["radius"]` is the largest distance of an item to its nearest
        centre after each pick, shape (k,). `info["distances"]` counts the distances computed in full.

    Raises:
        InvalidArgument: A shape does not fit, a row is not finite, a position is outside, or k is negative.
    """
    cover = Cover(features, centres, "centres")
    picks = farthest_first(cover, count(k, cover.free), cover.farthest, cover.radius)
    return Picks(picks.indices, picks.scores, {"gap": 0.0, **picks.info, "distances": cover.work})


def farthest_first(
    cover: "Cover", size: int, farthest: Callable[[], int], radius: Callable[[], float]
) -> Picks:
    """Greedy coverage: the farthest item becomes a centre, again and again.

    Args:
        cover: The distances; every pick is added to it.
        size: How many to choose.
        farthest: Gives the next pick.
        radius: Gives the radius of the cover.

    Returns:
        The picks; each score is its distance to the nearest centre. `info["radius"]` is the radius after each.
    """
    picks: list[int] = []
    scores: list[float] = []
    radii: list[float] = []
    for _ in range(size):
        cold = not (picks or cover.covered)
        u = cover.most_central() if cold else farthest()
        scores.append(np.nan if cold else cover.distance(u))
        cover.add(u)
        picks.append(u)
        radii.append(radius())
    if scores and np.isnan(scores[0]):
        scores[0] = radii[0]
    info = {"radius": np.array(radii, np.float64)}
    return Picks(np.array(picks, np.intp), np.array(scores, np.float64), info)


class Cover:
    """The squared distance of every item to its nearest centre, as centres are added; -1 where it is chosen.

    Args:
        features: Features, shape (N, D).
        centres: Features (M, D) or positions (M,) of the first centres, or None.
        name: The name of the first centres in an error.
    """

    def __init__(
        self, features: Shaped[Array, "..."], centres: Shaped[Array, "..."] | None, name: str
    ) -> None:
        if centres is not None and getattr(centres, "ndim", 2) != 1:
            same_device(**{"features": features, name: centres})
        self.x = check_features(features)
        xp = self.xp = namespace(self.x)
        self.n = self.x.shape[0]
        self.work = 0
        device = array_api_compat.device(self.x)
        self._all = xp.arange(self.n, device=device)
        self._products = Products(self.x, centred=True)
        self.nearest = xp.full(self.n, xp.inf, dtype=xp.float64, device=device)
        # The number of the nearest pick, from 1. 0 stands for a first centre, of which nothing is kept.
        self._owner = xp.zeros(self.n, dtype=xp.int64, device=device)
        self._chosen: list[int] = []
        self.labelled: NDArray[np.intp] = np.zeros(0, np.intp)
        self.covered = False
        if centres is not None:
            self._begin(centres, name)

    @property
    def free(self) -> int:
        """How many items may be chosen."""
        return int(self.n) - len(self.labelled)

    def _begin(self, centres: Array, name: str) -> None:
        if len(centres.shape) == 1:
            self.labelled = _positions(centres, self.n, name)
            device = array_api_compat.device(self.x)
            at = self.xp.asarray(self.labelled, device=device)
            points = self.xp.take(self.x, at, axis=0)
        else:
            points = check_features(centres, name, self.x.shape[1])
        self.covered = points.shape[0] > 0
        for point in points:
            self._approach(self.xp.astype(point, self.xp.float64), self._all, 0)
        for i in self.labelled:
            self.nearest[int(i)] = -1.0

    def most_central(self) -> int:
        """The item nearest the mean; the first of equally near ones."""
        # The mean is rounded, so distances that differ by no more than its rounding are equal.
        squares = self._products.squares
        least = float(self.xp.min(squares))
        scale = float(self.xp.max(squares)) + float(self.xp.vecdot(self._products.mean, self._products.mean))
        equal = squares <= least + 1e-14 * (least * scale) ** 0.5 + 1e-28 * scale
        return int(np.argmax(to_numpy(equal)))

    def farthest(self) -> int:
        """The item with the largest distance; the first of equally far ones."""
        return int(self.xp.argmax(self.nearest))

    def distance(self, i: int) -> float:
        """The distance of an item to its nearest centre."""
        return math.sqrt(max(0.0, float(self.nearest[i])))

    def radius(self) -> float:
        """The largest distance of an item to its nearest centre."""
        return math.sqrt(max(0.0, float(self.xp.max(self.nearest))))

    def add(self, u: int) -> None:
        """Make an item a centre."""
        xp = self.xp
        point = xp.astype(self.x[u, :], xp.float64)
        rows = self._all
        if self._chosen:
            chosen = xp.asarray(self._chosen, device=array_api_compat.device(self.x))
            centred = point - self._products.mean
            middle, width = self._products.fine(chosen, centred)
            apart = xp.take(self._products.squares, chosen) + self._products.squares[u] - 2 * (middle + width)
            # ‖x - u‖ ≥ ‖c - u‖ - ‖x - c‖, so an item closer to c than half of ‖c - u‖ keeps its centre.
            # Distances are squared, so half of one is a quarter here. The owner 0 excludes nothing.
            half = xp.concat([xp.zeros_like(apart[:1]), apart * (0.25 - 1e-9)])  # (1 + picks,)
            rows = xp.nonzero(xp.take(half, self._owner) < self.nearest)[0]
        self._chosen.append(u)
        self._approach(point, rows, len(self._chosen))
        self.nearest[u] = -1.0

    def _approach(self, point: Float[Array, " D"], rows: Int[Array, " R"], owner: int) -> None:
        """Lower the distances of the rows for which the point is nearer than every centre so far."""
        xp = self.xp
        vector = point - self._products.mean
        length = xp.vecdot(vector, vector)
        for bound in (self._products.coarse, self._products.fine):
            middle, width = bound(rows, vector)
            least = xp.take(self._products.squares, rows) + length - 2 * (middle + width)
            rows = rows[~(least * (1 - 1e-9) >= xp.take(self.nearest, rows))]
        squares = squared_distances(self.x, rows, point)
        self.work += rows.shape[0]
        nearer = squares < xp.take(self.nearest, rows)
        rows = rows[nearer]
        self.nearest[rows] = squares[nearer]
        self._owner[rows] = owner


def _positions(centres: Any, n: int, name: str) -> NDArray[np.intp]:
    at = to_numpy(centres)
    if at.dtype.kind not in "iu":
        raise InvalidArgument(
            f"{name} are features (M, D), or positions (M,) as whole numbers, not {at.dtype} of one axis"
        )
    outside = (at < 0) | (at >= n)
    if outside.any():
        raise InvalidArgument(f"{name}: {int(at[outside][0])} is no position among {n} items")
    return np.unique(at).astype(np.intp)
