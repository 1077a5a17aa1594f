"""A posterior with corrected probabilities."""

import numpy as np
import pytest
import torch
from torch import nn

from baldur import posteriors
from baldur.errors import DamagedArtefact, InvalidArgument
from baldur.likelihoods import BERNOULLI, GAUSSIAN
from baldur.posteriors import Deterministic, Ensemble, MCDropout
from baldur.posteriors.calibrated import Calibrated, inner, load, read
from baldur.testing.posterior import verify_posterior

LINEAR = {"weights": [[2.0, 0.1, 0.0], [0.0, 1.5, 0.0], [-0.2, 0.0, 1.0]], "intercept": [0.5, 0.0, -0.5]}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def network(outputs=3):
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, outputs))


@pytest.mark.parametrize(
    ("method", "parameters"), [("temperature", {"temperature": 2.0}), ("dirichlet", LINEAR)]
)
def test_the_contract_holds(method, parameters):
    again = network()
    verify_posterior(
        lambda net: Calibrated(MCDropout(net), method, parameters),
        network(),
        torch.randn(9, 4),
        lambda folder: load(folder, again),
    )


def test_each_sample_is_divided_before_the_mean_is_taken():
    x, posterior = torch.randn(7, 4), MCDropout(network())
    plain = posterior.draw(3, seed=1)(x)
    calibrated = Calibrated(posterior, "temperature", {"temperature": 2.5}).draw(3, seed=1)(x)
    assert torch.allclose(calibrated, (plain / 2.5).log_softmax(2))
    logits = torch.randn(5, 3)  # log-probabilities divided are logits divided
    assert torch.allclose(
        (logits.log_softmax(1) / 2.5).log_softmax(1), (logits / 2.5).log_softmax(1), atol=1e-6
    )


def test_a_linear_map_of_logs():
    x, posterior = torch.randn(7, 4), Deterministic(network())
    plain = posterior.draw()(x)[:, 0]
    w, b = torch.tensor(LINEAR["weights"]), torch.tensor(LINEAR["intercept"])
    expected = torch.stack([(w @ row + b).log_softmax(0) for row in plain])
    assert torch.allclose(Calibrated(posterior, "dirichlet", LINEAR).draw()(x)[:, 0], expected, atol=1e-6)


def test_what_is_impossible_stays_a_number():
    class Sure(nn.Module):
        def forward(self, x):
            return torch.where(x[:, :3] > 0, 0.0, -torch.inf).log_softmax(1)

    x = torch.ones(2, 4)
    x[:, 1] = -1
    for method, parameters in (("temperature", {"temperature": 3.0}), ("dirichlet", LINEAR)):
        told = Calibrated(Deterministic(Sure()), method, parameters).draw()(x)
        assert not told.isnan().any()
        assert torch.allclose(told.exp().sum(2), torch.ones(2, 1))


def test_labels_are_tempered_each():
    x, net = torch.randn(7, 4), network()
    inside = Calibrated(Deterministic(net, likelihood=BERNOULLI), "temperature", {"temperature": 2.0})
    draws = inside.draw()
    assert draws.kind == "bernoulli"
    assert inside.likelihood == BERNOULLI
    assert torch.allclose(draws(x)[:, 0, 1].exp(), (net.eval()(x) / 2).sigmoid(), atol=1e-6)
    with pytest.raises(InvalidArgument, match="gaussian"):
        Calibrated(Deterministic(network(2), likelihood=GAUSSIAN), "temperature", {"temperature": 2.0}).draw()


def test_it_is_as_many_functions_and_features_as_what_it_wraps():
    wrapped = Ensemble([Deterministic(network()), Deterministic(network())])
    posterior = Calibrated(wrapped, "temperature", {"temperature": 2.0})
    x = torch.randn(7, 4)
    assert posterior.functions == 2
    assert len(posterior.draw()) == 2
    assert [*map(id, posterior.networks)] == [*map(id, wrapped.networks)]
    assert torch.equal(posterior.draw().features(x), wrapped.draw().features(x))
    assert posterior.draw()[:1].degenerate


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("temperature", {"temperature": 0.0}),
        ("temperature", {}),
        ("dirichlet", {"weights": np.eye(3).tolist(), "intercept": [0.0]}),
        ("isotonic", {}),
    ],
)
def test_parameters_that_do_not_fit_are_refused(method, parameters):
    with pytest.raises((InvalidArgument, TypeError), match=r"temperature|weights"):
        Calibrated(Deterministic(network()), method, parameters)


def test_a_map_of_other_classes_is_refused():
    with pytest.raises(InvalidArgument, match="3 classes, not of 2"):
        Calibrated(Deterministic(network(2)), "dirichlet", LINEAR).draw()(torch.randn(7, 4))


def test_what_is_damaged_is_named(tmp_path):
    Calibrated(MCDropout(network()), "temperature", {"temperature": 2.0}).save(tmp_path)
    assert read(tmp_path) == ("temperature", {"temperature": 2.0})
    assert isinstance(posteriors.load(inner(tmp_path), network()), MCDropout)
    with pytest.raises(DamagedArtefact, match="mc-dropout"):
        read(inner(tmp_path))
    about = tmp_path / "posterior.json"
    about.write_text(about.read_text().replace("2.0", "-2.0"))
    with pytest.raises(DamagedArtefact, match="positive"):
        load(tmp_path, network())
