"""Large and diverse gradients of the last layer."""

from typing import SupportsIndex

import array_api_compat
import numpy as np
from jaxtyping import Float, Int, Shaped

from baldur.core.arrays import Array, namespace, same_device, to_numpy
from baldur.protocols import Picks
from baldur.select._arguments import check_features, count, mean_probabilities, same_length
from baldur.select._products import Products, row_blocks

_EPSILON = 1e-12


def badge(
    log_probs: Shaped[Array, "..."],
    features: Shaped[Array, "..."],
    k: SupportsIndex,
    rng: np.random.Generator | int,
) -> Picks:
    """k-means++ seeding on the gradients of the last layer for the most probable label: uncertain and diverse.

    g = (p̄ - e_ŷ) ⊗ φ with ŷ = argmax p̄; the first pick has the largest ‖g‖; each next one is drawn with
    probability ∝ min_{j ∈ S} ‖g - g_j‖². With q = p̄ - e_ŷ, ‖g_i - g_j‖² = ‖q_i‖²‖φ_i‖² + ‖q_j‖²‖φ_j‖² -
    2 (q_i · q_j)(φ_i · φ_j). So no gradient is ever computed, and memory is O(N (C + D)). Where all remaining
    gradients equal chosen ones, the rest is drawn uniformly.

    J. T. Ash, C. Zhang, A. Krishnamurthy, J. Langford and A. Agarwal, Deep Batch Active Learning by Diverse,
    Uncertain Gradient Lower Bounds, ICLR 2020.

    Needs: prediction, features. Cost: O(k N (C + D)). Use: for large batches and fully trained networks. With few
    labels and one sample it was no better than random in a published study.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C); averaged over the samples.
        features: Inputs of the last layer, shape (N, D); append a column of ones where it has a bias.
        k: How many to choose; more than N gives all.
        rng: A generator, or a seed.

    Returns:
        The picks; each score is its squared distance to the nearest earlier pick, and ‖g‖² for the first.
        `info["uniform"]` counts the picks that were drawn uniformly, and `info["distances"]` the distances computed
        in full.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidArgument: The features do not fit the predictions or are not finite, or k is negative.
    """
    seeding = _Seeding(log_probs, features)
    random = np.random.default_rng(rng)
    picks: list[int] = []
    scores: list[float] = []
    uniform = 0
    for _ in range(count(k, seeding.n)):
        weights = np.cumsum(to_numpy(seeding.nearest if picks else seeding.squares))
        if not picks:
            u = int(seeding.xp.argmax(seeding.squares))
        elif weights[-1] <= _EPSILON * seeding.largest:
            u = int(random.choice(np.setdiff1d(np.arange(seeding.n), picks)))
            uniform += 1
        else:
            u = int(np.searchsorted(weights, (1.0 - random.random()) * weights[-1]))
        scores.append(float(seeding.nearest[u] if picks else seeding.squares[u]))
        picks.append(u)
        seeding.add(u)
    info = {"gap": 0.0, "uniform": uniform, "distances": seeding.work}
    return Picks(np.array(picks, np.intp), np.array(scores, np.float64), info)


class _Seeding:
    """The squared distance of every gradient to the nearest chosen one."""

    def __init__(self, log_probs: Array, features: Array) -> None:
        same_device(features=features, predictions=log_probs)
        self.x = check_features(features)
        xp = self.xp = namespace(self.x)
        device = array_api_compat.device(self.x)
        probs = mean_probabilities(log_probs)
        probs = to_numpy(probs) if array_api_compat.is_numpy_array(self.x) else probs
        self.n, classes = probs.shape
        same_length(self.n, "predictions", self.x.shape[0], "features")
        likeliest = xp.argmax(probs, axis=1)[:, None] == xp.arange(classes, device=device)  # (N, C)
        self.residuals = probs - xp.astype(likeliest, xp.float64)
        self._agreement = Products(xp.astype(self.residuals, xp.float32), centred=False, sketch=False)
        self._similarity = Products(self.x, centred=False)
        self.squares = xp.vecdot(self.residuals, self.residuals) * self._similarity.squares
        self._lengths = xp.sqrt(self.squares)
        self.largest = float(xp.max(self.squares)) if self.n else 0.0
        self.nearest = xp.full(self.n, xp.inf, dtype=xp.float64, device=device)
        self._owner = xp.zeros(self.n, dtype=xp.int64, device=device)
        self._chosen: list[int] = []
        self.work = 0

    def add(self, u: int) -> None:
        """Choose an item: lower the distances of the items for which it is the nearest pick."""
        xp = self.xp
        # ‖g - g_u‖ is at least the difference of the lengths, and at least ‖g_u - g_c‖ - ‖g - g_c‖. Most items keep
        # their nearest pick by these bounds, and no product is computed for them.
        apart = self._lengths - self._lengths[u]
        open_ = apart * apart * (1 - 1e-9) <= self.nearest
        if self._chosen:
            chosen = xp.asarray(self._chosen, device=array_api_compat.device(self.x))
            quarter = self._distances(chosen, u) * (0.25 - 1e-9)
            open_ = open_ & (xp.take(quarter, self._owner) < self.nearest)
        rows = xp.nonzero(open_)[0]
        vector = xp.astype(self.x[u, :], xp.float64)
        agreement, slack = self._agreement.fine(rows, self.residuals[u, :])
        for bound in (self._similarity.coarse, self._similarity.fine):
            middle, width = bound(rows, vector)
            most = agreement * middle + xp.abs(agreement) * width + slack * (xp.abs(middle) + width)
            least = (xp.take(self.squares, rows) + self.squares[u]) * (1 - 1e-9) - 2 * most
            left = ~(least >= xp.take(self.nearest, rows))
            rows, agreement, slack = rows[left], agreement[left], slack[left]
        squares = self._distances(rows, u)
        self.work += rows.shape[0]
        nearer = squares < xp.take(self.nearest, rows)
        rows = rows[nearer]
        self.nearest[rows] = squares[nearer]
        self._owner[rows] = len(self._chosen)
        self._chosen.append(u)
        self.nearest[u] = 0.0

    def _distances(self, rows: Int[Array, " R"], u: int) -> Float[Array, " R"]:
        """‖g_r - g_u‖² in float64; a distance below rounding is 0."""
        xp = self.xp
        vector = xp.astype(self.x[u, :], xp.float64)
        products = xp.empty(rows.shape[0], dtype=xp.float64, device=array_api_compat.device(self.x))
        for part in row_blocks(rows.shape[0], max(self.x.shape[1], self.residuals.shape[1])):
            agreement = xp.matmul(xp.take(self.residuals, rows[part], axis=0), self.residuals[u, :])
            x = xp.astype(xp.take(self.x, rows[part], axis=0), xp.float64)
            products[part] = agreement * xp.matmul(x, vector)
        sums = xp.take(self.squares, rows) + self.squares[u]
        squares = sums - 2 * products
        return xp.where(squares > _EPSILON * sums, squares, xp.zeros_like(squares))
