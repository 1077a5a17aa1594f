"""Batches that are informative together: the labels of all chosen items count as one observation."""

import math
from dataclasses import dataclass, replace
from typing import Literal, SupportsIndex

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from baldur.acquire.pointwise import check_items, warn_of_ties
from baldur.core.arrays import Array, namespace, to_numpy, tolerance
from baldur.core.blocks import on_cpu
from baldur.core.sizes import bytes_of
from baldur.protocols import Picks
from baldur.select._arguments import as_most, as_scores, count
from baldur.select._candidates import (
    Candidates,
    block_threads,
    mean_information,
    mutual_information,
    prepare,
)
from baldur.select._configurations import (
    Configurations,
    nothing_known,
    with_every_label,
    with_one_label,
    with_repeats,
)
from baldur.select._contenders import Contenders, Read
from baldur.select.stochastic import power

STANDARD_ERROR = 0.0025
"""The standard error of a gain, in nats, for which "auto" draws enough configurations."""

SATURATED = 0.05
"""With fewer nats than this left below log T, the T samples cannot tell candidates apart."""

_EXACT = 4096
_MOST = 40_000
_FEWEST_REPEATS = 2
_ROUNDING = 1e-5  # of a gain computed in float32
_TIE = 1e-12
_LEADERS = 64
_GROUPS = (32, 8, 2)
_IN_VAIN = 0.92  # the closest bound costs more than it saves if more of the items than this are left


def batchbald(
    log_probs: Float[Array, "N T C"],
    k: SupportsIndex,
    max_configurations: SupportsIndex | Literal["auto"] = "auto",
    rng: np.random.Generator | int | None = None,
) -> Picks:
    """k items whose labels together have the most information about the parameters; greedy.

    f(S) = I(y_S; ω) = H(y_S) - Σ_{i∈S} E_t H(P_it) ≤ log T; each step adds the item with the largest gain
    Δ(x|S) = Σ_m π_m [H(Σ_t W_mt P_xt) - Σ_t W_mt H(P_xt)]. Here W_m is the posterior over the samples after
    configuration m of the labels of S, and π_m its probability. Steps are exact, by lazy greedy search, while the
    configurations fit. Later steps draw configurations from the samples. Bounds by Jensen's inequality then leave out
    only items that cannot win with the same draw. Greedy search reaches 1 - 1/e of the best batch.

    The draws must be consistent: sample t is the same function for every item. Duplicates are not always redundant,
    since a second label of a noisy item is informative. Once log T - f(S) < 0.05, the labels identify the sample and
    further ones add nothing. The rest of the batch is then drawn by `power` from BALD. Draw more samples to avoid it.

    A. Kirsch, J. van Amersfoort and Y. Gal, BatchBALD: Efficient and Diverse Batch Acquisition for Deep Bayesian
    Active Learning, NeurIPS 2019.

    Needs: samples. Cost: O(k N M T C) for M configurations; bounds save most of it. Use: for small batches, about ten
    at T = 100, where each label is expensive. Large batches use up the samples.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C).
        k: How many to choose; more than N gives all.
        max_configurations: How many configurations at most. "auto" takes all while they are at most 4096. Then it
            draws as many as give each gain a standard error of 0.0025 nats, at most 40,000.
        rng: A generator, or a seed, for drawn configurations and for the rest of a saturated batch; None is 0.

    Returns:
        The picks in the order chosen, with their gains. `info` has for each step the joint information f(S) so far
        ("information"), its share of log T ("saturation") and the computed gains ("evaluations"). It also has the
        "configurations" and the "standard_error" of the gain (0 where exact). "exact" counts the exact steps. "filled"
        counts the picks at the end that were drawn because the samples are used up. "gap" bounds the information lost
        against exact steps, within three standard errors. A gain from drawn configurations is the largest of many
        estimates, so it may be too high by a few standard errors.

    Raises:
        InvalidArgument: k or max_configurations is out of range.
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
    """
    most = as_most(max_configurations)
    check_items(log_probs)
    size = count(k, log_probs.shape[0])
    warn_of_ties(log_probs, "batchbald")
    generator = np.random.default_rng(0 if rng is None else rng)
    if on_cpu(log_probs) and tolerance(log_probs) < 1e-2:
        log_probs = to_numpy(log_probs)  # the same memory; on the CPU the logarithms of NumPy are faster
    with block_threads(log_probs) as each:
        return _greedy(prepare(log_probs, each), size, most, generator)


def streamed_batchbald(
    bald: Float[np.ndarray, " N"],
    read: Read,
    k: SupportsIndex,
    *,
    memory: str | int = "512MiB",
    max_configurations: SupportsIndex | Literal["auto"] = "auto",
    rng: np.random.Generator | int | None = None,
) -> Picks:
    """The picks of `batchbald` for a pool whose predictions do not fit in memory.

    Δ(x|S) ≤ I(y_x; ω): the gain of an item is at most its own BALD. Once configurations are drawn, the bound is BALD
    times the largest mean weight of a sample over 1/T. Only items whose bound reaches the best gain are read. Their
    predictions are kept while there is room.

    A. Kirsch, J. van Amersfoort and Y. Gal, BatchBALD: Efficient and Diverse Batch Acquisition for Deep Bayesian
    Active Learning, NeurIPS 2019.

    Needs: scores, samples. Cost: as `batchbald`, and a second prediction of the contenders. Use: for pools of any
    size. It needs memory for the contenders and O(N).

    Args:
        bald: BALD of each item by the same samples, in nats, shape (N,).
        read: A function from ascending positions to log-probabilities (n, T, C) in NumPy.
        k: How many to choose; more than N gives all.
        memory: The memory for predictions that are kept. There is always room for k items and for 64.
        max_configurations: As in `batchbald`.
        rng: As in `batchbald`.

    Returns:
        As `batchbald`. `info` also counts the predictions "read" and the items that were never read ("left_out").
        "left_out_bald" is the largest BALD of the latter; none of them could have a larger gain.

    Raises:
        InvalidArgument: An argument is out of range, or the reader gives arrays of several shapes.
        InvalidPredictions: A row is not normalised.
        NonFiniteScore: A score is not finite.
    """
    scores = as_scores(bald)
    size, most = count(k, len(scores)), as_most(max_configurations)
    if not size:
        return _picks([], [], 0.0, 0, 0)
    first = read(np.array([scores.argmax()], np.intp))
    check_items(first)
    fitting = bytes_of(memory) // max(1, first.nbytes)
    pool = Contenders(read, (len(scores), *first.shape[1:]), max(fitting, size, _LEADERS))
    with block_threads(pool.like) as each:
        candidates = Candidates(pool, scores, None, each)
        picks = _greedy(candidates, size, most, np.random.default_rng(0 if rng is None else rng))
    unseen = scores[~pool.seen]
    more = {
        "read": pool.reads,
        "left_out": len(unseen),
        "left_out_bald": float(unseen.max(initial=0.0)),
    }
    return replace(picks, info={**picks.info, **more})


@dataclass(frozen=True)
class _Step:
    """One pick: its gain, the error of the gain, and the cost."""

    pick: int
    gain: float
    variance: float
    error: float
    evaluations: int
    configurations: int


def _greedy(candidates: Candidates, k: int, most: int | None, rng: np.random.Generator) -> Picks:
    limit = math.log(candidates.log_probs.shape[1])
    known = nothing_known(candidates.like)
    bounds = candidates.bald.copy()
    alive = np.ones(len(bounds), bool)
    steps: list[_Step] = []
    information: list[float] = []
    rest: list[int] = []
    exact = filled = 0
    while len(steps) < k:
        if steps:
            chosen = [step.pick for step in steps]
            known = with_pick(candidates, known, chosen, steps[-1].variance, most, rng)
        left = limit - (information[-1] if information else 0.0)
        if not rest and min(left, known.undecided) < SATURATED:
            others = np.flatnonzero(alive)
            rest = others[power(candidates.bald[others], k - len(steps), rng).indices].tolist()
            filled = len(rest)
        if rest:
            first, evaluations = np.array([rest.pop(0)], np.intp), 1
        else:
            first, evaluations = leaders(candidates, known, bounds, alive)
        step = _settled(candidates, known, first, left, evaluations)
        steps.append(step)
        information.append((limit - left) + step.gain)
        exact += known.exact
        alive[step.pick] = False
    return _picks(steps, information, limit, exact, filled)


def _picks(steps: list[_Step], information: list[float], limit: float, exact: int, filled: int) -> Picks:
    total = np.array(information)
    before = np.concatenate([[0.0], total])
    drawn = sum(6 * step.error for step in steps[: len(steps) - filled])
    gap = min(drawn + (SATURATED if filled else 0.0), limit - before[exact])
    info = {
        "gap": float(gap),
        "information": total,
        "saturation": total / limit if limit > 0 else np.ones_like(total),
        "evaluations": np.array([step.evaluations for step in steps], np.int64),
        "configurations": np.array([step.configurations for step in steps], np.int64),
        "standard_error": np.array([step.error for step in steps]),
        "exact": exact,
        "filled": filled,
    }
    return Picks(np.array([step.pick for step in steps], np.intp), np.array([s.gain for s in steps]), info)


def with_pick(
    candidates: Candidates,
    known: Configurations,
    chosen: list[int],
    variance: float,
    most: int | None,
    rng: np.random.Generator,
) -> Configurations:
    """The configurations of one more item: all while they fit, then drawn ones.

    Args:
        candidates: The pool.
        known: The configurations of all chosen items but the last.
        chosen: The chosen items in order.
        variance: The variance over configurations of the last gain; it decides how many to draw.
        most: How many configurations at most; None for as many as the standard error needs.
        rng: The generator.

    Returns:
        The configurations of all chosen items.
    """
    _, draws, classes = candidates.log_probs.shape
    rows = candidates.log_rows(np.array(chosen, np.intp))
    if known.exact and len(known) * classes <= (_EXACT if most is None else most):
        return with_every_label(known, rows[-1, ...])
    repeats = max(1, (_MOST if most is None else most) // draws)
    if most is None:
        needed = math.ceil(variance / STANDARD_ERROR**2 / draws)
        repeats = min(repeats, max(_FEWEST_REPEATS, needed))
    if not known.exact:
        known = with_one_label(known, rows[-1, ...], rng)
    return with_repeats(known, rows, repeats, rng)


def leaders(
    candidates: Candidates, known: Configurations, bounds: NDArray[np.float64], alive: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], int]:
    """The items that may have the largest gain with the given configurations.

    With all configurations gains only fall, so old gains are bounds (lazy greedy). With drawn ones, BALD times the
    largest mean weight over 1/T is a bound. Information is concave in the distribution over the samples, so averages
    of groups of configurations are bounds too (Jensen). The gains of the other items are computed in the order of
    their bounds.

    Args:
        candidates: The pool.
        known: The configurations.
        bounds: The last computed gain or bound of each item, for the order; it is updated in place.
        alive: Which items may be chosen.

    Returns:
        Items whose gains are the largest within rounding, and how many gains were computed.
    """
    xp = namespace(known.weights)
    items = np.flatnonzero(alive)
    items = items[np.argsort(-bounds[items], kind="stable")]
    if len(known) == 1:
        return items[bounds[items] >= bounds[items[0]] - _ROUNDING], 0
    single = xp.astype(known.weights, xp.float32)
    computed, items = [items[:_LEADERS]], items[_LEADERS:]
    bounds[computed[0]] = mean_information(candidates, computed[0], single, known.share)
    best = float(bounds[computed[0]].max())
    ceiling = bounds[items] if known.exact else known.largest_ratio * candidates.bald[items]
    possible = ceiling >= best - _ROUNDING
    items = items[possible]
    bounds[items] = ceiling[possible]
    many = _IN_VAIN * len(items)
    for size in _GROUPS:
        if len(known) > size * 2 and not (size == _GROUPS[-1] and len(items) > many):
            weights, share = known.grouped(size)
            bounds[items] = mean_information(candidates, items, xp.astype(weights, xp.float32), share)
            items = items[bounds[items] >= best - _ROUNDING]
    items = items[np.argsort(-bounds[items], kind="stable")]
    while len(items) and bounds[items[0]] >= best - _ROUNDING:
        block, items = items[:_LEADERS], items[_LEADERS:]
        bounds[block] = mean_information(candidates, block, single, known.share)
        best = max(best, float(bounds[block].max()))
        computed.append(block)
    fresh = np.concatenate(computed)
    return fresh[bounds[fresh] >= best - _ROUNDING], len(fresh)


def _settled(
    candidates: Candidates, known: Configurations, items: NDArray[np.intp], left: float, evaluations: int
) -> _Step:
    """The first of some items with the largest gain, in float64."""
    items = np.sort(items)
    if len(items) > 1:
        gains = mean_information(candidates, items, known.weights, known.share)
        items = items[gains >= gains.max() - _TIE]
    pick = items[:1]
    each = mutual_information(known.weights, candidates.rows(pick, namespace(known.weights).float64))[0, :]
    gain = min(max(float(each @ known.share), 0.0), max(left, 0.0))
    variance = known.variance(each)
    error = 0.0 if known.exact else math.sqrt(variance / len(known))
    return _Step(int(pick[0]), gain, variance, error, evaluations, len(known))
