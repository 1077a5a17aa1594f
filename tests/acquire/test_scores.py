import inspect

import numpy as np
import pytest
import torch

from baldur import acquire
from baldur.errors import InvalidArgument, NonFiniteScore

A, B = np.array([0.0, 1.0, 2.0, 4.0]), np.array([300.0, 100.0, 100.0, 0.0])
learning_loss, combine = inspect.unwrap(acquire.learning_loss), inspect.unwrap(acquire.combine)


@pytest.mark.parametrize("library", [np.asarray, torch.asarray])
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_predicted_losses_are_scores(library, shape):
    given = library(np.array([0.3, -1.0, 2.0], np.float32).reshape(shape))
    scores = acquire.learning_loss(given)
    assert type(scores) is type(given)
    assert np.asarray(scores) == pytest.approx([0.3, -1, 2])
    assert np.asarray(scores).dtype == np.float64
    assert acquire.learning_loss(given[:0]).shape == (0,)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_no_number_is_never_mended(value):
    with pytest.raises(NonFiniteScore, match="predicted loss of item 1 is"):
        acquire.learning_loss(np.array([[0.5], [value]]))


@pytest.mark.parametrize(
    "given", [np.ones((3, 2)), np.ones((3, 1, 1)), np.float64(1) * np.ones(()), np.ones(3, int)]
)
def test_predicted_losses_that_do_not_fit_are_refused(given):
    with pytest.raises(InvalidArgument):
        learning_loss(given)


@pytest.mark.parametrize("library", [np.asarray, torch.asarray])
def test_combinations(library):
    a, b = library(A), library(B)
    for arguments, expected in (
        ({}, A + B),
        ({"weights": (2, -0.5)}, 2 * A - 0.5 * B),
        ({"scale": "range"}, [1, 1 / 4 + 1 / 3, 1 / 2 + 1 / 3, 1]),
        ({"scale": "rank"}, np.array([1 + 7, 3 + 4, 5 + 4, 7 + 1]) / 8),
        ({"scale": "range", "weights": [3, 1]}, [1, 3 / 4 + 1 / 3, 3 / 2 + 1 / 3, 3]),
    ):
        total = acquire.combine(a, b, **arguments)
        assert type(total) is type(a)
        assert np.asarray(total) == pytest.approx(np.asarray(expected), abs=1e-12)
    assert np.asarray(a).tolist() == A.tolist()


def test_scores_of_other_units_need_a_scale():
    """Unscaled, the larger numbers alone decide."""
    favourites = [
        int(np.argmax(acquire.combine(A, B, weights=(2, 1), scale=s))) for s in ("none", "range", "rank")
    ]
    assert favourites == [0, 3, 3]


def test_equal_scores_have_no_say():
    same = np.full(4, 7.0)
    assert acquire.combine(same, scale="range").tolist() == [0] * 4
    assert acquire.combine(same, scale="rank").tolist() == [0.5] * 4
    assert acquire.combine(A[:0], B[:0], scale="rank").shape == (0,)


def test_maps_and_precision():
    maps = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    total = acquire.combine(maps, maps.astype(np.float64), scale="rank")
    assert total.shape == (2, 3, 2)
    assert total.dtype == np.float64
    assert total[0, 0, 0] == pytest.approx(1 / 12)


@pytest.mark.parametrize(
    ("scores", "arguments", "message"),
    [
        ((), {}, "at least one"),
        ((A, B[:3]), {}, "scores 1 are ndarray"),
        ((A, torch.asarray(B)), {}, "scores 1 are Tensor"),
        ((A, B), {"weights": (1.0,)}, "2 finite weights"),
        ((A, B), {"weights": (1.0, np.nan)}, "2 finite weights"),
        ((A, B), {"scale": "z"}, "not 'z'"),
        ((A, B.astype(int)), {}, "floating type"),
    ],
)
def test_what_does_not_fit_is_refused(scores, arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        combine(*scores, **arguments)


def test_a_score_that_is_no_number_is_never_mended():
    with pytest.raises(NonFiniteScore, match="score 1 of item 2 is nan"):
        acquire.combine(A, np.where(A == 2, np.nan, B))
