"""The largest score that an item can still reach: what the missing samples could say at most.

A score of T samples is seen through t of them. With α = (T - t)/T the mean prediction is (1 - α) p̄ + α q, and q can be
any distribution; the bounds are the largest score over all q, so no draw can exceed them.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import array_api_compat
from jaxtyping import Float

from baldur.acquire.committee import expected_entropy, mean_kl, vote_entropy
from baldur.acquire.disagreement import bald, mean_std, variation_ratio
from baldur.acquire.pointwise import pointwise
from baldur.acquire.uncertainty import entropy, least_confidence, margin
from baldur.core.arrays import Array, Samples, p_log_p

Kernel = Callable[[Samples, float], Any]


def upper_bound(score: Callable[[Any], Any]) -> Callable[[Any, float], Any] | None:
    """What bounds a score from above while samples are missing.

    Args:
        score: An acquisition function, or a partial of one.

    Returns:
        A function of log-probabilities (N, t, C) and of the share α of samples that are missing, to the largest score
        (N,) that all samples together can give; None where no bound is known.
    """
    kernel = _KERNELS.get(score)
    if kernel is None and isinstance(score, partial) and score.func is variation_ratio and not score.args:
        kernel = {"mean": _confidence, "votes": _votes}.get(score.keywords.get("mode", "mean"))
    return None if kernel is None else partial(_largest, kernel)


def _largest(bound: Kernel, log_probs: Any, share: float) -> Any:
    return pointwise(log_probs, lambda s: bound(s, share))


def _levelled(p: Float[Array, "R C"], share: float, xp: Any) -> Float[Array, "R C"]:
    """(1 - α) p + α q with the q that makes it as even as it can be: what is low is filled up to one level."""
    low = (1 - share) * p
    steps = xp.arange(1, p.shape[1] + 1, dtype=p.dtype, device=array_api_compat.device(p))
    # With the j lowest filled the level is (α + their sum) / j; any other j gives a higher one.
    level = xp.min((share + xp.cumulative_sum(xp.sort(low, axis=1), axis=1)) / steps, axis=1, keepdims=True)
    return xp.maximum(low, level)


def _entropy(p: Float[Array, "R C"], xp: Any) -> Float[Array, " R"]:
    return -xp.sum(p_log_p(p), axis=1)


def _within(s: Samples) -> Float[Array, " R"]:
    """The mean entropy of the samples that are there."""
    p = s.first[:, None, :] * s.ratio  # (R, t, C)
    return -s.xp.mean(s.xp.sum(p_log_p(p), axis=2), axis=1)


def _vote_shares(s: Samples) -> Float[Array, "R C"]:
    xp = s.xp
    classes = xp.arange(s.log_probs.shape[2], device=array_api_compat.device(s.ratio))
    votes = xp.argmax(s.log_probs, axis=2)[:, :, None] == classes  # (R, t, C)
    return xp.mean(xp.astype(votes, xp.float64), axis=1)


def _predictive(s: Samples, share: float) -> Any:
    return _entropy(_levelled(s.mean, share, s.xp), s.xp)


def _confidence(s: Samples, share: float) -> Any:
    return 1 - s.xp.max(_levelled(s.mean, share, s.xp), axis=1)


def _closest(s: Samples, share: float) -> Any:
    # All that is missing goes to the second: it draws level, or comes nearer by α.
    ordered = s.xp.sort(s.mean, axis=1)
    return s.xp.clip(share - (1 - share) * (ordered[:, -1] - ordered[:, -2]), max=0.0)


def _information(s: Samples, share: float) -> Any:
    # Missing samples that are sure add no entropy of their own, and together they fill up the mean.
    return _predictive(s, share) - (1 - share) * _within(s)


def _noise(s: Samples, share: float) -> Any:
    return (1 - share) * _within(s) + share * math.log(s.log_probs.shape[2])


def _votes(s: Samples, share: float) -> Any:
    return 1 - s.xp.max(_levelled(_vote_shares(s), share, s.xp), axis=1)


def _entropy_of_votes(s: Samples, share: float) -> Any:
    return _entropy(_levelled(_vote_shares(s), share, s.xp), s.xp)


def _spread(s: Samples, share: float) -> Any:
    # Of a class, missing samples of which a share x says 1 and the others 0 spread most; the variance with them is
    # concave in x, and 2 (mean) = 1 where it is largest.
    xp = s.xp
    p = s.first[:, None, :] * s.ratio
    first, second = (1 - share) * xp.mean(p, axis=1), (1 - share) * xp.mean(p * p, axis=1)
    ones = xp.clip(0.5 - first, min=0.0, max=share)
    return xp.mean(xp.sqrt(xp.clip(second + ones - (first + ones) ** 2, min=0.0)), axis=1)


_KERNELS: dict[Callable[[Any], Any], Kernel] = {
    entropy: _predictive,
    least_confidence: _confidence,
    variation_ratio: _confidence,
    margin: _closest,
    bald: _information,
    mean_kl: _information,
    expected_entropy: _noise,
    vote_entropy: _entropy_of_votes,
    mean_std: _spread,
}
