"""Active learning of numbers, of several labels an item, of maps and of text, by the contracts that classes use."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from baldur import strategies
from baldur.data import from_arrays
from baldur.learners import Supervised
from baldur.likelihoods import BERNOULLI, CATEGORICAL, GAUSSIAN
from baldur.posteriors import fit
from baldur.protocols import Labelled, View
from baldur.score.scorer import PoolScorer
from baldur.testing import verify_learner
from baldur.training import Recipe

RECIPE = Recipe(epochs=25, epoch_size=128, batch_size=16, learning_rate=0.01, device="cpu")
RANDOM = torch.Generator().manual_seed(0)
N = 60


class Words(nn.Module):
    """Tokens with a mask, as a tokenizer gives them."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(30, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.2, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.last = nn.Linear(16, 3)

    def forward(self, tokens, mask):
        h = self.encoder(self.embedding(tokens), src_key_padding_mask=~mask)
        return self.last((h * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True))


def numbers():
    x = torch.rand(N, 1, generator=RANDOM) * 4 - 2
    y = x[:, 0].square() + 0.1 * torch.randn(N, generator=RANDOM)

    def network():
        return nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 2))

    return x, y, network, GAUSSIAN, 1, [strategies.variance, strategies.gaussian_information_gain]


def several_labels():
    x = torch.randn(N, 5, generator=RANDOM)
    y = (x[:, :4] + x[:, 1:] > 0).long()

    def network():
        return nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 4))

    return x, y, network, BERNOULLI, 4, [strategies.bald, strategies.entropy, strategies.core_set]


def maps():
    x = torch.randn(N, 1, 8, 8, generator=RANDOM)
    y = (x[:, 0] > 0).long() + (x[:, 0] > 1).long()

    def network():
        return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Dropout2d(0.2), nn.Conv2d(8, 3, 1))

    return x, y, network, CATEGORICAL, 3, [strategies.bald, strategies.mean_std]


def text():
    y = torch.randint(0, 3, (N,), generator=RANDOM)  # a topic has words of its own, and some of another
    tokens = torch.randint(1, 16, (N, 7), generator=RANDOM) + 7 * y[:, None]
    lengths = torch.randint(3, 8, (N, 1), generator=RANDOM)
    mask = torch.arange(7) < lengths
    x = {"tokens": tokens * mask, "mask": mask}
    return x, y, Words, CATEGORICAL, 3, [strategies.bald, strategies.badge]


def some(pool, y, positions):
    n = len(positions)
    rounds, weights = np.zeros(n, np.int64), np.ones(n, np.float32)
    return Labelled(View(pool, positions), y[positions], rounds, weights, ("oracle",) * n)


def setting(make):
    x, y, network, likelihood, classes, choices = make()
    pool, y = from_arrays(x), y.numpy()
    learner = partial(Supervised, network, classes=classes, likelihood=likelihood, recipe=RECIPE, interval=0)
    return pool, y, learner, likelihood, choices


@pytest.mark.parametrize("make", [numbers, several_labels, maps, text])
def test_rounds_of_active_learning(make):
    pool, y, learner, likelihood, choices = setting(make)
    for strategy in choices:
        known = np.arange(10)
        losses = []
        for r in range(3):
            rest = np.setdiff1d(np.arange(N), known)
            labelled, unlabelled = some(pool, y, known), View(pool, rest)
            posterior = learner().fit(labelled, unlabelled, seed=r, round=r)
            _, x = next(pool.batches(np.arange(N), N))
            told = posterior.draw(20)(x)
            losses.append(_nll(told, torch.as_tensor(y), likelihood))
            rng = np.random.default_rng(r)
            chosen = strategy(posterior, labelled, unlabelled, 15, rng, PoolScorer(draws=10))
            known = np.concatenate([known, [pool.ids.index(i) for i in chosen.ids]])
        assert len(set(known)) == 10 + 3 * 15
        assert losses[-1] < _of_a_guess(torch.as_tensor(y), likelihood) - 0.1, (
            f"{strategy.__name__}: {losses}"
        )


def _nll(told, y, likelihood):
    if likelihood is GAUSSIAN:
        mean, variance = told.unbind(2)
        each = torch.distributions.Normal(mean, variance.sqrt()).log_prob(y[:, None])
    else:
        each = told.gather(2, y[:, None, None].expand(-1, told.shape[1], 1, *y.shape[1:]))
    return float(-(torch.logsumexp(each, 1) - np.log(told.shape[1])).mean())


def _of_a_guess(y, likelihood):
    """The loss of the best constant answer."""
    if likelihood is GAUSSIAN:
        return float(0.5 * (1 + torch.log(2 * torch.pi * y.var())))
    shares = torch.stack([(y == c).float().mean(0) for c in y.unique()])
    return float(-torch.xlogy(shares, shares).sum(0).mean())


@pytest.mark.parametrize("make", [numbers, several_labels, maps])
def test_a_fit_of_any_kind_keeps_the_contract_of_learners(make):
    pool, y, learner, _, _ = setting(make)
    short = partial(learner, recipe=replace(RECIPE, epochs=4))
    verify_learner(short, some(pool, y, np.arange(20)), View(pool, np.arange(20, N)))


@pytest.mark.parametrize("make", [numbers, several_labels, maps])
def test_validation_items_of_any_kind_end_a_fit(make):
    pool, y, learner, _, _ = setting(make)
    fits = []
    learner(validation=8, record=fits.append, posterior=fit.deterministic).fit(
        some(pool, y, np.arange(30)), View(pool, np.arange(30, N)), seed=0, round=0
    )
    assert fits[0].validation == 8
    assert fits[0].result.nll is not None
    assert (fits[0].result.accuracy is None) == (make is numbers)
