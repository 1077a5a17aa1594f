"""Networks for vectors."""

from math import prod

from torch import nn

from baldur.networks._shapes import check_classes, units


def mlp(shape: tuple[int, ...], classes: int, *, width: float = 1.0) -> nn.Sequential:
    """Two hidden layers of 128 rectified units with dropout ½ after each.

    Args:
        shape: Shape of one item; it is flattened.
        classes: How many classes there are.
        width: The share of its units that each hidden layer keeps.

    Returns:
        The network, freshly initialised: (n, *shape) to logits (n, classes).

    Raises:
        InvalidArgument: There is no such shape or no such number of classes, or the width is out of range.
    """
    check_classes(shape, classes)
    hidden = units(128, width)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(prod(shape), hidden),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(hidden, classes),
    )


def head(features: int, classes: int) -> nn.Sequential:
    """The network for features of a pretrained encoder: normalisation, one hidden layer, dropout ½.

    The features of each item are normalised, because the scales of encoders differ by orders of magnitude.

    Args:
        features: Length of a feature vector.
        classes: How many classes there are.

    Returns:
        The network, freshly initialised: (n, features) to logits (n, classes).

    Raises:
        InvalidArgument: There is no such number of features or of classes.
    """
    check_classes((features,), classes)
    return nn.Sequential(
        nn.LayerNorm(features),
        nn.Linear(features, 256),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(256, classes),
    )
