import pytest
import torch
from torch import nn

from baldur import posteriors
from baldur.errors import DamagedArtefact, InvalidArgument
from baldur.posteriors import Deterministic
from baldur.testing.posterior import verify_posterior


def network():
    return nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def test_the_contract_holds():
    x = torch.randn(7, 12)
    empty = network()
    verify_posterior(Deterministic, network(), x, lambda folder: posteriors.load(folder, empty), T=1)


def test_it_is_the_network_in_evaluation_mode():
    plain, x = network(), torch.randn(7, 12)
    draws = Deterministic(plain).draw()
    assert draws.degenerate
    assert torch.equal(draws(x)[:, 0], plain.eval()(x).log_softmax(1))


def test_there_is_one_sample():
    with pytest.raises(InvalidArgument, match="T = 20"):
        Deterministic(network()).draw(20)
    with pytest.raises(InvalidArgument, match="holds none"):
        Deterministic(network()).draw()[1:]


@pytest.mark.parametrize("damage", ["cut", "other", "missing", "format", "kind"])
def test_what_cannot_be_loaded_is_named(tmp_path, damage):
    Deterministic(network()).save(tmp_path)
    weights, about = tmp_path / "network.safetensors", tmp_path / "posterior.json"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "missing":
        about.unlink()
    elif damage == "format":
        about.write_text('{"format": 99, "kind": "deterministic"}')
    elif damage == "kind":
        about.write_text('{"format": 1, "kind": "oracle"}')
    with pytest.raises(DamagedArtefact, match=str(tmp_path)):
        posteriors.load(tmp_path, nn.Linear(3, 3) if damage == "other" else network())


def test_dropout_that_is_always_on_is_off():
    class Always(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(12, 3)

        def forward(self, x):
            return self.out(nn.functional.dropout(x, 0.5))

    x, draws = torch.randn(7, 12), Deterministic(Always()).draw()
    assert torch.equal(draws(x), draws(x))


def test_a_network_that_changes_its_input_gets_a_copy():
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3))
    verify_posterior(
        Deterministic, network, torch.randn(9, 4, generator=torch.Generator().manual_seed(0)), T=1
    )
