"""Coverage by balls: no item far from a labelled one."""

import math
from typing import Any, SupportsIndex

import array_api_compat
import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy.typing import NDArray

from baldur.core.arrays import Array, namespace, to_numpy
from baldur.errors import InvalidArgument
from baldur.protocols import Picks
from baldur.select._features import Products, check_features, count, same_device, squared_distances


def k_center(
    features: Shaped[Array, "N D"], k: SupportsIndex, centres: Shaped[Array, "..."] | None = None
) -> Picks:
    """The farthest item from all centres so far, k times: k-center greedy, within twice the best radius.

    u = argmax_i min_{j ∈ L ∪ S} ‖x_i - x_j‖. Without centres the first pick is the item nearest the mean. The picks
    are those of the plain greedy in float64; an item is only looked at where the triangle inequality and a bound on
    its inner product leave open that the new centre is nearer. The memory needed beside the features is O(N).

    O. Sener and S. Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018;
    T. F. Gonzalez, Clustering to Minimize the Maximum Intercluster Distance, Theoretical Computer Science, 1985.

    Needs: features, features of the labelled. Cost: O(k N D), memory O(N). Use: for large batches on features
    that are good already; outliers are the farthest items of all, and it takes them first.

    Args:
        features: What distances are measured on, shape (N, D).
        k: How many to choose; more than there are gives all.
        centres: The features of what is labelled already, shape (M, D); or their positions in `features`,
            whole numbers of shape (M,), which are then never chosen.

    Returns:
        The picks; each score is its distance to the nearest centre when it was chosen (the first without centres
        has the score of the radius that it leaves). `info["radius"]` is the largest distance of an item to its
        nearest centre after each pick, shape (k,); `info["distances"]` counts the distances computed in full.

    Raises:
        InvalidArgument: A shape does not fit, a row is not finite, a position is outside, or k is negative.
    """
    cover = Cover(features, centres)
    free = cover.n - len(cover.labelled)
    picks: list[int] = []
    scores: list[float] = []
    radii: list[float] = []
    for _ in range(count(k, free)):
        cold = not (picks or cover.covered)
        u = cover.most_central() if cold else cover.farthest()
        scores.append(np.nan if cold else cover.distance(u))
        cover.add(u)
        picks.append(u)
        radii.append(cover.radius())
    if scores and np.isnan(scores[0]):
        scores[0] = radii[0]
    return Picks(
        np.array(picks, np.intp),
        np.array(scores, np.float64),
        {"gap": 0.0, "radius": np.array(radii, np.float64), "distances": cover.work},
    )


class Cover:
    """The squared distance of every item to its nearest centre, as centres are added; -1 where it is chosen.

    Args:
        features: Features, shape (N, D).
        centres: Features (M, D) or positions (M,) of the first centres, or None.
    """

    def __init__(self, features: Shaped[Array, "..."], centres: Shaped[Array, "..."] | None) -> None:
        if centres is not None and getattr(centres, "ndim", 2) != 1:
            same_device(features, "features", centres, "centres")
        self.x = check_features(features)
        xp = self.xp = namespace(self.x)
        self.n = self.x.shape[0]
        self.work = 0
        device = array_api_compat.device(self.x)
        self._all = xp.arange(self.n, device=device)
        self._products = Products(self.x, centred=True)
        self.nearest = xp.full(self.n, xp.inf, dtype=xp.float64, device=device)
        # The place among the chosen of the nearest one; 0 stands for a first centre, about which nothing is kept.
        self._owner = xp.zeros(self.n, dtype=xp.int64, device=device)
        self._chosen: list[int] = []
        self.labelled: NDArray[np.intp] = np.zeros(0, np.intp)
        self.covered = False
        if centres is not None:
            self._begin(centres)

    def _begin(self, centres: Array) -> None:
        if len(centres.shape) == 1:
            self.labelled = _positions(centres, self.n)
            device = array_api_compat.device(self.x)
            at = self.xp.asarray(self.labelled, device=device)
            points = self.xp.take(self.x, at, axis=0)
        else:
            points = check_features(centres, "centres", self.x.shape[1])
        self.covered = points.shape[0] > 0
        for point in points:
            self._approach(self.xp.astype(point, self.xp.float64), self._all, 0)
        for i in self.labelled:
            self.nearest[int(i)] = -1.0

    def most_central(self) -> int:
        """The item nearest the mean; of equal ones the first."""
        # The mean is rounded, so what differs by no more than that is equal.
        squares = self._products.squares
        least = float(self.xp.min(squares))
        scale = float(self.xp.max(squares)) + float(self.xp.vecdot(self._products.mean, self._products.mean))
        equal = squares <= least + 1e-14 * (least * scale) ** 0.5 + 1e-28 * scale
        return int(np.argmax(to_numpy(equal)))

    def farthest(self) -> int:
        """The item with the largest distance; of equal ones the first."""
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
            half = xp.concat([xp.zeros_like(apart[:1]), apart * (0.25 - 1e-9)])
            rows = xp.nonzero(xp.take(half, self._owner) < self.nearest)[0]
        self._chosen.append(u)
        self._approach(point, rows, len(self._chosen))
        self.nearest[u] = -1.0

    def _approach(self, point: Float[Array, " D"], rows: Int[Array, " R"], owner: int) -> None:
        """Lower the distances of those rows to which the point is nearer than every centre so far."""
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


def _positions(centres: Any, n: int) -> NDArray[np.intp]:
    at = to_numpy(centres)
    if at.dtype.kind not in "iu":
        raise InvalidArgument(
            f"centres are features (M, D), or positions (M,) as whole numbers, not {at.dtype} of one axis"
        )
    outside = (at < 0) | (at >= n)
    if outside.any():
        raise InvalidArgument(f"centre {int(at[outside][0])} is no position among {n} items")
    return np.unique(at).astype(np.intp)
