import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baldur.errors import InvalidArgument
from baldur.select.coreset import k_center
from baldur.select.covering import prob_cover, purity_radius

LINE = np.array([0, 0.3, 0.5, 0.9, 2, 2.1, 5])[:, None]


def brute(x, k, delta, centres):
    inside = np.linalg.norm(x[:, None] - x[None], axis=2) < delta
    open_ = np.ones(len(x), bool)
    for c in centres:
        open_ &= ~(np.linalg.norm(x - c, axis=1) < delta)
    picks, covered = [], []
    while len(picks) < k and open_.any():
        picks.append(int(np.argmax((inside & open_).sum(axis=1))))
        open_ &= ~inside[picks[-1]]
        covered.append(int((~open_).sum()))
    return picks, covered


def test_the_worked_example():
    picks = prob_cover(LINE, 3, delta=0.45)
    assert picks.indices.tolist() == [1, 4, 2]
    assert picks.scores.tolist() == [3, 2, 1]
    assert picks.info["objective"].tolist() == [3, 5, 6]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(0, 10), st.sampled_from([1.0, 1.5, 2.0]))
def test_it_is_the_plain_greedy_with_items_exactly_on_the_sphere(seed, n, k, delta):
    rng = np.random.default_rng(seed)
    x = rng.integers(-4, 5, size=(n, 2)).astype(float)
    centres = rng.integers(-4, 5, size=(2, 2)).astype(float)
    expected, covered = brute(x, k, delta, centres)
    picks = prob_cover(x, k, labelled=centres, delta=delta)
    assert picks.indices[: len(expected)].tolist() == expected
    assert picks.info["objective"][: len(expected)].tolist() == covered
    assert len(set(picks.indices.tolist())) == min(k, n)


@pytest.mark.parametrize("block", [64, 1000])
def test_no_item_is_lost_in_the_last_block(monkeypatch, block):
    """Pitfall: a graph that is built of whole blocks only, so that its last items can never be chosen."""
    monkeypatch.setattr("baldur.select._products.BLOCK", block)
    x = np.concatenate([np.arange(50.0) * 10, np.full(3, 1e4)])[:, None]
    assert prob_cover(x, 1, delta=1.0).indices.tolist() == [50]


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_items_that_are_equal_are_looked_at_in_blocks(monkeypatch, value):
    """Their radius is the least there is, its square 0: rounding could decide of every pair."""
    x, asked, norm = np.full((60, 3), value), [], np.linalg.norm

    def watched(*arguments, **options):
        asked.append(arguments)
        return norm(*arguments, **options)

    delta = purity_radius(x, 3, rng=0)
    monkeypatch.setattr(np.linalg, "norm", watched)
    picks = prob_cover(x, 2, delta=delta)
    assert picks.scores.tolist() == [60, 0]
    assert len(asked) < 20


def test_where_all_is_covered_the_farthest_follows():
    """Pitfall: a plain argmax over degrees that are all 0, which gives item 0 for ever."""
    picks = prob_cover(LINE, 7, delta=100.0)
    assert picks.indices[0] == 0
    assert picks.indices[1] == 6
    assert sorted(picks.indices.tolist()) == list(range(7))
    assert picks.scores.tolist() == [7, 0, 0, 0, 0, 0, 0]
    assert prob_cover(LINE, 1, labelled=LINE[:1], delta=100.0).indices.tolist() == [6]


def test_it_finds_the_dense_region_that_farthest_first_and_random_miss():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-50, 50, size=(30, 2)), rng.normal(size=(40, 2)) * 0.1])
    near = np.sum(np.linalg.norm(x[:, None] - x[None], axis=2) < 1, axis=1)
    assert near[prob_cover(x, 1, delta=1.0).indices[0]] >= 40
    assert near[k_center(x, 2).indices[1]] < 5
    assert np.median(near[:30]) < 5


def test_the_radius_of_a_worked_example():
    """The nearest items of the other cluster are at 10, 9, 8, 8, 9 and 11."""
    x = np.array([0.0, 1, 2, 10, 11, 13])[:, None]
    assert [purity_radius(x, 2, rng=0, purity=p) for p in (1.0, 0.75, 4 / 6, 0.5, 2 / 6, 0.1)] == [
        8,
        8,
        9,
        9,
        10,
        11,
    ]


def test_a_radius_that_keeps_balls_pure():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(50, 2)) * 0.1, rng.normal(size=(50, 2)) * 0.1 + [10, 0]])
    assert 9 < purity_radius(x, 2, rng=0) < 11
    assert purity_radius(x, 2, rng=0) == purity_radius(torch.from_numpy(x), 2, rng=0)
    assert purity_radius(x, 1, rng=0) > 10
    mixed = purity_radius(rng.normal(size=(200, 2)), 2, rng=0)
    assert mixed < 0.3
    with pytest.raises(InvalidArgument, match="100 items cannot be of 101 classes"):
        purity_radius(x, 101, rng=0)


def test_sizes_and_refusals():
    assert len(prob_cover(LINE, 0, delta=1.0)) == len(prob_cover(LINE[:0], 2, delta=1.0)) == 0
    for delta in (0.0, -1.0, np.nan, np.inf, 1e200):
        with pytest.raises(InvalidArgument, match="delta is a distance above 0"):
            prob_cover(LINE, 1, delta=delta)
    with pytest.raises(InvalidArgument, match="k is a whole number"):
        prob_cover(LINE, -2, delta=1.0)
    with pytest.raises(InvalidArgument, match="row 1"):
        prob_cover(np.array([[0.0], [np.nan]]), 1, delta=1.0)
