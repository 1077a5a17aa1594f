"""The named networks: their shapes, their layers and what `auto` picks."""

from functools import partial

import pytest
import torch
from torch import nn

from baldur import networks
from baldur.errors import InvalidArgument


@pytest.mark.parametrize(
    ("factory", "shape"),
    [
        (networks.mlp, (5,)),
        (networks.mlp, (1, 8, 8)),
        (networks.cnn8, (1, 8, 8)),
        (networks.cnn8, (3, 4, 5)),
        (networks.gal2017, (1, 28, 28)),
        (networks.gal2017, (3, 21, 30)),
        (networks.gal2017, (1, 8, 8)),
        (networks.batchbald2019, (1, 28, 28)),
        (networks.batchbald2019, (1, 16, 17)),
        (networks.cnn32, (3, 32, 32)),
        (networks.cnn32, (1, 33, 38)),
        (networks.resnet18, (3, 32, 32)),
        (networks.resnet18, (3, 65, 70)),
        (partial(networks.vgg16, width=0.1), (1, 32, 40)),
    ],
)
def test_logits_have_a_row_an_item_and_a_column_a_class(factory, shape):
    network = factory(shape, 7).eval()
    assert network(torch.randn(2, *shape)).shape == (2, 7)
    assert any(isinstance(module, nn.Dropout | nn.Dropout2d) for module in network.modules())


def test_the_head_takes_features_of_any_scale():
    network = networks.head(12, 3).eval()
    x = torch.randn(4, 12)
    torch.testing.assert_close(network(1000 * x), network(x), atol=1e-3, rtol=1e-3)


def test_gal2017_is_the_published_network():
    network = networks.gal2017((1, 28, 28), 10)
    assert sum(p.numel() for p in network.parameters()) == 513_994
    assert [m.p for m in network if isinstance(m, nn.Dropout)] == [0.25, 0.5]
    tail = [type(m) for m in network][5:]
    assert tail == [nn.Dropout, nn.Flatten, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]


def test_batchbald2019_is_the_published_network():
    network = networks.batchbald2019((1, 28, 28), 10)
    assert network[9].in_features == 1024
    block = [nn.Conv2d, nn.Dropout2d, nn.MaxPool2d, nn.ReLU]
    assert [type(m) for m in network] == [
        *block, *block, nn.Flatten, nn.Linear, nn.Dropout, nn.ReLU, nn.Linear,
    ]  # fmt: skip


def test_resnet18_has_the_published_weights_and_a_dropout_before_the_last_layer():
    network = networks.resnet18((3, 224, 224), 1000, rate=0.2)
    assert sum(p.numel() for p in network.parameters()) == 11_689_512
    assert network.dropout.p == 0.2
    assert [name for name, _ in network.named_children()][-2:] == ["dropout", "output"]


def test_vgg16_has_the_published_weights_and_the_names_of_their_file():
    with torch.device("meta"):
        network = networks.vgg16((3, 224, 224), 1000)
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    assert sum(p.numel() for p in network.parameters()) == 138_357_544
    assert shapes["features.0.weight"] == (64, 3, 3, 3)
    assert shapes["features.28.weight"] == (512, 512, 3, 3)
    assert shapes["classifier.0.weight"] == (4096, 25088)
    assert shapes["classifier.6.weight"] == (1000, 4096)


def test_resnet18_keeps_more_pixels_of_a_small_image():
    small, large = networks.resnet18((3, 64, 64), 10), networks.resnet18((3, 65, 65), 10)
    x = torch.randn(1, 3, 64, 64)
    assert small.stem(x).shape[-1] == 64
    assert large.stem(x).shape[-1] == 16


@pytest.mark.parametrize(
    ("shape", "factory"),
    [
        ((64,), networks.mlp),
        ((28, 28), networks.mlp),
        ((1, 3, 8), networks.mlp),
        ((1, 8, 8), networks.cnn8),
        ((1, 28, 28), networks.gal2017),
        ((3, 28, 28), networks.gal2017),
        ((3, 32, 32), networks.cnn32),
        ((1, 32, 32), networks.cnn32),
        ((3, 64, 64), networks.resnet18),
    ],
)
def test_auto_picks_by_shape(shape, factory):
    assert str(networks.auto(shape, 10)) == str(factory(shape, 10))


@pytest.mark.parametrize(
    "factory",
    [
        *(networks.cnn8, networks.gal2017, networks.batchbald2019),
        *(networks.cnn32, networks.resnet18, networks.vgg16),
    ],
)
def test_a_vector_or_a_tiny_image_is_refused_by_an_image_network(factory):
    with pytest.raises(InvalidArgument, match="try mlp"):
        factory((64,), 10)
    with pytest.raises(InvalidArgument, match="pixels a side"):
        factory((1, 3, 3), 10)


@pytest.mark.parametrize(("shape", "classes"), [((), 2), ((0,), 2), ((4,), 1)])
def test_what_no_network_can_be_made_for_is_refused(shape, classes):
    with pytest.raises(InvalidArgument):
        networks.auto(shape, classes)


@pytest.mark.parametrize("shape", [(5,), (1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64)])
def test_a_narrower_network_has_about_its_share_squared_of_the_parameters(shape):
    whole, half = (networks.auto(shape, 3, width=width) for width in (1.0, 0.5))
    count = [sum(p.numel() for p in network.parameters()) for network in (whole, half)]
    assert 0.2 < count[1] / count[0] < 0.55
    assert half.eval()(torch.randn(2, *shape)).shape == (2, 3)
    with pytest.raises(InvalidArgument, match="at most 1, not 2"):
        networks.auto(shape, 3, width=2)
