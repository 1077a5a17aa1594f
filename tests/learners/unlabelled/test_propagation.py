"""Label propagation."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from tests.learners.moons import FEW, LABELLED, NOTHING, POOL, UNLABELLED, Y, learner

from baldur.errors import InvalidArgument
from baldur.learners.unlabelled.contrastive import contrastive
from baldur.learners.unlabelled.propagation import SOURCE, label_propagation, propagated
from baldur.protocols import View
from baldur.testing.learner import verify_learner


@dataclass
class Watched:
    """A learner that remembers what it was fitted with."""

    inner: object
    seen: list = field(default_factory=list)

    def fit(self, labelled, unlabelled, **options):
        self.seen.append(labelled)
        return self.inner.fit(labelled, unlabelled, **options)

    def load(self, folder):
        return self.inner.load(folder)


@pytest.mark.parametrize(
    "make",
    [learner, lambda: contrastive(learner(), epochs=2, projection=8)],
    ids=["two-fits", "encoder"],
)
def test_it_is_a_learner(make):
    verify_learner(lambda: label_propagation(make(), confidence=0.0), LABELLED, UNLABELLED)


def test_the_equation_of_zhou_et_al():
    """F = (1 - alpha)(I - alpha S)^-1 Y on a small graph, by a dense inverse."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 3)).astype(np.float32)
    labels = np.full(12, -1)
    labels[[0, 1, 2, 7]] = [0, 1, 2, 1]
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    near = np.argsort(np.linalg.norm(unit[:, None] - unit, axis=2), axis=1)[:, 1:4]
    w = np.zeros((12, 12))
    np.put_along_axis(w, near, 1, axis=1)
    w = np.maximum(w, w.T)
    d = w.sum(1)
    s = w / np.sqrt(np.outer(d, d))
    f = np.linalg.inv(np.eye(12) - 0.8 * s) @ (labels[:, None] == np.arange(3))
    p = f / f.sum(1, keepdims=True)
    found, certainty = propagated(x, labels, 3, 0.8)
    assert found.tolist() == p.argmax(1).tolist()
    assert certainty == pytest.approx(1 + (p * np.log(np.maximum(p, 1e-300))).sum(1) / np.log(3), abs=1e-3)


def test_what_no_label_reaches_is_not_certain():
    """Two heaps, labels in one of them alone."""
    x = np.repeat([[1.0, 0.0], [0.0, 1.0]], 6, axis=0).astype(np.float32)
    x += 0.01 * np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
    labels = np.full(12, -1)
    labels[:2] = [0, 1]
    _, certainty = propagated(x, labels, 2, 0.9)
    assert certainty[6:].tolist() == [0.0] * 6
    assert (certainty[:6] > 0).any()


def test_what_is_added():
    watched = Watched(learner())
    label_propagation(watched, confidence=0.2, most=100).fit(LABELLED, UNLABELLED, seed=0, round=3)
    before, after = watched.seen
    assert before is LABELLED
    m = len(after) - 6
    assert 0 < m <= 100
    assert after.pool.ids[:6] == list(LABELLED.pool.ids)
    assert set(after.pool.ids[6:]) <= set(UNLABELLED.ids)
    assert len(set(after.pool.ids)) == len(after)
    assert after.sources == ("oracle",) * 6 + (SOURCE,) * m
    assert after.rounds[6:].tolist() == [3] * m
    assert after.weights[:6].tolist() == [1] * 6
    assert 0.2 <= after.weights[6:].min() <= after.weights[6:].max() <= 1
    truth = Y[[int(i) for i in after.pool.ids]]
    assert (after.labels == truth)[6:].mean() > 0.7


def test_the_trained_encoder_makes_the_first_fit_needless():
    fits = []
    inner = contrastive(learner(), epochs=2, projection=8).but(record=fits.append)
    label_propagation(inner, confidence=0.0).fit(LABELLED, UNLABELLED, seed=0, round=0)
    (only,) = fits
    assert only.training > 6
    assert inner.network.pool is None


@pytest.mark.parametrize(
    ("options", "labelled", "unlabelled"),
    [({"labels": 2}, LABELLED, UNLABELLED), ({}, LABELLED, NOTHING)],
    ids=["many labels", "nothing to spread to"],
)
def test_otherwise_it_is_the_learner(options, labelled, unlabelled):
    watched = Watched(learner())
    label_propagation(watched, **options).fit(labelled, unlabelled, seed=0, round=0)
    assert watched.seen == [labelled]


def test_items_come_from_the_right_pool():
    watched = Watched(learner())
    label_propagation(watched, confidence=0.0).fit(LABELLED, UNLABELLED, seed=0, round=0)
    pool = watched.seen[-1].pool
    order = np.random.default_rng(0).permutation(len(pool))
    for positions, x in pool.batches(order, 7):
        (_, expected), *_ = View(POOL, np.array([int(pool.ids[i]) for i in positions])).batches(
            np.arange(len(positions)), 7
        )
        assert (x == expected).all()
    assert pool.ids[0] == str(FEW[0])


@pytest.mark.parametrize("options", [{"alpha": 1.0}, {"neighbours": 0}, {"confidence": 2.0}, {"labels": -1}])
def test_values_out_of_their_domain(options):
    with pytest.raises(InvalidArgument):
        label_propagation(learner(), **options)
