import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baldur import acquire
from baldur.testing import verify_acquisition

TABLE = {
    acquire.least_confidence: [0.1, 0.666667, 0.6, 0.533333, 0.666667, 0.433333],
    acquire.margin: [-0.85, 0, -0.05, -0.133333, 0, -0.233333],
    acquire.entropy: [0.39439769, 1.09861229, 1.08052763, 1.04375704, 1.09861229, 0.91832023],
}


@pytest.mark.parametrize("function", TABLE)
def test_worked_numbers(function, tensor_a):
    assert np.asarray(function(acquire.from_probs(tensor_a))) == pytest.approx(TABLE[function], abs=1e-6)


@pytest.mark.parametrize(
    ("function", "bounds"),
    [
        (acquire.entropy, lambda T, C: (0, math.log(C))),
        (acquire.least_confidence, lambda T, C: (0, 1 - 1 / C)),
        (acquire.margin, lambda T, C: (-1, 0)),
    ],
)
def test_verified(function, bounds):
    verify_acquisition(function, bounds)


def test_each_has_its_own_favourite():
    """Least confidence, margin and entropy each rank another item first."""
    log_probs = acquire.from_probs(np.array([[0.4, 0.35, 0.25], [0.45, 0.44, 0.11], [0.42, 0.30, 0.28]]))
    functions = (acquire.least_confidence, acquire.margin, acquire.entropy)
    assert [int(np.argmax(f(log_probs))) for f in functions] == [0, 1, 2]


@pytest.mark.parametrize("function", TABLE)
def test_the_uniform_item_is_first(function):
    """Pitfall: signed margins sort the most confident first."""
    log_probs = acquire.from_probs(np.array([[0.98, 0.01, 0.01], [1 / 3] * 3, [0.5, 0.5, 0.0]]))
    assert int(np.argmax(function(log_probs))) == 1


def test_least_confidence_examples():
    """Scaled by C/(C - 1), which does not change the ranking, the largest is 1."""
    log_probs = acquire.from_probs(np.array([[0.5, 0.45, 0.05], [0.9, 0.05, 0.05], [1 / 3] * 3]))
    assert acquire.least_confidence(log_probs) * 3 / 2 == pytest.approx([0.75, 0.15, 1], abs=1e-12)


def test_margin_examples():
    log_probs = acquire.from_probs(np.array([[0.5, 0.45, 0.05], [0.4, 0.35, 0.25], [0.45, 0.44, 0.11]]))
    assert acquire.margin(log_probs) == pytest.approx([-0.05, -0.05, -0.01], abs=1e-12)


def test_zero_log_zero_is_zero():
    """Pitfall: NaN, or the small negative entropy that adding an epsilon gives."""
    assert np.all(acquire.entropy(acquire.from_probs(np.eye(4))) == pytest.approx(0, abs=1e-15))
    assert np.all(acquire.entropy(acquire.from_probs(np.eye(4))) >= 0)


def test_probabilities_are_averaged_not_logits():
    """Pitfall: the softmax of mean logits is another distribution than the mean of softmaxes."""
    logits = np.array([[[8.0, 0.0], [0.0, 1.0]]])
    mean = np.mean(np.exp(acquire.from_logits(logits)), axis=1)
    expected = -np.sum(mean * np.log(mean), axis=1)
    assert acquire.entropy(acquire.from_logits(logits)) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 100), min_size=2, max_size=20, unique=True), st.integers(1, 4))
def test_two_classes_have_one_ranking(hundredths, draws):
    """With C = 2 least confidence, margin, entropy and the variation ratio of the mean rank identically."""
    p = np.array([h / 200 for h in hundredths])[:, None, None].repeat(draws, 1)
    log_probs = acquire.from_probs(np.concatenate([p, 1 - p], axis=2))
    functions = (acquire.least_confidence, acquire.margin, acquire.entropy, acquire.variation_ratio)
    for function in functions:
        assert np.argsort(function(log_probs)).tolist() == np.argsort(hundredths).tolist()
