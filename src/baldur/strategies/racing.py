"""Few samples for all items and all samples for the contenders: the k best of a pool without the whole work."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from baldur import score
from baldur.acquire import aggregate
from baldur.acquire.missing import upper_bound
from baldur.core.sizes import bytes_of
from baldur.data import as_pool
from baldur.errors import InvalidArgument, Unsupported
from baldur.posteriors.draws import WrappedDraws
from baldur.protocols import Draws, Picks, Pool, Positions, Posterior, Scorer, View
from baldur.score.subset import SomeSamples
from baldur.select import top

__all__ = ["race", "race_by"]

Score = Callable[[Any], Any]
"""Log-probabilities (n, T, C) to scores (n,)."""

Predict = Callable[[int, int, Positions, Score | None], NDArray[Any]]
"""(a, b, positions, reduce): what samples a to b say of these items; without reduce log-probabilities."""

_ROUNDING = 1e-6  # of scores of single precision
_RANK = 2  # the cut is the so-manieth smallest of the subsets; their number follows from it
_LEAST_RISK = 1e-4
_BLOCK = 2**20  # log-probabilities scored at a time
_MOST = 4096  # items side by side: the next ones profit from what these have found
_COPIES = 8
_SMALLEST = 1000  # items; in fewer a race saves less than it costs
_PILOT = 20  # one of so many items is scored in full at first, to see whether a race saves work
_MOST_PILOTS = 256
_WORTH = 0.9  # of all samples; a race that is expected to need more is not run


def race(
    draws: Draws,
    pool: Pool | Any,
    score_of: Score,
    k: int,
    risk: float = 0.01,
    rng: np.random.Generator | int = 0,
    memory: str | int = "1GiB",
    *,
    batch_size: int = 128,
    progress: score.Progress | None = None,
) -> tuple[Picks, NDArray[np.float64]]:
    """The k items of the largest score by all T samples, which are computed in full for the contenders only.

    A few samples score all items. The k best items by these scores get all T samples. The others follow in the order of
    their scores. They first get four times as many samples, and those that stay in the race get all.

    With a risk δ, an item leaves a round of t samples when its score s_t is below the cut c: in a share of no more
    than δ/R of random subsets of t of the T samples, R being the number of rounds, any of the k best found would have
    scored below c. The true k best scored as one of these subsets would have it, since the first t samples are any t of
    the T: they would all have passed their own cut with the probability 1 - δ, whatever T, the score or its bias. When
    the race ends the cuts are those of the picks, and whoever has left below a cut that proved too high is called back.
    So the picks are the k best with this probability on one condition: the better ones vary no more over the samples
    than the ones found. Samples must be exchangeable, as independent ones are.

    The condition fails where some of the best items owe their score to a few samples and others do not. Such an item
    looks like any other until these samples come. In simulations of it, 8 to 30 % of races with δ = 0.05 missed an item
    (100 samples, of which 20 made the score of the best of 1,000 items). Give `risk=0`, or do not race, if a missed
    item matters and a few of the samples may be outliers, as with an ensemble that has a bad member.

    No race is run where it would not save work: with fewer than 1,000 items, fewer than four samples, more than a
    quarter of the items to choose, or if a random twentieth of the items shows that most of them would stay. Then all
    samples score all items, and `info["refused"]` says why.

    With the risk 0 an item leaves when it cannot reach the k-th best even if the missing samples say what is best for
    it. That is exact, saves little, and is known of the scores of `baldur.acquire` that have one prediction's shape.

    Args:
        draws: T functions.
        pool: A pool, or an array of N inputs.
        score_of: Log-probabilities (n, t, C) to scores (n,), such as `acquire.bald`.
        k: How many to choose.
        risk: δ, the probability with which the picks may differ from those of all samples; 0, or 0.0001 to 0.5.
        rng: Which subsets of the samples are looked at: a generator, or a seed.
        memory: As in `score.predict`, for each of the passes.
        batch_size: Items at a time; fewer where `memory` asks for it.
        progress: Told how many items of a pass are done.

    Returns:
        The picks, and the score of every item, shape (N,): by all samples for the picks and for all that stayed to the
        end, by fewer for those that left. `info` says the "samples" computed, all items together, and their "share" of
        N T; of each round how many "contenders" it left; the "risk"; and why no race was run, "refused", or "".

    Raises:
        InvalidArgument: k or the risk is out of range.
        Unsupported: The risk is 0 and no bound is known for the score, or predictions are maps.
    """
    whole = as_pool(pool)
    parts: dict[tuple[int, int, bool], Draws] = {}  # what a slice has prepared is used again

    def predict(a: int, b: int, positions: Positions, reduce: Score | None) -> NDArray[Any]:
        part = len(positions) < len(whole) or b - a < len(draws)
        few = parts.setdefault((a, b, part), WrappedDraws(draws[a:b], may_agree=part))
        shown = None if part else progress
        return score.predict(
            few, View(whole, positions), reduce, memory, batch_size=batch_size, progress=shown
        )

    return _raced(predict, len(whole), len(draws), score_of, k, risk, rng, bytes_of(memory))


def race_by(
    scorer: Scorer,
    posterior: Posterior,
    pool: Pool,
    score_of: Score,
    k: int,
    risk: float = 0.01,
    rng: np.random.Generator | int = 0,
) -> tuple[Picks, NDArray[np.float64]]:
    """`race` with the samples that a scorer takes of a posterior.

    Args:
        scorer: Evaluates the posterior.
        posterior: The posterior of the model.
        pool: The items.
        score_of: Log-probabilities (n, t, C) to scores (n,).
        k: How many to choose.
        risk: As in `race`.
        rng: As in `race`.

    Returns:
        As `race`.

    Raises:
        InvalidArgument: As `race`.
        Unsupported: As `race`.
    """
    parts: dict[tuple[int, int | None, bool], SomeSamples] = {}
    samples = 1

    def predict(a: int, b: int | None, positions: Positions, reduce: Score | None) -> NDArray[Any]:
        part = len(positions) < len(pool) or b is None or b - a < samples
        leading = parts.setdefault((a, b, part), SomeSamples(posterior, slice(a, b), part))
        return scorer.predict(leading, View(pool, positions), reduce)

    one = np.arange(min(1, len(pool)), dtype=np.intp)
    samples = int(predict(0, None, one, None).shape[1]) if len(one) else samples
    return _raced(predict, len(pool), samples, score_of, k, risk, rng, bytes_of(scorer.memory))


def rounds(samples: int, risk: float) -> tuple[int, ...]:
    """After how many samples items may leave.

    Args:
        samples: T.
        risk: δ; 0 for the exact bounds, which say nothing before most samples are there.

    Returns:
        Numbers of samples below T, ascending; none where T is so small that nothing could be saved.
    """
    if samples < 4:
        return ()
    first = max(min(4, samples // 2), math.ceil(samples / 10))
    if risk == 0:
        return tuple(sorted({first, *(samples * eighths // 8 for eighths in (4, 5, 6, 7))}))
    return tuple(sorted({first, min(4 * first, samples // 2)}))


@dataclass(frozen=True)
class _PerItem:
    """Of several places or labels an item, their mean score; it can travel to a worker, as a closure may not."""

    score_of: Score

    def __call__(self, log_probs: Any) -> Any:
        found = self.score_of(log_probs)
        return found if found.ndim == 1 else aggregate(found)


@dataclass(frozen=True)
class _WithBound:
    """Scores, and how far the missing share of the samples may raise them, (n, 2)."""

    score_of: Score
    bound: Callable[[Any, float], Any]
    missing: float

    def __call__(self, log_probs: Any) -> Any:
        highest = _PerItem(lambda known: self.bound(known, self.missing))
        pair = self.score_of(log_probs), highest(log_probs)
        return torch.stack(pair, 1) if isinstance(log_probs, torch.Tensor) else np.stack(pair, 1)  # (n, 2)


@dataclass
class _Field:
    """The items in the race: the last score of each, the bound that it passes a cut with, and where it left."""

    predict: Predict
    score_of: Score
    samples: int
    scores: NDArray[np.float64]
    bounds: NDArray[np.float64]
    left: NDArray[np.int64]  # the round in which it left; -1 for those that did not
    done: NDArray[np.bool_]  # scored by all samples
    first: NDArray[Any] | None = None  # log-probabilities (N, t, C) of the first samples, where there is room
    work: int = 0

    def evaluate(self, a: int, b: int, items: Positions, reduce: Score | None = None) -> NDArray[Any]:
        """Samples a to b of some items: log-probabilities (n, b - a, C), or what `reduce` makes of them."""
        self.work += (b - a) * len(items)
        return self.predict(a, b, items, reduce)

    def begin(self, count: int, reduce: Score, memory: int) -> None:
        """Score all items by the first samples, but for those that are done."""
        everybody, one = np.arange(len(self.scores), dtype=np.intp), np.zeros(1, np.intp)
        if _COPIES * len(everybody) * self.predict(0, count, one, None).nbytes <= memory:
            self.first = self.evaluate(0, count, everybody)
            values = _score(reduce, self.first)
        else:
            values = self.evaluate(0, count, everybody, reduce)
        self.record(everybody[~self.done], values[~self.done])

    def more(self, count: int, following: int, items: Positions) -> NDArray[Any]:
        """Log-probabilities (n, following, C) of some items, of which the first `count` samples may be known."""
        if self.first is None:
            return self.evaluate(0, following, items)
        return np.concatenate([self.first[items], self.evaluate(count, following, items)], 1)

    def record(self, items: Positions, values: NDArray[np.float64]) -> None:
        """Keep scores (n,), which are their own bounds, or scores and bounds (n, 2)."""
        self.scores[items], self.bounds[items] = values.reshape(len(items), -1)[:, [0, -1]].T  # (2, n)

    def finish(self, items: Positions) -> None:
        """Score some items by all samples, but for those that are done."""
        items = np.sort(items[~self.done[items]])
        if len(items):
            self.record(items, self.evaluate(0, self.samples, items, self.score_of))
            self.done[items] = True

    def best(self, k: int) -> Positions:
        """The k best by all samples."""
        items = np.flatnonzero(self.done)
        return items[top(self.scores[items], k).indices]


def _raced(
    predict: Predict, n: int, samples: int, score_of: Score, k: int, risk: float, rng: Any, memory: int
) -> tuple[Picks, NDArray[np.float64]]:
    if not (risk == 0 or _LEAST_RISK <= risk <= 0.5):
        raise InvalidArgument(f"the risk of a race is 0, or between {_LEAST_RISK} and 0.5, not {risk!r}")
    if k < 1:
        raise InvalidArgument(f"a race needs a winner: k is at least 1, not {k}")
    left, done = np.full(n, -1, np.int64), np.zeros(n, np.bool_)
    field = _Field(predict, _PerItem(score_of), samples, np.zeros(n), np.zeros(n), left, done)
    random = np.random.default_rng(rng)
    refused = _small(n, samples, k)
    at = () if refused else rounds(samples, risk)
    rule: _Worst | _Likely = (
        _Worst(field, k, upper_bound(score_of)) if risk == 0 else _Likely(field, k, at, risk, random)
    )
    everybody = np.arange(n, dtype=np.intp)
    if at:
        expected = _expected(field, rule, at, random)
        if expected > _WORTH:
            at, refused = (), f"it would need {expected:.0%} of the samples, by a part of the items"
            done[:] = False
    if at:
        field.begin(at[0], rule.reduce(at[0]), memory)
        if np.ptp(field.scores[~done]) <= _ROUNDING:  # so few samples may agree: then nobody can leave
            at, refused = (), "the first samples score all items alike"
            done[:] = False
    if at:
        field.finish(everybody[top(field.scores, k).indices])
        order = np.argsort(-field.scores, kind="stable")
        _run_on(field, rule, at, order[~done[order]], memory)
        if risk:
            _call_back(field, rule, len(at))
    else:
        field.finish(everybody)
    kept = np.flatnonzero(done)
    picks = top(field.scores[kept], k)
    info = {
        **picks.info,
        "risk": risk,
        "refused": refused,
        "samples": field.work,
        "share": field.work / (n * samples) if n else 1.0,
        "contenders": n - np.cumsum([np.count_nonzero(left == r) for r in range(len(at))], dtype=np.int64),
    }
    return replace(picks, indices=kept[picks.indices], info=info), field.scores


def _small(n: int, samples: int, k: int) -> str:
    """Why so few items or samples are not raced; empty where they are."""
    if n < _SMALLEST:
        return f"{n:,} items are fewer than {_SMALLEST:,}"
    if not rounds(samples, 0.5):
        return f"{samples} samples are fewer than 4"
    return f"{k:,} items to choose are a quarter of {n:,}, or more" if 4 * k >= n else ""


def _expected(field: _Field, rule: "_Worst | _Likely", at: Sequence[int], rng: np.random.Generator) -> float:
    """The share of all samples that a race would need, by some random items, which are scored in full."""
    n, k = len(field.scores), rule.k
    pilots = np.sort(rng.choice(n, min(n // _PILOT, _MOST_PILOTS), replace=False))
    if not len(pilots):
        return 0.0
    log_probs = field.evaluate(0, field.samples, pilots)  # (m, T, C)
    field.record(pilots, _score(field.score_of, log_probs))
    field.done[pilots] = True
    staying, share, last = np.ones(len(pilots), np.bool_), at[0] / field.samples, at[0]
    rule.k = max(1, round(k * len(pilots) / n))  # the best of them stand for the best of all
    for number, count in enumerate(at):
        bounds = _score(rule.reduce(count), log_probs[:, :count]).reshape(len(pilots), -1)[:, -1]
        staying &= bounds >= rule.cut(number)
        following = (*at, field.samples)[number + 1]
        share += float(staying.mean()) * (following - last) / field.samples
        last = following
    rule.k = k
    return share


def _run_on(
    field: _Field, rule: "_Worst | _Likely", at: Sequence[int], order: Positions, memory: int
) -> None:
    """The later rounds, the best items first, as many at a time as the memory holds log-probabilities of."""
    size, start = 1, 0
    while start < len(order):
        items = order[start : start + size]
        start += len(items)
        staying = field.bounds[items] >= rule.cut(0)
        field.left[items[~staying]] = 0
        items = np.sort(items[staying])
        if not len(items):
            continue
        log_probs = field.more(at[0], (*at, field.samples)[1], items)  # (n, t, C)
        item = log_probs[0].nbytes * field.samples // log_probs.shape[1]
        size = max(1, min(_MOST, memory // (_COPIES * item)))
        for number in range(1, len(at)):
            field.record(items, _score(rule.reduce(at[number]), log_probs))
            staying = field.bounds[items] >= rule.cut(number)
            field.left[items[~staying]] = number
            items, log_probs = items[staying], log_probs[staying]
            if not len(items):
                break
            more = field.evaluate(at[number], (*at, field.samples)[number + 1], items)
            log_probs = np.concatenate([log_probs, more], 1)
        if len(items):
            field.record(items, _score(field.score_of, log_probs))
            field.done[items] = True


def _score(reduce: Score, log_probs: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(reduce(torch.from_numpy(log_probs)), np.float64)


def _call_back(field: _Field, rule: "_Likely | _Worst", count: int) -> None:
    """Finish the items that left below a cut, but not below that of the final picks, until there are none."""
    while True:
        back = [np.flatnonzero((field.left == r) & (field.bounds >= rule.cut(r))) for r in range(count)]
        items = np.concatenate(back)
        if not len(items):
            return
        field.finish(items)
        field.left[items] = -1


@dataclass
class _Worst:
    """An item leaves when it cannot reach the k-th best score, whatever the missing samples are."""

    field: _Field
    k: int
    bound: Callable[[Any, float], Any] | None

    def __post_init__(self) -> None:
        if self.bound is None:
            raise Unsupported(
                "how far missing samples can raise this score is not known, so a race without risk is not possible; "
                "allow one, 0.01 say"
            )

    def reduce(self, count: int) -> Score:
        """Scores and their upper bounds, (n, 2)."""
        assert self.bound is not None
        return _WithBound(self.field.score_of, self.bound, 1 - count / self.field.samples)

    def cut(self, number: int) -> float:
        """The k-th best score by all samples that is known, and a rounding error below it."""
        scores = self.field.scores[self.field.best(self.k)]
        return float(scores[-1] - _ROUNDING * np.abs(scores).max()) if len(scores) == self.k else -np.inf


class _Likely:
    """An item leaves below a cut that the k best items found stay above in all but few subsets of the samples.

    Args:
        field: The items.
        k: How many are chosen.
        at: After how many samples.
        risk: δ.
        rng: Draws the subsets.
    """

    def __init__(
        self, field: _Field, k: int, at: Sequence[int], risk: float, rng: np.random.Generator
    ) -> None:
        self.field, self.k = field, k
        # With B + 1 exchangeable subsets, one of which came first, it is among the 2 least with 2 / (B + 1) = δ/R.
        count = math.ceil(_RANK * len(at) / risk) - 1
        everything = np.tile(np.arange(field.samples), (count if at else 0, 1))  # (B, T)
        self.subsets = [rng.permuted(everything, axis=1)[:, :size] for size in at]  # of each round (B, t)
        self.least: list[dict[int, NDArray[np.float64]]] = [{} for _ in at]

    def reduce(self, count: int) -> Score:
        """Scores, (n,)."""
        return self.field.score_of

    def cut(self, number: int) -> float:
        """The cut of a round by the k best found so far, and a rounding error below it."""
        best, least = np.sort(self.field.best(self.k)), self.least[number]
        new = np.array([item for item in best.tolist() if item not in least], np.intp)
        if len(new):
            log_probs = self.field.evaluate(0, self.field.samples, new)
            if log_probs.ndim > 4:
                raise Unsupported("a race needs one prediction an item, and this posterior's are maps")
            least.update(zip(new.tolist(), self._by_subset(log_probs, self.subsets[number]), strict=True))
        scores = np.min([least[item] for item in best.tolist()], axis=0)
        return float(np.partition(scores, _RANK - 1)[_RANK - 1] - _ROUNDING * np.abs(scores).max())

    def _by_subset(self, log_probs: NDArray[Any], subsets: NDArray[np.intp]) -> NDArray[np.float64]:
        """The score of each item by each subset of the samples: (m, T, C) and (B, t) to (m, B)."""
        out = np.empty((len(log_probs), len(subsets)))
        for i in range(len(log_probs)):
            one = torch.from_numpy(np.array(log_probs[i]))  # (T, C)
            size = max(1, _BLOCK // (subsets.shape[1] * one[0].numel()))
            for start in range(0, len(subsets), size):
                some = one[torch.from_numpy(subsets[start : start + size])]  # (b, t, C): subsets as items
                out[i, start : start + size] = np.asarray(self.field.score_of(some))
        return out
