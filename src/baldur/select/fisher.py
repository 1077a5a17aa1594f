"""Fisher information of the last layer: the batch that leaves the least uncertainty about the whole pool."""

from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from baldur.core.arrays import Array, to_numpy
from baldur.errors import InvalidArgument
from baldur.protocols import Picks
from baldur.select._arguments import count, host_features, mean_probabilities, same_length
from baldur.select._products import row_blocks

_LOSS = 1e6  # sum of squared condition numbers of Woodbury's steps, after which M is inverted again


def bait(
    log_probs: Shaped[Array, "..."],
    features: Shaped[Array, "..."],
    k: SupportsIndex,
    *,
    labelled_log_probs: Shaped[Array, "..."] | None = None,
    labelled: Shaped[Array, "..."] | None = None,
    regularisation: float = 1.0,
    oversample: float = 2.0,
) -> Picks:
    """The batch that leaves the least Fisher information of all data unexplained: greedy forward, then backward.

    min_S tr(M_S⁻¹ F), M_S = λ 1 + Σ_{x ∈ L ∪ S} I(x), F the mean of I over all data, I(x) = (diag p̄ - p̄ p̄ᵀ) ⊗ φ φᵀ =
    V Vᵀ. It adds `oversample` · k items one by one, and removes the least useful ones again. By Woodbury's identity
    the gain of an item is tr(Vᵀ M⁻¹ F M⁻¹ V (1 + Vᵀ M⁻¹ V)⁻¹).

    J. T. Ash, S. Goel, A. Krishnamurthy and S. Kakade, Gone Fishing: Neural Active Learning with Fisher Embeddings,
    NeurIPS 2021.

    Needs: prediction, features, predictions and features of the labelled. Cost: O(k (N + C D) (C D)²), memory
    O((C D)² + N (C + D)). Use: for a last layer on fixed features, with C D of some hundreds. It takes near
    duplicates where a second noisy label is informative.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C); averaged over the samples.
        features: Inputs of the last layer, shape (N, D); append a column of ones where it has a bias.
        k: How many to choose; more than N gives all.
        labelled_log_probs: Log-probabilities of the labelled items, shape (M, T, C).
        labelled: Features of the labelled items, shape (M, D).
        regularisation: λ; the code of the paper takes 1, or 0.01 on CIFAR.
        oversample: `oversample` · k items are added before some are removed; at least 1.

    Returns:
        The picks in the order added; each score is the fall of the objective at that step. `info["objective"]` is the
        objective after each pick of the batch, shape (k,). `info["removed"]` has the removed items, in that order.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidArgument: The features do not fit the predictions or are not finite. Or λ is not above 0, or k is
            negative.
    """
    if not regularisation > 0 or not oversample >= 1:
        raise InvalidArgument(
            f"regularisation is above 0 and oversample at least 1, not {regularisation} and {oversample}"
        )
    pool = _roots(log_probs, features)
    size = count(k, len(pool[0]))
    known = _labelled(labelled_log_probs, labelled, pool)
    fisher = _Fisher(pool, known, regularisation)
    if size == 0:
        return Picks(np.zeros(0, np.intp), np.zeros(0), {"gap": 0.0, "objective": np.zeros(0), "removed": ()})
    added: list[int] = []
    scores: list[float] = []
    while len(added) < min(len(pool[0]), max(size, round(oversample * size))):
        gains = fisher.gains()
        gains[added] = -np.inf
        u = _first_largest(gains)
        added.append(u)
        scores.append(float(gains[u]))
        fisher.add(u)
    gained = dict(zip(added, scores, strict=True))
    removed: list[int] = []
    while len(added) > size:
        # Among equally useless items the one added last is removed.
        place = len(added) - 1 - _first_largest(-fisher.losses(added)[::-1])
        removed.append(added.pop(place))
    objective = fisher.sequence(added)
    info = {"gap": 0.0, "objective": objective, "removed": tuple(removed)}
    return Picks(np.array(added, np.intp), np.array([gained[u] for u in added]), info)


def _roots(log_probs: Array, features: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """B (N, C - 1, C) with B Bᵀ = Qᵀ (diag p - p pᵀ) Q, columns √p_c Qᵀ (e_c - p); and the features (N, D).

    Q (C, C - 1) spans the vectors that sum to 0. In the direction left out, I and F are 0 and M⁻¹ is 1 / λ, so it
    would only add rounding errors.
    """
    x = host_features(features)
    p = to_numpy(mean_probabilities(log_probs))
    same_length(len(p), "predictions", len(x), "features")
    contrasts: NDArray[np.float64] = np.linalg.svd(np.ones((1, p.shape[1])))[2][1:]  # Qᵀ, (C - 1, C)
    columns = (np.eye(p.shape[1]) - p[:, :, None]) * np.sqrt(p)[:, None, :]  # (N, C, C)
    roots: NDArray[np.float64] = contrasts @ columns  # (N, C - 1, C)
    return roots, x


def _labelled(log_probs: Any, features: Any, pool: tuple[Any, Any]) -> tuple[Any, Any]:
    if (log_probs is None) != (features is None):
        raise InvalidArgument("labelled_log_probs and labelled go together; one of them is missing")
    if log_probs is None:
        return pool[0][:0], pool[1][:0]
    roots, x = _roots(log_probs, features)
    if roots.shape[1:] != pool[0].shape[1:] or x.shape[1] != pool[1].shape[1]:
        raise InvalidArgument(
            f"labelled items have {roots.shape[2]} classes and {x.shape[1]} features, those of the pool"
            f" {pool[0].shape[2]} and {pool[1].shape[1]}"
        )
    return roots, x


def _first_largest(gains: NDArray[np.float64]) -> int:
    """The first of the items whose gain is the largest within rounding."""
    best = float(gains.max())
    return int(np.flatnonzero(gains >= best - 1e-10 * abs(best))[0])


def _columns(roots: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """V of some items side by side, ((C - 1) D, n C)."""
    n, rows, classes = roots.shape
    products = np.einsum("nac,nd->adnc", roots, x)  # (C - 1, D, n, C)
    v: NDArray[np.float64] = products.reshape(rows * x.shape[1], n * classes)  # ((C - 1) D, n C)
    return v


def _information(roots: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Σ I(x), shape ((C - 1) D, (C - 1) D)."""
    width = roots.shape[1] * x.shape[1]
    total = np.zeros((width, width))
    for part in row_blocks(len(x), roots.shape[2] * width):
        v = _columns(roots[part], x[part])
        total += v @ v.T  # ((C - 1) D, (C - 1) D)
    return total


class _Fisher:
    """M⁻¹ and M⁻¹ F M⁻¹ as items are added."""

    def __init__(self, pool: tuple[Any, Any], known: tuple[Any, Any], regularisation: float) -> None:
        self.roots, self.x = pool
        labelled = _information(*known)
        total = _information(*pool) + labelled
        self._mean = total / max(1, len(self.x) + len(known[1]))
        least = len(total) * np.finfo(np.float64).eps * np.trace(total)  # below it M is singular by rounding
        self._start = labelled + max(regularisation, least) * np.eye(len(labelled))
        self._matrix = self._start.copy()
        self._invert()

    def _invert(self) -> None:
        half = solve_triangular(np.linalg.cholesky(self._matrix), np.eye(len(self._matrix)), lower=True)
        self._inverse: Float[np.ndarray, "CD CD"] = half.T @ half  # ((C - 1) D, (C - 1) D)
        self._spread = self._inverse @ self._mean @ self._inverse
        self._lost = 0.0

    def objective(self) -> float:
        """tr(M⁻¹ F)."""
        return float(np.sum(self._inverse * self._mean))

    def gains(self) -> NDArray[np.float64]:
        """The fall of the objective if each item is added, shape (N,)."""
        n, rows, classes = self.roots.shape
        width = self.x.shape[1]
        result = np.empty(n)
        for part in row_blocks(n, rows * rows * width):
            roots, x = self.roots[part], self.x[part]
            forms = []
            for matrix in (self._spread, self._inverse):
                # Vᵀ A V without V: first the features on both sides, by one matrix product, then the roots.
                cube = matrix.reshape(rows, width, rows, width).transpose(1, 0, 2, 3)  # (D, C - 1, C - 1, D)
                half = (x @ cube.reshape(width, -1)).reshape(-1, rows, rows, width)  # (B, C - 1, C - 1, D)
                middle = np.einsum("nabd,nd->nab", half, x)  # (B, C - 1, C - 1)
                forms.append(roots.transpose(0, 2, 1) @ middle @ roots)  # (B, C, C)
            inner = np.linalg.inv(np.eye(classes) + forms[1])
            result[part] = np.einsum("nab,nba->n", forms[0], inner)  # (B,)
        return result

    def losses(self, added: list[int]) -> NDArray[np.float64]:
        """The rise of the objective if each of the added items is removed.

        1 - Vᵀ M⁻¹ V nearly vanishes in directions that only one item covers. So M is factored here, never updated.
        """
        v = _columns(self.roots[added], self.x[added])
        factor = np.linalg.cholesky(self._start + v @ v.T)  # ((C - 1) D, (C - 1) D)
        half = solve_triangular(factor, v, lower=True)
        solved = solve_triangular(factor, half, lower=True, trans=1)  # M⁻¹ V
        result, classes = np.empty(len(added)), self.roots.shape[2]
        for i in range(len(added)):
            own = slice(i * classes, (i + 1) * classes)
            form = solved[:, own].T @ self._mean @ solved[:, own]  # (C, C)
            inner = np.eye(classes) - half[:, own].T @ half[:, own]  # (C, C)
            result[i] = np.sum(form * np.linalg.inv(inner))
        return result

    def add(self, item: int) -> None:
        """Add an item, by Woodbury's identity while it loses no precision."""
        v = _columns(self.roots[[item]], self.x[[item]])
        self._matrix += v @ v.T  # ((C - 1) D, (C - 1) D)
        u = self._inverse @ v
        inner = np.eye(v.shape[1]) + v.T @ u  # (C, C)
        self._lost += float(np.linalg.cond(inner)) ** 2
        if not self._lost < _LOSS:
            self._invert()
            return
        step = u @ np.linalg.inv(inner)  # M⁻¹ falls by step uᵀ
        fu = self._mean @ u
        cross = (self._inverse @ fu) @ step.T  # all these are ((C - 1) D, (C - 1) D)
        self._spread = self._spread - cross - cross.T + step @ (u.T @ fu) @ step.T  # M⁻¹ F M⁻¹
        self._inverse = self._inverse - step @ u.T  # M⁻¹
        self._inverse = (self._inverse + self._inverse.T) / 2  # symmetric again, against rounding

    def sequence(self, items: list[int]) -> NDArray[np.float64]:
        """The objective after each of some items is added in turn to the labelled ones."""
        result, matrix = [], self._start.copy()
        for item in items:
            v = _columns(self.roots[[item]], self.x[[item]])
            matrix += v @ v.T  # ((C - 1) D, (C - 1) D)
            half = solve_triangular(np.linalg.cholesky(matrix), np.eye(len(matrix)), lower=True)
            result.append(float(np.sum(half * (half @ self._mean))))
        return np.array(result)
