import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baldur.errors import InvalidArgument
from baldur.select import coreset
from baldur.select.coreset import k_center

POINTS = np.array([(0, 0), (1, 0), (0, 1), (5, 0), (5, 1), (10, 0), (2, 2)], np.float64)


def plain(features, k, centres=None):
    """The definition: every distance, by differences in float64."""
    x = np.asarray(features, np.float64)
    picks, radii = [], []
    nearest = np.full(len(x), np.inf)
    for c in [] if centres is None else np.asarray(centres, np.float64):
        nearest = np.minimum(nearest, np.sum((x - c) ** 2, axis=1))
    for _ in range(min(k, len(x))):
        if np.isinf(nearest).all():
            central = np.sum((x - x.mean(axis=0)) ** 2, axis=1)
            u = int(np.flatnonzero(central <= central.min() + 1e-12 * central.max())[0])
        else:
            u = int(np.argmax(nearest))
        picks.append(u)
        nearest = np.minimum(nearest, np.sum((x - x[u]) ** 2, axis=1))
        nearest[picks] = -1
        radii.append(max(0.0, nearest.max()) ** 0.5)
    return picks, radii


@pytest.mark.parametrize("centres", [POINTS[:1], np.array([0])])
def test_the_worked_example(centres):
    """Pitfall: squared distances where distances are meant show in the radii."""
    picks = k_center(POINTS, 3, centres)
    assert picks.indices.tolist() == [5, 4, 6]
    assert picks.info["radius"] == pytest.approx([5.09901951, 2.82842712, 1.0])
    assert picks.scores == pytest.approx([10, 5.09901951, 2.82842712])


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 3), st.integers(0, 50), st.booleans())
def test_it_is_the_plain_greedy_on_lattices_full_of_ties_and_duplicates(seed, n, width, k, centred):
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, size=(n, width)).astype(np.float64)
    centres = rng.integers(-3, 4, size=(2, width)).astype(np.float64) if centred else None
    expected, radii = plain(x, k, centres)
    picks = k_center(x, k, centres)
    assert picks.indices.tolist() == expected
    assert picks.info["radius"] == pytest.approx(radii, abs=1e-12)
    assert len(set(picks.indices.tolist())) == min(k, n), "Pitfall: a duplicate was chosen twice"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["clusters", "noise", "offset", "tiny"])
def test_it_is_the_plain_greedy_where_bounds_prune(monkeypatch, kind, dtype):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(12, 100))[rng.integers(12, size=700)] * 4 + rng.normal(size=(700, 100))
    x = {"clusters": x, "noise": rng.normal(size=(700, 100)), "offset": x + 1000, "tiny": x * 1e-25}[kind]
    x = np.concatenate([x, x[:50]]).astype(dtype)
    picks = k_center(x, 80)
    assert picks.indices.tolist() == plain(x, 80)[0]
    assert np.array_equal(picks.indices, k_center(torch.from_numpy(x), 80).indices)
    with monkeypatch.context() as patch:  # as on a device of torch
        patch.setattr("baldur.select._arguments.to_numpy", lambda a: a)
        assert np.array_equal(picks.indices, k_center(torch.from_numpy(x), 80).indices)
        centres = np.array([3, 5])
        there = k_center(torch.from_numpy(x), 9, torch.from_numpy(centres))
    assert np.array_equal(k_center(x, 9, centres).indices, there.indices)
    if kind == "clusters":
        assert picks.info["distances"] < 10 * len(x), "nothing was pruned"
    monkeypatch.setattr("baldur.select._products.BLOCK", 777)
    assert np.array_equal(picks.indices, k_center(x, 80).indices)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_radii_fall_and_are_within_twice_the_optimum(seed, k):
    from itertools import combinations

    x = np.random.default_rng(seed).normal(size=(9, 2))
    distances = np.linalg.norm(x[:, None] - x[None], axis=2)
    optimum = min(distances[:, [0, *s]].min(axis=1).max() for s in combinations(range(1, 9), k))
    radius = k_center(x, k, np.array([0])).info["radius"]
    assert (np.diff(radius) <= 0).all()
    assert optimum - 1e-12 <= radius[-1] <= 2 * optimum + 1e-12


def test_it_covers_better_than_its_siblings():
    """Random, and the items farthest from the centres all at once, leave a whole group uncovered."""
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(size=(100, 2)) * 0.1, rng.normal(size=(5, 2)) * 0.1 + [50, 0],
                        rng.normal(size=(5, 2)) * 0.1 + [0, 20]])  # fmt: skip
    radius = k_center(x, 2, x[:1]).info["radius"][-1]
    farthest = np.argsort(-np.linalg.norm(x - x[0], axis=1))[:2]
    sibling = np.linalg.norm(x[:, None] - x[[0, *farthest]][None], axis=2).min(axis=1).max()
    random = np.linalg.norm(x[:, None] - x[[0, *rng.choice(100, 2)]][None], axis=2).min(axis=1).max()
    assert radius < 1 < min(sibling, random)


def test_the_first_without_centres_is_nearest_the_mean():
    picks = k_center(np.array([[0.0], [1.0], [2.0], [9.0]]), 2)
    assert picks.indices.tolist() == [2, 3]
    assert picks.scores.tolist() == [7, 7]
    assert k_center(np.zeros((3, 2)), 9).indices.tolist() == [0, 1, 2]


def test_sizes():
    assert len(k_center(POINTS, 0)) == 0
    assert len(k_center(POINTS[:0], 3)) == 0
    assert sorted(k_center(POINTS, 99).indices.tolist()) == list(range(7))
    assert sorted(k_center(POINTS, 99, np.array([2, 4])).indices.tolist()) == [0, 1, 3, 5, 6]
    with pytest.raises(InvalidArgument, match="k is a whole number"):
        k_center(POINTS, -1)


def test_inputs_are_checked_and_left_alone():
    x = POINTS.astype(np.float16)
    before = x.copy()
    assert k_center(x, 3, np.array([0])).indices.tolist() == [5, 4, 6]
    assert np.array_equal(x, before)
    assert k_center(POINTS.astype(np.int64), 3, np.array([0])).indices.tolist() == [5, 4, 6]
    assert k_center(np.asfortranarray(POINTS), 3, np.array([0])).indices.tolist() == [5, 4, 6]
    broken = POINTS.copy()
    broken[3, 1] = np.nan
    with pytest.raises(InvalidArgument, match="row 3"):
        k_center(broken, 1)
    with pytest.raises(InvalidArgument, match="centres have 3 columns"):
        k_center(POINTS, 1, np.zeros((2, 3)))
    with pytest.raises(InvalidArgument, match="no position among 7"):
        k_center(POINTS, 1, np.array([7]))
    with pytest.raises(InvalidArgument, match="whole numbers"):
        k_center(POINTS, 1, np.array([0.5]))


def test_a_cover_counts_no_first_centre_among_the_chosen():
    cover = coreset.Cover(POINTS, POINTS[:0], "centres")
    assert not cover.covered
