"""Consistency training."""

from functools import partial

import numpy as np
import pytest
import torch
from tests.learners.moons import LABELLED, NOTHING, POOL, UNLABELLED, X, Y, fitted, learner, network
from torch import nn

from baldur.errors import InvalidArgument
from baldur.learners.unlabelled.consistency import _belief, _ramp, _Teacher, mean_teacher, pi_model
from baldur.learners.unlabelled.pools import Sampler, statistics_kept, without_dropout
from baldur.likelihoods import BERNOULLI, CATEGORICAL, GAUSSIAN
from baldur.posteriors.fit.ensembles import ensemble
from baldur.testing.learner import verify_learner
from baldur.training import augmentation, weights_hash


@pytest.mark.parametrize(
    "make",
    [
        lambda: pi_model(learner()),
        lambda: mean_teacher(learner()),
        lambda: mean_teacher(learner(ensemble(2)), predict="student"),
        lambda: pi_model(mean_teacher(learner())),
    ],
    ids=["pi", "mean-teacher", "ensemble", "both"],
)
def test_it_is_a_learner(make):
    verify_learner(make, LABELLED, UNLABELLED)


def test_without_weight_the_student_is_the_supervised_network():
    """Nothing stochastic and no statistics: the passes over unlabelled items leave no trace."""
    alone = learner(network=nn.Linear(2, 2), augment=augmentation.weak)
    same = [alone, pi_model(alone, weight=0), mean_teacher(alone, weight=0, predict="student")]
    assert len({weights_hash(fitted(made)) for made in same}) == 1
    assert weights_hash(fitted(pi_model(alone))) != weights_hash(fitted(alone))


def test_without_unlabelled_items_it_is_supervised_learning():
    alone = learner(augment=augmentation.weak)
    for make in (pi_model, partial(mean_teacher, predict="student")):
        assert weights_hash(fitted(make(alone), NOTHING)) == weights_hash(fitted(alone))


def test_without_unlabelled_items_the_teacher_has_statistics_of_its_own():
    """With a decay of 0 it is the student before the last, tiny step, and so are its running statistics."""
    alone = learner(learning_rate=1e-6, augment=augmentation.weak)
    student, teacher = fitted(alone, NOTHING), fitted(mean_teacher(alone, decay=0.0), NOTHING)
    assert torch.allclose(teacher[1].running_mean, student[1].running_mean, atol=1e-3)
    assert torch.allclose(teacher[1].running_var, student[1].running_var, rtol=1e-2)


def test_labelled_items_get_the_noise_unless_the_recipe_says_how():
    noise = partial(augmentation.weak, noise=0.2)
    assert pi_model(learner(), augment=noise).recipe.augment is noise
    assert mean_teacher(learner(augment=augmentation.strong)).recipe.augment is augmentation.strong


def test_two_moons_are_told_apart_from_six_labels():
    def right(made):
        told = made.fit(LABELLED, UNLABELLED, seed=2, round=0).draw(1)(torch.from_numpy(X))
        return float((told[:, 0].argmax(1).numpy() == Y).mean())

    alone = learner(epochs=60, augment=augmentation.weak)
    assert right(pi_model(alone, augment=partial(augmentation.weak, noise=0.2))) > right(alone) + 0.05


def test_the_teacher_is_the_running_average():
    student = nn.Linear(1, 1, bias=False)
    nn.init.constant_(student.weight, 0)
    teacher = _Teacher(student, 0.75)
    found = []
    for value in (1.0, 2.0, 3.0, 4.0, 5.0):
        nn.init.constant_(student.weight, value)
        teacher.follow(student)
        found.append(float(teacher.network.weight.detach()))
    assert found == pytest.approx([1.0, 1.5, 2.0, 2.5, 3.125])  # alpha = 0, 1/2, 2/3, 3/4, 3/4
    again = _Teacher(nn.Linear(1, 1, bias=False), 0.75)
    again.load(teacher.state())
    again.follow(student)
    teacher.follow(student)
    assert torch.equal(again.network.weight, teacher.network.weight)


def test_the_posterior_is_over_the_teacher_unless_the_student_is_asked_for():
    """With a decay of 0 the average is the student as it was before the last step."""
    student, teacher, last = (
        fitted(mean_teacher(learner(learning_rate=1e-4), decay=decay, predict=who))
        for decay, who in ((0.9, "student"), (0.9, "teacher"), (0.0, "teacher"))
    )
    apart = [
        float((a[0].weight - b[0].weight).detach().abs().max())
        for a, b in ((student, teacher), (student, last))
    ]
    assert 0 < apart[1] < apart[0]
    assert float(teacher[1].running_mean.abs().sum()) > 0


def test_the_ramp():
    assert _ramp(0.0, 0.4) == pytest.approx(np.exp(-5))
    assert _ramp(0.2, 0.4) == pytest.approx(np.exp(-1.25))
    assert _ramp(0.4, 0.4) == _ramp(0.9, 0.4) == _ramp(0.0, 0.0) == 1.0


def test_what_is_compared():
    outputs = torch.tensor([[0.0, 3.0]]).log1p()  # 0 and log 4
    assert torch.allclose(_belief(CATEGORICAL, outputs), torch.tensor([[0.2, 0.8]]))
    assert torch.allclose(_belief(BERNOULLI, outputs), torch.tensor([[[0.5, 0.2], [0.5, 0.8]]]))
    assert torch.allclose(_belief(GAUSSIAN, outputs), torch.tensor([0.0]))


def test_a_pool_beyond_the_memory_gives_the_same_batches():
    device = torch.device("cpu")
    kept, read = Sampler(POOL), Sampler(POOL, memory=100)
    positions = torch.tensor([5, 5, 0, 239])
    assert torch.equal(kept.at(positions, device), read.at(positions, device))
    assert torch.equal(read.at(positions, device), torch.from_numpy(X[positions.numpy()]))
    assert read._kept is None
    assert kept._kept is not None


def test_modes_and_statistics_are_put_back():
    made = network().train()
    x = torch.randn(6, 2)
    before = weights_hash(made)
    with statistics_kept(made):
        made(x)
    assert weights_hash(made) == before
    with without_dropout(made):
        assert torch.equal(made(x), made(x))
        assert made[1].training
    assert all(module.training for module in made.modules())
    assert weights_hash(made) != before


@pytest.mark.parametrize("options", [{"weight": -1.0}, {"ramp_up": 2.0}, {"unlabelled_batch": 0}])
def test_values_out_of_their_domain(options):
    for make in (pi_model, mean_teacher):
        with pytest.raises(InvalidArgument):
            make(learner(), **options)


def test_a_decay_of_one_never_moves():
    with pytest.raises(InvalidArgument, match="decay"):
        mean_teacher(learner(), decay=1.0)
