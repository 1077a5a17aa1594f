"""A Gaussian around averaged iterates, and batch normalisation under it."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from baldur.errors import DamagedArtefact, InvalidArgument
from baldur.likelihoods import BERNOULLI
from baldur.posteriors import _weights, swag
from baldur.posteriors.swag import SWAG, batch_statistics, load, perturbation
from baldur.testing.posterior import verify_posterior

X = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
SEEN = torch.randn(40, 6, generator=torch.Generator().manual_seed(1)) * 3 + 1


def network(norm=True, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        middle = [nn.BatchNorm1d(8)] if norm else []
        return nn.Sequential(nn.Linear(6, 8), *middle, nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def around(plain, inputs=SEEN, columns=4, scale=0.5, **kwargs):
    random = torch.Generator().manual_seed(3)
    named = dict(plain.named_parameters())
    variances = {n: 0.1 * torch.rand(p.shape, generator=random) for n, p in named.items()}
    deviations = {n: 0.3 * torch.randn(columns, *p.shape, generator=random) for n, p in named.items()}
    return SWAG(plain, variances, deviations if columns else None, inputs, scale=scale, **kwargs)


class Fields(nn.Module):
    """Named inputs, and dropout that nobody can switch off."""

    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, a, b):
        return self.inner(functional.dropout(torch.cat([a, b[0]], 1), 0.5, training=True))


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("columns", [0, 4])
def test_the_contract_holds(norm, columns):
    def make(plain):
        return around(plain, columns=columns)

    verify_posterior(make, network(norm), X, lambda folder: load(folder, network(norm, 5)))


def test_the_contract_holds_for_trees_of_inputs_and_dropout_that_is_always_on():
    def tree(x):
        return {"a": x[:, :2], "b": [x[:, 2:]]}

    def make(plain):
        return around(plain, tree(SEEN))

    verify_posterior(make, Fields(), tree(X), lambda folder: load(folder, Fields()))


def two_weights():
    """θ̄ = (2, 1) as the weights of a network with one input, with Σ and D̂ of three iterates."""
    plain = nn.Linear(1, 2, bias=False)
    plain.weight.data = torch.tensor([[2.0], [1.0]])
    columns = torch.tensor([[0, 0], [0.5, -1], [1, 0]])
    return plain, {"weight": torch.full((2, 1), 2 / 3)}, {"weight": columns[..., None]}


def test_the_worked_example():
    plain, variances, deviations = two_weights()
    z1, z2 = torch.tensor([[1.0], [-1]]), torch.tensor([0.5, -0.5, 1])
    noise = perturbation(variances["weight"], deviations["weight"], z1, z2, 0.5)
    torch.testing.assert_close((plain.weight + noise).flatten().tolist(), [2.9523503, 0.6726497])


def test_mean_and_covariance_of_samples_are_those_of_the_formula():
    posterior = SWAG(*two_weights())
    draws = posterior.draw(4000)
    samples = torch.stack([draws.weights(t)["weight"].flatten() for t in range(4000)]).double()
    expected = torch.tensor([[0.6458333, -0.125], [-0.125, 0.5833333]], dtype=torch.float64)
    torch.testing.assert_close(samples.T.cov(), expected, atol=0.05, rtol=0)
    torch.testing.assert_close(samples.mean(0), torch.tensor([2.0, 1.0]).double(), atol=0.05, rtol=0)


def test_without_scale_it_is_the_average_of_the_iterates():
    posterior = around(network(), scale=0.0)
    draws = posterior.draw(3)
    assert draws.degenerate
    expected = posterior.network(X).log_softmax(1)
    torch.testing.assert_close(draws(X), expected[:, None].expand(-1, 3, -1))


def by_hand(plain, weights, seen):
    """The network with these weights, its batch normalisation fitted to all that was seen at once."""
    plain = copy.deepcopy(plain).eval()
    plain.load_state_dict(dict(weights), strict=False)
    plain[1].train().momentum = 1.0
    plain(seen)
    return plain.eval()


def test_every_sample_has_batch_statistics_of_its_own():
    posterior = around(network())
    draws = posterior.draw(3)
    named = dict(posterior.network.named_parameters()).keys()
    for t in range(3):
        weights = {n: w for n, w in draws.weights(t).items() if n in named}
        fitted = by_hand(posterior.network, weights, SEEN)
        torch.testing.assert_close(draws(X)[:, t], fitted(X).log_softmax(1))
        without = copy.deepcopy(posterior.network)
        without.load_state_dict(weights, strict=False)
        assert (without(X) - fitted(X)).abs().max() > 0.1
    assert torch.equal(posterior.network[1].running_mean, by_hand(network(), {}, SEEN)[1].running_mean)


@pytest.mark.parametrize("items", [257, 600])
def test_batches_count_by_their_items(items):
    seen = (
        torch.randn(items, 6, generator=torch.Generator().manual_seed(1))
        + torch.linspace(0, 3, items)[:, None]
    )
    plain = network().eval()
    found = batch_statistics(plain, {}, seen)
    assert found.keys() == {"1.running_mean", "1.running_var"}
    torch.testing.assert_close(found["1.running_mean"], plain[0](seen).mean(0), rtol=1e-5, atol=1e-5)


def test_batch_statistics_are_estimated_once_for_each_sample(monkeypatch):
    posterior, estimated = around(network()), []

    def counted(*arguments):
        estimated.append(1)
        return batch_statistics(*arguments)

    monkeypatch.setattr(swag, "batch_statistics", counted)
    monkeypatch.setattr(_weights, "_KEPT", 0)
    draws = posterior.draw(3)
    assert torch.equal(draws(X)[:, :2], draws[:2](X))
    assert len(estimated) == 3


def test_no_inputs_are_kept_without_batch_normalisation(tmp_path):
    posterior = around(network(norm=False))
    assert posterior.inputs is None
    posterior.save(tmp_path)
    assert load(tmp_path, network(norm=False)).inputs is None


def test_what_is_not_named_does_not_vary():
    plain = network(norm=False)
    posterior = SWAG(plain, {"0.bias": torch.ones(8)})
    assert set(posterior.draw(2).weights(1)) == {"0.bias"}


def test_the_likelihood_is_kept(tmp_path):
    posterior = around(network(), likelihood=BERNOULLI)
    assert posterior.draw().kind == "bernoulli"
    posterior.save(tmp_path)
    again = load(tmp_path, network())
    assert again.likelihood == BERNOULLI
    assert again.draw(2)(X).shape == (9, 2, 2, 3)


def test_what_does_not_fit_is_refused():
    plain, variances, deviations = two_weights()
    for wrong in (
        lambda: SWAG(plain, {}),
        lambda: SWAG(plain, {"other": torch.ones(2, 1)}),
        lambda: SWAG(plain, {"weight": torch.ones(2)}),
        lambda: SWAG(plain, {"weight": -torch.ones(2, 1)}),
        lambda: SWAG(plain, variances, {"weight": deviations["weight"][:1]}),
        lambda: SWAG(plain, variances, {"weight": torch.ones(3, 2)}),
        lambda: SWAG(plain, variances, scale=-1.0),
        lambda: SWAG(plain, variances, scale=np.nan),
        lambda: around(network(), inputs=None),
        lambda: around(network(), inputs=SEEN[:1]),
        lambda: around(network()).draw(0),
    ):
        with pytest.raises(InvalidArgument):
            wrong()


def test_what_is_damaged_is_refused(tmp_path):
    around(network()).save(tmp_path)
    path = tmp_path / "posterior.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(DamagedArtefact):
        load(tmp_path, network())
    path.write_bytes(whole)
    path = tmp_path / "posterior.json"
    path.write_text(path.read_text().replace('"scale": 0.5', '"scale": -1'))
    with pytest.raises(DamagedArtefact, match="scale"):
        load(tmp_path, network())
    with pytest.raises(DamagedArtefact):
        load(tmp_path, network(norm=False))
