"""Losses for wrong labels."""

from functools import partial

import pytest
import torch
from torch.nn import functional

from baldur.errors import InvalidArgument
from baldur.training import Recipe
from baldur.training.losses import generalised_cross_entropy, symmetric_cross_entropy

LOGITS = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)) * 3
Y = torch.arange(12) % 5


def test_generalised_lies_between_cross_entropy_and_absolute_error():
    ce = functional.cross_entropy(LOGITS, Y, reduction="none")
    mae = (LOGITS.softmax(1) - functional.one_hot(Y, 5)).abs().sum(1)
    assert torch.equal(generalised_cross_entropy(LOGITS, Y, q=0.0), ce)
    assert torch.allclose(generalised_cross_entropy(LOGITS, Y, q=1e-6), ce, rtol=1e-5)
    assert torch.allclose(generalised_cross_entropy(LOGITS, Y, q=1.0), mae / 2, atol=1e-6)
    p = LOGITS.softmax(1)[torch.arange(12), Y]
    assert torch.allclose(generalised_cross_entropy(LOGITS, Y), (1 - p**0.7) / 0.7, atol=1e-6)


def test_symmetric_as_written_down():
    one_hot = functional.one_hot(Y, 5).float()
    p = LOGITS.softmax(1)
    reverse = -(p * torch.where(one_hot == 1, 0.0, -4.0)).sum(1)
    ce = functional.cross_entropy(LOGITS, Y, reduction="none")
    assert torch.allclose(symmetric_cross_entropy(LOGITS, Y), 0.1 * ce + reverse, atol=1e-5)
    assert torch.allclose(symmetric_cross_entropy(LOGITS, Y, alpha=1.0, beta=0.0), ce)
    halved = symmetric_cross_entropy(LOGITS, Y, alpha=0.0, beta=0.5, log_zero=-8.0)
    assert torch.allclose(halved, reverse, atol=1e-5)


@pytest.mark.parametrize("loss", [generalised_cross_entropy, partial(symmetric_cross_entropy, alpha=0.0)])
def test_a_label_held_impossible_pulls_little(loss):
    logits = torch.tensor([[0.0, 0.0], [40.0, 0.0], [0.0, 400.0]], requires_grad=True)
    losses = loss(logits, torch.tensor([1, 1, 0]))
    assert bool(losses.isfinite().all())
    assert losses.dtype == torch.float32
    losses.sum().backward()
    pull = logits.grad.abs().sum(1)
    assert pull[0] > 0.3
    assert pull[1] < 1e-6
    assert pull[2] < 1e-6


@pytest.mark.parametrize(
    "loss",
    [
        generalised_cross_entropy,
        partial(generalised_cross_entropy, q=1.0),
        partial(symmetric_cross_entropy, alpha=0.0),
    ],
)
def test_gradients_are_right(loss):
    logits = LOGITS.double().requires_grad_()
    wrapped = lambda z: loss(z.double(), Y).double()  # noqa: E731
    step, eps = torch.zeros(12, 5, dtype=torch.float64), 1e-2
    step[3, 1] = eps
    (gradient,) = torch.autograd.grad(wrapped(logits).sum(), logits)
    with torch.no_grad():
        slope = (wrapped(logits + step) - wrapped(logits - step)).sum() / (2 * eps)
    assert float(gradient[3, 1]) == pytest.approx(float(slope), abs=2e-4)


def test_refused():
    for wrong in (-0.1, 1.1):
        with pytest.raises(InvalidArgument, match="q must be"):
            generalised_cross_entropy(LOGITS, Y, q=wrong)
    for wrong in ({"alpha": -1.0}, {"beta": -1.0}, {"log_zero": 0.0}):
        with pytest.raises(InvalidArgument, match="at least 0"):
            symmetric_cross_entropy(LOGITS, Y, **wrong)


def test_a_loss_smooths_no_labels():
    with pytest.raises(InvalidArgument, match="not both"):
        Recipe(loss=generalised_cross_entropy, label_smoothing=0.1)
