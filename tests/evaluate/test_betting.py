"""Betting intervals, by simulation: what they promise holds at every look."""

import itertools
import math

import jaxtyping
import numpy as np
import pytest

from baldur import evaluate
from baldur.errors import BaldurError, InvalidArgument
from baldur.evaluate.betting import Bettor, intervals

RUNS = 2000


def orders(rng, population, n, runs=RUNS):
    return rng.permuted(np.tile(population, (runs, 1)), axis=1)[:, :n]


def by_hand(x, population, mean, alpha):
    """Whether a mean is dropped, as the formula is written: one draw after the other."""
    up = down = 1.0
    running, variance, seen = [], 0.25, []
    for s, value in enumerate(x, 1):
        expected = (population * mean - sum(seen)) / (population - s + 1)
        if not -1e-12 <= expected <= 1 + 1e-12:
            return True
        stake = math.sqrt(2 * math.log(2 / alpha) / (variance * s * math.log(1 + s)))
        up *= 1 + min(stake, 0.75 / expected if expected > 0 else math.inf) * (value - expected)
        down *= 1 - min(stake, 0.75 / (1 - expected) if expected < 1 else math.inf) * (value - expected)
        if max(up, down) / 2 >= 1 / alpha:
            return True
        seen.append(value)
        running.append((value - (0.5 + sum(seen)) / (s + 1)) ** 2)
        variance = (0.25 + sum(running)) / (s + 1)
    rest = (population * mean - sum(seen)) / max(population - len(x), 1)
    return not -1e-9 <= rest <= (1 if len(x) < population else 0) + 1e-9


@pytest.mark.parametrize("n", [1, 7, 40, 60])
def test_the_interval_is_that_of_the_formula(n):
    rng = np.random.default_rng(n)
    for values in (rng.random(60), rng.integers(0, 2, 60).astype(float), np.zeros(60), rng.beta(0.1, 3, 60)):
        x = rng.permutation(values)[:n]
        low, high = evaluate.betting_interval(x, 60)
        kept = [m for m in np.linspace(0, 1, 401) if not by_hand(x, 60, m, 0.05)]
        if kept:
            assert low - 1e-6 <= min(kept)
            assert max(kept) <= high + 1e-6
            assert min(kept) - low <= 1 / 400 + 1e-6
            assert high - max(kept) <= 1 / 400 + 1e-6


POPULATIONS = {
    "errors of a model that is 90 % right": np.repeat([0.5, 1.0], [900, 100]),
    "rare errors": np.repeat([0.5, 1.0], [495, 5]),
    "half and half": np.repeat([0.0, 1.0], [150, 150]),
    "small": np.repeat([0.0, 1.0], [10, 20]),
    "anything": np.random.default_rng(3).beta(0.5, 2, 400),
    "constant": np.full(300, 0.3),
}


@pytest.mark.parametrize("kind", POPULATIONS)
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_truth_is_never_dropped_at_any_look_as_often_as_is_said(kind, level):
    """One look after each draw, 2,000 samples: the true mean is dropped at any of them in at most α."""
    population = POPULATIONS[kind]
    n = min(len(population), 300)
    x = orders(np.random.default_rng(0), population, n)
    bettor = Bettor(x, len(population), 1 - level)
    truth = np.full(RUNS, population.mean())
    dropped = bettor.drops(truth, up=True) | bettor.drops(truth, up=False)
    assert dropped.mean() <= 1 - level
    low, high = intervals(x[:200], len(population), level)
    inside = (low <= truth[:200] + 1e-9) & (truth[:200] <= high + 1e-9)
    assert inside.mean() >= level


def test_all_items_give_the_exact_mean_and_none_give_nothing():
    x = np.random.default_rng(0).random(50)
    assert evaluate.betting_interval(x, 50) == pytest.approx((x.mean(), x.mean()))
    assert evaluate.betting_interval(np.empty(0), 50) == (0, 1)
    assert evaluate.betting_interval(np.zeros(10), 50)[1] <= 0.8


def test_more_labels_make_it_narrower():
    x = np.random.default_rng(1).integers(0, 2, 500).astype(float)
    widths = [np.subtract(*evaluate.betting_interval(x[:n], 10_000)[::-1]) for n in (10, 50, 200, 500)]
    assert all(b < a for a, b in itertools.pairwise(widths))
    assert widths[-1] < 0.2


def model(rng, size, accuracy, sharp=0.3):
    """A model's guesses of its errors, and its errors, which are as frequent as it guesses."""
    guess = rng.beta(sharp, sharp * accuracy / (1 - accuracy), size)
    return (rng.random(size) < guess).astype(float), guess


@pytest.mark.parametrize("shift", [0.0, 0.04, -0.04])
def test_guesses_of_any_quality_keep_the_coverage(shift):
    """The control variate may be wrong by four points, in both directions."""
    rng = np.random.default_rng(0)
    losses, guess = model(rng, 600, 0.9)
    guess = np.clip(guess + shift, 0, 1)
    missed, narrower = 0, 0
    for _ in range(300):
        drawn = rng.permutation(600)[:120]
        found = evaluate.audited_mean(losses[drawn], guess, drawn)
        plain = evaluate.audited_mean(losses[drawn], np.zeros(600), drawn)
        missed += not found.low <= losses.mean() <= found.high
        narrower += found.high - found.low < plain.high - plain.low
        assert found.low <= found.mean <= found.high
    assert missed / 300 <= 0.05
    assert narrower > 150


def test_the_estimate_is_unbiased_for_wrong_guesses():
    rng = np.random.default_rng(1)
    losses, _ = model(rng, 400, 0.9)
    guess = rng.random(400)
    found = []
    for _ in range(400):
        drawn = rng.permutation(400)[:100]
        found.append(guess.mean() + np.mean(losses[drawn] - guess[drawn]))
    assert np.mean(found) == pytest.approx(losses.mean(), abs=0.01)


def test_labels_for_a_target_are_enough_and_more_for_a_harder_one():
    needed = [evaluate.labels_for_target(t, population=5000) for t in (0.8, 0.9, 0.95)]
    assert needed == sorted(needed)
    assert evaluate.labels_for_target(0.9, population=300) < needed[1]
    assert evaluate.labels_for_target(0.9, 0.99, 5000) < 150 < needed[1]
    assert evaluate.labels_for_target(0.999, population=80) == 80
    population = np.repeat([0.0, 1.0], [4750, 250])
    x = (orders(np.random.default_rng(5), population, needed[1], runs=400) + 1) / 2
    shown = 2 * intervals(x, 5000, 0.95)[1] - 1 <= 0.1
    assert 0.7 < shown.mean() < 0.9


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: evaluate.betting_interval([0.5, 1.2], 10), "values in"),
        (lambda: evaluate.betting_interval([0.5, math.nan], 10), "finite numbers"),
        (lambda: evaluate.betting_interval([0.5] * 11, 10), "11 values of a population of 10"),
        (lambda: evaluate.betting_interval([0.5], 10, level=1.0), "level must be a number"),
        (lambda: evaluate.betting_interval([0.5], 2.5), "population must be a whole number"),
        (lambda: evaluate.audited_mean([1.0], [0.5, 0.5], [2]), "positions from 0 to 1"),
        (lambda: evaluate.audited_mean([1.0, 0.0], [0.5, 0.5], [1, 1]), "different positions"),
        (lambda: evaluate.audited_mean([1.0], [0.5, 1.5], [1]), "surrogate must be in"),
        (lambda: evaluate.audited_mean([2.0], [0.5, 0.5], [1]), "losses must be in"),
        (lambda: evaluate.audited_mean([], [], []), "at least one item"),
        (lambda: evaluate.labels_for_target(1.0), "target must be a number"),
        (lambda: evaluate.labels_for_target(0.9, 0.9), "not above the target"),
    ],
)
def test_refused(call, words, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(InvalidArgument, match=words) as error:
        call()
    assert isinstance(error.value, BaldurError)
