import inspect
import math

import numpy as np
import pytest
import torch

from baldur import acquire
from baldur.errors import InvalidArgument, InvalidPredictions


@pytest.mark.parametrize("border", [acquire.from_probs, acquire.from_logits])
def test_two_axes_gain_one_sample(border):
    assert border(np.full((4, 2), 0.5)).shape == (4, 1, 2)
    assert border(torch.full((4, 3, 2), 0.5)).shape == (4, 3, 2)


def test_from_probs_takes_the_logarithm():
    given = np.array([[0.25, 0.75], [0.0, 1.0]])
    before = given.copy()
    log_probs = acquire.from_probs(given)
    assert log_probs[:, 0].tolist() == [[math.log(0.25), math.log(0.75)], [-math.inf, 0.0]]
    assert np.array_equal(given, before)


def test_from_logits_normalises_whatever_the_size_and_shift():
    logits = np.array([[1000.0, 1000.0, -math.inf], [-2000.0, -2000.0 + math.log(3), -math.inf]])
    assert np.exp(acquire.from_logits(logits)[:, 0]) == pytest.approx(
        np.array([[0.5, 0.5, 0], [0.25, 0.75, 0]]), abs=1e-12
    )


def test_small_logits_are_not_taken_for_probabilities():
    """Pitfall: guessing from values. They lie in [0, 1] and sum to 1; only the caller knows what they are."""
    values = np.array([[0.25, 0.75]])
    assert np.exp(acquire.from_logits(values)) != pytest.approx(values)
    assert np.exp(acquire.from_probs(values)) == pytest.approx(values[:, None])


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_from_sigmoid_makes_two_classes(shape):
    log_probs = acquire.from_sigmoid(np.array([0.0, 0.2, 1.0]).reshape(shape))
    assert np.exp(log_probs) == pytest.approx(np.array([[[1, 0]], [[0.8, 0.2]], [[0, 1]]]))


def test_from_sigmoid_keeps_samples():
    log_probs = acquire.from_sigmoid(torch.tensor([[[0.2], [0.9]]]))
    assert log_probs.shape == (1, 2, 2)
    assert float(log_probs[0, 1, 1]) == pytest.approx(math.log(0.9), abs=1e-6)


def test_half_precision_is_renormalised_in_float32():
    probs = torch.full((2, 3, 7), 1 / 7).to(torch.bfloat16)
    log_probs = acquire.from_probs(probs)
    assert log_probs.dtype == torch.float32
    assert log_probs.exp().sum(2) == pytest.approx(np.ones((2, 3)), abs=1e-6)
    assert acquire.from_logits(probs).dtype == torch.float32


def test_the_tolerance_depends_on_the_type():
    probs = np.full((1, 1, 2), 0.502)
    with pytest.raises(InvalidPredictions, match=r"sums to 1\.004"):
        acquire.from_probs(probs)
    acquire.from_probs(probs.astype(np.float16))
    acquire.from_probs(np.full((1, 1, 2), 0.5004))


@pytest.mark.parametrize("column", [np.full((5, 1), 0.5), np.full((5, 3, 1), 0.5), np.full(5, 0.5)])
@pytest.mark.parametrize("border", [acquire.from_probs, acquire.from_logits])
def test_one_column_is_refused_and_from_sigmoid_named(border, column):
    with pytest.raises(InvalidPredictions, match="from_sigmoid"):
        border(column)


@pytest.mark.parametrize("library", [np.asarray, torch.asarray])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.5, 0.6], r"item 2, sample 1: .*sum to 1 were expected: \[0\.5, 0\.6\] sums to 1\.1"),
        ([-0.1, 1.1], r"item 2, sample 1: .*in \[0, 1\]"),
        ([math.nan, 1.0], "item 2, sample 1: .*NaN"),
        ([math.inf, 0.0], r"item 2, sample 1: .*\+inf"),
    ],
)
def test_bad_probabilities_are_named(library, row, message):
    probs = np.full((4, 2, 2), 0.5)
    probs[2, 1] = row
    probs[3, 0] = 7
    with pytest.raises(InvalidPredictions, match=message):
        acquire.from_probs(library(probs))


def test_a_bad_place_is_named():
    probs = np.full((4, 2, 2, 3, 5), 0.5)
    probs[1, 1, 0, 2, 4] = 0.7
    with pytest.raises(InvalidPredictions, match=r"item 1, sample 1 at \(2, 4\)"):
        acquire.from_probs(probs)


@pytest.mark.parametrize("row", [[math.nan, 0.0], [math.inf, 0.0], [-math.inf, -math.inf]])
def test_bad_logits_are_named(row):
    logits = np.zeros((4, 2, 2))
    logits[2, 1] = row
    with pytest.raises(InvalidPredictions, match="item 2, sample 1"):
        acquire.from_logits(logits)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 2), ()])
def test_from_sigmoid_refuses_what_is_ambiguous(shape):
    with pytest.raises(InvalidPredictions, match="sigmoid outputs"):
        acquire.from_sigmoid(np.full(shape, 0.5))


def test_from_sigmoid_refuses_logits():
    with pytest.raises(InvalidPredictions, match=r"item 1, sample 0: .*outside \[0, 1\]"):
        acquire.from_sigmoid(np.array([0.5, 3.0]))


@pytest.mark.parametrize("border", [acquire.from_probs, acquire.from_logits, acquire.from_sigmoid])
def test_integers_are_refused(border):
    with pytest.raises(InvalidPredictions, match="int64"):
        border(np.ones((2, 1), np.int64))


def test_no_samples_are_refused():
    with pytest.raises(InvalidPredictions, match="at least one posterior sample"):
        acquire.from_probs(np.ones((3, 0, 2)))


def test_a_list_is_refused():
    with pytest.raises(InvalidArgument, match="not list"):
        inspect.unwrap(acquire.from_probs)([[0.5, 0.5]])
