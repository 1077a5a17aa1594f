import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baldur import acquire
from baldur.errors import InvalidArgument, TieBreakWarning
from baldur.testing import verify_acquisition


def votes(log_probs):
    return acquire.variation_ratio(log_probs, mode="votes")


TABLE = {
    acquire.bald: [0, 0.70421460, 0, 0.09004884, 0.70421460, 0.27928837],
    votes: [0, 0.666667, 0, 0.333333, 0.666667, 0.333333],
    acquire.variation_ratio: [0.1, 0.666667, 0.6, 0.533333, 0.666667, 0.433333],
    acquire.mean_std: [0, 0.40069384, 0, 0.13728401, 0.40069384, 0.21998878],
}


@pytest.mark.parametrize("function", TABLE)
def test_worked_numbers(function, tensor_a):
    assert np.asarray(function(acquire.from_probs(tensor_a))) == pytest.approx(TABLE[function], abs=1e-6)


@pytest.mark.parametrize(
    ("function", "bounds"),
    [
        (acquire.bald, lambda T, C: (0, min(math.log(C), math.log(T)))),
        (acquire.mean_std, lambda T, C: (0, 0.5)),
        (acquire.variation_ratio, lambda T, C: (0, 1 - 1 / C)),
        (votes, lambda T, C: (0, 1 - 1 / min(T, C))),
    ],
)
def test_verified(function, bounds):
    verify_acquisition(function, bounds)


def test_each_has_its_own_favourite(pool):
    log_probs = acquire.from_probs(pool)
    functions = (acquire.entropy, acquire.bald, acquire.mean_std, votes)
    assert [int(np.argmax(f(log_probs))) for f in functions] == [1, 2, 3, 4]


def test_bald_is_what_entropy_leaves_unexplained(pool):
    log_probs = acquire.from_probs(pool)
    within = np.mean([acquire.entropy(log_probs[:, t : t + 1]) for t in range(3)], axis=0)
    assert acquire.bald(log_probs) == pytest.approx(acquire.entropy(log_probs) - within, abs=1e-12)


def test_two_disjoint_certainties_are_worth_log_two():
    """Pitfall: bits for nats, or the second term with the wrong sign."""
    log_probs = acquire.from_probs(np.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]))
    assert acquire.bald(log_probs) == pytest.approx(math.log(2), abs=1e-12)


def test_bald_keeps_its_digits_where_samples_nearly_agree():
    """Against the exact second-order value; float32 sums of entropies would give noise of ±5e-7."""
    step = 1e-5
    log_probs = acquire.from_probs(np.array([[[0.5 + step, 0.5 - step], [0.5 - step, 0.5 + step]]]))
    assert acquire.bald(log_probs)[0] == pytest.approx(2 * step**2, rel=1e-4)


@pytest.mark.parametrize("function", [acquire.bald, acquire.mean_std, votes])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_identical_samples_are_worth_exactly_nothing(function, dtype):
    generator = torch.Generator().manual_seed(0)
    one = torch.log_softmax(torch.randn(50, 1, 10, generator=generator) * 5, dim=2).to(dtype)
    assert torch.all(function(one.expand(50, 20, 10)) == 0)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 5), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_bald_is_bounded_and_ignores_duplicated_samples(classes, draws, seed):
    probs = np.random.default_rng(seed).dirichlet([0.3] * classes, size=(8, draws))
    log_probs = acquire.from_probs(probs)
    scores = acquire.bald(log_probs)
    assert np.all(scores <= min(math.log(classes), math.log(draws)) + 1e-12)
    assert np.all(scores <= acquire.entropy(log_probs) + 1e-12)
    assert acquire.bald(np.concatenate([log_probs, log_probs], axis=1)) == pytest.approx(scores, abs=1e-12)


def test_permuting_samples_of_one_item_alone_leaves_its_bald(pool):
    log_probs = acquire.from_probs(pool)
    scores = acquire.bald(log_probs)
    log_probs[3] = log_probs[3, [2, 0, 1]]
    assert acquire.bald(log_probs) == pytest.approx(scores, abs=1e-14)


@pytest.mark.parametrize(
    ("draws", "expected"), [(2, 0.135), (5, 0.215), (10, 0.239), (20, 0.254), (50, 0.260), (100, 0.262)]
)
def test_few_samples_underestimate_bald(draws, expected):
    """p ~ Dirichlet(1, 1, 1): the exact value is log 3 - 5/6 = .265279; so scores compare at equal T only."""
    probs = np.random.default_rng(0).dirichlet([1, 1, 1], size=(40_000 // draws, draws))
    scores = acquire.bald(acquire.from_probs(probs))
    assert np.mean(scores) == pytest.approx(expected, abs=0.0005 + 4 * np.std(scores) / len(scores) ** 0.5)
    assert np.mean(scores) < math.log(3) - 5 / 6


def test_mean_std_is_over_samples():
    """Pitfall: the deviation over a single stored pass is 0 everywhere, and the choice the order of the pool."""
    log_probs = acquire.from_probs(np.array([[[0.9, 0.1], [0.1, 0.9]], [[0.9, 0.1], [0.9, 0.1]]]))
    assert acquire.mean_std(log_probs) == pytest.approx([0.4, 0.0], abs=1e-12)


def test_votes_go_to_the_first_of_equal_classes():
    tied = np.array([[[0.5, 0.5, 0.0], [0.6, 0.2, 0.2], [0.1, 0.8, 0.1]]])
    assert votes(acquire.from_probs(tied)) == pytest.approx([1 / 3])


def test_votes_do_not_move_with_confidence():
    """Any monotone change inside a pass leaves them."""
    logits = np.random.default_rng(0).normal(size=(30, 7, 4))
    hot, cold = (votes(acquire.from_logits(logits * factor)) for factor in (9, 0.1))
    assert np.array_equal(hot, cold)


def test_votes_of_one_pass_are_not_least_confidence():
    """Pitfall: a variation ratio of one deterministic pass that is least confidence under another name."""
    with pytest.warns(TieBreakWarning):
        assert np.all(votes(acquire.from_probs(np.array([[0.4, 0.35, 0.25]]))) == 0)


@pytest.mark.parametrize("function", [acquire.bald, acquire.mean_std, votes])
def test_one_sample_cannot_disagree(function):
    log_probs = acquire.from_probs(np.array([[0.9, 0.1], [0.5, 0.5]]))
    with pytest.warns(TieBreakWarning, match="T is 1"):
        assert function(log_probs).tolist() == [0, 0]


def test_an_unknown_mode_is_refused():
    with pytest.raises(InvalidArgument, match="'mean' or 'votes', not 'median'"):
        inspect.unwrap(acquire.variation_ratio)(acquire.from_probs(np.eye(2)), mode="median")
