"""laplace-torch 0.3: the same last-layer posterior, but for the bias of its Kronecker factors."""

import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from baldur.posteriors.laplace.posterior import approximate

NAMES = {"full": "full", "kronecker": "kron", "diagonal": "diag"}
DELTA, TEMPERATURE = 0.7, 0.5


@pytest.fixture(scope="module")
def laplace(peers):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from laplace import Laplace

    return Laplace


def problem(bias=True):
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3, bias=bias)).double()
    x = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    return net, x, (x[:, :3] + 0.5 * torch.randn(40, 3, generator=generator)).argmax(1)


def theirs(laplace, net, x, y, structure):
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        made = laplace(
            net,
            "classification",
            subset_of_weights="last_layer",
            hessian_structure=NAMES[structure],
            prior_precision=DELTA,
            temperature=TEMPERATURE,
        )
        made.fit(DataLoader(TensorDataset(x, y), batch_size=10))
    return made


def ours(net, x, y, structure, **options):
    return approximate(
        net,
        x,
        y,
        structure=structure,
        temperature=TEMPERATURE,
        refit=False,
        **{"prior_precision": DELTA} | options,
    )


def covariances(posterior, x):
    inputs = posterior.trunk(x)
    if posterior.mean.shape[1] > inputs.shape[1]:
        inputs = torch.cat([inputs, torch.ones(len(x), 1)], 1)
    return posterior.outputs_covariance(inputs)


CASES = [("full", True), ("diagonal", True), ("full", False), ("kronecker", False), ("diagonal", False)]


@pytest.mark.parametrize(("structure", "bias"), CASES)
def test_covariance_and_evidence(laplace, structure, bias):
    net, x, y = problem(bias)
    peer, posterior = theirs(laplace, net, x, y, structure), ours(net, x, y, structure)
    _, variance = peer._glm_predictive_distribution(x[:9])
    assert covariances(posterior, x[:9]) == pytest.approx(variance.detach(), abs=1e-6)
    # they scale log p(D | W) by 1/τ, as we do
    assert posterior.log_marginal_likelihood(x, y) == pytest.approx(
        float(peer.log_marginal_likelihood()), abs=1e-5
    )


@pytest.mark.parametrize("link", ["probit", "bridge"])
@pytest.mark.parametrize("structure", ["full", "diagonal"])
def test_mean_predictions(laplace, structure, link):
    net, x, y = problem()
    peer = theirs(laplace, net, x, y, structure)(x, link_approx=link)
    assert ours(net, x, y, structure).predictive(x, link).exp() == pytest.approx(peer.detach(), abs=1e-6)


def test_their_kronecker_factors_leave_the_bias_apart(laplace):
    """W: B ⊗ A without the 1; bias: B alone, which is its full block. We append the 1 to the features."""
    net, x, y = problem()
    peer, posterior = theirs(laplace, net, x, y, "kronecker"), ours(net, x, y, "kronecker")
    _, variance = peer._glm_predictive_distribution(x[:9])
    assert (covariances(posterior, x[:9]) - variance).abs().max() > 1e-3

    features = posterior.trunk(x)
    p = net(x).detach().softmax(1)
    b = (torch.diag_embed(p) - p[:, :, None] * p[:, None, :]).sum(0)
    blocks = torch.kron(b, features.T @ features / len(x)), b
    weights, bias = (
        (m / TEMPERATURE + DELTA * torch.eye(len(m), dtype=torch.float64)).inverse() for m in blocks
    )
    jacobians = [torch.kron(torch.eye(3).double(), u) for u in features[:9]]
    converted = torch.stack([j @ weights @ j.T + bias for j in jacobians])
    assert converted == pytest.approx(variance.detach(), abs=1e-6)


@pytest.mark.parametrize("structure", ["full", "diagonal"])
def test_the_prior_precision_of_the_largest_evidence(laplace, structure):
    net, x, y = problem()
    peer = theirs(laplace, net, x, y, structure)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer.optimize_prior_precision(method="marglik", n_steps=1000, lr=0.1)
    posterior = ours(net, x, y, structure, prior_precision=None)
    assert posterior.prior_precision == pytest.approx(float(peer.prior_precision), rel=0.02)
