import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baldur import acquire
from baldur.errors import InvalidArgument, InvalidPredictions
from baldur.select.clusters import average_linkage, cluster_margin, typicality, typiclust

POINTS = np.array([(0, 0), (1, 0), (0, 1), (0.4, 0.3), (3, 3)])


def blobs(sizes, seed=0):
    rng = np.random.default_rng(seed)
    parts = np.repeat(np.arange(len(sizes)), sizes)
    angle = 2 * np.pi * parts / len(sizes)
    return 20 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + rng.normal(size=(len(parts), 2)), parts


def predictions(margins):
    p = np.array([[0.5 + m / 2, 0.5 - m / 2] for m in margins])
    return acquire.from_probs(p)


def test_the_worked_typicalities():
    """Pitfall: squared distances where distances are meant."""
    assert 1 / typicality(POINTS, 2) == pytest.approx([0.75, 0.83541020, 0.90311289, 0.58541020, 3.60555128])
    assert 1 / typicality(POINTS, 2, squared=True) == pytest.approx([0.625, 0.725, 0.825, 0.35, 13.0])


def test_duplicates_are_neighbours_of_each_other():
    """Pitfall: leaving out what has the distance 0, which leaves out duplicates too."""
    values = typicality(np.array([[0.0], [0.0], [1.0]]), 1)
    assert values[0] == values[1] > 1e300
    assert np.isfinite(values).all()
    assert values[2] == 1
    assert typicality(np.zeros((1, 2)), 1).tolist() == [0]


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_the_first_picks_are_typical_of_different_clusters(seed, k):
    x, parts = blobs([30, 25, 20, 15], seed)
    picks = typiclust(x, 4, rng=seed)
    assert len(set(picks.info["clusters"].tolist())) == 4
    picks = typiclust(x, 3, labelled=x[parts == 0][:1], rng=seed)
    assert set(parts[picks.indices]) == {1, 2, 3}
    assert len(typiclust(x, k, rng=seed)) == k


def test_large_clusters_give_first():
    x, parts = blobs([10, 40, 20])
    assert parts[typiclust(x, 3, rng=0).indices].tolist() == [1, 2, 0]
    assert parts[typiclust(x, 2, labelled=x[parts == 1][:1], rng=0).indices].tolist() == [2, 0]


def test_it_takes_the_most_typical_where_the_farthest_is_an_outlier():
    x, parts = blobs([40, 30])
    x = np.concatenate([x, [[500.0, 500.0]]])
    picks = typiclust(x, 3, rng=0).indices
    assert 70 not in picks[:2]
    assert picks[2] == 70 or 70 not in picks
    for c, i in zip((0, 1), sorted(picks[:2]), strict=True):
        members = np.flatnonzero(parts == c)
        assert i == members[np.argmax(typicality(x[members], min(20, len(members) // 2)))]


def test_small_clusters_come_last_and_all_come():
    x, _ = blobs([20, 20, 3])
    picks = typiclust(x, 43, rng=0, most_clusters=3)
    assert sorted(picks.indices.tolist()) == list(range(43))
    assert set(picks.indices[-3:]) == {40, 41, 42}
    assert sorted(typiclust(np.zeros((9, 2)), 20, rng=0).indices.tolist()) == list(range(9))
    assert np.array_equal(typiclust(torch.from_numpy(x), 5, rng=0).indices, typiclust(x, 5, rng=0).indices)


def test_small_groups_give_first():
    """Groups of 1 (B), 2 (C) and 3 (A), four picks: one of B, C and A, then the second of C."""
    clusters = np.array([0, 0, 0, 1, 2, 2, 3, 3])
    log_probs = predictions([0.1] * 6 + [0.9] * 2)
    for seed in range(10):
        picks = cluster_margin(log_probs, clusters, 4, rng=seed, candidates=6)
        assert picks.info["clusters"].tolist() == [1, 2, 0, 2]
        assert picks.scores == pytest.approx([-0.1] * 4)


def test_the_limits_of_cluster_margin():
    rng = np.random.default_rng(0)
    margins = rng.uniform(size=50)
    log_probs, smallest = predictions(margins), set(np.argsort(margins)[:10])
    assert set(cluster_margin(log_probs, np.arange(50), 10, rng=0, candidates=10).indices) == smallest
    one = [
        cluster_margin(log_probs, np.zeros(50, int), 3, rng=seed, candidates=10).indices for seed in range(30)
    ]
    assert {int(i) for picks in one for i in picks} == smallest
    picks = cluster_margin(torch.from_numpy(log_probs), np.arange(50) % 7, 5, rng=3, candidates=20).indices
    assert np.array_equal(
        picks, cluster_margin(log_probs, np.arange(50) % 7, 5, rng=3, candidates=20).indices
    )
    assert set(picks) <= set(np.argsort(margins)[:20])


def test_ten_candidates_for_each_pick_unless_told():
    log_probs = predictions(np.linspace(0, 0.9, 50))
    drawn = [cluster_margin(log_probs, np.zeros(50, int), 2, rng=seed).indices for seed in range(100)]
    assert {int(i) for picks in drawn for i in picks} == set(range(20))


def test_it_spreads_where_the_smallest_margins_are_one_cluster():
    clusters = np.repeat([0, 1, 2], [20, 5, 5])
    log_probs = predictions([0.01] * 20 + [0.1] * 10)
    assert (clusters[np.argsort(-acquire.margin(log_probs), kind="stable")[:3]] == 0).all()
    assert set(cluster_margin(log_probs, clusters, 3, rng=0).info["clusters"]) == {0, 1, 2}


@pytest.mark.parametrize("sample", [5000, 40])
def test_average_linkage_finds_the_clusters(sample):
    x, parts = blobs([30, 20, 10])
    x = x + np.array([100, -300])
    for cut in ({"clusters": 3}, {"distance": 12.0}):
        found = average_linkage(x, rng=0, sample=sample, **cut)
        assert len({*zip(found.tolist(), parts.tolist(), strict=True)}) == 3 == len(set(found))
    assert average_linkage(x[:1], rng=0, clusters=3).tolist() == [0]
    assert set(average_linkage(x, rng=0, clusters=1, sample=sample)) == {0}
    twice = np.concatenate([x[:5], x[:5]])
    copies = average_linkage(twice, rng=0, distance=1e-9)
    assert len(set(copies)) == 5
    assert copies[:5].tolist() == copies[5:].tolist()
    assert len(set(average_linkage(twice, rng=0, distance=0.0))) == 10


def test_sizes_and_refusals():
    x, parts = blobs([5, 5])
    log_probs = predictions(np.linspace(0, 0.5, 10))
    assert len(typiclust(x, 0, rng=0)) == len(cluster_margin(log_probs, parts, 0, rng=0)) == 0
    assert len(typiclust(x[:0], 3, rng=0)) == 0
    assert sorted(cluster_margin(log_probs, parts, 99, rng=0).indices.tolist()) == list(range(10))
    with pytest.raises(InvalidArgument, match="k is a whole number"):
        typiclust(x, -1, rng=0)
    with pytest.raises(InvalidArgument, match="10 items and clusters of 9"):
        cluster_margin(log_probs, parts[:9], 1, rng=0)
    with pytest.raises(InvalidArgument, match="average_linkage makes them"):
        cluster_margin(log_probs, x, 1, rng=0)
    with pytest.raises(InvalidArgument, match="exactly one"):
        average_linkage(x, rng=0)
    with pytest.raises(InvalidArgument, match="1 candidates are too few"):
        cluster_margin(log_probs, parts, 2, rng=0, candidates=1)
    with pytest.raises(InvalidPredictions, match="item 0"):
        cluster_margin(log_probs * np.nan, parts, 1, rng=0)
