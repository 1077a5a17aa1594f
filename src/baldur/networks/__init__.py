"""Which network, if the user brings none? A few named networks from the literature.

Each is a factory `(shape, classes) -> nn.Module`, and the network gives logits (n, classes). Initial weights come from
the current state of PyTorch's generator; `baldur.training.initialise` draws them from a seed.
"""

from torch import nn

from baldur.networks.convolutional import batchbald2019, cnn8, cnn32, gal2017
from baldur.networks.dense import head, mlp
from baldur.networks.residual import resnet18
from baldur.networks.vgg import vgg16

__all__ = ["auto", "batchbald2019", "cnn8", "cnn32", "gal2017", "head", "mlp", "resnet18", "vgg16"]


def auto(shape: tuple[int, ...], classes: int, *, width: float = 1.0) -> nn.Module:
    """The network for items of this shape.

    Vectors get `mlp`. Images below 16 pixels get `cnn8`, below 32 `gal2017`, up to 48 `cnn32`, and larger ones
    `resnet18`. The smaller side of the image counts. An image below 4 pixels is taken as a vector.

    Args:
        shape: Shape of one item: (features,) or (channels, height, width).
        classes: How many classes there are.
        width: The share of its units that each hidden layer keeps.

    Returns:
        The network, freshly initialised.

    Raises:
        InvalidArgument: There is no such shape or no such number of classes, or the width is out of range.
    """
    side = min(shape[1:]) if len(shape) == 3 else 0
    if side < 4:
        return mlp(shape, classes, width=width)
    if side < 16:
        return cnn8(shape, classes, width=width)
    if side < 32:
        return gal2017(shape, classes, width=width)
    return cnn32(shape, classes, width=width) if side <= 48 else resnet18(shape, classes, width=width)
