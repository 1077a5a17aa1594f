"""FixMatch."""

import pytest
import torch
from tests.learners.moons import LABELLED, NOTHING, UNLABELLED, X, Y, fitted, learner
from torch import nn
from torch.nn import functional

from baldur.errors import InvalidArgument, Unsupported
from baldur.learners.unlabelled.fixmatch import _penalty, fixmatch
from baldur.learners.unlabelled.pools import Sampler
from baldur.likelihoods import BERNOULLI
from baldur.testing.learner import verify_learner
from baldur.training import Step, augmentation, weights_hash


def test_it_is_a_learner():
    verify_learner(lambda: fixmatch(learner(), threshold=0.6, ratio=2), LABELLED, UNLABELLED)


def test_the_loss_is_that_of_the_paper():
    """Brute force: one step's penalty from known weak and strong changes."""
    seen = {}

    def weak(x, generator):
        seen["weak"] = x + 0.1
        return seen["weak"]

    def strong(x, generator):
        seen["strong"] = x * 2
        return seen["strong"]

    with torch.random.fork_rng():
        torch.manual_seed(0)
        linear, nothing = nn.Linear(2, 2), torch.zeros(8)
        linear.weight.data *= 2
    penalty = _penalty(Sampler(UNLABELLED), 16, weak, strong, 0.7, 3.0)
    loss = penalty(linear, Step(nothing, nothing, nothing, nothing, 0.0, nothing))
    probs = linear(seen["weak"]).softmax(1)
    sure = probs.amax(1) >= 0.7
    terms = functional.cross_entropy(linear(seen["strong"]), probs.argmax(1), reduction="none")
    assert len(probs) == 16
    assert 0 < int(sure.sum()) < 16
    assert torch.allclose(loss, 3 * terms[sure].sum() / 16)
    loss.backward()
    assert linear.weight.grad.abs().sum() > 0


def test_nothing_is_sure_enough_or_nothing_is_unlabelled():
    """Without dropout and statistics, only the changes of the labelled items remain."""
    plain = learner(network=nn.Linear(2, 2), augment=augmentation.weak)
    alone = weights_hash(fitted(plain))
    assert weights_hash(fitted(fixmatch(plain, threshold=1.0))) == alone
    assert weights_hash(fitted(fixmatch(plain, threshold=0.5), NOTHING)) == alone
    assert weights_hash(fitted(fixmatch(plain, threshold=0.5))) != alone


def test_labelled_items_are_changed_weakly_unless_the_recipe_says_how():
    assert fixmatch(learner()).recipe.augment is augmentation.weak
    assert fixmatch(learner(augment=augmentation.strong)).recipe.augment is augmentation.strong


def test_two_moons_are_told_apart_from_six_labels():
    def right(made):
        told = made.fit(LABELLED, UNLABELLED, seed=2, round=0).draw(1)(torch.from_numpy(X))
        return float((told[:, 0].argmax(1).numpy() == Y).mean())

    alone = learner(epochs=60, augment=augmentation.weak)
    assert right(fixmatch(alone, threshold=0.8)) > right(alone) + 0.05


def test_what_it_cannot_do():
    with pytest.raises(InvalidArgument, match="threshold"):
        fixmatch(learner(), threshold=1.5)
    with pytest.raises(Unsupported, match="bernoulli"):
        fixmatch(learner().but(likelihood=BERNOULLI))
