"""Checks of the shape of an item, for the factories."""

from baldur.errors import InvalidArgument


def check_classes(shape: tuple[int, ...], classes: int) -> None:
    """Refuse shapes and numbers of classes without a network.

    Args:
        shape: Shape of one item.
        classes: How many classes there are.

    Raises:
        InvalidArgument: A side is not positive, or there are fewer than two classes.
    """
    if not shape or min(shape) < 1:
        raise InvalidArgument(
            f"an item has the shape {shape}; every axis must have at least one element"
            if shape
            else "each item is one number, without an axis; give one column, as in x.reshape(-1, 1)"
        )
    if classes < 2:
        raise InvalidArgument(f"a classifier needs at least 2 classes, not {classes}")


def image(shape: tuple[int, ...], classes: int, least: int, name: str) -> tuple[int, int, int]:
    """The axes of an image that is large enough for the network.

    Args:
        shape: Shape of one item.
        classes: How many classes there are.
        least: The smallest side in pixels that the network can take.
        name: The network, for the message.

    Returns:
        Channels, height and width.

    Raises:
        InvalidArgument: The item is not an image, or it is too small.
    """
    check_classes(shape, classes)
    if len(shape) != 3:
        raise InvalidArgument(
            f"{name} takes images (channels, height, width), not items of shape {shape}; try mlp"
        )
    if min(shape[1:]) < least:
        raise InvalidArgument(f"{name} takes images of at least {least} pixels a side, not {shape}; try mlp")
    return shape[0], shape[1], shape[2]


def units(count: int, width: float) -> int:
    """How many units a layer keeps.

    Args:
        count: How many it has.
        width: The share that it keeps.

    Returns:
        At least 1.

    Raises:
        InvalidArgument: The share is not in (0, 1].
    """
    if not 0 < width <= 1:
        raise InvalidArgument(
            f"width is the share of units that hidden layers keep, above 0 and at most 1, not {width}"
        )
    return max(1, round(count * width))
