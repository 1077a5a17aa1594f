"""Pictures of items: small ones for the report, and larger ones for people."""

import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from baldur.data._table import image_bytes
from baldur.data.dataset import Dataset, Origin
from baldur.data.images import flattened
from baldur.errors import UnreadableItems

_SIDE = 64
_ROUNDING = 1e-4


def contact_sheet(images: Sequence[str | NDArray[Any]]) -> bytes | None:
    """One row of small pictures as a PNG, each 64 pixels square.

    Args:
        images: Files, or arrays (channels, height, width); the range of each array is stretched to 0 to 255.

    Returns:
        The PNG; None if an array is not an image with one or three channels.
    """
    tiles = []
    for image in images:
        tile = _from_file(image) if isinstance(image, str) else _from_array(image)
        if tile is None:
            return None
        sampling = Image.Resampling.NEAREST if tile.width < _SIDE else Image.Resampling.BICUBIC
        tiles.append(ImageOps.pad(tile, (_SIDE, _SIDE), sampling))
    if not tiles:
        return None
    sheet = Image.new(tiles[0].mode, (_SIDE * len(tiles), _SIDE))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number * _SIDE, 0))
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def picture_of(dataset: Dataset, position: int, side: int = 1024) -> bytes | None:
    """An item of the pool as people see it: its file, its bytes in a Parquet file, or else its pixels.

    Args:
        dataset: The data set.
        position: The position of the item in the pool.
        side: A larger picture is made smaller, to fit into a square of this side in pixels.

    Returns:
        A PNG; None if the item is no image with one or three channels, or cannot be read now.
    """
    origins = dataset.origins
    origin = Origin() if origins is None else next(origins(np.array([position], np.intp)))
    told = dataset.preprocessing.get("input", dataset.preprocessing)
    image = None
    with suppress(OSError, ValueError, SyntaxError, UnreadableItems):
        if origin.path and origin.part is None:
            image = _opened(Path(origin.path).read_bytes(), side)
        elif origin.path and "column" in told:
            image = _opened(image_bytes(Path(origin.path), told["column"], origin.part or 0), side)
    if image is None:
        with suppress(UnreadableItems):
            image = _from_pool(dataset, position)
    if image is None:
        return None
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _from_pool(dataset: Dataset, position: int) -> Image.Image | None:
    """The pixels of an item, on the scale that they had before they were normalised."""
    ((_, x),) = dataset.train.batches(np.array([position], np.intp), 1)
    if not hasattr(x, "numpy") or x.ndim != 4 or x.shape[1] not in (1, 3):
        return None
    pixels, told = x[0].float().numpy(), dataset.preprocessing
    if told.get("kind") == "image":
        mean, std = (np.array(told[name], np.float32).reshape(-1, 1, 1) for name in ("mean", "std"))
        pixels = pixels * std + mean
    if pixels.min() < -_ROUNDING or pixels.max() > 1 + _ROUNDING:
        return _from_array(pixels)
    octets = np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8)
    return Image.fromarray(octets[0] if len(octets) == 1 else octets.transpose(1, 2, 0))


def _from_file(path: str) -> Image.Image:
    return _opened(Path(path).read_bytes(), _SIDE).convert("RGB")


def _opened(content: bytes, side: int) -> Image.Image:
    """An image in a file, upright, and no larger than needed."""
    with Image.open(io.BytesIO(content)) as image:
        image.draft("RGB", (side, side))  # a JPEG is decoded no larger than needed
        upright, _, _ = flattened(image, content, None)
        upright.thumbnail((side, side))
        return upright


def _from_array(x: NDArray[Any]) -> Image.Image | None:
    if x.ndim != 3 or x.shape[0] not in (1, 3):
        return None
    low, high = float(x.min()), float(x.max())
    pixels = np.asarray((x - low) * (255 / (high - low) if high > low else 0), np.uint8)
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
