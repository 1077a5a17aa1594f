"""Batches whose labels together say most about the labels of target inputs."""

import math
from typing import Any, Literal, SupportsIndex

import array_api_compat
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from baldur.acquire.pointwise import warn_of_ties
from baldur.core.arrays import Array, check_shape, namespace, to_numpy
from baldur.errors import InvalidArgument, InvalidPredictions
from baldur.protocols import Picks
from baldur.select._candidates import Candidates, mean_told, prepare
from baldur.select._configurations import Configurations, nothing_known
from baldur.select.joint import as_most, with_pick
from baldur.select.ranking import as_size

_BLOCK = 2**20
_ITEMS = 64
_ROUNDING = 1e-5
_TIE = 1e-12


def batch_epig(
    log_probs: Float[Array, "N T C"],
    target_log_probs: Float[Array, "M T K"],
    k: SupportsIndex,
    max_configurations: SupportsIndex | Literal["auto"] = 1000,
    rng: np.random.Generator | int | None = None,
) -> Picks:
    """k items whose labels together say most about the labels of target inputs, chosen greedily.

    f(S) = (1/M) Σ_m I(y_S; y_m); each step adds the item with the largest gain, the mean over the configurations
    of the labels of S of the EPIG that the posterior samples have under the weights which it leaves them. A gain
    is at most that of BatchBALD, so that only items whose gain there is larger are computed. Exact while the
    configurations fit, then with drawn ones.

    f grows with S, but it is not submodular: two labels may say together what neither says alone. So greedy has
    no guarantee, and where no single item says anything it takes the first.

    F. Bickford Smith, A. Kirsch, S. Farquhar, Y. Gal, A. Foster and T. Rainforth, Prediction-Oriented Bayesian
    Active Learning, AISTATS 2023 (the pointwise score).

    Needs: samples, samples at targets. Cost: O(k N Q M T C²) for Q configurations; bounds leave out part of it.
    Use: for small batches of few candidates where the targets are known; else draw a batch from EPIG by
    `power`.

    Args:
        log_probs: Normalised log-probabilities of the pool, shape (N, T, C).
        target_log_probs: Normalised log-probabilities of the targets, shape (M, T, K), of the same draws.
        k: How many to choose; more than N gives all.
        max_configurations: How many configurations at most, or "auto" as in `batchbald`; time grows with it.
        rng: A generator, or a seed, for drawn configurations; None is 0.

    Returns:
        The picks in the order chosen, with their gains. Of each step `info` says f(S) so far ("information"), how
        many gains were computed ("evaluations"), the number of "configurations" and the "standard_error" of the
        gain (0 where exact); "gap" bounds how much larger gains the exact steps could have found, within three
        standard errors.

    Raises:
        InvalidArgument: k or max_configurations is out of range, or pool and targets do not fit together.
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
    """
    count = as_size("k", k)
    most = as_most(max_configurations)
    _check_both(log_probs, target_log_probs)
    warn_of_ties(log_probs, "batch_epig")
    candidates, generator = prepare(log_probs), np.random.default_rng(0 if rng is None else rng)
    xp = namespace(log_probs)
    targets = prepare(target_log_probs)
    aims = targets.rows(np.arange(len(targets.bald)), xp.float64)[:, :-1, :]
    known = nothing_known(log_probs)
    alive = np.ones(len(candidates.bald), bool)
    picks: list[int] = []
    variance = 0.0
    gains, errors, evaluations, configurations = [], [], [], []
    for _ in range(min(count, len(alive))):
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


def _check_both(log_probs: Array, target_log_probs: Array) -> None:
    for given in (log_probs, target_log_probs):
        check_shape(given)
        if given.ndim != 3:
            raise InvalidPredictions(
                f"log-probabilities (N, T, C) were expected, not the shape {given.shape}"
            )
    here, there = ((namespace(x), array_api_compat.device(x)) for x in (log_probs, target_log_probs))
    if here != there:
        raise InvalidArgument(
            "pool and targets are arrays of different libraries or devices; give both as one kind"
        )
    if log_probs.shape[1] != target_log_probs.shape[1]:
        raise InvalidArgument(
            f"the pool has {log_probs.shape[1]} samples and the targets have {target_log_probs.shape[1]};"
            " both must come from the same draws, in the same order"
        )
    if target_log_probs.shape[0] == 0:
        raise InvalidArgument("at least one target was expected, not 0")


def _best(
    candidates: Candidates, known: Configurations, aims: Array, items: NDArray[np.intp]
) -> tuple[int, float, float, int]:
    """The item with the largest gain, the gain, its variance over configurations, and how many were computed."""
    single = namespace(aims).astype(known.weights, namespace(aims).float32)
    bounds = mean_told(candidates, items, single, known.share)
    order = np.argsort(-bounds, kind="stable")
    items, bounds = items[order], bounds[order]
    gains = np.zeros(0)
    parts: list[Any] = []
    while len(gains) < len(items) and bounds[len(gains)] >= gains.max(initial=0.0) - _ROUNDING:
        part = _said(known, aims, candidates.rows(items[len(gains) : len(gains) + _ITEMS], aims.dtype))
        parts.append(part)
        gains = np.concatenate([gains, to_numpy(part @ known.share)])
    seen = items[: len(gains)]
    pick = int(seen[gains >= gains.max() - _TIE].min())
    at = int(np.flatnonzero(seen == pick)[0])
    variance = known.variance(parts[at // _ITEMS][at % _ITEMS, :])
    return pick, max(0.0, float(gains[at])), variance, len(gains)


def _said(known: Configurations, aims: Float[Array, "M K T"], packed: Float[Array, "n R T"]) -> Array:
    """(1/M) Σ_m I(y; y_m) of each item under each configuration, shape (n, configurations)."""
    xp = namespace(aims)
    count, draws = packed.shape[0], packed.shape[2]
    own = packed[:, :-1, :]
    flat = xp.reshape(own, (-1, draws))
    size = max(1, _BLOCK // (flat.shape[0] * aims.shape[0] * aims.shape[1]))
    parts = []
    for start in range(0, len(known), size):
        weights = known.weights[start : start + size, :]
        mixed = xp.reshape(weights[:, None, None, :] * aims[None, ...], (-1, draws))  # (m·M·K, T)
        both = xp.reshape(flat @ mixed.T, (count, own.shape[1], weights.shape[0], *aims.shape[:2]))
        label = xp.reshape(flat @ weights.T, (count, own.shape[1], -1))  # (n, C, m)
        target = xp.reshape(xp.sum(mixed, axis=1), (-1, *aims.shape[:2]))  # (m, M, K)
        said = xp.sum(both * xp.log(both), axis=(1, 4)) - xp.sum(target * xp.log(target), axis=2)[None, ...]
        parts.append(xp.mean(said, axis=2) - xp.sum(label * xp.log(label), axis=1))
    return xp.concat(parts, axis=1)
