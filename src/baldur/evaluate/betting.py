"""The mean of a population from a few of its items, with an interval that holds however often one looks.

A bettor plays against each possible mean. The items are drawn without replacement, and before each draw the bettor
stakes on the next value being above, or below, what that mean leads one to expect. Against the true mean nobody wins
in the long run. So a mean against which the capital grew to 1 / α is dropped, and the true one is ever dropped with a
probability of at most α.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer
from numpy.typing import NDArray

from baldur.core.arrays import Array
from baldur.errors import InvalidArgument
from baldur.evaluate._checks import indices, number, numbers, whole

_SHARE = 0.75
"""At most this share of the capital is lost in one bet."""

_HALVINGS = 40


@dataclass(frozen=True)
class Audited:
    """The mean loss of a population, from the labels of some of its items.

    Args:
        mean: The estimate.
        low: Lower end of its interval.
        high: Upper end.
        n: How many items were labelled.
        population: How many items there are.
    """

    mean: float
    low: float
    high: float
    n: int
    population: int


def betting_interval(values: Float[Array, " n"], population: int, level: float = 0.95) -> tuple[float, float]:
    """The hedged betting interval of the mean of a finite population, from draws without replacement.

    A mean μ is dropped once max(K⁺, K⁻) / 2 ≥ 1 / α at any t, where K^±_t = Π_s (1 ± λ^±_s (x_s - μ_s)). Here
    μ_s = (M μ - Σ_{r<s} x_r) / (M - s + 1), λ⁺ = min(ℓ, c / μ_s), λ⁻ = min(ℓ, c / (1 - μ_s)), c = 3/4, and
    ℓ_s = √(2 ln(2/α) / (v̂_{s-1} s ln(1 + s))) with a running variance v̂. What the draws make impossible is dropped.

    So the true mean is in the interval with the stated probability at all numbers of draws together. One may look after
    each draw, and stop whenever the interval says enough.

    I. Waudby-Smith and A. Ramdas, Estimating Means of Bounded Random Variables by Betting, JRSS-B 2024; Confidence
    Sequences for Sampling Without Replacement, NeurIPS 2020.

    Args:
        values: The values drawn, in [0, 1], in the order in which they were drawn, shape (n,).
        population: M, how many items there are.
        level: 1 - α, in (0, 1).

    Returns:
        Lower and upper end. With all items drawn, both are the mean.

    Raises:
        InvalidArgument: A value is not in [0, 1], or there are more values than items.
    """
    number("level", level, 0, 1, inside=True)
    x = numbers("values", values, 1)
    if len(x) > whole("population", population, 1):
        raise InvalidArgument(
            f"{len(x)} values of a population of {population} items; at most all of them can be drawn"
        )
    if (x < 0).any() or (x > 1).any():
        raise InvalidArgument(f"values in [0, 1] were expected, not from {x.min():g} to {x.max():g}")
    low, high = intervals(x[None], population, level)
    return float(low[0]), float(high[0])


def intervals(
    x: Float[np.ndarray, "R n"], population: int, level: float
) -> tuple[Float[np.ndarray, " R"], Float[np.ndarray, " R"]]:
    """`betting_interval` of several samples.

    Args:
        x: The values drawn, shape (R, n).
        population: M.
        level: 1 - α.

    Returns:
        Lower and upper ends, shape (R,).
    """
    n = x.shape[1]
    total = x.sum(axis=1)
    least, most = total / population, (total + population - n) / population
    bettor = Bettor(x, population, 1 - level)
    # The capital of each bettor is monotone in μ, so each end is found by halving.
    low = _edge(bettor, least, most, up=True)
    high = _edge(bettor, most, least, up=False)
    empty = low > high  # nothing is kept: this happens with a probability of at most α
    mean = total / max(n, 1)
    return np.where(empty, mean, low), np.where(empty, mean, high)


def audited_mean(
    losses: Float[Array, " n"],
    surrogate: Float[Array, " M"],
    drawn: Integer[Array, " n"],
    level: float = 0.95,
) -> Audited:
    """The mean loss of a population, from a uniform sample of labels and a guess for every item (a control variate).

    R̂ = (1/M) Σ_i e_i + (1/n) Σ_t (ℓ_t - e_t), with the betting interval of (ℓ - e + 1) / 2. The guesses e must not
    depend on the labels of the sample: those of the model that is measured, 1 - max_c p_c for its errors, will do. The
    interval holds for any guesses. It is short if they are good.

    Args:
        losses: The losses of the drawn items, in [0, 1], in the order of drawing, shape (n,).
        surrogate: The guessed loss of every item, in [0, 1], shape (M,).
        drawn: The positions of the drawn items, shape (n,); drawn uniformly without replacement.
        level: The coverage, in (0, 1), at all numbers of draws together.

    Returns:
        The estimate with its interval; [0, 1] without draws.

    Raises:
        InvalidArgument: A loss or guess is not in [0, 1], an item was drawn twice, or lengths differ.
    """
    loss, guess = numbers("losses", losses, 1), numbers("surrogate", surrogate, 1)
    where = indices("drawn", drawn, 1) if np.size(loss) else np.zeros(0, np.int64)
    count, size = len(loss), len(guess)
    for name, x in (("losses", loss), ("surrogate", guess)):
        if (x < 0).any() or (x > 1).any():
            raise InvalidArgument(f"{name} must be in [0, 1], not from {x.min():g} to {x.max():g}")
    if not size or len(where) != count:
        raise InvalidArgument(f"one position for each of {count} losses and at least one item were expected")
    if len(np.unique(where)) < count or (where < 0).any() or (where >= size).any():
        raise InvalidArgument(f"drawn must be different positions from 0 to {size - 1}")
    apart = loss - guess[where]
    low, high = betting_interval((apart + 1) / 2, size, level)
    known = loss.sum() / size  # losses of what was not drawn are in [0, 1]
    least, most = float(known), float(known + (size - count) / size)
    ends = (float(guess.mean() + 2 * end - 1) for end in (low, high))
    start, end = (min(max(e, least), most) for e in ends)
    mean = float(guess.mean() + (apart.mean() if count else 0.0))
    return Audited(min(max(mean, start), end), start, end, count, size)


def labels_for_target(
    target: float, accuracy: float | None = None, population: int = 10**9, level: float = 0.95
) -> int:
    """About how many uniformly drawn labels show that an accuracy is above a target, in four of five cases.

    Found by simulated draws without a control variate; good guesses of the errors need fewer.

    Args:
        target: The accuracy to be shown, in (0, 1).
        accuracy: The true accuracy; by default halfway between the target and 1.
        population: How many items there are to draw from.
        level: The coverage of the interval.

    Returns:
        A number of labels; `population` if fewer are not enough.

    Raises:
        InvalidArgument: The target is not in (0, 1), or the accuracy is not above it.
    """
    number("target", target, 0, 1, inside=True)
    truth = (1 + target) / 2 if accuracy is None else number("accuracy", accuracy, 0, 1)
    if truth <= target:
        raise InvalidArgument(
            f"an accuracy of {truth} is not above the target {target}; no labels can show that it is"
        )
    rng, most = np.random.default_rng(0), 64
    while True:
        most = min(2 * most, whole("population", population, 1))
        wrong = _without_replacement(rng, round(population * (1 - truth)), population, (_TRIES, most))
        shown = np.sort(_first_below((wrong + 1) / 2, population, 1 - target, 1 - level))
        if shown[_ENOUGH] <= most or most == population:
            return int(min(shown[_ENOUGH], population))


_TRIES, _ENOUGH = 200, 160


def _without_replacement(
    rng: np.random.Generator, marked: int, population: int, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Draws from a population in which some items are marked, 1 for a marked one."""
    found = np.zeros(shape)
    left = np.full(shape[0], marked)
    for t in range(shape[1]):
        found[:, t] = rng.random(shape[0]) * (population - t) < left
        left -= found[:, t].astype(left.dtype)
    return found


def _first_below(x: NDArray[np.float64], population: int, loss: float, alpha: float) -> NDArray[np.intp]:
    """After how many draws a mean loss, mapped to (loss + 1) / 2, is seen to be below a level; n + 1 if it is not."""
    mean = np.full(x.shape[0], (loss + 1) / 2)
    won = Bettor(x, population, alpha).capital(mean, up=False) >= math.log(2 / alpha)
    first: NDArray[np.intp] = np.where(won.any(axis=1), won.argmax(axis=1) + 1, x.shape[1] + 1)
    return first


class Bettor:
    """Bets on values (R, n) against means (R,), by stakes that do not depend on it."""

    def __init__(self, x: NDArray[np.float64], population: int, alpha: float) -> None:
        t = np.arange(1, x.shape[1] + 1)
        before = np.cumsum(x, axis=1) - x
        running = (0.5 + before + x) / (t + 1)
        variance = (0.25 + np.cumsum((x - running) ** 2, axis=1)) / (t + 1)
        earlier = np.concatenate([np.full((len(x), 1), 0.25), variance], axis=1)[:, :-1]
        self.x, self.before, self.left, self.population = x, before, population - t + 1, population
        self.stake = np.sqrt(2 * math.log(2 / alpha) / (earlier * t * np.log1p(t)))
        self.limit = math.log(2 / alpha)

    def capital(self, mean: NDArray[np.float64], up: bool) -> NDArray[np.float64]:
        """The logarithm of the capital after each draw, (R, n), of who bets that values are above (or below)."""
        expected = (self.population * mean[:, None] - self.before) / self.left
        expected = np.clip(expected, 0, 1)  # the rest is rounding: ends are never beyond what is possible
        room = expected if up else 1 - expected
        with np.errstate(divide="ignore"):
            stake = np.minimum(self.stake, _SHARE / room)
        gain = self.x - expected if up else expected - self.x
        return np.cumsum(np.log1p(stake * gain), axis=1)

    def drops(self, mean: NDArray[np.float64], up: bool) -> NDArray[np.bool_]:
        """Whether a mean was dropped at any draw."""
        best: NDArray[np.float64] = self.capital(mean, up).max(axis=1, initial=-np.inf)
        return best >= self.limit


def _edge(
    bettor: Bettor, outer: NDArray[np.float64], inner: NDArray[np.float64], up: bool
) -> NDArray[np.float64]:
    """The end of the means that are not dropped, on the side of `outer`; rounded outward."""
    kept = ~bettor.drops(outer, up)
    dropped, rest = outer, inner
    for _ in range(_HALVINGS):
        middle = (dropped + rest) / 2
        out = bettor.drops(middle, up)
        dropped, rest = np.where(out, middle, dropped), np.where(out, rest, middle)
    return np.where(kept, outer, dropped)
