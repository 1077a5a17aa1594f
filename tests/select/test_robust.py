from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baldur.errors import InvalidArgument
from baldur.select.coreset import k_center
from baldur.select.robust import robust_k_center

POINTS = np.array([(0, 0), (1, 0), (0, 1), (5, 0), (5, 1), (10, 0), (2, 2)], np.float64)


def radius(x, centres, outliers):
    nearest = np.linalg.norm(x[:, None] - x[None, list(centres)], axis=2).min(axis=1)
    return np.sort(nearest)[::-1][outliers] if outliers < len(x) else 0.0


def optimum(x, k, outliers, centres=()):
    rest = [i for i in range(len(x)) if i not in centres]
    return min(radius(x, [*centres, *s], outliers) for s in combinations(rest, k))


@pytest.mark.parametrize("centres", [POINTS[:1], np.array([0])])
def test_the_worked_example(centres):
    """Pitfall: on squared distances, or with no outlier waived, the radius is 8 or 5."""
    picks = robust_k_center(POINTS, 1, labelled=centres, outliers=1, exact=True)
    assert picks.info["radius"] == pytest.approx([2.82842712])
    assert picks.info["gap"] == 0
    assert radius(POINTS, [0, 3], 1) == pytest.approx(2.82842712)
    greedy = robust_k_center(POINTS, 1, labelled=centres, outliers=1)
    assert greedy.indices.tolist() == [4]
    assert greedy.info["radius"] == pytest.approx([2.82842712])
    exact = [
        robust_k_center(POINTS, k, labelled=centres, outliers=0, exact=True).info["radius"][-1]
        for k in (1, 2, 3)
    ]
    assert exact == pytest.approx([5.0, 2.82842712, 1.0])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(0, 3), st.booleans(), st.booleans())
def test_exact_is_the_optimum_by_brute_force(seed, k, outliers, lattice, cold):
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, size=(9, 2)).astype(float) if lattice else rng.normal(size=(9, 2))
    first = () if cold else (2,)
    picks = robust_k_center(x, k, labelled=None if cold else np.array([2]), outliers=outliers, exact=True)
    assert picks.info["radius"][-1] == pytest.approx(optimum(x, k, outliers, first), abs=1e-9)
    assert radius(x, [*first, *picks.indices], outliers) == pytest.approx(picks.info["radius"][-1], abs=1e-9)
    assert len(set(picks.indices.tolist())) == k
    if not cold:  # farthest first
        assert picks.scores[0] == pytest.approx(max(np.linalg.norm(x[picks.indices] - x[2], axis=1)))
        assert (np.diff(picks.scores) <= 1e-12).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_the_radius_falls_with_what_may_be_waived(seed):
    x = np.random.default_rng(seed).normal(size=(10, 2))
    exact = [
        robust_k_center(x, 2, labelled=x[:1], outliers=o, exact=True).info["radius"][-1] for o in range(4)
    ]
    assert (np.diff(exact) <= 1e-12).all()
    plain = k_center(x, 2, x[:1])
    assert exact[0] <= plain.info["radius"][-1] + 1e-12
    greedy = robust_k_center(x, 2, labelled=x[:1], outliers=0)
    assert np.array_equal(greedy.indices, plain.indices)
    assert greedy.info["radius"] == pytest.approx(plain.info["radius"])


def test_outliers_do_not_attract_it():
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [rng.normal(size=(50, 2)), rng.normal(size=(50, 2)) + np.array([10, 0]), [[500.0, 500.0]]]
    )
    assert k_center(x, 1, x[:1]).indices.tolist() == [100]
    for exact in (False, True):
        picks = robust_k_center(x, 1, labelled=x[:1], outliers=1, exact=exact)
        assert 50 <= picks.indices[0] < 100
        assert picks.info["radius"][0] < 10


def test_one_outlier_in_ten_thousand_unless_told():
    x = np.append(np.linspace(0, 1, 19_998), [100, 200])[:, None]
    radii = [robust_k_center(x, 1, labelled=x[:1], outliers=o).info["radius"][0] for o in (None, 2, 1, 0)]
    assert radii == pytest.approx([0.5, 0.5, 1, 100], abs=0.01)


def test_sizes_and_refusals():
    for exact in (False, True):
        assert len(robust_k_center(POINTS, 0, exact=exact)) == 0
        every = robust_k_center(POINTS, 99, outliers=2, exact=exact)
        assert sorted(every.indices.tolist()) == list(range(7))
        assert len(robust_k_center(POINTS[:0], 2, exact=exact)) == 0
        same = robust_k_center(torch.from_numpy(POINTS), 2, outliers=1, exact=exact)
        assert np.array_equal(same.indices, robust_k_center(POINTS, 2, outliers=1, exact=exact).indices)
    late = robust_k_center(POINTS, 2, outliers=1, exact=True, seconds=0.0)
    assert late.info["gap"] > 0
    assert robust_k_center(POINTS, 2, outliers=99).info["radius"].tolist() == [0, 0]
    assert robust_k_center(POINTS, 2, outliers=99, exact=True).info["radius"][-1] == 0
    with pytest.raises(InvalidArgument, match="k is a whole number"):
        robust_k_center(POINTS, -1)
    with pytest.raises(InvalidArgument, match="at most 5000 items, not 5001"):
        robust_k_center(np.zeros((5001, 1)), 1, exact=True)
