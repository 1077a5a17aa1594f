"""Schedules, from their first step to their last."""

from functools import partial

import pytest
import torch
from torch import nn

from baldur.training import Recipe, train
from baldur.training.schedules import cosine, linear, steps


@pytest.mark.parametrize("schedule", [cosine, linear])
def test_the_rate_falls_to_nothing_after_it_grew(schedule):
    assert schedule(0.0) == 1
    assert schedule(0.5) == pytest.approx(0.5)
    assert schedule(0.999999) == pytest.approx(0, abs=1e-5)
    slow = partial(schedule, warm_up=0.1)
    assert [slow(0.0), slow(0.05), slow(0.1)] == pytest.approx([0, 0.5, 1])
    assert all(slow(s / 100) > slow((s + 1) / 100) for s in range(10, 99))


def test_steps_fall_where_they_are_said_to():
    assert [steps(s) for s in (0.0, 0.49, 0.5, 0.74, 0.75, 0.99)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )


def test_a_fit_follows_its_schedule():
    x, y = torch.eye(4), torch.tensor([0, 1, 0, 1])
    recipe = Recipe(
        epochs=2, epoch_size=1, batch_size=4, optimizer="sgd", momentum=0.0, weight_decay=0.0, device="cpu"
    )
    once, twice = nn.Linear(4, 2), nn.Linear(4, 2)
    twice.load_state_dict(once.state_dict())
    train(once, x, y, recipe=Recipe(**{**vars(recipe), "epochs": 1}), seed=0)
    train(
        twice,
        x,
        y,
        recipe=Recipe(**{**vars(recipe), "schedule": partial(steps, at=(0.5,), factor=0.0)}),
        seed=0,
    )
    assert torch.equal(once.weight, twice.weight)
