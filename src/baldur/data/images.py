"""Reads an image file upright, in colour, and as a square of a given size."""

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from baldur.errors import DataNotFound

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".webp",
        ".ppm",
        ".pgm",
        ".pbm",
        ".jp2",
        ".avif",
    ]
)
"""The suffixes of image files, in lower case."""

_LARGEST_FILE = 1 << 29  # bytes; no photograph is larger, and each thread holds one
_GREY = ("1", "L", "LA")


@dataclass(frozen=True)
class Decoded:
    """The result of decoding one image file.

    Args:
        pixels: Shape (3, size, size), uint8; None if the image could not be read.
        grey: Whether the file has a single grey channel; then the three channels are equal.
        sha256: Of the file's content; None if the file could not be read.
        reason: Why there are no pixels; "" if there are.
    """

    pixels: NDArray[np.uint8] | None
    grey: bool
    sha256: str | None
    reason: str = ""


def decode(path: Path, size: int) -> Decoded:
    """Read an image: EXIF orientation applied, converted to RGB, the middle square resized to `size`.

    The result has a reason instead of pixels if the file is not an image, is damaged, is too large (a
    decompression bomb) or cannot be read.

    Args:
        path: The file.
        size: The side of the square in pixels.

    Returns:
        The pixels, or the reason why there are none.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            return Decoded(None, False, None, f"larger than {_LARGEST_FILE >> 20} MiB")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        return Decoded(None, False, None, getattr(error, "strerror", None) or str(error))
    return decode_bytes(content, size)


def decode_bytes(content: bytes | None, size: int) -> Decoded:
    """Read an image from the bytes of a file, as `decode` does.

    Args:
        content: The file's bytes; None if there are none.
        size: The side of the square in pixels.

    Returns:
        The pixels, or the reason why there are none.
    """
    if content is None:
        return Decoded(None, False, None, "is empty")
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        pixels, grey = _pixels(content, size)
    except MemoryError:
        raise
    except Exception as error:  # on damaged bytes a decoder may raise anything
        return Decoded(None, False, sha256, _said(error))
    return Decoded(pixels, grey, sha256)


def _pixels(content: bytes, size: int) -> tuple[NDArray[np.uint8], bool]:
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as image:
        if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels are too many")
        image.draft(image.mode, (2 * size, 2 * size))  # a large JPEG is read at a fraction of its size
        grey = image.mode in _GREY or image.mode.startswith("I;16")
        upright = ImageOps.exif_transpose(image)
        colour = _coloured(upright)
    side = min(colour.size)
    left, top = (colour.width - side) / 2, (colour.height - side) / 2
    square = colour.resize(
        (size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side), reducing_gap=3.0
    )
    return np.ascontiguousarray(np.asarray(square, dtype=np.uint8).transpose(2, 0, 1)), grey


def _coloured(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    if image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.uint16)
        image = Image.fromarray((deep >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError("pixels of 32 bits have no agreed range; save it with 8 or 16 bits")
    elif "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _said(error: Exception) -> str:
    """The message of a decoder, without the address of its buffer."""
    from PIL import UnidentifiedImageError

    return "not an image" if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__


def sha256_of(path: Path) -> str:
    """The hash of a file's content.

    Args:
        path: The file.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataNotFound: It cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataNotFound(f"{path} cannot be read: {error.strerror}") from None


def threads() -> int:
    """The number of images that are decoded at once; Pillow releases the interpreter lock.

    Returns:
        At least 1.
    """
    return min(8, os.cpu_count() or 1)
