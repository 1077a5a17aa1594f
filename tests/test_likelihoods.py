"""What outputs mean."""

import pytest
import torch
from torch import distributions, nn

from baldur import posteriors
from baldur.errors import InvalidArgument, InvalidLabel, UnsupportedNetwork
from baldur.likelihoods import BERNOULLI, CATEGORICAL, GAUSSIAN, IGNORED, named
from baldur.testing.posterior import verify_posterior

OUT = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_categorical_losses_are_those_of_the_distribution():
    y = torch.tensor([0, 3, 1, 1, 2])
    expected = -distributions.Categorical(logits=OUT).log_prob(y)
    torch.testing.assert_close(CATEGORICAL.losses(OUT, y), expected)
    spread = -torch.log_softmax(OUT, 1).mean(1)
    torch.testing.assert_close(CATEGORICAL.losses(OUT, y, 0.1), 0.9 * expected + 0.1 * spread)
    assert CATEGORICAL.right(OUT, OUT.argmax(1)).tolist() == [1] * 5


def test_the_loss_of_a_map_is_the_mean_over_its_labelled_places():
    outputs = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    y = torch.tensor([[[0, 1], [2, IGNORED]], [[1, 1], [IGNORED, IGNORED]]])
    by_hand = [
        torch.stack([-torch.log_softmax(outputs[i, :, a, b], 0)[y[i, a, b]] for a, b in places]).mean()
        for i, places in enumerate([[(0, 0), (0, 1), (1, 0)], [(0, 0), (0, 1)]])
    ]
    torch.testing.assert_close(CATEGORICAL.losses(outputs, y), torch.stack(by_hand))
    best = outputs.argmax(1)
    best[0, 0, 0] = (best[0, 0, 0] + 1) % 3
    best[1, 0] = IGNORED
    assert CATEGORICAL.right(outputs, best).tolist() == [0.75, 1]


def test_bernoulli_losses_are_summed_over_the_labels():
    y = (OUT > 0.3).long()
    expected = -distributions.Bernoulli(logits=OUT).log_prob(y.double()).sum(1)
    torch.testing.assert_close(BERNOULLI.losses(OUT, y), expected)
    told = BERNOULLI.log_probs(OUT, 1)
    torch.testing.assert_close(told.exp()[:, 1], OUT.sigmoid())
    torch.testing.assert_close(told.exp().sum(1), torch.ones_like(OUT))
    assert BERNOULLI.right(OUT, (OUT > 0).long()).tolist() == [1] * 5


@pytest.mark.parametrize("targets", [(), (3,)])
def test_gaussian_losses_are_those_of_the_distribution(targets):
    random = torch.Generator().manual_seed(2)
    outputs = torch.randn(5, 2, *targets, generator=random)
    y = torch.randn(5, *targets, generator=random)
    mean, variance = GAUSSIAN.log_probs(outputs, 1).unbind(1)
    losses = -distributions.Normal(mean, variance.sqrt()).log_prob(y)
    torch.testing.assert_close(GAUSSIAN.losses(outputs, y), losses.sum(1) if targets else losses)
    assert bool((variance > 0).all())
    assert GAUSSIAN.right(outputs, y) is None


@pytest.mark.parametrize(
    ("likelihood", "outputs", "y", "error"),
    [
        (CATEGORICAL, torch.zeros(2, 1), torch.zeros(2, dtype=torch.long), UnsupportedNetwork),
        (CATEGORICAL, torch.zeros(2, 3), torch.tensor([0, 3]), InvalidLabel),
        (CATEGORICAL, torch.zeros(2, 3), torch.tensor([0, -1]), InvalidLabel),
        (CATEGORICAL, torch.zeros(2, 3, 4, 4), torch.zeros(2, 2, 2, dtype=torch.long), UnsupportedNetwork),
        (CATEGORICAL, torch.zeros(2, 3, 2, 2), torch.full((2, 2, 2), -2), InvalidLabel),
        (BERNOULLI, torch.zeros(2, 3), torch.zeros(2, 4), UnsupportedNetwork),
        (BERNOULLI, torch.zeros(2, 3), torch.full((2, 3), 0.5), InvalidLabel),
        (BERNOULLI, torch.zeros(2, 3), torch.zeros(2), InvalidLabel),
        (GAUSSIAN, torch.zeros(2, 1), torch.zeros(2), UnsupportedNetwork),
        (GAUSSIAN, torch.zeros(2, 2), torch.tensor([0.0, torch.nan]), InvalidLabel),
        (GAUSSIAN, torch.zeros(2, 2), torch.zeros(2, 3), UnsupportedNetwork),
    ],
)
def test_what_does_not_fit_is_refused(likelihood, outputs, y, error):
    with pytest.raises(error):
        likelihood.check(outputs, y, None)


def test_a_name_brings_back_the_likelihood():
    assert [named(one.name) for one in (CATEGORICAL, BERNOULLI, GAUSSIAN)] == [
        CATEGORICAL,
        BERNOULLI,
        GAUSSIAN,
    ]
    with pytest.raises(InvalidArgument, match="poisson"):
        named("poisson")


@pytest.mark.parametrize("rate", [0.5, None])
@pytest.mark.parametrize(("likelihood", "columns"), [(BERNOULLI, 4), (GAUSSIAN, 2)])
def test_posteriors_are_of_their_likelihood(likelihood, columns, rate, tmp_path):
    layers = [] if rate is None else [nn.Dropout(rate)]
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), *layers, nn.Linear(8, columns))
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(3))
    kind = posteriors.Deterministic if rate is None else posteriors.MCDropout

    def make(network):
        return kind(network, likelihood=likelihood)

    verify_posterior(
        make, network, x, lambda folder: posteriors.load(folder, network), T=1 if rate is None else 4
    )
    draws = make(network).draw(1 if rate is None else 3)
    assert draws.kind == likelihood.kind
    assert draws(x).shape == ((8, len(draws), 2, 4) if likelihood is BERNOULLI else (8, len(draws), 2))
    posteriors.Ensemble([make(network), make(network)]).save(tmp_path)
    assert posteriors.load(tmp_path, network).draw(2).kind == likelihood.kind
