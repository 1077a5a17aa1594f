"""Upper bounds of a score while some samples are missing.

Only t of T samples are there. With α = (T - t)/T the mean prediction of all will be (1 - α) p̄ + α q for some
distribution q. A bound is the largest score over all q, so no draw can exceed it.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import array_api_compat
from jaxtyping import Float

from baldur.acquire.committee import expected_entropy, mean_entropy, mean_kl, vote_entropy, vote_shares
from baldur.acquire.disagreement import bald, mean_std, variation_ratio
from baldur.acquire.pointwise import pointwise
from baldur.acquire.uncertainty import entropy, least_confidence, margin
from baldur.core.arrays import Array, Samples, p_log_p

Kernel = Callable[[Samples, float], Any]


def upper_bound(score: Callable[[Any], Any]) -> Callable[[Any, float], Any] | None:
    """The upper bound of a score while samples are missing.

    Args:
        score: An acquisition function, or a partial of one.

    Returns:
        A function of log-probabilities (N, t, C) and of the share α of samples that are missing. It returns the largest
        score (N,) that all samples together can give. None where no bound is known.
    """
    kernel = _KERNELS.get(score)
    if kernel is None and isinstance(score, partial) and score.func is variation_ratio and not score.args:
        kernel = {"mean": _confidence, "votes": _votes}.get(score.keywords.get("mode", "mean"))
    return None if kernel is None else partial(_largest, kernel)


def _largest(bound: Kernel, log_probs: Any, share: float) -> Any:
    return pointwise(log_probs, lambda s: bound(s, share))


def _levelled(p: Float[Array, "R C"], share: float, xp: Any) -> Float[Array, "R C"]:
    """(1 - α) p + α q with the q that makes it most even: the lowest classes are filled up to one level."""
    low = (1 - share) * p
    steps = xp.arange(1, p.shape[1] + 1, dtype=p.dtype, device=array_api_compat.device(p))
    # With the j lowest filled the level is (α + their sum) / j; any other j gives a higher one.
    level = xp.min((share + xp.cumulative_sum(xp.sort(low, axis=1), axis=1)) / steps, axis=1, keepdims=True)
    return xp.maximum(low, level)


def _entropy(p: Float[Array, "R C"], xp: Any) -> Float[Array, " R"]:
    return -xp.sum(p_log_p(p), axis=1)


def _predictive(s: Samples, share: float) -> Any:
    return _entropy(_levelled(s.mean, share, s.xp), s.xp)


def _confidence(s: Samples, share: float) -> Any:
    return 1 - s.xp.max(_levelled(s.mean, share, s.xp), axis=1)


def _closest(s: Samples, share: float) -> Any:
    # All missing mass goes to the second class, until it equals the first.
    ordered = s.xp.sort(s.mean, axis=1)
    return s.xp.clip(share - (1 - share) * (ordered[:, -1] - ordered[:, -2]), max=0.0)


def _information(s: Samples, share: float) -> Any:
    # Missing samples that are sure have no entropy of their own, and together they can fill up the mean.
    return _predictive(s, share) - (1 - share) * mean_entropy(s)


def _noise(s: Samples, share: float) -> Any:
    return (1 - share) * mean_entropy(s) + share * math.log(s.log_probs.shape[2])


def _votes(s: Samples, share: float) -> Any:
    return 1 - s.xp.max(_levelled(vote_shares(s), share, s.xp), axis=1)


def _entropy_of_votes(s: Samples, share: float) -> Any:
    return _entropy(_levelled(vote_shares(s), share, s.xp), s.xp)


def _spread(s: Samples, share: float) -> Any:
    # The variance of a class is largest where each missing sample gives it 1 or 0. It is concave in the share that
    # gives 1, and largest where the mean is 1/2.
    xp = s.xp
    p = s.first[:, None, :] * s.ratio  # (R, t, C)
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
