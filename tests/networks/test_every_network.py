"""The named networks: their shapes, what they refuse and what `auto` picks."""

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


@pytest.mark.parametrize("factory", [networks.auto, networks.mlp])
def test_a_single_number_is_no_item(factory):
    with pytest.raises(
        InvalidArgument, match=r"one number, without an axis; give one column, as in x.reshape"
    ):
        factory((), 3)


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
