import numpy as np
import pytest
import torch

from baldur.errors import InvalidArgument
from baldur.select.discrimination import _logits, _train, discriminative

SMALL = {"hidden": (32,), "epochs": 100, "rate": 1e-2}


def pool(seed=0):
    """Three groups, of which the last is not among the labelled."""
    rng = np.random.default_rng(seed)
    centres = np.array([[0.0, 0.0], [8.0, 0.0], [4.0, 6.0]])
    x = centres[np.repeat([0, 1, 2], [60, 60, 15])] + rng.normal(size=(135, 2))
    labelled = centres[np.repeat([0, 1], 20)] + rng.normal(size=(40, 2))
    return x, labelled


def test_it_finds_the_group_that_has_no_label():
    x, labelled = pool()
    picks = discriminative(x, 6, labelled=labelled, rng=0, queries=3, **SMALL)
    assert (picks.indices[:2] >= 120).all()
    assert np.mean(picks.indices >= 120) > 0.5
    assert len(set(picks.indices.tolist())) == 6
    assert picks.info["query"].tolist() == [0, 0, 1, 1, 2, 2]


def test_it_learns_what_no_line_separates():
    """A ring around the labelled items: a linear classifier finds nothing."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 20)
    ring = 6 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x = np.concatenate([rng.normal(size=(100, 2)), ring])
    picks = discriminative(x, 5, labelled=rng.normal(size=(50, 2)), rng=0, queries=1, **SMALL)
    assert (picks.indices >= 100).sum() >= 4


def test_both_sides_weigh_the_same():
    """Pitfall: weights that count the zeros and ones of a one-hot matrix, which are as many, change nothing."""
    rng = np.random.default_rng(0)
    network, accuracy = _train(
        rng.normal(size=(5, 2)), rng.normal(size=(50, 2)) + np.array([6, 0]), rng, (8,), 200, 1e-2
    )
    assert accuracy > 0.9
    few, many = rng.normal(size=(200, 2)), rng.normal(size=(200, 2)) + np.array([6, 0])
    assert (network.predict(few) == 0).mean() > 0.9
    assert (network.predict(many) == 1).mean() > 0.9


def test_training_stops_before_the_scores_saturate():
    rng = np.random.default_rng(0)
    network, accuracy = _train(
        rng.normal(size=(40, 2)), rng.normal(size=(40, 2)) + 9, rng, (8,), epochs=500, rate=1e-2
    )
    assert accuracy > 0.98
    assert network.n_iter_ < 200
    x = rng.normal(size=(30, 2)) * 9
    assert 1 / (1 + np.exp(-_logits(network, x))) == pytest.approx(network.predict_proba(x)[:, 1])


@pytest.mark.parametrize(
    ("k", "queries", "expected"),
    [(7, 3, [3, 2, 2]), (2, 5, [1, 1]), (3, 1, [3]), (19, 10, [2] * 9 + [1]), (20, 10, [2] * 10)],
)
def test_queries_are_as_even_as_possible(k, queries, expected):
    x, labelled = pool()
    picks = discriminative(x, k, labelled=labelled, rng=0, queries=queries, hidden=(4,), epochs=2)
    assert np.bincount(picks.info["query"]).tolist() == expected
    assert len(picks.info["accuracy"]) == len(expected)


def test_it_comes_from_its_generator_alone():
    x, labelled = pool()
    first = discriminative(x, 4, labelled=labelled, rng=3, queries=2, **SMALL)
    again = discriminative(
        torch.from_numpy(x), 4, labelled=torch.from_numpy(labelled), rng=3, queries=2, **SMALL
    )
    assert np.array_equal(first.indices, again.indices)


def test_sizes_and_refusals():
    x, labelled = pool()
    assert len(discriminative(x, 0, labelled=labelled, rng=0)) == 0
    every = discriminative(x[:9], 20, labelled=labelled, rng=0, queries=2, hidden=(4,), epochs=2)
    assert sorted(every.indices.tolist()) == list(range(9))
    with pytest.raises(InvalidArgument, match="nothing is labelled"):
        discriminative(x, 1, labelled=labelled[:0], rng=0)
    with pytest.raises(InvalidArgument, match="k is a whole number"):
        discriminative(x, -1, labelled=labelled, rng=0)
    with pytest.raises(InvalidArgument, match="labelled features have 1 columns"):
        discriminative(x, 1, labelled=labelled[:, :1], rng=0)
