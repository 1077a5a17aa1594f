"""Labels that a learner doubts."""

from functools import partial

import numpy as np
import pytest

from baldur import data, networks
from baldur.errors import InvalidArgument
from baldur.learners import Supervised
from baldur.learners.doubts import _deal, proposals
from baldur.posteriors.fit import deterministic
from baldur.protocols import Labelled, View
from baldur.score.scorer import PoolScorer
from baldur.training import Recipe

RNG = np.random.default_rng(0)
TRUTH = np.arange(150) % 3
X = (np.eye(3, 5)[TRUTH] * 2 + 0.5 * RNG.standard_normal((150, 5))).astype(np.float32)
POOL = data.from_arrays(X, ids=[f"item-{i}" for i in range(150)])
WRONG = np.sort(RNG.choice(120, 20, replace=False))
NOISY = TRUTH.copy()
NOISY[WRONG] = (NOISY[WRONG] + 1) % 3
LEARNER = Supervised(
    partial(networks.mlp, (5,), 3), classes=3, posterior=deterministic, recipe=Recipe(epochs=20, epoch_size=1)
)


def labelled(labels=NOISY, n=120):
    view = View(POOL, np.arange(n))
    return Labelled(view, labels[:n], np.arange(n) // 20, np.ones(n, np.float32), ("oracle",) * n)


UNLABELLED = View(POOL, np.arange(120, 150))
SCORER = PoolScorer(draws=1)


def test_wrong_labels_are_found():
    found = proposals(LEARNER, labelled(), UNLABELLED, k=15, seed=0, scorer=SCORER)
    positions = np.array([int(i.removeprefix("item-")) for i in found.ids])
    assert np.isin(positions, WRONG).mean() > 0.85
    assert np.mean(np.array(found.info["labels"]) == TRUTH[positions]) > 0.85
    assert found.info["judged"] == 120
    assert (np.diff(found.scores) <= 0).all()
    again = proposals(LEARNER, labelled(), UNLABELLED, k=15, seed=0, scorer=SCORER)
    assert again.ids == found.ids
    assert again.scores.tolist() == found.scores.tolist()


def test_every_item_is_predicted_by_a_model_that_has_not_seen_it():
    seen = []

    class Spy:
        def fit(self, labelled, unlabelled, **kwargs):
            seen.append((set(labelled.pool.ids), kwargs["round"], unlabelled))
            return LEARNER.fit(labelled, unlabelled, **kwargs)

        load = LEARNER.load

    class SpyScorer(PoolScorer):
        def predict(self, posterior, pool, reduce=None):
            assert not seen[-1][0] & set(pool.ids)
            assert len(seen[-1][0]) + len(pool) == 120
            return super().predict(posterior, pool, reduce)

    proposals(Spy(), labelled(), UNLABELLED, k=5, seed=0, folds=4, scorer=SpyScorer(draws=1))
    assert [round for _, round, _ in seen] == [5] * 4
    assert all(unlabelled is UNLABELLED for _, _, unlabelled in seen)


def test_votes_are_heard():
    """Two more annotators who know better say that a label is right that the model doubts, and wrong where it is."""
    votes = np.stack([NOISY, TRUTH, TRUTH], axis=1)[:120]
    found = proposals(LEARNER, labelled(), UNLABELLED, k=20, seed=0, votes=votes, scorer=SCORER)
    positions = sorted(int(i.removeprefix("item-")) for i in found.ids)
    assert positions == WRONG.tolist()


def test_the_only_item_of_a_class_is_not_judged():
    labels = np.where(np.arange(150) == 7, 2, TRUTH % 2)
    found = proposals(LEARNER, labelled(labels, 60), UNLABELLED, k=60, seed=0, scorer=SCORER)
    assert found.info["judged"] == 59
    assert "item-7" not in found.ids


def test_parts_are_even_and_keep_groups_together():
    fold = _deal(NOISY[:120], [str(i) for i in range(120)], 5, 0)
    assert np.bincount(fold).tolist() == [24] * 5
    each = np.array([np.bincount(fold[NOISY[:120] == c], minlength=5) for c in range(3)])
    assert (np.ptp(each, axis=1) <= 1).all()
    groups = [str(i // 7) for i in range(120)]
    whole = _deal(NOISY[:120], groups, 3, 0)
    assert all(len({whole[i] for i in range(120) if groups[i] == g}) == 1 for g in set(groups))
    assert np.bincount(whole).min() >= 28
    with pytest.raises(InvalidArgument, match="18 items or groups cannot be dealt out to 19"):
        _deal(NOISY[:120], groups, 19, 0)
