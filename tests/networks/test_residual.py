import torch

from baldur import networks


def test_resnet18_has_the_published_weights_and_a_dropout_before_the_last_layer():
    network = networks.resnet18((3, 224, 224), 1000, rate=0.2)
    assert sum(p.numel() for p in network.parameters()) == 11_689_512
    assert network.dropout.p == 0.2
    assert [name for name, _ in network.named_children()][-2:] == ["dropout", "output"]


def test_resnet18_keeps_more_pixels_of_a_small_image():
    small, large = networks.resnet18((3, 64, 64), 10), networks.resnet18((3, 65, 65), 10)
    x = torch.randn(1, 3, 64, 64)
    assert small.stem(x).shape[-1] == 64
    assert large.stem(x).shape[-1] == 16
