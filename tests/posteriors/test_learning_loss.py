"""Posteriors that predict losses."""

import pytest
import torch
from torch import nn

from baldur import acquire, data, score
from baldur.errors import DamagedArtefact, Unsupported
from baldur.posteriors import Calibrated, Deterministic, Ensemble, MCDropout, learning_loss
from baldur.posteriors.learning_loss import LearningLoss, LossModule, pooled
from baldur.testing.posterior import verify_posterior


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Dropout(),
            nn.Linear(64, 3),
        )


def module(width=5):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return LossModule([4, 3], width)


X = torch.randn(9, 1, 6, 6, generator=torch.Generator().manual_seed(0))
LAYERS = ("2", "5")


@pytest.mark.parametrize("kind", [Deterministic, MCDropout])
def test_the_contract_holds(kind):
    T = 1 if kind is Deterministic else 4
    verify_posterior(
        lambda plain: LearningLoss(kind(plain), module(), LAYERS),
        network(),
        X,
        lambda folder: learning_loss.load(folder, network()),
        T=T,
    )


def test_the_predicted_loss_is_that_of_the_formula_under_the_mean_network():
    plain, predicts = network().eval(), module()
    draws = LearningLoss(MCDropout(plain), predicts, LAYERS).draw(3)
    with torch.inference_mode():
        h, logits = plain[:3](X), plain(X)
        hidden = [
            torch.relu(layer(mean))
            for layer, mean in zip(predicts.layers, (h.mean((2, 3)), logits), strict=True)
        ]
        expected = predicts.head(torch.cat(hidden, 1))[:, 0]
    outputs = draws.outputs(X, ("loss", "features"))
    torch.testing.assert_close(outputs["loss"], expected)
    assert outputs["loss"].shape == (9,)
    assert set(outputs) == {"loss", "features"}
    torch.testing.assert_close(draws[:1].outputs(X[4:], ("loss",))["loss"], expected[4:])
    scores = acquire.learning_loss(score.outputs(draws, data.from_arrays(X.numpy()), "loss"))
    torch.testing.assert_close(torch.as_tensor(scores), expected.double())


def test_a_saved_module_predicts_the_same_losses(tmp_path):
    made = LearningLoss(MCDropout(network()), module(), LAYERS)
    made.save(tmp_path)
    again = learning_loss.load(tmp_path, network())
    assert again.layers == LAYERS
    assert torch.equal(again.losses(X), made.losses(X))
    (tmp_path / "posterior.safetensors").write_bytes(b"cut short")
    with pytest.raises(DamagedArtefact, match="cannot be read"):
        learning_loss.load(tmp_path, network())


def test_only_the_channels_of_a_map_are_left():
    for shape, mean in [((2, 3), ()), ((2, 5, 3), 1), ((2, 3, 4, 4), (2, 3)), ((2, 3, 4, 4, 4), (2, 3, 4))]:
        h = torch.randn(shape)
        torch.testing.assert_close(pooled(h), h.mean(mean) if mean else h)


def test_a_loss_is_predicted_from_the_network_within_whatever_is_around_it():
    dropout = MCDropout(network())
    tempered = LearningLoss(Calibrated(dropout, "temperature", {"temperature": 2.0}), module(), LAYERS)
    assert tempered.networks[0] is dropout.network
    assert torch.equal(tempered.losses(X), LearningLoss(dropout, module(), LAYERS).losses(X))


def test_what_cannot_predict_a_loss_is_refused():
    with pytest.raises(Unsupported, match="one network"):
        LearningLoss(Ensemble([network(), network()]), module(), LAYERS)
    with pytest.raises(Unsupported, match="no module 'other'"):
        LearningLoss(Deterministic(network()), module(), ("2", "other"))
    lstm = nn.Sequential(nn.LSTM(3, 4))
    with pytest.raises(Unsupported, match="gives tuple"):
        LearningLoss(Deterministic(lstm), module(), ("0",)).losses(torch.zeros(2, 5, 3))
