import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baldur import select
from baldur.errors import InvalidArgument, NonFiniteScore


def test_top_takes_the_largest_and_the_first_of_equal_ones():
    picks = select.top(np.array([1.0, 3.0, 2.0, 3.0, 1.0, 2.0]), 3)
    assert picks.indices.tolist() == [1, 3, 2]
    assert picks.scores.tolist() == [3, 3, 2]
    assert picks.info == {"gap": 0.0, "ties": 2}


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(-3, 3), max_size=30), st.integers(0, 40))
def test_top_is_a_stable_sort(values, k):
    scores = np.array(values, np.float64)
    expected = sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]
    picks = select.top(scores, k)
    assert picks.indices.tolist() == expected
    assert picks.scores.tolist() == [values[i] for i in expected]
    assert picks.info["ties"] == (values.count(values[expected[-1]]) if expected else 0)


def test_top_of_torch_gives_numpy_positions():
    picks = select.top(torch.tensor([0.1, 0.9, 0.5], dtype=torch.float64), 2)
    assert picks.indices.dtype == np.intp
    assert picks.scores.dtype == np.float64
    assert picks.indices.tolist() == [1, 2]


def test_top_of_more_than_there_are_gives_all():
    assert select.top(np.array([1.0, 2.0]), 5).indices.tolist() == [1, 0]


@pytest.mark.parametrize("k", [0, np.int64(0)])
def test_nothing_is_asked_for(k):
    assert len(select.top(np.ones(3), k)) == 0
    assert len(select.random(3, k, 0)) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_never_ranked(value):
    """Pitfall: they come first in some libraries and last in others."""
    with pytest.raises(NonFiniteScore, match="item 2"):
        select.top(np.array([0.0, 1.0, value, 2.0]), 1)


def test_k_is_a_count():
    with pytest.raises(InvalidArgument, match="k is a whole number"):
        select.top(np.ones(3), -1)
    with pytest.raises(InvalidArgument, match="k is a whole number"):
        select.random(3, -1, 0)
    with pytest.raises(InvalidArgument, match="n is a whole number"):
        select.random(-3, 1, 0)
    with pytest.raises(InvalidArgument, match=r"not 1\.5"):
        inspect.unwrap(select.top)(np.ones(3), 1.5)


def test_scores_have_one_axis():
    with pytest.raises(InvalidArgument, match=r"\(3, 2\)"):
        select.top(np.ones((3, 2)), 1)


def test_random_comes_from_its_generator_alone():
    first, again = (select.random(100, 10, np.random.default_rng(5)).indices for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, select.random(100, 10, np.random.default_rng(6)).indices)
    assert np.array_equal(first, select.random(100, 10, 5).indices)
    assert len(set(first.tolist())) == 10


def test_random_includes_each_item_equally_often():
    rng = np.random.default_rng(0)
    counts = np.bincount(np.concatenate([select.random(10, 3, rng).indices for _ in range(5000)]))
    assert counts / 5000 == pytest.approx(np.full(10, 0.3), abs=4 * (0.3 * 0.7 / 5000) ** 0.5)


def test_random_gives_all_when_asked_for_more():
    picks = select.random(4, 9, 0)
    assert sorted(picks.indices.tolist()) == [0, 1, 2, 3]
    assert picks.scores.tolist() == [0, 0, 0, 0]


def test_random_ties_take_each_of_equal_ones_equally_often():
    """Pitfall: where a pool is sorted by class, the first of equal ones are all of one class."""
    scores = np.array([1.0, 3.0, 1.0, 1.0, 0.0])
    rng = np.random.default_rng(0)
    picks = [select.top(scores, 2, ties="random", rng=rng) for _ in range(3000)]
    assert {p.indices[0] for p in picks} == {1}
    assert all(p.info["ties"] == 3 for p in picks)
    counts = np.bincount([p.indices[1] for p in picks], minlength=5)
    assert counts / 3000 == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3, 0], abs=4 * (2 / 9 / 3000) ** 0.5)
    firsts = {select.top(np.ones(3), 2, ties="random", rng=seed).indices[0] for seed in range(20)}
    assert firsts == {0, 1, 2}


def test_random_ties_come_from_their_generator_alone():
    scores = np.array([0.0, 1.0, 1.0, 0.5, 1.0])
    found = [select.top(scores, 3, ties="random", rng=seed).indices.tolist() for seed in (1, 1)]
    assert found[0] == found[1]
    with pytest.raises(InvalidArgument, match="need rng"):
        select.top(scores, 1, ties="random")
    with pytest.raises(InvalidArgument, match="'stable' or 'random'"):
        inspect.unwrap(select.top)(scores, 1, ties="first")
