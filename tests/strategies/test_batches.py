import numpy as np
from tests.strategies.pools import choose, setting
from torch import nn

from baldur import strategies
from baldur.posteriors import MCDropout
from baldur.protocols import Labelled, View


def test_typical_items_come_until_every_class_was_seen():
    _, labelled, _, _ = setting()
    counts = np.bincount(labelled.labels, minlength=3)
    few = choose(strategies.two_stage, per_class=int(counts.min()) + 1)
    assert few.ids == choose(strategies.typiclust).ids
    assert choose(strategies.two_stage, per_class=int(counts.min())).ids == choose(strategies.bald).ids


def test_a_class_that_the_pool_lacks_does_not_put_off_uncertainty_for_ever():
    posterior, labelled, unlabelled, scorer = setting()
    for count, stage in ((14, strategies.typiclust), (15, strategies.bald)):
        some = np.arange(count) % 8
        known = Labelled(
            View(labelled.pool, some),
            some % 2,
            labelled.rounds[some],
            labelled.weights[some],
            ("oracle",) * count,
        )
        expected = stage(posterior, known, unlabelled, 3, np.random.default_rng(0), scorer)
        chosen = strategies.two_stage(
            posterior, known, unlabelled, 3, np.random.default_rng(0), scorer, per_class=1
        )
        assert chosen.ids == expected.ids


def test_typiclust_takes_vectors_as_they_are():
    _, labelled, unlabelled, scorer = setting()
    other = MCDropout(nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 3)))
    again = strategies.typiclust(other, labelled, unlabelled, 3, np.random.default_rng(0), scorer)
    assert again.ids == choose(strategies.typiclust).ids  # whatever the network


def test_typiclust_takes_vectors_as_they_are_when_nothing_is_labelled():
    posterior, labelled, unlabelled, scorer = setting()
    none = Labelled(View(labelled.pool, np.arange(0)), *(part[:0] for part in _parts(labelled)))
    other = MCDropout(nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 3)))
    first, again = (
        strategies.typiclust(each, none, unlabelled, 3, np.random.default_rng(0), scorer)
        for each in (posterior, other)
    )
    assert first.ids == again.ids


def _parts(labelled):
    return labelled.labels, labelled.rounds, labelled.weights, labelled.sources
