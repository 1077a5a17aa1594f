"""Pseudo-labels for what the model is sure of."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from baldur import data, networks
from baldur.errors import InvalidArgument, InvalidCheckpoint, Unsupported
from baldur.learners.supervised import Supervised
from baldur.learners.unlabelled.ceal import Ceal, ceal, enlarged, pseudo_labels
from baldur.posteriors.fit.dropout import deterministic
from baldur.protocols import Labelled, Posterior, View
from baldur.testing.learner import verify_learner
from baldur.training import Recipe, weights_hash

Y = np.arange(60) % 3
X = (np.eye(3, 5)[Y] + 0.3 * np.random.default_rng(0).standard_normal((60, 5))).astype(np.float32)
POOL = data.from_arrays(X)
LABELLED = Labelled(
    View(POOL, np.arange(24)), Y[:24], np.zeros(24, np.int64), np.ones(24, np.float32), ("oracle",) * 24
)
UNLABELLED = View(POOL, np.arange(24, 60))


def plain(**kwargs):
    recipe = Recipe(epochs=3, epoch_size=1, batch_size=8, learning_rate=0.02)
    known = {"recipe": recipe, "posterior": deterministic, "interval": 0.0} | kwargs
    return Supervised(partial(networks.mlp, (5,), 3), classes=3, **known)


class Answers:
    """Draws that give the same probabilities whatever they are asked."""

    names = ("log_probs",)
    degenerate = True

    def __init__(self, probs, kind):
        self.probs = probs
        self.kind = kind

    def __len__(self):
        return 1

    def __getitem__(self, samples):
        return self

    def features(self, x):
        raise Unsupported

    def outputs(self, x, names):
        return {"log_probs": self(x)}

    def split(self):
        return None

    def __call__(self, x):
        p = torch.full((len(x), 3), 1 / 3) if self.probs is None else self.probs(x)
        return p.log()[:, None]


class Told(Posterior):
    """A learner that notes what it is given, and a posterior that says what it is told to."""

    def __init__(self, probs=None, kind="categorical"):
        self.probs = probs
        self.kind = kind
        self.given = []

    def fit(self, labelled, unlabelled, *, seed, round, previous=None, checkpoint=None):
        self.given.append((labelled, unlabelled, previous))
        return self

    def draw(self, T=None, seed=0):
        return Answers(self.probs, self.kind)

    def load(self, folder):
        return self

    def save(self, folder):
        (folder / "told").touch()


FOUR = torch.tensor([[0.98, 0.01, 0.01], [0.5, 0.3, 0.2], [0.0005, 0.999, 0.0005], [0.34, 0.33, 0.33]])


def test_the_worked_example():
    """Entropies .1119, 1.0297, .0086, 1.0985: of four items only the third is below .05."""
    pool = data.from_arrays(FOUR.numpy())
    model = Told(lambda x: x)
    positions, labels = pseudo_labels(model, pool, 0.05, seed=0)
    assert positions.tolist() == [2]
    assert labels.tolist() == [1]
    entropies = [0.111902, 1.029653, 0.008600, 1.098513]
    for level in entropies:
        below = [i for i, h in enumerate(entropies) if h < level + 1e-5]
        assert pseudo_labels(model, pool, level + 1e-5, seed=0)[0].tolist() == below


def test_a_certain_prediction_has_entropy_zero():
    """0 log 0 as NaN would leave out the items of which the model is surest."""
    pool = data.from_arrays(np.eye(3, dtype=np.float32))
    positions, labels = pseudo_labels(Told(lambda x: x), pool, 1e-9, seed=0)
    assert positions.tolist() == labels.tolist() == [0, 1, 2]


def test_at_most_so_many_are_those_of_the_least_entropy():
    pool = data.from_arrays(FOUR.numpy())
    assert pseudo_labels(Told(lambda x: x), pool, 2.0, seed=0, most=2)[0].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("decay", "levels"),
    [
        ("linear", [0.05, 0.0467, 0.0434, 0.0401, 0.0368, 0.0335]),
        ("cumulative", [0.05, 0.0467, 0.0401, 0.0302, 0.0170, 0.0005]),
    ],
)
def test_the_level_falls_as_the_paper_can_be_read(decay, levels):
    made = ceal(plain(), decay=decay)
    assert [made.level(r) for r in range(6)] == pytest.approx(levels, abs=1e-12)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 1000), st.sampled_from(["linear", "cumulative"]))
def test_the_level_is_never_negative_and_never_rises(threshold, rate, round, decay):
    made = ceal(plain(), threshold=threshold, decay_rate=rate, decay=decay)
    assert 0 <= made.level(round + 1) <= made.level(round) <= threshold


def test_what_is_learnt_is_the_answers_and_the_pseudo_labels():
    """Disjoint sets; the answers as they were; nothing that is given is changed; nothing is remembered."""
    inner = Told()
    sure = Told(lambda x: torch.softmax(40 * x[:, :3], 1))
    made = ceal(inner, threshold=0.01, weight=0.5, model="previous")
    labels, ids = LABELLED.labels.copy(), list(UNLABELLED.ids)
    for round in (1, 2):
        made.fit(LABELLED, UNLABELLED, seed=0, round=round, previous=sure)
    made.fit(LABELLED, UNLABELLED, seed=0, round=3, previous=Told())
    (first, unlabelled, previous), (second, *_), (last, *_) = inner.given
    assert unlabelled is UNLABELLED
    assert previous is sure
    assert list(UNLABELLED.ids) == ids
    np.testing.assert_array_equal(LABELLED.labels, labels)
    pseudo = set(first.pool.ids[24:])
    assert 0 < len(pseudo) < 36
    assert pseudo <= set(ids)
    assert len(set(first.pool.ids)) == len(first)
    assert list(first.pool.ids[:24]) == list(LABELLED.pool.ids)
    assert first.sources == ("oracle",) * 24 + ("pseudo",) * len(pseudo)
    np.testing.assert_array_equal(first.labels[24:], X[first.pool.positions[24:], :3].argmax(1))
    assert set(first.rounds[24:]) == {1}
    assert set(first.weights[24:]) == {0.5}
    assert set(second.pool.ids[24:]) == pseudo
    assert set(second.rounds[24:]) == {2}
    assert last.pool.ids == LABELLED.pool.ids  # of another opinion: nothing is left


def test_without_a_model_of_the_last_round_the_learner_is_fitted_twice():
    inner = Told(lambda x: torch.softmax(40 * x[:, :3], 1))
    ceal(inner).fit(LABELLED, UNLABELLED, seed=0, round=0)
    assert len(inner.given[0][0]) == 24 < len(inner.given[1][0])
    assert inner.given[1][2] is inner
    ceal(inner).fit(LABELLED, UNLABELLED, seed=0, round=1, previous=Told())
    assert len(inner.given) == 4


@pytest.mark.parametrize(
    "kwargs", [{"threshold": 0.0}, {"threshold": 0.01, "decay_rate": 0.01}], ids=["never", "any more"]
)
def test_without_a_level_it_is_the_plain_learner(kwargs):
    alone = plain().fit(LABELLED, UNLABELLED, seed=0, round=1)
    same = ceal(plain(), **kwargs).fit(LABELLED, UNLABELLED, seed=0, round=1, previous=alone)
    assert weights_hash(same.network) == weights_hash(alone.network)


def learner(**kwargs):
    return ceal(plain(), **{"threshold": 0.6} | kwargs)


def test_a_killed_fit_goes_on_in_either_of_its_two_fits():
    first = plain().fit(LABELLED, UNLABELLED, seed=1, round=1)
    count = len(pseudo_labels(first, UNLABELLED, 0.6 - 0.0033, 1)[0])
    assert 0 < count < 36
    verify_learner(learner, LABELLED, UNLABELLED)


def test_a_warm_learner_is_tuned_on():
    fits = []
    ceal(plain(warm_start=True, record=fits.append), threshold=2.0).fit(LABELLED, UNLABELLED, seed=0, round=0)
    assert [fit.training for fit in fits] == [24, 60]
    assert fits[1].initial_hash == fits[0].weights_hash


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    path = tmp_path / "checkpoint"
    path.write_bytes(b"something else")

    class Slot:
        def latest(self):
            return path

        def save(self, write):
            write(path)

    with pytest.raises(InvalidCheckpoint, match="start the fit anew"):
        learner().fit(LABELLED, UNLABELLED, seed=0, round=0, checkpoint=Slot())


def test_pools_of_two_kinds_are_read_one_after_the_other():
    other = data.from_arrays(X[40:50] + 1, ids=[f"other-{i}" for i in range(10)])
    both = enlarged(LABELLED, other, np.array([3, 1]), np.array([2, 0]), round=1, weight=1.0, source="pseudo")
    assert both.pool.ids[-2:] == ["other-3", "other-1"]
    order = np.array([25, 0, 24, 1])
    read = list(both.pool.batches(order, 2))
    np.testing.assert_array_equal(np.concatenate([positions for positions, _ in read]), order)
    expected = np.stack([X[41] + 1, X[0], X[43] + 1, X[1]])
    np.testing.assert_array_equal(torch.cat([x for _, x in read]).numpy(), expected)


def test_what_has_no_class_is_refused():
    with pytest.raises(Unsupported, match="gaussian"):
        ceal(Told(kind="gaussian")).fit(LABELLED, UNLABELLED, seed=0, round=1)
    maps = Labelled(LABELLED.pool, np.zeros((24, 2, 2), np.int64), *(LABELLED.rounds, LABELLED.weights), ())
    with pytest.raises(Unsupported, match="maps"):
        ceal(Told()).fit(maps, UNLABELLED, seed=0, round=1, previous=Told())


@pytest.mark.parametrize(
    "values", [{"threshold": -1.0}, {"decay_rate": -1.0}, {"weight": 0.0}, {"most": 0}, {"decay": "other"}]
)
def test_values_out_of_their_domain_are_refused(values):
    with pytest.raises((InvalidArgument, TypeError)):
        ceal(plain(), **values)
    assert isinstance(ceal(plain()), Ceal)
