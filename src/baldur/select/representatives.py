"""Representatives: a few items to which all items are similar."""

from typing import SupportsIndex

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from baldur.core.arrays import Array, to_numpy
from baldur.errors import InvalidArgument
from baldur.protocols import Picks
from baldur.select._arguments import as_scores, check_features, count, same_length, shortlist
from baldur.select._lazy import collect, lazy_greedy
from baldur.select._products import row_blocks
from baldur.select.ranking import top


def facility_location(
    features: Shaped[Array, "..."],
    k: SupportsIndex,
    *,
    labelled: Shaped[Array, "..."] | None = None,
    weights: Shaped[Array, "..."] | None = None,
    bonus: Shaped[Array, "..."] | None = None,
) -> Picks:
    """The items to which all items are most similar: greedy, within 1 - 1/e of the best if no bonus is negative.

    F(S) = Σ_i w_i max_{j ∈ L ∪ S} s_ij + Σ_{j ∈ S} b_j with s = (1 + cos) / 2, or 0 before the first item. Gains
    only fall as S grows, so old gains are bounds (lazy greedy, exact).

    M. Minoux, Accelerated Greedy Algorithms for Maximizing Submodular Set Functions, 1978; K. Wei, R. Iyer and
    J. Bilmes, Submodularity in Data Subset Selection and Active Learning, ICML 2015.

    Needs: features, features of the labelled. Cost: O(N² D) once, then little for each pick; memory O(N D). Use: where
    the batch should represent the pool. It takes the middle of regions and avoids outliers.

    Args:
        features: Features, shape (N, D); a row of zeros has the cosine 0 with everything.
        k: How many to choose; more than N gives all.
        labelled: Features of the labelled items, shape (M, D).
        weights: w, the weight of each item that is represented, not negative, shape (N,); 1 each if not given.
        bonus: b, the value of choosing an item by itself, such as an uncertainty, shape (N,); 0 if not given.

    Returns:
        The picks with their gains. `info["objective"]` is F after each pick; `info["evaluations"]` counts the gains
        computed.

    Raises:
        InvalidArgument: A shape does not fit, a value is not finite, a weight is negative, or k is negative.
    """
    units = _units(features)
    worth = _values(weights, len(units), "weights", 1.0)
    if (worth < 0).any():
        raise InvalidArgument(f"the weight of item {int(np.argmax(worth < 0))} is negative")
    extra = _values(bonus, len(units), "bonus", 0.0)
    cover = _Similar(units, worth, start=0.0, shift=0.5)
    if labelled is not None:
        for part in row_blocks(len(labelled), len(units)):
            cover.raise_to(_units(labelled[part], "labelled features", units.shape[1]))
    start = cover.total()

    def gains(items: NDArray[np.intp]) -> NDArray[np.float64]:
        return cover.gains(items) + extra[items]

    return collect(lazy_greedy(gains, cover.add, np.arange(len(units))), count(k, len(units)), start)


def suggestive_annotation(
    scores: Shaped[Array, "..."],
    features: Shaped[Array, "..."],
    k: SupportsIndex,
    *,
    candidates: SupportsIndex | None = None,
) -> Picks:
    """Among the most uncertain items those that represent the whole pool best.

    S ⊂ S_c maximises F(S) = Σ_x max_{i ∈ S} cos(φ_i, φ_x) over all x of the pool, greedily; S_c has the K items with
    the largest scores. The maximum begins at -1, so negative similarities count too.

    L. Yang, Y. Zhang, J. Chen, S. Zhang and D. Z. Chen, Suggestive Annotation: A Deep Active Learning Framework for
    Biomedical Image Segmentation, MICCAI 2017.

    Needs: scores, features. Cost: O(K N D) for K candidates. Use: for few and expensive items, such as images to
    segment. K decides between uncertainty (K = k) and coverage (K = N).

    Args:
        scores: The uncertainty of each item, shape (N,).
        features: Descriptors of the items, shape (N, D); a row of zeros has the cosine 0 with everything.
        k: How many to choose; more than N gives all.
        candidates: K, at least k; 2k if it is not given, as in the paper.

    Returns:
        The picks with their gains; the first gain counts from a similarity of -1. `info["objective"]` is F after each
        pick, and `info["evaluations"]` counts the gains computed. `info["ties"]` is that of `top` for the K candidates.

    Raises:
        InvalidArgument: A shape does not fit, a feature is not finite, K is less than k, or k is negative.
        NonFiniteScore: A score is NaN or infinite.
    """
    units = _units(features)
    uncertainty = as_scores(scores)
    same_length(len(units), "features", len(uncertainty), "scores")
    size = count(k, len(units))
    uncertain = top(uncertainty, shortlist(candidates, size, 2, len(units)))
    cover = _Similar(units, np.ones(len(units)), start=-1.0, shift=0.0)
    chosen = lazy_greedy(cover.gains, cover.add, np.sort(uncertain.indices))
    picks = collect(chosen, size, cover.total())
    return Picks(picks.indices, picks.scores, {**picks.info, "ties": uncertain.info["ties"]})


class _Similar:
    """The similarity of every item to its best representative: shift + (1 - shift) · cosine."""

    def __init__(
        self, units: Float[np.ndarray, "N D"], worth: NDArray[np.float64], start: float, shift: float
    ) -> None:
        self.units, self.worth, self.shift = units, worth, shift
        self.best = np.full(len(units), start)

    def _to(self, rows: slice, others: Float[np.ndarray, "R D"]) -> Float[np.ndarray, "B R"]:
        cosines = self.units[rows] @ others.T  # (B, R)
        return np.asarray(self.shift + (1 - self.shift) * cosines)

    def gains(self, items: NDArray[np.intp]) -> NDArray[np.float64]:
        result = np.zeros(len(items))
        for some in row_blocks(len(items), 4 * self.units.shape[1]):
            others = self.units[items[some]]
            for rows in row_blocks(len(self.units), len(others)):
                more = self._to(rows, others) - self.best[rows, None]  # (B, R)
                result[some] += self.worth[rows] @ np.maximum(more, 0.0, out=more)
        return result

    def raise_to(self, others: Float[np.ndarray, "R D"]) -> None:
        for rows in row_blocks(len(self.units), len(others)):
            nearest = self._to(rows, others).max(axis=1, initial=-np.inf)
            self.best[rows] = np.maximum(self.best[rows], nearest)

    def add(self, item: int) -> float:
        self.raise_to(self.units[[item]])
        return float(self.worth.sum())

    def total(self) -> float:
        return float(self.worth @ self.best)


def _units(
    features: Shaped[Array, "..."], name: str = "features", width: int | None = None
) -> NDArray[np.float64]:
    """Checked features (N, D) of length 1; rows of zeros stay as they are."""
    units = to_numpy(check_features(features, name, width)).astype(np.float64)
    lengths = np.sqrt(np.einsum("nd,nd->n", units, units))  # (N,)
    units /= np.where(lengths > 0, lengths, 1.0)[:, None]  # (N, D)
    return units


def _values(values: Array | None, n: int, name: str, default: float) -> NDArray[np.float64]:
    if values is None:
        return np.full(n, default)
    given = to_numpy(values)
    if given.shape != (n,) or given.dtype.kind not in "fiub":
        raise InvalidArgument(f"{name} ({n},) were expected, not {given.dtype} of the shape {given.shape}")
    given = given.astype(np.float64)
    if not np.isfinite(given).all():
        first = int(np.argmin(np.isfinite(given)))
        raise InvalidArgument(f"{name}: that of item {first} is {given[first]}; a finite number was expected")
    return given
