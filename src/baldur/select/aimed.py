"""Batches whose labels together have the most information about the labels of target inputs."""

import math
from typing import Any, Literal, SupportsIndex

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from baldur.acquire.pointwise import check_items, warn_of_ties
from baldur.acquire.prediction import check_targets
from baldur.core.arrays import Array, namespace, to_numpy
from baldur.core.blocks import blocks
from baldur.protocols import Picks
from baldur.select._arguments import as_most, count
from baldur.select._candidates import Candidates, mean_information, prepare
from baldur.select._configurations import Configurations, nothing_known
from baldur.select.joint import with_pick

_BLOCK = 2**20
_ITEMS = 64
_ROUNDING = 1e-5
_TIE = 1e-12


def batch_epig(
    log_probs: Float[Array, "N T C"],
    k: SupportsIndex,
    *,
    target_log_probs: Float[Array, "M T K"],
    max_configurations: SupportsIndex | Literal["auto"] = 1000,
    rng: np.random.Generator | int | None = None,
) -> Picks:
    """k items whose labels together have the most information about the labels of target inputs; greedy.

    f(S) = (1/M) Σ_m I(y_S; y_m). Each step adds the item with the largest gain. Every configuration of the labels of S
    gives weights to the posterior samples, and the gain is the mean EPIG under them. It is at most the gain of
    BatchBALD, so only items with a larger gain there are computed. Steps are exact while the configurations fit, then
    they use drawn ones.

    f grows with S, but it is not submodular: two labels can be informative together and useless alone. So greedy
    search has no guarantee, and where no single item is informative it takes the first.

    F. Bickford Smith, A. Kirsch, S. Farquhar, Y. Gal, A. Foster and T. Rainforth, Prediction-Oriented Bayesian
    Active Learning, AISTATS 2023 (the pointwise score).

    Needs: samples, samples at targets. Cost: O(k N Q M T C²) for Q configurations; bounds save part of it.
    Use: for small batches of few candidates where the targets are known. Else draw a batch from EPIG by `power`.

    Args:
        log_probs: Normalised log-probabilities of the pool, shape (N, T, C).
        k: How many to choose; more than N gives all.
        target_log_probs: Normalised log-probabilities of the targets, shape (M, T, K), of the same draws.
        max_configurations: How many configurations at most, or "auto" as in `batchbald`; time grows with it.
        rng: A generator, or a seed, for drawn configurations; None is 0.

    Returns:
        The picks in the order chosen, with their gains. `info` has for each step f(S) so far ("information"), the
        computed gains ("evaluations"), the "configurations", and the "standard_error" of the gain (0 where exact).
        "gap" bounds the loss of gain against exact steps, within three standard errors.

    Raises:
        InvalidArgument: k or max_configurations is out of range, or pool and targets do not fit together.
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
    """
    most = as_most(max_configurations)
    xp = check_targets(log_probs, target_log_probs)
    check_items(log_probs)
    size = count(k, log_probs.shape[0])
    warn_of_ties(log_probs, "batch_epig")
    candidates, generator = prepare(log_probs), np.random.default_rng(0 if rng is None else rng)
    targets = prepare(target_log_probs)
    aims = targets.rows(np.arange(len(targets.bald)), xp.float64)[:, :-1, :]
    known = nothing_known(log_probs)
    alive = np.ones(len(candidates.bald), bool)
    picks: list[int] = []
    variance = 0.0
    gains, errors, evaluations, configurations = [], [], [], []
    for _ in range(size):
        if picks:
            known = with_pick(candidates, known, picks, variance, most, generator)
        pick, gain, variance, seen = _best(candidates, known, aims, np.flatnonzero(alive))
        alive[pick] = False
        picks.append(pick)
        gains.append(gain)
        errors.append(0.0 if known.exact else math.sqrt(variance / len(known)))
        evaluations.append(seen)
        configurations.append(len(known))
    info = {
        "gap": 6 * sum(errors),
        "information": np.cumsum(gains),
        "evaluations": np.array(evaluations, np.int64),
        "configurations": np.array(configurations, np.int64),
        "standard_error": np.array(errors),
    }
    return Picks(np.array(picks, np.intp), np.array(gains, np.float64), info)


def _best(
    candidates: Candidates, known: Configurations, aims: Array, items: NDArray[np.intp]
) -> tuple[int, float, float, int]:
    """The item with the largest gain, the gain, its variance over configurations, and the gains computed."""
    single = namespace(aims).astype(known.weights, namespace(aims).float32)
    bounds = mean_information(candidates, items, single, known.share)
    order = np.argsort(-bounds, kind="stable")
    items, bounds = items[order], bounds[order]
    gains = np.zeros(0)
    parts: list[Any] = []
    while len(gains) < len(items) and bounds[len(gains)] >= gains.max(initial=0.0) - _ROUNDING:
        some = items[len(gains) : len(gains) + _ITEMS]
        part = _information_on(aims, known, candidates.rows(some, aims.dtype))
        parts.append(part)
        gains = np.concatenate([gains, to_numpy(part @ known.share)])
    seen = items[: len(gains)]
    pick = int(seen[gains >= gains.max() - _TIE].min())
    at = int(np.flatnonzero(seen == pick)[0])
    variance = known.variance(parts[at // _ITEMS][at % _ITEMS, :])
    return pick, max(0.0, float(gains[at])), variance, len(gains)


def _information_on(
    aims: Float[Array, "M K T"], known: Configurations, packed: Float[Array, "n R T"]
) -> Array:
    """(1/M) Σ_m I(y; y_m) of each item under each configuration, shape (n, configurations)."""
    xp = namespace(aims)
    n, draws = packed.shape[0], packed.shape[2]
    own = packed[:, :-1, :]
    classes = own.shape[1]
    flat = xp.reshape(own, (-1, draws))  # (n·C, T)
    parts = []
    for some in blocks(len(known), flat.shape[0] * aims.shape[0] * aims.shape[1], _BLOCK):
        weights = known.weights[some, :]
        mixed = weights[:, None, None, :] * aims[None, ...]  # (m, M, K, T)
        mixed = xp.reshape(mixed, (-1, draws))  # (m·M·K, T)
        both = xp.reshape(flat @ mixed.T, (n, classes, weights.shape[0], *aims.shape[:2]))  # (n, C, m, M, K)
        label = xp.reshape(flat @ weights.T, (n, classes, -1))  # (n, C, m)
        target = xp.reshape(xp.sum(mixed, axis=1), (-1, *aims.shape[:2]))  # (m, M, K)
        # Mutual information is H(y) + H(y_m) - H(y, y_m); the entropy of y is the same for every target.
        of_targets = xp.sum(target * xp.log(target), axis=2)  # (m, M)
        gained = xp.sum(both * xp.log(both), axis=(1, 4)) - of_targets[None, ...]  # (n, m, M)
        parts.append(xp.mean(gained, axis=2) - xp.sum(label * xp.log(label), axis=1))
    return xp.concat(parts, axis=1)  # (n, configurations)
