"""Hamiltonian Monte Carlo over a last layer, the posterior itself, beside Laplace's approximation of it."""

import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from baldur import networks
from baldur.likelihoods import CATEGORICAL
from baldur.posteriors.laplace.last_layer import last_layer
from baldur.posteriors.laplace.posterior import approximate
from baldur.training import Recipe, initialise, train


def hmc(x, y, start, delta, samples, steps=40, warm=200, thin=5):
    """Samples of p(W | D) ∝ exp(Σ_n log softmax(W x_n)_{y_n} - ½δ‖W‖²): (samples, C, D); the step size adapts first."""
    rng = torch.Generator().manual_seed(0)
    wanted = nn.functional.one_hot(y, len(start)).double()

    def potential(w):
        return float(nn.functional.cross_entropy(x @ w.T, y, reduction="sum") + delta / 2 * w.square().sum())

    def slope(w):
        return ((x @ w.T).softmax(1) - wanted).T @ x + delta * w

    w, size, kept = start, 0.3 / math.sqrt(delta), []
    for number in range(warm + samples * thin):
        p = torch.randn(w.shape, dtype=w.dtype, generator=rng)
        before, q = potential(w) + 0.5 * float(p.square().sum()), w
        p = p - size / 2 * slope(q)
        count = int(torch.randint(steps // 2, steps + 1, (1,), generator=rng))
        for step in range(count):
            q = q + size * p
            p = p - (size if step < count - 1 else size / 2) * slope(q)
        chance = math.exp(min(0.0, before - potential(q) - 0.5 * float(p.square().sum())))
        w = q if float(torch.rand(1, generator=rng)) < chance else w
        if number < warm:
            size *= math.exp(0.05 * (chance - 0.8))
        elif number % thin == 0:
            kept.append(w)
    return torch.stack(kept)


def test_it_samples_the_posterior():
    """Two classes and one input: only the difference of the two weights meets data, and an integral is its mean."""
    x, y = torch.ones(3, 1, dtype=torch.float64), torch.tensor([0, 0, 0])
    samples = hmc(x, y, torch.zeros(2, 1, dtype=torch.float64), 0.5, 4000)
    u = torch.linspace(-15, 25, 20_001, dtype=torch.float64)  # w_0 - w_1 has the prior N(0, 2/δ)
    density = (3 * nn.functional.logsigmoid(u) - 0.5 * u.square() * 0.5 / 2).exp()
    mean = float((u * density).sum() / density.sum())
    variance = float((u.square() * density).sum() / density.sum()) - mean**2
    difference = samples[:, 0, 0] - samples[:, 1, 0]
    assert float(difference.mean()) == pytest.approx(mean, abs=0.15)
    assert float(difference.var()) == pytest.approx(variance, rel=0.15)


@pytest.mark.parametrize("n", [20, 50, 100])
def test_few_labels(n):
    """A sample's answers to its own training items, and the mean prediction of others, are those of the posterior."""
    x, y = (torch.from_numpy(a) for a in load_digits(return_X_y=True))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = x[order].float().view(-1, 1, 8, 8) / 16, y[order]
    network = initialise(lambda: networks.cnn8((1, 8, 8), 10, width=0.5), 0)
    train(network, x[:n], y[:n], recipe=Recipe(epochs=40, epoch_size=256, batch_size=32), seed=0)
    network.eval()

    def told(outputs):  # (n, T, C) of the training items and of others
        known, others = (a.log_softmax(2) for a in outputs)
        mean = others.logsumexp(1) - math.log(others.shape[1])
        right = (known.argmax(2) == y[:n, None]).double().mean()
        return float(right), float(nn.functional.nll_loss(mean, y[n:]))

    plain = approximate(network, x[:n], y[:n], structure="full", mean_factor=1.0)
    inputs = [last_layer(network, a, CATEGORICAL).inputs for a in (x[:n], x[n:])]
    samples = hmc(inputs[0], y[:n], plain.mean, plain.prior_precision, 100)
    exact = told([torch.einsum("nd,tcd->ntc", a, samples) for a in inputs])
    for structure, share, loss in (
        ("full", 0.15, 0.15),
        ("kronecker", 0.3, 0.45),
    ):  # 0.38 worse with 20 labels
        posterior = approximate(network, x[:n], y[:n], structure=structure)
        found = told([posterior.draw(100)(a).double() for a in (x[:n], x[n:])])
        assert found[0] > exact[0] - share
        assert found[1] < exact[1] + loss
    before = told([plain.draw(100)(a).double() for a in (x[:n], x[n:])])
    assert before[0] < exact[0] - 0.4
