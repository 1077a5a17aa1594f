"""Small pictures of items, for the report."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from baldur.data.images import flattened

_SIDE = 64


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


def _from_file(path: str) -> Image.Image:
    content = Path(path).read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        image.draft("RGB", (_SIDE, _SIDE))  # a JPEG is decoded no larger than needed
        upright, _, _ = flattened(image, content, None)
        upright.thumbnail((_SIDE, _SIDE))
        return upright.convert("RGB")


def _from_array(x: NDArray[Any]) -> Image.Image | None:
    if x.ndim != 3 or x.shape[0] not in (1, 3):
        return None
    low, high = float(x.min()), float(x.max())
    pixels = np.asarray((x - low) * (255 / (high - low) if high > low else 0), np.uint8)
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
