"""Reads an image file upright, in colour, and as a square of a given size."""

import hashlib
import io
import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from baldur.errors import DataNotFound

if TYPE_CHECKING:
    from PIL import Image, ImageFile

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

_LARGEST_FILE = 1 << 29  # bytes; no photograph is larger
_LARGE_FILE, _LARGE = 32 << 20, 4 << 20  # bytes, pixels: larger ones are decoded one at a time
_ALONE = threading.RLock()
_HIGH = np.uint16(256)
_GREY = ("1", "L", "LA")
_DEPTHS = (8, 10, 12, 14, 16)
_LOW = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
"""The raw mode that reads the other byte of each value, so the low ones."""


@dataclass(frozen=True)
class Decoded:
    """The result of decoding one image file.

    Args:
        pixels: Shape (3, size, size), uint8; None if the image could not be read.
        grey: Whether the file has a single grey channel; then the three channels are equal.
        sha256: Of the file's content; None if the file could not be read.
        reason: Why there are no pixels; "" if there are.
        peak: The largest value, if the file has 16 bits for each; else 0.
        clear: Whether a pixel is transparent.
        several: Whether the file has several pictures; the first one is read.
        content: A digest of the pixels, so that files that were saved in different ways are found equal.
    """

    pixels: NDArray[np.uint8] | None
    grey: bool
    sha256: str | None
    reason: str = ""
    peak: int = 0
    clear: bool = False
    several: bool = False
    content: str | None = None


def decode(path: Path, size: int, depth: int = 16) -> Decoded:
    """Read an image: EXIF orientation applied, on white, converted to RGB, the middle square resized to `size`.

    The result has a reason instead of pixels if the file is not an image, is damaged, is too large (a
    decompression bomb) or cannot be read. Large images are decoded one at a time.

    Args:
        path: The file.
        size: The side of the square in pixels.
        depth: The bits that are in use in files with 16 bits for each value.

    Returns:
        The pixels, or the reason why there are none.
    """
    try:
        length = path.stat().st_size
        if length > _LARGEST_FILE:
            return Decoded(None, False, None, f"larger than {_LARGEST_FILE >> 20} MiB")
        with _ALONE if length > _LARGE_FILE else nullcontext():
            return decode_bytes(path.read_bytes(), size, depth)
    except (OSError, ValueError) as error:
        return Decoded(None, False, None, getattr(error, "strerror", None) or str(error))


def decode_bytes(content: bytes | None, size: int, depth: int = 16) -> Decoded:
    """Read an image from the bytes of a file, as `decode` does.

    Args:
        content: The file's bytes; None if there are none.
        size: The side of the square in pixels.
        depth: As in `decode`.

    Returns:
        The pixels, or the reason why there are none.
    """
    if content is None:
        return Decoded(None, False, None, "is empty")
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        return replace(_decoded(content, size, depth), sha256=sha256)
    except MemoryError:
        raise
    except Exception as error:  # on damaged bytes a decoder may raise anything
        return Decoded(None, False, sha256, _said(error))


def decode_picture(image: "Image.Image", size: int, depth: int = 16) -> Decoded:
    """Read an image of Pillow, as `decode` reads a file.

    Args:
        image: The image.
        size: The side of the square in pixels.
        depth: As in `decode`.

    Returns:
        The pixels, or the reason why there are none.
    """
    try:
        return _square(image.copy(), b"", size, depth)
    except (OSError, ValueError) as error:
        return Decoded(None, False, None, _said(error))


def depth_of(peak: int) -> int:
    """The smallest usual number of bits that holds a value.

    Args:
        peak: The largest value in use.

    Returns:
        8, 10, 12, 14 or 16.
    """
    return next(bits for bits in _DEPTHS if peak < 2**bits)


class Facts(NamedTuple):
    """What is told about an image that could be read, as in `Decoded`."""

    id: str
    peak: int
    clear: bool
    several: bool


def notes_on(facts: Sequence[Facts]) -> list[str]:
    """How images that are not plain were read, in sentences.

    Args:
        facts: The facts about each image.

    Returns:
        Sentences.
    """
    notes = []
    if clear := [fact.id for fact in facts if fact.clear]:
        notes.append(f"{_images(clear)} transparent, and put on white: {_some(clear)}")
    if deep := [fact.id for fact in facts if fact.peak]:
        peak = max(fact.peak for fact in facts)
        notes.append(
            f"{_images(deep)} of 16 bits; the largest value is {peak:,}, so that white is"
            f" {2 ** depth_of(peak) - 1:,} ({depth_of(peak)} bits): {_some(deep)}"
        )
    if several := [fact.id for fact in facts if fact.several]:
        notes.append(f"{_images(several)} the first of several in a file: {_some(several)}")
    return notes


def _images(ids: Sequence[str]) -> str:
    return "1 image is" if len(ids) == 1 else f"{len(ids):,} images are"


def _some(ids: Sequence[str]) -> str:
    return ", ".join([*ids[:3], "..."] if len(ids) > 3 else ids)


def _decoded(content: bytes, size: int, depth: int) -> Decoded:
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels are too many; {_SMALLER}")
        several = image.format != "MPO" and bool(getattr(image, "is_animated", False))
        large = image.width * image.height > _LARGE
        image.draft(image.mode, (2 * size, 2 * size))  # a large JPEG is read at a fraction of its size
        if "progressive" not in image.info:  # libjpeg holds a progressive one as a whole
            large = image.width * image.height > _LARGE
        make = partial(_square, image, content, size, depth)
        found = _alone().submit(make).result() if large else make()
    return replace(found, several=several)


@lru_cache(1)
def _alone() -> ThreadPoolExecutor:
    """The thread of large images: each thread would keep the memory of its largest one."""
    return ThreadPoolExecutor(1, "large images")


def _square(image: "Image.Image", content: bytes, size: int, depth: int) -> Decoded:
    from PIL import Image

    grey = image.mode in _GREY or image.mode.startswith("I;16") or _is_deep_map(image)
    flat, peak, clear = flattened(image, content, depth)
    side = min(flat.size)
    left, top = (flat.width - side) / 2, (flat.height - side) / 2
    box = (left, top, left + side, top + side)
    square = flat.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=3.0).convert("RGB")
    pixels = np.ascontiguousarray(np.asarray(square, dtype=np.uint8).transpose(2, 0, 1))
    digest = hashlib.blake2b(pixels.data, digest_size=16).hexdigest()
    return Decoded(pixels, grey, None, "", peak, clear, content=digest)


def flattened(image: "Image.Image", content: bytes, depth: int | None) -> "tuple[Image.Image, int, bool]":
    """An image upright, in RGB or in grey, and on white.

    Args:
        image: An opened image.
        content: The file's bytes.
        depth: As in `decode`; None takes it from this image.

    Returns:
        The image; the largest value, if the file has 16 bits for each, else 0; and whether a pixel is transparent.
    """
    from PIL import Image, ImageOps

    deep, peak = _deep(image, content), 0
    if deep is not None:
        peak = int(deep[..., : 1 if deep.shape[2] == 2 else 3].max(initial=0))
        exif = image.getexif().get(_ORIENTATION)
        image = Image.fromarray(_shallow(deep, depth_of(peak) if depth is None else depth))
        if exif is not None:
            image.getexif()[_ORIENTATION] = exif
    elif image.mode in ("I", "F"):
        raise ValueError("pixels of 32 bits have no agreed range; save it with 8 or 16 bits")
    ImageOps.exif_transpose(image, in_place=True)
    if not image.has_transparency_data:
        return image if image.mode in ("L", "RGB") else image.convert("RGB"), peak, False
    if image.mode == "La":
        image = image.convert("LA")
    layer = image if image.mode == "RGBA" else image.convert("RGBA")
    lowest = layer.getchannel("A").getextrema()[0]
    white = Image.new("RGB", layer.size, "white")
    white.paste(layer, mask=layer)
    return white, peak, lowest != 255


_ORIENTATION = 0x0112
_SMALLER = "it may be a decompression bomb. Save it smaller"


def _is_deep_map(image: "Image.Image") -> bool:
    """Whether it is a grey image in the format PGM, which names its range, with more than 8 bits."""
    return image.mode == "I" and image.format == "PPM"


def _deep(image: "Image.Image", content: bytes) -> NDArray[np.uint16] | None:
    """The values of a file with 16 bits for each, (height, width, channels); None for other files.

    Pillow reads the high bytes of colours alone; another raw mode gives the low ones.
    """
    from PIL import Image, ImageFile

    if image.mode.startswith("I;16") or _is_deep_map(image):
        return np.asarray(image).astype(np.uint16)[..., None]
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    raw = tiles[0].args if tiles else ""
    name = str(raw[0] if isinstance(raw, tuple) and raw else raw)
    kind, _, bits = name.partition(";")
    if bits not in _LOW or kind not in ("RGB", "RGBA", "LA"):
        return None
    with Image.open(io.BytesIO(content)) as other:
        if kind == "LA":  # 4 bytes for each pixel, as of RGBA
            both = _with_raw(other, "RGBA")
            return both[..., ::2] * _HIGH + both[..., 1::2]
        low = _with_raw(other, f"{kind};{_LOW[bits]}")
        return np.asarray(image).astype(np.uint16) * _HIGH + low


def _with_raw(image: "ImageFile.ImageFile", raw: str) -> NDArray[np.uint16]:
    """The bytes of an image as another raw mode reads them."""
    image.tile = [
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw)
        for tile in image.tile
    ]
    return np.asarray(image).astype(np.uint16)


def _shallow(deep: NDArray[np.uint16], depth: int) -> NDArray[np.uint8]:
    """Values of `depth` bits as bytes. The last of two or four channels is the opacity."""
    values = np.arange(2**16)
    most = 2**depth - 1
    table = np.minimum((values * 510 + most) // (2 * most), 255) if depth < 16 else values >> 8
    shallow = table.astype(np.uint8)[deep]
    if deep.shape[2] in (2, 4) and deep[..., -1].max(initial=0) >= 2**depth:
        shallow[..., -1] = deep[..., -1] >> 8
    return shallow[..., 0] if deep.shape[2] == 1 else shallow


def _said(error: Exception) -> str:
    """The message of a decoder, without the address of its buffer."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, Image.DecompressionBombError):
        return f"has too many pixels; {_SMALLER}"
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
