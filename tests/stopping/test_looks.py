"""When a trial looks at its test labels, and how often it stops wrongly: by simulation."""

import numpy as np
import pytest

from baldur.evaluate.betting import Bettor
from baldur.protocols import History, Sampled
from baldur.stopping import plateau, target
from baldur.stopping.looks import GROWTH, NEAR, looks, needed, shown, spent, wanted

RUNS, ITEMS, LABELS = 2000, 2000, 400
ORDERS = np.random.default_rng(0).permuted(np.tile(np.arange(ITEMS), (RUNS, 1)), axis=1)[:, :LABELS]


def model(rng, accuracy, kind):
    """Errors of a model of exactly this accuracy, and its guesses of them."""
    guess = rng.beta(0.3, 0.3 * accuracy / (1 - accuracy), ITEMS)
    surest = np.argsort(rng.random(ITEMS) - guess)
    wrong = np.zeros(ITEMS)
    wrong[surest[: round(ITEMS * (1 - accuracy))]] = 1
    changed = {
        "honest": guess,
        "too sure": guess / 2,
        "too unsure": np.clip(1.5 * guess + 0.02, 0, 1),
        "none": 0 * guess,
    }
    return wrong, changed[kind]


def stops(rng, accuracy, kind, rounds, value=0.9):
    """Whether each of the simulated trials stops at any of its looks; each look is at a new model."""
    stopped = np.zeros(RUNS, bool)
    for look in range(1, rounds + 1):
        wrong, guess = model(rng, accuracy, kind)
        x = ((wrong - guess)[ORDERS] + 1) / 2
        limit = np.full(RUNS, (1 - value - guess.mean() + 1) / 2)
        stopped |= Bettor(x, ITEMS, 1 - spent(look, 0.95)).drops(limit, up=False)
    return stopped


@pytest.mark.parametrize("kind", ["honest", "too sure", "too unsure", "none"])
def test_thirty_looks_at_an_accuracy_equal_to_the_target_rarely_stop(kind):
    """They stopped wrongly in 17 to 55 % of trials, with items that were held out and an interval for one look."""
    assert stops(np.random.default_rng(1), 0.9, kind, 30).mean() <= 0.05


@pytest.mark.parametrize(("kind", "rounds"), [("honest", 1), ("too unsure", 1), ("too sure", 2), ("none", 3)])
def test_an_accuracy_above_the_target_is_seen_with_400_labels(kind, rounds):
    assert stops(np.random.default_rng(1), 0.95, kind, rounds).mean() >= 0.8


def past(wrong, guess, order, labels=(20,), guesses=None):
    """A history whose newest round has this model, with test labels in this order."""
    n = LABELS
    guesses = guesses or [float(guess.mean())] * len(labels)
    metrics = [
        {
            ("guess", "reserve"): g,
            ("items", "reserve"): float(n),
            ("size", "reserve"): float(ITEMS),
            ("accuracy", "reserve"): 1 - float(wrong.mean()),
        }
        for g in guesses
    ]
    rest = np.setdiff1d(np.arange(ITEMS), order)
    whole = np.concatenate([order, rest])
    return History([n + k for k in labels], metrics, tested=Sampled(guess[whole], wrong[order]))


@pytest.mark.parametrize("accuracy", [0.9, 0.93, 0.95])
def test_the_criterion_is_what_was_simulated(accuracy):
    rng = np.random.default_rng(2)
    wrong, guess = model(rng, accuracy, "honest")
    x = ((wrong - guess)[ORDERS[:60]] + 1) / 2
    limit = np.full(60, (0.1 - guess.mean() + 1) / 2)
    expected = Bettor(x, ITEMS, 1 - spent(1, 0.95)).drops(limit, up=False)
    found = [bool(target(0.9)(past(wrong, guess, order))) for order in ORDERS[:60]]
    assert found == expected.tolist()


def test_the_reason_has_the_accuracy_and_its_lower_end():
    wrong, guess = model(np.random.default_rng(3), 0.97, "honest")
    said = target(0.9)(past(wrong, guess, ORDERS[0]))
    assert said.startswith("accuracy 0.9")
    assert "by 400 test labels, at least 0.9" in said


def test_a_trial_looks_where_the_guesses_are_near_and_the_labels_have_grown():
    wrong, guess = model(np.random.default_rng(4), 0.97, "honest")
    labels = [20, 30, 40, 44, 51, 52, 70]
    guesses = [0.4, NEAR * 0.1 + 0.01, 0.1, 0.1, 0.1, 0.05, 0.4]
    history = past(wrong, guess, ORDERS[0], labels, guesses)
    assert looks(history, 0.1) == [2, 5], (
        f"52 labels are {GROWTH} times 40; in round 6 the guesses are far again"
    )
    assert shown(history, 0.1, 0.95) is None
    assert looks(past(wrong, guess, ORDERS[0], labels[:6], guesses[:6]), 0.1) == [2, 5]
    found = shown(past(wrong, guess, ORDERS[0], labels[:6], guesses[:6]), 0.1, 0.95)
    once = shown(past(wrong, guess, ORDERS[0]), 0.1, 0.95)
    assert found is not None
    assert once is not None
    assert found.high > once.high, "the second look has less to spend"


def test_the_levels_of_all_looks_add_up():
    assert sum(1 - spent(look, 0.95) for look in range(1, 10_000)) == pytest.approx(0.05, abs=1e-4)


def test_test_labels_are_wanted_once_the_guesses_are_near():
    far = [{("guess", "reserve"): 0.4, ("size", "reserve"): 500.0, ("items", "reserve"): 0.0}]
    near = [*far, {("guess", "reserve"): 0.12, ("size", "reserve"): 500.0, ("items", "reserve"): 0.0}]
    back = [*near, *far]
    assert wanted(History([20], far), 0.1, 0.95, None) == 0
    assert 100 < wanted(History([20, 30], near), 0.1, 0.95, None) == needed(0.1, 0.95, 500, None) <= 500
    assert wanted(History([20, 30, 40], back), 0.1, 0.95, 70) == 70
    assert target(0.9, labels=70).test_labels(History([20, 30], near)) == 70
    assert (target(0.9) | plateau()).needs(500) == max(needed(0.1, 0.95, 500, None), 200)
    assert (target(0.9) & plateau()).test_labels(History([20], far)) == 200
    assert needed(0.0, 0.95, 300, None) == 300
    assert needed(0.1, 0.95, 300, 1000) == 300
