"""The mean of the posterior over a last layer."""

import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from baldur import networks
from baldur.likelihoods import BERNOULLI, CATEGORICAL, GAUSSIAN
from baldur.posteriors.laplace.curvature import curvature, mode
from baldur.posteriors.laplace.last_layer import last_layer, weights_of
from baldur.posteriors.laplace.posterior import approximate
from baldur.posteriors.laplace.shifting import best_factor
from baldur.training import Recipe, initialise, train

STRUCTURES = ("full", "kronecker", "diagonal")


def groups(n, features, classes, distance):
    """n items in groups around as many centres, and a layer."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % classes
    centres = distance * torch.eye(classes, features, dtype=torch.float64)
    x = centres[y] + torch.randn(n, features, generator=generator, dtype=torch.float64)
    return initialise(lambda: nn.Linear(features, classes).double(), 0), x, y


@pytest.fixture(scope="module")
def digits():
    """A network that was trained on 50 digits, these, and others."""
    x, y = (torch.from_numpy(a) for a in load_digits(return_X_y=True))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = x[order].float() / 16, y[order]
    network = initialise(lambda: networks.mlp((64,), 10, width=0.5), 0)
    train(network, x[:50], y[:50], recipe=Recipe(epochs=30, epoch_size=256, batch_size=32), seed=0)
    return network, x[:50], y[:50], x[1000:], y[1000:]


def told(posterior, x, y):
    """The share of right answers, a sample on average; and the loss of their mean prediction."""
    log_probs = posterior.draw(200, seed=1)(x)
    mean = log_probs.logsumexp(1) - math.log(200)
    right = (log_probs.argmax(2) == y[:, None]).double().mean()
    return float(right), float(nn.functional.nll_loss(mean, y))


def bound(last, y, weights, h, delta, factor):
    """The evidence lower bound by whole matrices and samples of the weights."""
    vectors, size = h.vectors[0], weights.numel()
    precision = vectors @ torch.diag(h.values.flatten()) @ vectors.T + delta * torch.eye(size)
    inverse = precision.inverse()
    noise = torch.randn(4000, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    away = (noise @ torch.linalg.cholesky(inverse).T).view(-1, *weights.shape)
    expected = torch.stack([last.log_likelihood(factor * weights + w, y) for w in away]).mean()
    divergence = delta * (inverse.trace() + (factor * weights).square().sum()) - size + precision.logdet()
    return float(expected - (divergence - size * math.log(delta)) / 2)


def test_it_has_the_largest_lower_bound():
    net, x, y = groups(12, 4, 3, 3.0)
    last = last_layer(net, x, CATEGORICAL)
    weights = mode(last, weights_of(net), y, 0.05, 1.0)
    h = curvature(last, weights, "full")
    found = best_factor(last, y, weights, h, 0.05, 1.0)
    bounds = [bound(last, y, weights, h, 0.05, share * found) for share in (0.7, 1, 1.4)]
    assert found > 1.5
    assert max(bounds) == bounds[1]


@pytest.mark.parametrize("structure", STRUCTURES)
def test_samples_keep_most_of_their_few_labels(structure, digits):
    """The mode has nine of ten right, or all. Samples of Laplace's own approximation miss a quarter and more."""
    network, x, y, others, labels = digits
    plain = approximate(network, x, y, structure=structure, mean_factor=1.0)
    moved = approximate(network, x, y, structure=structure)
    assert float((plain.network(x).argmax(1) == y).double().mean()) >= 0.9
    before, after = told(plain, x, y)[0], told(moved, x, y)[0]
    assert before < 0.75
    assert after > (0.88 if structure != "diagonal" else before + 0.04)
    assert told(moved, others, labels)[1] < told(plain, others, labels)[1] - 0.05
    # α is a matter of the mean alone: the evidence is that of the mode, which has the same answers
    evidence = [p.log_marginal_likelihood(x, y) for p in (plain, moved)]
    assert evidence[0] == pytest.approx(evidence[1], rel=1e-4)
    assert moved.mean == pytest.approx(moved.mean_factor * plain.mean, abs=1e-3)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_where_labels_are_many_it_is_laplaces_approximation(structure):
    net, x, y = groups(600, 3, 3, 1.5)
    assert 1 <= approximate(net, x, y, structure=structure).mean_factor < 1.1


def test_other_likelihoods():
    net, x, y = groups(30, 5, 4, 3.0)
    labels = approximate(net, x, torch.eye(4)[y], likelihood=BERNOULLI, structure="full")
    assert 1.2 < labels.mean_factor < 10
    pairs = nn.Sequential(net, nn.Unflatten(1, (2, 2)))
    numbers = approximate(pairs, x, x[:, :2] + 0.1 * x[:, 2:4], likelihood=GAUSSIAN)
    assert 1 <= numbers.mean_factor < 1.1


def test_weights_of_items_count():
    """An item that counts twice is two items, and one of weight 0 is none."""
    net, x, y = groups(12, 4, 3, 3.0)
    given = {"prior_precision": 0.05, "structure": "full"}
    twice = torch.tensor([2.0] * 6 + [1.0] * 6)
    a = approximate(net, x, y, counts=twice, **given)
    b = approximate(net, torch.cat([x, x[:6]]), torch.cat([y, y[:6]]), **given)
    assert a.mean_factor == pytest.approx(b.mean_factor, rel=0.1)
    less = torch.tensor([1.0] * 9 + [0.0] * 3)
    c, d = approximate(net, x, y, counts=less, **given), approximate(net, x[:9], y[:9], **given)
    assert c.mean_factor == pytest.approx(d.mean_factor, rel=0.1)


def test_it_needs_the_mode():
    net, x, y = groups(12, 4, 3, 3.0)
    kept = approximate(net, x, y, refit=False)
    assert kept.mean_factor == 1
    assert all(map(torch.equal, kept.network.parameters(), net.parameters()))
