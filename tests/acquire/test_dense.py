import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baldur import acquire
from baldur.acquire import dense
from baldur.errors import InvalidArgument, NonFiniteScore

U = np.array([[[0.1, 0.2, 0.3], [0.0, 0.9, 0.1]]])
aggregate = inspect.unwrap(acquire.aggregate)


@pytest.mark.parametrize("library", [np.asarray, torch.asarray])
@pytest.mark.parametrize(
    ("how", "q", "expected"),
    [
        ("mean", None, 0.266667),
        ("sum", None, 1.6),
        ("max", None, 0.9),
        ("top", 0.5, 0.466667),
        ("top", None, 0.9),
        ("top", 1.0, 0.266667),
        ("quantile", 0.5, 0.15),
        ("quantile", 0.0, 0.0),
        ("quantile", 1.0, 0.9),
    ],
)
def test_worked_numbers(library, how, q, expected):
    scores = acquire.aggregate(library(U), how=how, q=q)
    assert type(scores) is type(library(U))
    assert np.asarray(scores).dtype == np.float64
    assert np.asarray(scores) == pytest.approx([expected], abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 30), st.floats(0.01, 1), st.integers(0, 2**32 - 1))
def test_only_valid_places_count(places, q, seed):
    rng = np.random.default_rng(seed)
    u, mask = rng.normal(size=(5, places)), rng.random((5, places)) < 0.6
    mask[:, rng.integers(places)] = True
    u[~mask] = rng.choice([np.nan, np.inf, -np.inf, 1e9])
    valid = [row[keep] for row, keep in zip(u, mask, strict=True)]
    many = [math.ceil(q * len(v) - 1e-9) for v in valid]
    expected = {
        "mean": [v.mean() for v in valid],
        "sum": [v.sum() for v in valid],
        "max": [v.max() for v in valid],
        "top": [np.sort(v)[::-1][:k].mean() for v, k in zip(valid, many, strict=True)],
        "quantile": [np.quantile(v, q) for v in valid],
    }
    for how, values in expected.items():
        scores = acquire.aggregate(u, mask, how=how, q=q)
        assert scores == pytest.approx(values, abs=1e-12)
        there = acquire.aggregate(torch.tensor(u), torch.tensor(mask), how=how, q=q)
        assert there.numpy() == pytest.approx(values, abs=1e-12)


def test_the_share_is_counted_without_rounding_errors():
    """0.1 of 30 places are 3, though 0.1 · 30 is 3.0000000000000004 in floating point."""
    u = np.zeros((1, 30))
    u[0, :3] = 1
    assert acquire.aggregate(u, how="top", q=0.1).tolist() == [1]
    assert acquire.aggregate(u, how="top", q=0.11).tolist() == [0.75]


def test_each_has_its_own_favourite():
    """sum wants the large item, max the outlier, top the small object, mean what is uncertain all over."""
    u, mask = np.zeros((4, 100)), np.zeros((4, 100), bool)
    u[0], mask[0] = 0.2, True
    u[1, 0], mask[1, :40] = 5.0, True
    u[2, :4], mask[2, :40] = 2.0, True
    u[3, :20], mask[3, :20] = 0.6, True
    hows = ("sum", "max", "top", "mean")
    assert [int(np.argmax(acquire.aggregate(u, mask, how=how))) for how in hows] == [0, 1, 2, 3]


def test_small_classes_count_in_full():
    classes = np.array([[[0, 0, 0], [0, 2, 0]]])
    expected = (0.7 / 5 + 0.9) / 2
    assert acquire.class_balanced(U, classes) == pytest.approx([expected])
    mask = classes == 0
    assert acquire.class_balanced(U, classes, mask) == pytest.approx([0.14])
    there = acquire.class_balanced(*(torch.tensor(x) for x in (U, classes)))
    assert there.numpy() == pytest.approx([expected])
    both, both_classes = np.concatenate([U, U]), np.concatenate([classes, classes * 0 + 7])
    assert acquire.class_balanced(both, both_classes) == pytest.approx([expected, U.mean()])


def test_the_area_above_a_threshold():
    assert acquire.area(U, 0.1) == pytest.approx([3 / 6])
    assert acquire.area(U, 0.1, U > 0.15) == pytest.approx([1])


@pytest.mark.parametrize(
    "function",
    [
        acquire.aggregate,
        lambda u, mask, empty=None: acquire.class_balanced(u, np.zeros(u.shape, int), mask, empty),
        lambda u, mask, empty=None: acquire.area(u, 0.5, mask, empty),
    ],
)
def test_an_item_without_places_is_worth_what_the_caller_says(function):
    u = np.ones((3, 4))
    mask = np.ones((3, 4), bool)
    mask[1] = False
    with pytest.raises(InvalidArgument, match="item 1 has no valid place"):
        function(u, mask)
    assert function(u, mask, empty=-3.0).tolist() == [1, -3, 1]
    assert function(u[:, :0], mask[:, :0], empty=0.25).tolist() == [0.25] * 3


@pytest.mark.parametrize("how", ["mean", "sum", "max", "top", "quantile"])
def test_blocks_do_not_matter(monkeypatch, how):
    u = np.random.default_rng(0).normal(size=(40, 5, 3))
    expected = acquire.aggregate(u, how=how)
    monkeypatch.setattr(dense, "_CPU_BLOCK", 50)
    assert acquire.aggregate(u, how=how) == pytest.approx(expected, abs=1e-14)
    assert acquire.aggregate(u[:0], how=how).shape == (0,)
    assert acquire.aggregate(u.astype(np.float32), how=how) == pytest.approx(expected, abs=1e-5)


def test_a_score_that_is_no_number_is_never_mended():
    u = np.repeat(U, 3, axis=0)
    u[2, 1, 1] = np.nan
    with pytest.raises(NonFiniteScore, match="item 2 at place 4 is nan"):
        acquire.aggregate(u)
    assert acquire.aggregate(u, ~np.isnan(u)) == pytest.approx([1.6 / 6, 1.6 / 6, 0.7 / 5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"how": "median"}, "not 'median'"),
        ({"how": "top", "q": 0.0}, r"\(0, 1\]"),
        ({"how": "top", "q": math.nan}, r"\(0, 1\]"),
        ({"how": "quantile", "q": 1.1}, r"\[0, 1\]"),
        ({"mask": np.ones((1, 2, 3))}, "of kind bool"),
        ({"mask": np.ones((1, 3, 2), bool)}, "mask like the scores"),
        ({"mask": torch.ones(1, 2, 3, dtype=torch.bool)}, "mask like the scores"),
        ({"empty": math.nan}, "finite number, not nan"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        aggregate(U, **arguments)


def test_scores_of_items_have_no_places():
    with pytest.raises(InvalidArgument, match=r"\(N, \.\.\.\)"):
        aggregate(np.ones(3))
    with pytest.raises(InvalidArgument, match="classes like the scores"):
        inspect.unwrap(acquire.class_balanced)(U, U)
