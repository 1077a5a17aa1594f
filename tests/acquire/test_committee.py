import math

import numpy as np
import pytest

from baldur import acquire
from baldur.errors import TieBreakWarning
from baldur.testing import verify_acquisition

H2 = math.log(3) - 2 / 3 * math.log(2)
TABLE = {
    acquire.expected_entropy: [0.39439769, 0.39439769, 1.08052763, 0.95370819, 0.39439769, 0.63903186],
    acquire.mean_kl: [0, 0.70421460, 0, 0.09004884, 0.70421460, 0.27928837],
    acquire.vote_entropy: [0, math.log(3), 0, H2, math.log(3), H2],
}


@pytest.mark.parametrize("function", TABLE)
def test_worked_numbers(function, tensor_a):
    assert np.asarray(function(acquire.from_probs(tensor_a))) == pytest.approx(TABLE[function], abs=1e-6)


@pytest.mark.parametrize(
    ("function", "bounds"),
    [
        (acquire.expected_entropy, lambda T, C: (0, math.log(C))),
        (acquire.mean_kl, lambda T, C: (0, min(math.log(C), math.log(T)))),
        (acquire.vote_entropy, lambda T, C: (0, math.log(min(T, C)))),
    ],
)
def test_verified(function, bounds):
    verify_acquisition(function, bounds)


def test_the_entropy_of_the_mean_falls_into_two_parts(pool):
    log_probs = acquire.from_probs(pool)
    parts = acquire.expected_entropy(log_probs) + acquire.mean_kl(log_probs)
    assert parts == pytest.approx(acquire.entropy(log_probs), abs=1e-13)


def test_the_consensus_is_what_bald_measures_against(pool):
    log_probs = acquire.from_probs(pool)
    assert acquire.mean_kl(log_probs) == pytest.approx(acquire.bald(log_probs), abs=1e-12)
    agreed = np.repeat(acquire.from_logits(np.random.default_rng(0).normal(size=(30, 1, 7)) * 4), 20, axis=1)
    assert np.all(acquire.mean_kl(agreed) == 0)


def test_vote_entropy_sees_beyond_the_first_class():
    """2-2-0 and 2-1-1: the same variation ratio, more entropy where the rest is divided."""
    one = np.eye(3) * 0.8 + 0.1 * (1 - np.eye(3))
    log_probs = acquire.from_probs(np.stack([one[[0, 0, 1, 1]], one[[0, 0, 1, 2]]]))
    assert acquire.variation_ratio(log_probs, mode="votes").tolist() == [0.5, 0.5]
    assert acquire.vote_entropy(log_probs) == pytest.approx([math.log(2), 1.5 * math.log(2)])


def test_each_has_its_own_favourite(pool):
    log_probs = acquire.from_probs(pool)
    functions = (acquire.expected_entropy, acquire.mean_kl, acquire.vote_entropy)
    assert [int(np.argmax(f(log_probs))) for f in functions] == [4, 2, 4]


@pytest.mark.parametrize("function", [acquire.mean_kl, acquire.vote_entropy])
def test_a_committee_of_one_cannot_disagree(function):
    with pytest.warns(TieBreakWarning, match=function.__name__):
        assert function(acquire.from_probs(np.array([[0.9, 0.1]]))).tolist() == [0]
