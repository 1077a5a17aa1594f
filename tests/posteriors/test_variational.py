"""A Gaussian for each weight."""

import pytest
import torch
from torch import nn

from baldur.errors import DamagedArtefact, InvalidArgument
from baldur.likelihoods import GAUSSIAN
from baldur.posteriors.variational import BayesByBackprop, deviation, load
from baldur.testing.posterior import verify_posterior

X = torch.randn(9, 2, 6, 6, generator=torch.Generator().manual_seed(0))


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 2)
        )


def around(plain, rho=-2.0, **kwargs):
    named = {n: p for n, p in plain.named_parameters() if not n.startswith("1.")}
    return BayesByBackprop(plain, {n: torch.full_like(p, rho) for n, p in named.items()}, **kwargs)


def test_the_contract_holds():
    verify_posterior(around, network(), X, lambda folder: load(folder, network()))


def test_the_order_of_memory_does_not_matter(tmp_path):
    """Training has colour images channels last, and what is read from disk is not."""
    posterior = around(network().to(memory_format=torch.channels_last))
    assert all(rho.is_contiguous() for rho in posterior.rho.values())
    posterior.save(tmp_path)
    again = load(tmp_path, network())
    for seed in range(5):
        assert torch.equal(again.draw(3, seed)(X), posterior.draw(3, seed)(X))


def test_the_worked_example():
    torch.testing.assert_close(deviation(torch.tensor(-1.0)).item(), 0.3132616875, rtol=1e-6, atol=0)
    assert deviation(torch.tensor([100.0, -80.0])).log().isfinite().all()


def test_samples_have_the_means_and_the_deviations():
    plain = nn.Linear(1, 2, bias=False)
    posterior = BayesByBackprop(plain, {"weight": torch.tensor([[-1.0], [2.0]])})
    draws = posterior.draw(4000)
    samples = torch.stack([draws.weights(t)["weight"].flatten() for t in range(4000)])
    sigma = torch.tensor([0.3132617, 2.1269280])
    torch.testing.assert_close(samples.std(0), sigma, rtol=0.05, atol=0)
    assert ((samples.mean(0) - plain.weight.detach().flatten()).abs() < 4 * sigma / 4000**0.5).all()


def test_without_deviations_it_is_the_network():
    draws = around(network(), rho=-80.0).draw(2)
    expected = network().eval()(X).log_softmax(1)
    torch.testing.assert_close(draws(X), expected[:, None].expand(-1, 2, -1))


def test_what_is_not_named_does_not_vary():
    assert set(around(network()).draw(1).weights(0)) == {"0.weight", "0.bias", "5.weight", "5.bias"}


def test_the_likelihood_is_kept(tmp_path):
    around(network(), likelihood=GAUSSIAN).save(tmp_path)
    draws = load(tmp_path, network()).draw(3)
    assert draws.kind == "gaussian"
    assert (draws(X)[:, :, 1] > 0).all()


def test_what_does_not_fit_is_refused():
    for rho in ({}, {"other": torch.ones(2)}, {"5.bias": torch.ones(3)}):
        with pytest.raises(InvalidArgument):
            BayesByBackprop(network(), rho)
    with pytest.raises(InvalidArgument):
        around(network()).draw(0)


def test_what_is_damaged_is_refused(tmp_path):
    around(network()).save(tmp_path)
    path = tmp_path / "posterior.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DamagedArtefact):
        load(tmp_path, network())
    path.unlink()
    with pytest.raises(DamagedArtefact):
        load(tmp_path, network())
