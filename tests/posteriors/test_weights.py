"""Draws by sets of weights."""

import pytest
import torch
from torch import nn

from baldur.errors import InvalidArgument, UnsupportedNetwork
from baldur.posteriors import _weights
from baldur.posteriors._weights import WeightDraws, generator
from baldur.posteriors.draws import number_of_draws
from baldur.posteriors.network import NetworkPosterior, frozen
from baldur.testing.posterior import verify_posterior


class Noisy(NetworkPosterior):
    """Gaussian noise on every weight, and other running means: the simplest posterior over weights."""

    def __init__(self, network, scale=0.3):
        self.network, self.scale, self.made = frozen(network), scale, []

    def draw(self, T=None, seed=0):
        def weights(t):
            self.made.append(t)
            random = generator(seed, t)
            own = dict(self.network.named_parameters()) | {
                name: b for name, b in self.network.named_buffers() if b.is_floating_point()
            }
            return {
                name: w + self.scale * w.abs().mean() * torch.randn(w.shape, generator=random)
                for name, w in own.items()
                if not name.endswith("running_var")
            }

        return WeightDraws(self.network, weights, range(number_of_draws(T)))

    def save(self, folder):
        raise NotImplementedError


def mlp():
    return nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def cnn():
    return nn.Sequential(
        nn.ReLU(inplace=True),
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


class OfTwo(nn.Module):
    """Two inputs, and one matrix in two places."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(12, 12), nn.Linear(12, 12)
        self.second.weight = self.first.weight
        self.out = nn.Linear(12, 3)

    def forward(self, a, b):
        return self.out(self.second(self.first(a).tanh() + b))


A = torch.randn(7, 12, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(7, 2, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("network", "x"),
    [(mlp, A), (cnn, IMAGES), (OfTwo, (A, 2 * A)), (OfTwo, {"b": A, "a": 2 * A})],
    ids=["mlp", "cnn that changes its input", "tuple", "dict"],
)
def test_the_contract_holds(network, x):
    verify_posterior(Noisy, network(), x)


def test_a_network_that_changes_its_input_gets_a_copy_for_every_sample():
    images = torch.randn(7, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    before = images.clone()
    draws = Noisy(cnn()).draw(3)
    assert torch.equal(draws(images), draws(images.clamp(min=0)))
    draws.features(images)
    assert torch.equal(images, before)


class Always(nn.Module):
    """Dropout that evaluation mode does not turn off; and, if told, probabilities instead of logits."""

    def __init__(self, softmax=False):
        super().__init__()
        self.out, self.softmax = nn.Linear(12, 3), softmax

    def forward(self, x):
        logits = self.out(nn.functional.dropout(x, 0.5))
        return logits.softmax(1) if self.softmax else logits


def test_dropout_that_is_always_on_is_off_and_probabilities_are_refused():
    draws = Noisy(Always()).draw(2)
    assert torch.equal(draws(A), draws(A))
    with pytest.raises(UnsupportedNetwork, match="returns probabilities"):
        Noisy(Always(softmax=True)).draw(2)(A)


def test_sample_t_is_the_network_with_the_weights_t():
    posterior = Noisy(mlp())
    draws = posterior.draw(3, seed=5)
    twin = mlp().eval()
    twin.load_state_dict(posterior.network.state_dict() | draws.weights(2))
    assert torch.equal(draws(A)[:, 2], twin(A).detach().log_softmax(1))
    plain = posterior.network[:4](A)
    assert torch.equal(draws.features(A), plain)


def test_a_tied_weight_is_changed_in_both_places():
    twin, network = OfTwo().eval(), OfTwo()
    draws = Noisy(network).draw(1)
    twin.load_state_dict(
        network.state_dict() | draws.weights(0) | {"second.weight": draws.weights(0)["first.weight"]}
    )
    torch.testing.assert_close(draws((A, A))[:, 0], twin(A, A).detach().log_softmax(1))


def test_weights_are_kept_while_there_is_room_and_made_again_beyond(monkeypatch):
    def told(room):
        monkeypatch.setattr(_weights, "_KEPT", room)
        posterior = Noisy(mlp())
        posterior.network.load_state_dict(same)
        draws = posterior.draw(4)
        return draws(A), draws(A), posterior.made

    same = mlp().state_dict()
    size = sum(w.nbytes for w in Noisy(mlp()).draw(1).weights(0).values())
    first, again, made = told(2 * size)
    assert made == [0, 1, 2, 3, 2, 3]
    assert torch.equal(first, again)
    assert torch.equal(first, told(4 * size)[0])


def test_no_noise_is_the_mean_network_and_says_so_only_if_told():
    draws = Noisy(mlp(), scale=0.0).draw(2)
    assert torch.equal(draws(A)[:, 0], draws(A)[:, 1])
    assert not draws.degenerate
    assert draws[:1].degenerate
    told = WeightDraws(draws.network, draws.weights, range(4), degenerate=True)
    assert told[1:].degenerate


def test_what_cannot_be_drawn_is_refused():
    network = frozen(mlp())
    with pytest.raises(InvalidArgument, match=r"no weights or buffers with the names 7\.weight"):
        WeightDraws(network, lambda t: {"7.weight": torch.zeros(3)}, range(1))(A)
    with pytest.raises(InvalidArgument, match="T = 0"):
        WeightDraws(network, lambda t: {}, range(0))
    with pytest.raises(InvalidArgument, match="holds none"):
        Noisy(mlp()).draw(3)[3:]


class Viewing(nn.Module):
    """Flattens by a view, which wants the channels of its convolution first."""

    def __init__(self):
        super().__init__()
        self.convolution, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4 * 36, 3)

    def forward(self, x):
        h = self.convolution(x)
        return self.last(h.view(len(h), -1))


def test_a_network_may_view_what_its_convolutions_give():
    x = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    verify_posterior(Noisy, Viewing(), x)
