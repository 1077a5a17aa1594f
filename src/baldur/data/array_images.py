"""Which arrays are images, where their channels are, and how their values are scaled."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from baldur.data.arrays import Divide, Normalise, as_float
from baldur.errors import InvalidData
from baldur.protocols import Batch

_CHANNELS = (1, 3, 4)
_LEAST_SIDE = 8  # of an image of floating-point numbers without an axis of channels
_DEPTHS = (8, 10, 12, 14, 16)
_BYTES = 32  # larger floating-point values without negative ones, up to 255, are bytes


class Understood(NamedTuple):
    """How an array is read.

    Args:
        channels: The axis of the channels of images; 0 if one has to be added before the height, -1 if the array
            holds no images.
        transform: Applied to each batch; None if nothing is changed.
        notes: What was understood, where it is not plain.
    """

    channels: int
    transform: Callable[[Batch], Batch] | None
    notes: tuple[str, ...] = ()

    def upright(self, x: Any) -> Any:
        """An array with the channels of images before height and width, without a copy.

        Args:
            x: The array.

        Returns:
            A view of it.
        """
        if self.channels == 3:
            return np.moveaxis(x, 3, 1)
        return x[:, None] if self.channels == 0 else x


def understood(source: str, shape: tuple[int, ...], dtype: Any, low: float, high: float) -> Understood:
    """How an array is read: which axis has the channels, and by what the values are divided.

    Whole numbers without negative ones are divided by 255, or by 2^b - 1 for the smallest depth of b = 10, 12, 14 or
    16 bits that holds the largest value. Floating-point images with values from 0 up to 255 are divided by 255, if
    their largest value is above 32.

    Args:
        source: The source of the array, for messages.
        shape: Of the array; the first axis is the item.
        dtype: Of the array.
        low: The smallest value.
        high: The largest value.

    Returns:
        How it is read.

    Raises:
        InvalidData: The channels may be in two places.
    """
    kind = np.dtype(dtype).kind
    if len(shape) == 3:
        sides = shape[1:]
        square = sides[0] == sides[1] and sides[0] >= _LEAST_SIDE
        if dtype != np.uint8 and not square:
            said = (
                f"x has the shape {shape}, and is read as {shape[1]} rows of {shape[2]} numbers for each item. If these"
                f" are images, give them the shape ({shape[0]}, 1, {shape[1]}, {shape[2]})"
            )
            return Understood(-1, None, (said,))
        channels = 0
    elif len(shape) == 4:
        channels = _channels(source, shape)
    else:
        if dtype != np.uint8:
            return Understood(-1, None)
        return Understood(-1, row_scale(high))
    count = 1 if channels == 0 else shape[channels]
    size = tuple(n for axis, n in enumerate(shape[1:], 1) if axis != channels)
    scale = _scale(kind, low, high)
    notes = []
    if dtype != np.uint8 or count not in (1, 3):
        how = "" if scale is None else f", divided by {scale:,.0f}"
        what = "1 channel" if count == 1 else f"{count} channels"
        notes.append(f"x is read as images of {size[0]} x {size[1]} pixels with {what}{how}")
    if scale is None:
        return Understood(channels, as_float if kind in "iub" else None, tuple(notes))
    return Understood(channels, Normalise((0.0,) * count, (1.0,) * count, scale), tuple(notes))


def as_before(
    source: str, read: Understood, x: NDArray[Any], high: float, kept: Mapping[str, Any]
) -> Understood:
    """How an array is read whose first items were read earlier: with the same scale.

    Args:
        source: The source of the array, for the message.
        read: How it would be read now.
        x: The array; the first axis is the item.
        high: Its largest value.
        kept: The preprocessing of the earlier reading.

    Returns:
        How it is read.

    Raises:
        InvalidData: Its items have another shape or another scale.
    """
    fractions = x.dtype.kind == "f" and high <= 1 < kept.get("scale", 1)
    pixels = isinstance(read.transform, Normalise | Divide) and "scale" not in kept
    if x.ndim > 2 and (fractions or pixels):
        now, was = ("from 0 to 1", "larger") if fractions else (f"up to {high:g}", "from 0 to 1")
        raise InvalidData(f"{source} has values {now}, but the values of the run are {was}; use one scale")
    if kept["kind"] == "image":
        transform: Any = Normalise(tuple(kept["mean"]), tuple(kept["std"]), kept["scale"])
    elif "scale" in kept:
        transform = Divide(kept["scale"])
    else:
        transform = as_float if read.transform is not None else None
    told = read._replace(transform=transform)
    form = list(told.upright(np.broadcast_to(0, (1, *x.shape[1:]))).shape[1:])
    if form != list(kept["shape"]):
        raise InvalidData(
            f"{source} has items of shape {tuple(form)}, and the run items of {tuple(kept['shape'])}"
        )
    return told


def _channels(source: str, shape: tuple[int, ...]) -> int:
    """The axis of the channels; a square image tells where the number of channels does not."""
    first, last = shape[1] in _CHANNELS, shape[3] in _CHANNELS
    if first != last:
        return 1 if first else 3
    first, last = shape[2] == shape[3], shape[1] == shape[2]
    if first != last:
        return 1 if first else 3
    if shape[1] in _CHANNELS and shape[1:] != (1, 1, 1):
        raise InvalidData(
            f"in {source} x has the shape {shape}: axis 1 or axis 3 may have the channels. Transpose it so that only"
            " axis 1 has a length of 1, 3 or 4; in Python, baldur.data.from_arrays takes it as it is"
        )
    return 1


def row_scale(high: float) -> Callable[[Batch], Batch]:
    """How rows of bytes become numbers: as pixels, or as small numbers that are no pixels.

    Args:
        high: The largest value.

    Returns:
        The transform of a batch.
    """
    return Divide(255.0) if high > _BYTES else as_float


def _scale(kind: str, low: float, high: float) -> float | None:
    """The largest value that pixels can have; None if they are scaled already, or are not pixels."""
    if kind == "b" or low < 0:
        return None
    if kind == "f":
        return 255.0 if _BYTES < high <= 255 else None
    return depth_scale(int(high))


def depth_scale(high: int) -> float | None:
    """The largest value of the smallest usual depth that holds a value.

    Args:
        high: The largest value in use.

    Returns:
        255, 1023, 4095, 16383 or 65535; None if none of them holds it.
    """
    return next((float(2**bits - 1) for bits in _DEPTHS if high < 2**bits), None)
