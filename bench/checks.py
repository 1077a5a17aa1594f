"""The time of all checks of the data before a run, compared with reading the data.

The checks find equal items, values that are not finite, and the range. For files, they are a digest of each file.
"""

import hashlib
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from baldur.data import images
from baldur.data.scanning import first_of, scan
from bench.measure import say, seconds, show

IMAGES = 60_000
FILES = 3_000
SIDE = 64
REPEATS = 7

Two = tuple[Callable[[], Any], Callable[[], Any]]
"""The checks, and reading."""


def _compressed(folder: Path) -> Two:
    """60,000 images of strokes, a fifth of whose pixels are not black, in an .npz."""
    file, rng = folder / "images.npz", np.random.default_rng(0)
    strokes = rng.integers(0, 256, (IMAGES, 28, 28), np.uint8) * (rng.random((IMAGES, 28, 28)) < 0.2)
    np.savez_compressed(file, x=strokes)

    def read() -> NDArray[Any]:
        with np.load(file) as arrays:
            x: NDArray[Any] = arrays["x"]
            return x

    x = read()
    return lambda: scan([x]), read


def _photographs(folder: Path) -> Two:
    """3,000 JPEG files of 320x240."""
    rng = np.random.default_rng(0)
    for number in range(FILES):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        coarse.resize((320, 240), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)
    paths = sorted(folder.glob("*.jpg"))

    def read() -> list[Any]:
        with ThreadPoolExecutor(images.threads()) as pool:
            return list(pool.map(lambda path: images.decode_bytes(path.read_bytes(), SIDE), paths))

    contents = [path.read_bytes() for path in paths]

    def check() -> None:
        first_of(hashlib.sha256(content).digest() for content in contents)

    return check, read


def rows() -> list[tuple[str, str, str]]:
    """(what, measured, bar)."""
    told = []
    for what, make in (
        (f"{IMAGES:,} images of 28x28 in an .npz", _compressed),
        (f"{FILES:,} JPEG files of 320x240", _photographs),
    ):
        say(what)
        with tempfile.TemporaryDirectory() as folder:
            check, read = make(Path(folder))
            checked, plain = [], []
            for _ in range(REPEATS):
                checked += seconds(check)
                plain += seconds(read)
        ratio = median(a / b for a, b in zip(checked, plain, strict=True))
        measured = f"{show(median(checked))} / {show(median(plain))} = {ratio:.1%}"
        told.append((f"{what}: all checks over reading", measured, "at most 5 %"))
    return told
