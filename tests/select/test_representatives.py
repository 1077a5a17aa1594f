from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baldur.errors import InvalidArgument
from baldur.select.representatives import facility_location, suggestive_annotation

ANGLES = np.deg2rad([0, 25, 90, 140, 10])
UNITS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)


def similarity(x, shift=0.0):
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    units = x / np.where(lengths > 0, lengths, 1)
    return shift + (1 - shift) * units @ units.T


def brute(value, candidates, k):
    """Greedy by the definition; of values equal within rounding the first."""
    chosen = []
    for _ in range(k):
        rest = [i for i in candidates if i not in chosen]
        values = np.array([value([*chosen, i]) for i in rest])
        chosen.append(rest[int(np.flatnonzero(values >= values.max() - 1e-9)[0])])
    return chosen


def test_the_worked_example():
    """Pitfall: a running maximum that begins at 0 loses negative similarities: item 1 looks better than 2.87223361."""
    picks = suggestive_annotation(np.array([3.0, 3.0, 3.0, 0.0, 0.0]), UNITS * 7, 2, candidates=3)
    assert picks.indices.tolist() == [1, 2]
    assert picks.info["objective"] == pytest.approx([2.87223361, 4.51502122])
    assert similarity(UNITS)[:, [1, 0]].max(axis=1).sum() == pytest.approx(2.98480775)
    whole = facility_location(UNITS, 3)
    expected = brute(lambda chosen: similarity(UNITS, 0.5)[:, chosen].max(axis=1).sum(), range(5), 3)
    assert whole.indices.tolist() == expected
    first = [
        suggestive_annotation(np.eye(5)[i], UNITS, 1, candidates=1).info["objective"][0] for i in range(3)
    ]
    assert first == pytest.approx([2.12507110, 2.87223361, 2.23905405])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 25), st.integers(0, 6), st.booleans())
def test_both_are_the_plain_greedy_with_ties_duplicates_and_zero_rows(seed, n, k, lattice):
    rng = np.random.default_rng(seed)
    x = rng.integers(-1, 2, size=(n, 2)).astype(float) if lattice else rng.normal(size=(n, 3))
    s, cos, k = similarity(x, 0.5), similarity(x), min(k, n)
    w, b = rng.integers(0, 3, size=n).astype(float), rng.integers(-1, 2, size=n).astype(float)
    picks = facility_location(x, k, weights=w, bonus=b)

    def value(chosen):
        return float(w @ s[:, chosen].max(axis=1) + b[chosen].sum())

    assert picks.indices.tolist() == brute(value, range(n), k)
    assert picks.info["objective"] == pytest.approx([value(picks.indices[: i + 1]) for i in range(k)])
    scores = rng.permutation(n).astype(float)
    top = np.sort(np.argsort(-scores)[: 2 * k])
    picks = suggestive_annotation(scores, x, k)
    assert picks.indices.tolist() == brute(lambda chosen: cos[:, chosen].max(axis=1).sum(), top, k)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 3))
def test_greedy_reaches_its_share_of_the_optimum(seed, k):
    x = np.random.default_rng(seed).normal(size=(8, 3))
    s = similarity(x, 0.5)
    optimum = max(s[:, list(c)].max(axis=1).sum() for c in combinations(range(8), k))
    assert facility_location(x, k).info["objective"][-1] >= (1 - np.exp(-1)) * optimum


def test_what_is_labelled_represents_already():
    x = np.concatenate([np.tile([1.0, 0.0], (20, 1)), np.tile([0.0, 1.0], (5, 1))])
    assert facility_location(x, 1).indices.tolist() == [0]
    picks = facility_location(x, 1, labelled=x[:1])
    assert picks.indices.tolist() == [20]
    assert picks.info["objective"][-1] == pytest.approx(25)


def test_lazy_is_cheaper_and_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 16))[rng.integers(20, size=500)] * 3 + rng.normal(size=(500, 16))
    picks = facility_location(x, 30)
    assert picks.info["evaluations"] < 500 * 30 / 3
    assert (np.diff(picks.scores) <= 1e-9).all()
    for other in (torch.from_numpy(x), np.asfortranarray(x)):
        assert np.array_equal(facility_location(other, 30).indices, picks.indices)
    monkeypatch.setattr("baldur.select._products.BLOCK", 555)
    assert np.array_equal(facility_location(x, 30).indices, picks.indices)


def test_limits_of_the_candidates():
    """K = k is top-k uncertainty, K = N pure coverage; between, near duplicates are passed over."""
    rng = np.random.default_rng(0)
    x, scores = rng.normal(size=(40, 4)), rng.normal(size=40)
    top = np.argsort(-scores)[:5]
    assert set(suggestive_annotation(scores, x, 5, candidates=5).indices) == set(top)
    coverage = facility_location(x, 5).indices
    assert np.array_equal(suggestive_annotation(scores, x, 5, candidates=40).indices, coverage)
    x[top[1:]] = x[top[0]]
    assert len(set(suggestive_annotation(scores, x, 5, candidates=10).indices) & set(top)) <= 1


def test_sizes_and_refusals():
    assert len(facility_location(UNITS, 0)) == len(suggestive_annotation(np.ones(5), UNITS, 0)) == 0
    assert sorted(facility_location(UNITS, 9).indices.tolist()) == list(range(5))
    assert sorted(suggestive_annotation(np.ones(5), UNITS, 9).indices.tolist()) == list(range(5))
    assert len(facility_location(UNITS[:0], 2)) == 0
    assert facility_location(np.zeros((3, 2)), 3).indices.tolist() == [0, 1, 2]
    with pytest.raises(InvalidArgument, match="k is a whole number"):
        facility_location(UNITS, -1)
    with pytest.raises(InvalidArgument, match="weight of item 2 is negative"):
        facility_location(UNITS, 1, weights=np.array([1.0, 1, -1, 1, 1]))
    with pytest.raises(InvalidArgument, match="bonus: that of item 1 is nan"):
        facility_location(UNITS, 1, bonus=np.array([1.0, np.nan, 1, 1, 1]))
    with pytest.raises(InvalidArgument, match="features are of 5 items and scores of 4"):
        suggestive_annotation(np.ones(4), UNITS, 1)
    with pytest.raises(InvalidArgument, match="1 candidates are too few"):
        suggestive_annotation(np.ones(5), UNITS, 2, candidates=1)
