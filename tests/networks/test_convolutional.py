from torch import nn

from baldur import networks


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
