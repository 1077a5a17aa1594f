"""Fisher information of the last layer: the batch after which the whole pool is known best."""

from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from baldur._arrays import Array, to_numpy
from baldur.errors import InvalidArgument
from baldur.protocols import Picks
from baldur.select._features import blocks, count, host_features, mean_probabilities, same_length

_REFRESH = 100


def bait(
    log_probs: Shaped[Array, "..."],
    features: Shaped[Array, "..."],
    k: SupportsIndex,
    labelled_log_probs: Shaped[Array, "..."] | None = None,
    labelled_features: Shaped[Array, "..."] | None = None,
    regularisation: float = 1.0,
    oversample: float = 2.0,
) -> Picks:
    """The batch that leaves the least of the Fisher information of all data: greedy forward, then back.

    min_S tr(M_S⁻¹ F), M_S = λ 1 + Σ_{x ∈ L ∪ S} I(x), F the mean of I over all data, I(x) = (diag p̄ - p̄ p̄ᵀ) ⊗ φ φᵀ =
    V Vᵀ. Adds `oversample` · k items one by one and removes the least useful again. By Woodbury's identity an item
    gains tr(Vᵀ M⁻¹ F M⁻¹ V (1 + Vᵀ M⁻¹ V)⁻¹).

    J. T. Ash, S. Goel, A. Krishnamurthy and S. Kakade, Gone Fishing: Neural Active Learning with Fisher Embeddings,
    NeurIPS 2021.

    Needs: prediction, features, predictions and features of the labelled. Cost: O(k N (C D)²), memory O((C D)²
    + N (C + D)). Use: for a last layer on fixed features with C D of some hundreds; it takes near duplicates
    where a second look at a noisy label informs.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C); averaged over the samples.
        features: What the last layer takes, shape (N, D); append a column of ones where it has a bias.
        k: How many to choose; more than N gives all.
        labelled_log_probs: Those of the labelled items, shape (M, T, C).
        labelled_features: Those of the labelled items, shape (M, D).
        regularisation: λ; 1, or 0.01 on CIFAR, in the paper's code.
        oversample: How many times k are added before some are removed, at least 1.

    Returns:
        The picks in the order added; each score is how far it lowered the objective then. `info["objective"]` is the
        objective after each pick of the batch, shape (k,); `info["removed"]` the items removed, in that order.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidArgument: The features do not fit the predictions or are not finite, λ is not above 0, or k is
            negative.
    """
    if not regularisation > 0 or not oversample >= 1:
        raise InvalidArgument(
            f"regularisation is above 0 and oversample at least 1, not {regularisation} and {oversample}"
        )
    pool = _roots(log_probs, features)
    size = count(k, len(pool[0]))
    known = _labelled(labelled_log_probs, labelled_features, pool)
    fisher = _Fisher(pool, known, regularisation)
    if size == 0:
        return Picks(np.zeros(0, np.intp), np.zeros(0), {"gap": 0.0, "objective": np.zeros(0), "removed": ()})
    added: list[int] = []
    scores: list[float] = []
    while len(added) < min(len(pool[0]), max(size, round(oversample * size))):
        gains = fisher.gains(np.arange(len(pool[0])), 1.0)
        gains[added] = -np.inf
        u = _first_largest(gains)
        added.append(u)
        scores.append(float(gains[u]))
        fisher.change(u, 1.0)
    gained = dict(zip(added, scores, strict=True))
    removed: list[int] = []
    while len(added) > size:
        # Of equally useless items the one added last goes.
        place = len(added) - 1 - _first_largest(fisher.gains(np.array(added), -1.0)[::-1])
        removed.append(added.pop(place))
        fisher.change(removed[-1], -1.0)
    objective = _Fisher(pool, known, regularisation).sequence(added)
    info = {"gap": 0.0, "objective": objective, "removed": tuple(removed)}
    return Picks(np.array(added, np.intp), np.array([gained[u] for u in added]), info)


def _roots(log_probs: Array, features: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """B (N, C, C) with B Bᵀ = diag p - p pᵀ, columns √p_c (e_c - p); and the features (N, D)."""
    x = host_features(features)
    p = to_numpy(mean_probabilities(log_probs))
    same_length(len(p), "predictions", len(x), "features")
    return (np.eye(p.shape[1]) - p[:, :, None]) * np.sqrt(p)[:, None, :], x


def _labelled(log_probs: Any, features: Any, pool: tuple[Any, Any]) -> tuple[Any, Any]:
    if (log_probs is None) != (features is None):
        raise InvalidArgument("labelled_log_probs and labelled_features go together; one of them is missing")
    if log_probs is None:
        return pool[0][:0], pool[1][:0]
    roots, x = _roots(log_probs, features)
    if roots.shape[1:] != pool[0].shape[1:] or x.shape[1] != pool[1].shape[1]:
        raise InvalidArgument(
            f"labelled items have {roots.shape[1]} classes and {x.shape[1]} features, those of the pool"
            f" {pool[0].shape[1]} and {pool[1].shape[1]}"
        )
    return roots, x


def _first_largest(gains: NDArray[np.float64]) -> int:
    """The first of those that are largest within rounding."""
    best = float(gains.max())
    return int(np.flatnonzero(gains >= best - 1e-10 * abs(best))[0])


def _information(roots: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Σ I(x), shape (C D, C D)."""
    n, classes, width = len(x), roots.shape[1], x.shape[1]
    total = np.zeros((classes * width, classes * width))
    for part in blocks(n, classes * classes * width):
        v = np.einsum("nac,nd->adnc", roots[part], x[part]).reshape(classes * width, -1)  # (C D, B C)
        total += v @ v.T
    return total


class _Fisher:
    """M⁻¹ and M⁻¹ F M⁻¹ as items are added and removed."""

    def __init__(self, pool: tuple[Any, Any], known: tuple[Any, Any], regularisation: float) -> None:
        self.roots, self.x = pool
        labelled = _information(*known)
        self._mean = (_information(*pool) + labelled) / max(1, len(self.x) + len(known[1]))
        self._matrix = labelled + regularisation * np.eye(len(labelled))
        self._changes = 0
        self._invert()

    def _invert(self) -> None:
        self._inverse: Float[np.ndarray, "CD CD"] = np.linalg.inv(self._matrix)
        self._inverse = (self._inverse + self._inverse.T) / 2
        self._spread = self._inverse @ self._mean @ self._inverse

    def objective(self) -> float:
        """tr(M⁻¹ F)."""
        return float(np.sum(self._inverse * self._mean))

    def gains(self, items: NDArray[np.intp], sign: float) -> NDArray[np.float64]:
        """How far the objective falls where each item is added (1) or removed (-1)."""
        classes, width = self.roots.shape[1], self.x.shape[1]
        result = np.empty(len(items))
        for part in blocks(len(items), classes * classes * width):
            roots, x = self.roots[items[part]], self.x[items[part]]
            forms = []
            for matrix in (self._spread, self._inverse):
                cube = matrix.reshape(classes, width, classes, width).transpose(1, 0, 2, 3)
                half = (x @ cube.reshape(width, -1)).reshape(-1, classes, classes, width)  # (B, C, C, D)
                middle = np.einsum("nabd,nd->nab", half, x)
                forms.append(roots.transpose(0, 2, 1) @ middle @ roots)
            inner = np.linalg.inv(sign * np.eye(classes) + forms[1])
            result[part] = np.einsum("nab,nba->n", forms[0], inner)
        return result

    def change(self, item: int, sign: float) -> None:
        """Add (1) or remove (-1) an item, by Woodbury's identity; every so often by a new inverse."""
        v = np.einsum("ac,d->adc", self.roots[item], self.x[item]).reshape(len(self._matrix), -1)  # (C D, C)
        self._matrix += sign * (v @ v.T)
        self._changes += 1
        if self._changes % _REFRESH == 0:
            self._invert()
            return
        u = self._inverse @ v
        step = u @ np.linalg.inv(sign * np.eye(v.shape[1]) + v.T @ u)  # M⁻¹ falls by step uᵀ
        fu = self._mean @ u
        cross = (self._inverse @ fu) @ step.T
        self._spread = self._spread - cross - cross.T + step @ (u.T @ fu) @ step.T
        self._inverse = self._inverse - step @ u.T
        self._inverse = (self._inverse + self._inverse.T) / 2

    def sequence(self, items: list[int]) -> NDArray[np.float64]:
        """The objective after each of some items is added in turn."""
        result = []
        for item in items:
            self.change(item, 1.0)
            result.append(self.objective())
        return np.array(result)
