"""Stochastic batches: the k largest scores after Gumbel noise is added."""

from numbers import Real
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Shaped
from numpy.typing import NDArray

from baldur.core.arrays import Array
from baldur.errors import InvalidArgument
from baldur.protocols import Picks
from baldur.select._arguments import as_scores, count

_ROUNDING = 1e-6


def power(
    scores: Shaped[Array, "..."], k: SupportsIndex, rng: np.random.Generator | int, beta: float = 1.0
) -> Picks:
    """k items drawn one after the other without replacement, each with probability proportional to s^β.

    The k largest of β log s_i + ε_i, ε_i ~ Gumbel(0, 1). Items of score 0 are drawn uniformly, after all positive
    ones. β → ∞ is top-k, and β = 0 is uniform. A factor of the scores changes nothing.

    A. Kirsch, S. Farquhar, P. Atighehchian, A. Jesson, F. Branchaud-Charron and Y. Gal, Stochastic Batch
    Acquisition: A Simple Baseline for Deep Active Learning, TMLR 2023; W. Kool, H. van Hoof and M. Welling,
    Stochastic Beams and Where to Find Them, ICML 2019.

    Needs: scores. Cost: O(N log N). Use: as the first choice for batches. It costs nothing, and large batches or
    repeated items hardly harm it.

    Args:
        scores: Finite scores that are not negative (within rounding, 1e-6), shape (N,).
        k: How many to choose; more than N gives all.
        rng: A generator, or a seed.
        beta: β, the inverse temperature, not negative.

    Returns:
        The picks in the order drawn, with their scores. `info["zeros"]` counts those with the score 0.

    Raises:
        InvalidArgument: A score is negative, the scores are not one-dimensional, or k or beta is out of range.
        NonFiniteScore: A score is NaN or infinite.
    """
    values = as_scores(scores)
    if len(values) and values.min() < -_ROUNDING:
        at = int(np.argmin(values))
        raise InvalidArgument(
            f"the score of item {at} is {values[at]:.6g}, and power takes no negative scores;"
            " softmax and softrank do"
        )
    positive = values > 0
    with np.errstate(divide="ignore"):
        logits = np.log(np.where(positive, values, 0.0))
    picks = _gumbel_top(values, logits, k, rng, beta)
    zeros = int(np.count_nonzero(~positive[picks.indices]))
    return Picks(picks.indices, picks.scores, {**picks.info, "zeros": zeros})


def softmax(
    scores: Shaped[Array, "..."], k: SupportsIndex, rng: np.random.Generator | int, beta: float = 1.0
) -> Picks:
    """k items drawn one after the other without replacement, each with probability proportional to e^(βs).

    The k largest of β s_i + ε_i, ε_i ~ Gumbel(0, 1). β → ∞ is top-k, and β = 0 is uniform. Adding a constant to the
    scores changes nothing, but a factor does. Scores in nats are small, so β = 1 is close to random.

    A. Kirsch, S. Farquhar, P. Atighehchian, A. Jesson, F. Branchaud-Charron and Y. Gal, Stochastic Batch
    Acquisition: A Simple Baseline for Deep Active Learning, TMLR 2023.

    Needs: scores. Cost: O(N log N). Use: where β can be tuned to the scale of the scores; for BALD near 8.

    Args:
        scores: Finite scores, shape (N,).
        k: How many to choose; more than N gives all.
        rng: A generator, or a seed.
        beta: β, the inverse temperature, not negative.

    Returns:
        The picks in the order drawn, with their scores.

    Raises:
        InvalidArgument: The scores are not one-dimensional, or k or beta is out of range.
        NonFiniteScore: A score is NaN or infinite.
    """
    values = as_scores(scores)
    return _gumbel_top(values, values, k, rng, beta)


def softrank(
    scores: Shaped[Array, "..."], k: SupportsIndex, rng: np.random.Generator | int, beta: float = 1.0
) -> Picks:
    """k items drawn one after the other without replacement, each with probability proportional to r^-β.

    The k largest of -β log r_i + ε_i, ε_i ~ Gumbel(0, 1), with r_i the rank of score s_i, 1 for the largest. Equal
    scores are ranked in random order. β → ∞ is top-k, and β = 0 is uniform. Any increasing map of the scores changes
    nothing.

    A. Kirsch, S. Farquhar, P. Atighehchian, A. Jesson, F. Branchaud-Charron and Y. Gal, Stochastic Batch
    Acquisition: A Simple Baseline for Deep Active Learning, TMLR 2023.

    Needs: scores. Cost: O(N log N). Use: where only the order of the scores has a meaning, or some are negative.
    A large β has the faults of top-k.

    Args:
        scores: Finite scores, shape (N,).
        k: How many to choose; more than N gives all.
        rng: A generator, or a seed.
        beta: β, the inverse temperature, not negative.

    Returns:
        The picks in the order drawn, with their scores.

    Raises:
        InvalidArgument: The scores are not one-dimensional, or k or beta is out of range.
        NonFiniteScore: A score is NaN or infinite.
    """
    values = as_scores(scores)
    generator = np.random.default_rng(rng)
    order = np.lexsort((generator.random(len(values)), -values))
    ranks = np.empty(len(values))
    ranks[order] = np.arange(1, len(values) + 1)
    return _gumbel_top(values, -np.log(ranks), k, generator, beta)


def _gumbel_top(
    values: NDArray[np.float64], logits: NDArray[np.float64], k: Any, rng: Any, beta: Any
) -> Picks:
    """The k largest perturbed logits; logits of -inf come last, in random order."""
    if not isinstance(beta, Real) or not 0 <= float(beta) < np.inf:
        raise InvalidArgument(f"beta must be a finite number of at least 0, not {beta!r}")
    size = count(k, len(values))
    noise = np.random.default_rng(rng).gumbel(size=len(values))
    perturbed = noise if beta == 0 else float(beta) * logits + noise
    indices = np.lexsort((-noise, -perturbed))[:size].astype(np.intp)
    return Picks(indices, values[indices], {"gap": 0.0})
