import torch

from baldur import networks


def test_vgg16_has_the_published_weights_and_the_names_of_their_file():
    with torch.device("meta"):
        network = networks.vgg16((3, 224, 224), 1000)
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    assert sum(p.numel() for p in network.parameters()) == 138_357_544
    assert shapes["features.0.weight"] == (64, 3, 3, 3)
    assert shapes["features.28.weight"] == (512, 512, 3, 3)
    assert shapes["classifier.0.weight"] == (4096, 25088)
    assert shapes["classifier.6.weight"] == (1000, 4096)
