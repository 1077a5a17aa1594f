"""The network of Simonyan and Zisserman with 16 layers of weights."""

from torch import Tensor, nn

from baldur.networks._shapes import image, units

# Channels of the 3x3 convolutions between one halving of the sides and the next.
_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_SIDE = 7


class VGG(nn.Module):
    """Convolutions, pooling to a fixed size, and dense layers with dropout between them.

    Args:
        features: From images (n, channels, height, width) to maps.
        classifier: From flattened maps of 7x7 pixels to logits.
    """

    def __init__(self, features: nn.Sequential, classifier: nn.Sequential) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d(_SIDE)
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network.

        Args:
            x: Shape (n, channels, height, width).

        Returns:
            Logits, shape (n, classes).
        """
        maps = self.avgpool(self.features(x)).flatten(1)  # (n, channels · 7 · 7)
        y: Tensor = self.classifier(maps)
        return y


def vgg16(shape: tuple[int, ...], classes: int, rate: float = 0.5, *, width: float = 1.0) -> VGG:
    """VGG-16 of Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015.

    Thirteen 3x3 convolutions, and three dense layers with dropout after the first two. The weights have the names and
    shapes of torchvision's, so its files load if the number of classes is the same.

    Args:
        shape: Shape of one image: (channels, height, width), at least 32 pixels a side.
        classes: How many classes there are.
        rate: The probability that dropout zeroes a unit.
        width: The share of its units that each hidden layer keeps.

    Returns:
        The network, freshly initialised: (n, *shape) to logits (n, classes).

    Raises:
        InvalidArgument: The shape is not that of an image, the image is too small, or the width is out of range.
    """
    inputs, _, _ = image(shape, classes, 32, "vgg16")
    layers: list[nn.Module] = []
    for block in _BLOCKS:
        for count in block:
            outputs = units(count, width)
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    hidden = units(4096, width)
    classifier = nn.Sequential(
        nn.Linear(inputs * _SIDE**2, hidden),
        nn.ReLU(),
        nn.Dropout(rate),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(rate),
        nn.Linear(hidden, classes),
    )
    network = VGG(nn.Sequential(*layers), classifier)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")
    return network
