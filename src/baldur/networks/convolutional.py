"""Small convolutional networks."""

from torch import nn

from baldur.networks._shapes import image, units


def cnn8(shape: tuple[int, ...], classes: int, *, width: float = 1.0) -> nn.Sequential:
    """A tiny network for images of about 8 pixels, such as scikit-learn's digits.

    A 3x3 convolution of 64 channels and max-pooling, dropout ¼, 128 units, dropout ½.

    Args:
        shape: Shape of one image: (channels, height, width), at least 4 pixels a side.
        classes: How many classes there are.
        width: The share of its units that each hidden layer keeps.

    Returns:
        The network, freshly initialised: (n, *shape) to logits (n, classes).

    Raises:
        InvalidArgument: The shape is not that of an image, the image is too small, or the width is out of range.
    """
    channels, rows, columns = image(shape, classes, 4, "cnn8")
    filters, hidden = units(64, width), units(128, width)
    return nn.Sequential(
        nn.Conv2d(channels, filters, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(filters * ((rows - 2) // 2) * ((columns - 2) // 2), hidden),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(hidden, classes),
    )


def gal2017(shape: tuple[int, ...], classes: int, *, width: float = 1.0) -> nn.Sequential:
    """The network for MNIST of "Deep Bayesian active learning with image data".

    Two 4x4 convolutions of 32 channels, max-pooling, dropout ¼, 128 units, dropout ½ (Gal, Islam & Ghahramani,
    ICML 2017).

    Args:
        shape: Shape of one image: (channels, height, width), at least 8 pixels a side.
        classes: How many classes there are.
        width: The share of its units that each hidden layer keeps.

    Returns:
        The network, freshly initialised: (n, *shape) to logits (n, classes).

    Raises:
        InvalidArgument: The shape is not that of an image, the image is too small, or the width is out of range.
    """
    channels, rows, columns = image(shape, classes, 8, "gal2017")
    filters, hidden = units(32, width), units(128, width)
    return nn.Sequential(
        nn.Conv2d(channels, filters, 4),
        nn.ReLU(),
        nn.Conv2d(filters, filters, 4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(filters * ((rows - 6) // 2) * ((columns - 6) // 2), hidden),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(hidden, classes),
    )


def batchbald2019(shape: tuple[int, ...], classes: int, *, width: float = 1.0) -> nn.Sequential:
    """The network for MNIST of "BatchBALD: efficient and diverse batch acquisition".

    Two blocks of a 5x5 convolution (32 and 64 channels), channel dropout ½ and max-pooling, then 128 units
    with dropout ½. Dropout comes before the rectifiers (Kirsch, van Amersfoort & Gal, NeurIPS 2019).

    Args:
        shape: Shape of one image: (channels, height, width), at least 16 pixels a side.
        classes: How many classes there are.
        width: The share of its units that each hidden layer keeps.

    Returns:
        The network, freshly initialised: (n, *shape) to logits (n, classes).

    Raises:
        InvalidArgument: The shape is not that of an image, the image is too small, or the width is out of range.
    """
    channels, rows, columns = image(shape, classes, 16, "batchbald2019")
    first, second, hidden = units(32, width), units(64, width), units(128, width)
    return nn.Sequential(
        nn.Conv2d(channels, first, 5),
        nn.Dropout2d(0.5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(first, second, 5),
        nn.Dropout2d(0.5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(second * (((rows - 4) // 2 - 4) // 2) * (((columns - 4) // 2 - 4) // 2), hidden),
        nn.Dropout(0.5),
        nn.ReLU(),
        nn.Linear(hidden, classes),
    )


def cnn32(shape: tuple[int, ...], classes: int, *, width: float = 1.0) -> nn.Sequential:
    """A small network for images of about 32 pixels, such as CIFAR.

    Two blocks of two 3x3 convolutions (32 and 64 channels) and max-pooling, dropout ¼, 256 units, dropout ½. There is
    no dropout between the convolutions, so they run once for any number of samples.

    Args:
        shape: Shape of one image: (channels, height, width), at least 4 pixels a side.
        classes: How many classes there are.
        width: The share of its units that each hidden layer keeps.

    Returns:
        The network, freshly initialised: (n, *shape) to logits (n, classes).

    Raises:
        InvalidArgument: The shape is not that of an image, the image is too small, or the width is out of range.
    """
    channels, rows, columns = image(shape, classes, 4, "cnn32")
    first, second, hidden = units(32, width), units(64, width), units(256, width)
    return nn.Sequential(
        *_block(channels, first),
        *_block(first, second),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(second * (rows // 4) * (columns // 4), hidden),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(hidden, classes),
    )


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]
