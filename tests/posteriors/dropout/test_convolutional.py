import pytest
import torch
from torch import nn
from torch.nn import functional

from baldur import networks
from baldur.posteriors import MCDropout
from baldur.posteriors.dropout import convolutional as _convolutional
from baldur.posteriors.dropout.masks import keep
from baldur.testing.posterior import verify_posterior


class Functional(nn.Module):
    """Functions instead of modules, and two ways to flatten."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = (
            nn.Conv2d(1, 6, 3),
            nn.Conv2d(6, 8, 3),
            nn.Linear(32, 10),
            nn.Linear(10, 3),
        )

    def forward(self, x):
        x = functional.relu(functional.max_pool2d(functional.dropout2d(self.a(x), 0.3, self.training), 2))
        x = functional.dropout2d(self.b(x), 0.5, self.training)
        x = functional.leaky_relu(functional.max_pool2d(x, kernel_size=2, stride=2), 0.2)
        x = functional.dropout(self.c(x.reshape(x.size(0), -1)), training=self.training)
        return functional.log_softmax(self.d(functional.relu(x).flatten(1)), 1)


def two_in_a_row():
    return nn.Sequential(
        nn.Dropout2d(0.5),
        nn.Conv2d(3, 6, 3, padding="same"),
        nn.BatchNorm2d(6),
        nn.ReLU(True),
        nn.Conv2d(6, 7, 3),
        nn.GELU(),
        nn.Dropout2d(0.5),
        nn.Conv2d(7, 5, 3, bias=False),
        nn.Sigmoid(),
        nn.AdaptiveAvgPool2d(2),
        nn.Dropout2d(0.5),
        nn.Flatten(),
        nn.Linear(20, 6),
        nn.BatchNorm1d(6),
        nn.Dropout(0.2),
        nn.ReLU(),
        nn.Linear(6, 3),
    )


def strides():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.Dropout2d(0.5),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, 2, padding=(2, 1), dilation=(2, 1), bias=False),
        nn.AvgPool2d(2),
        nn.Dropout2d(0.3),
        nn.LeakyReLU(0.3, inplace=True),
        nn.Flatten(),
        nn.Linear(72, 5),
    )


def windows():
    """Pooling with windows that are rectangles, that overlap, and that reach over the border."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.Dropout2d(0.5),
        nn.MaxPool2d(3, 1, 1),
        nn.Conv2d(6, 5, 2),
        nn.Sigmoid(),
        nn.MaxPool2d((3, 2)),
        nn.Dropout2d(0.5),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(5 * 2 * 2, 4),
    )


def units():
    """Masks of single units behind a mask of channels."""
    return nn.Sequential(
        nn.Dropout2d(0.5), nn.Conv2d(5, 6, 3), nn.Tanh(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(24, 4)
    )


def without_linear():
    return nn.Sequential(
        nn.Conv2d(2, 16, 3),
        nn.Dropout2d(0.5),
        nn.Conv2d(16, 3, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LogSoftmax(1),
    )


# name: the network, the shape of its items, and whether the contributions of all channels are the cheaper way
CHAINS = {
    "batchbald2019": (lambda: networks.batchbald2019((1, 20, 20), 4), (1, 20, 20), True),
    "functional": (Functional, (1, 14, 14), True),
    "two in a row": (two_in_a_row, (3, 8, 7), True),
    "strides": (strides, (1, 12, 13), True),
    "windows": (windows, (1, 12, 11), True),
    "units": (units, (5, 4, 4), True),
    "one by one": (without_linear, (2, 6, 6), False),
}


def build(name, dtype=torch.float32):
    make, shape, _ = CHAINS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, x = make().to(dtype), torch.randn(7, *shape, dtype=dtype)
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return network, x


def sample_by_sample(posterior, draws, x):
    plan = posterior.plan(x)
    tail, plan.tail, plan.vectorised = plan.tail, None, False
    try:
        return draws(x)
    finally:
        plan.tail = tail


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_algebra_is_the_network_run_for_every_sample(name, dtype, tolerance):
    network, x = build(name, dtype)
    posterior = MCDropout(network)
    for T in (1, 12):
        draws = posterior.draw(T, seed=3)
        fast = draws(x)
        assert posterior.plan(x).tail.convolutions
        slow = sample_by_sample(posterior, draws, x)
        assert float((fast - slow).abs().max()) < tolerance
    (samples,) = draws._tails.values()
    assert samples.contributions == CHAINS[name][2]


@pytest.mark.parametrize("name", ["functional", "two in a row", "windows"])
def test_the_contract_holds(name):
    verify_posterior(MCDropout, *build(name), tolerance=2e-5)


def test_features_are_those_of_the_mean_network():
    network, x = build("two in a row")
    features = MCDropout(network).draw(2).features(x)
    assert torch.allclose(features, network.eval()[:-1](x), atol=1e-5)


def test_by_hand():
    """One convolution of two channels: the sum of what each sample keeps, by the definition."""
    network = nn.Sequential(nn.Dropout2d(0.25), nn.Conv2d(2, 3, 3), nn.Flatten())
    x = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    mask = keep(5, 0, range(20), (1, 2, 1, 1), 0.25)[:, 0, :, 0, 0]
    assert 0 < mask.sum() < 40
    weight, bias = network[1].weight, network[1].bias
    each = torch.einsum("nihw,oihw->nio", x, weight)
    expected = (torch.einsum("ti,nio->nto", mask / 0.75, each) + bias).log_softmax(2)
    assert torch.allclose(MCDropout(network).draw(20, seed=5)(x), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["batchbald2019", "one by one"])
def test_blocks_and_threads_change_nothing(name, monkeypatch):
    network, x = build(name)
    whole = MCDropout(network).draw(5)(x)
    monkeypatch.setattr(_convolutional, "_BLOCK_BYTES", {"cpu": 1})
    monkeypatch.setattr(_convolutional, "_GROUP_BYTES", {"cpu": 1})
    draws, threads = MCDropout(network).draw(5), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = draws(x)
        torch.set_num_threads(2)
        together = draws(x)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.allclose(alone, whole, atol=1e-5)
    assert torch.allclose(together, alone, atol=1e-5)
    assert draws(x[:0]).shape == (0, 5, whole.shape[2])


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.filterwarnings("ignore:every dropout rate is 0")
def test_extreme_rates(p):
    network, x = build("strides")
    for module in network.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = p
    posterior = MCDropout(network)
    draws = posterior.draw(3)
    assert torch.allclose(draws(x), sample_by_sample(posterior, draws, x), atol=1e-6)
    if p == 1:
        assert torch.allclose(draws(x), network[-1].bias.log_softmax(0).expand(7, 3, 5), atol=1e-6)


def test_the_plan_says_what_is_algebra():
    network, x = build("batchbald2019")
    posterior = MCDropout(network)
    assert "the trunk runs once; 1 convolution(s) and 2 linear layer(s)" in posterior.plan(x).describe()


def channels(*behind):
    return nn.Sequential(nn.Conv2d(1, 4, 2), nn.Dropout2d(0.5), *behind, nn.Flatten(), nn.LazyLinear(3))


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Dropout(0.5), nn.Conv2d(1, 4, 2), nn.Flatten(), nn.LazyLinear(3)),
        channels(nn.Sigmoid(), nn.Conv2d(4, 4, 2)),
        channels(nn.GELU(), nn.Conv2d(4, 4, 2)),
        channels(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 2)),
        channels(nn.Conv2d(4, 4, 2), nn.ReLU(), nn.BatchNorm2d(4)),
        channels(nn.Conv2d(4, 4, 2, groups=2)),
        channels(nn.Conv2d(4, 4, 2, padding=1, padding_mode="circular")),
        channels(nn.Conv2d(4, 4, 2, padding="same")),
        channels(nn.Conv2d(4, 4, 2), nn.Dropout(0.5), nn.MaxPool2d(2)),
        channels(nn.Conv2d(4, 4, 2), nn.LPPool2d(2, 2)),
    ],
    ids=lambda network: "-".join(type(module).__name__ for module in network),
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_what_does_not_commute_takes_the_general_path(network):
    x = torch.randn(7, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    network.eval()(x)
    posterior = MCDropout(network.train())
    posterior.draw(2)(x)
    assert posterior.plan(x).tail is None


def test_a_network_of_every_position_takes_the_general_path():
    network = nn.Sequential(nn.Conv2d(1, 4, 2), nn.Dropout2d(0.5), nn.Conv2d(4, 3, 2))
    x = torch.randn(7, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    assert MCDropout(network).draw(2)(x).shape == (7, 2, 3, 4, 4)
