import hashlib
import warnings

import numpy as np
import pytest
from PIL import Image

from baldur.data.images import decode, sha256_of, threads


def image(path, pixels, **options):
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)
    return path


def corners(decoded):
    """The brightest corner, as (row, column)."""
    grey = decoded.pixels.mean(0)
    return tuple(int(i) for i in np.argwhere(grey[:: len(grey) - 1, :: len(grey) - 1] > 128)[0])


def test_pixels_are_channels_first_with_the_hash_of_the_file(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3))
    path = image(tmp_path / "a.png", pixels)
    found = decode(path, 16)
    assert (found.pixels == pixels.transpose(2, 0, 1)).all()
    assert found.sha256 == sha256_of(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found.grey, found.reason) == (False, "")
    assert threads() >= 1


def test_the_middle_square_is_taken(tmp_path):
    wide = np.zeros((10, 30, 3))
    wide[:, 10:20] = 200
    assert (decode(image(tmp_path / "wide.png", wide), 10).pixels == 200).all()
    assert (decode(image(tmp_path / "tall.png", wide.transpose(1, 0, 2)), 10).pixels == 200).all()


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (1, 1)), (6, (0, 1)), (8, (1, 0))])
def test_exif_orientation_is_applied(tmp_path, orientation, corner):
    pixels = np.zeros((64, 64, 3))
    pixels[:32, :32] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = image(tmp_path / "a.jpg", pixels, exif=exif, quality=95)
    assert corners(decode(path, 16)) == corner


def test_large_photographs_are_read_small_and_look_the_same(tmp_path):
    y, x = np.mgrid[:800, :800] / 800 * 255
    pixels = np.stack([x, y, 255 - x], -1)
    photo = decode(image(tmp_path / "a.jpg", pixels, quality=95), 32).pixels
    exact = decode(image(tmp_path / "a.png", pixels), 32).pixels
    assert np.abs(photo.astype(int) - exact).max() <= 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_three_channels(tmp_path, mode):
    expected = 255 if mode == "1" else 200
    if mode == "I;16":
        made = Image.fromarray(np.full((9, 9), expected * 256, np.uint16))
    else:
        made = Image.new("L", (9, 9), expected).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    made.save(path)
    found = decode(path, 8)
    assert found.reason == ""
    assert np.abs(found.pixels.astype(int) - expected).max() <= 3
    assert found.grey == (mode in ("1", "L", "LA", "I;16"))


def test_transparent_palettes_are_read_without_a_warning(tmp_path):
    made = Image.new("P", (9, 9), 1)
    made.putpalette([0, 0, 0, 10, 20, 30])
    made.save(tmp_path / "a.png", transparency=bytes([255, 128]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(tmp_path / "a.png", 8).pixels[:, 0, 0].tolist() == [10, 20, 30]


def test_what_is_no_whole_image_has_a_reason(tmp_path):
    whole = image(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (40, 40, 3))).read_bytes()
    photo = image(tmp_path / "a.jpg", np.random.default_rng(0).integers(0, 256, (40, 40, 3))).read_bytes()
    for name, content, says in (
        ("text.png", b"not pixels", "not an image"),
        ("empty.jpg", b"", "not an image"),
        ("cut.png", whole[: len(whole) // 2], "truncated"),
        ("cut.jpg", photo[: len(photo) // 2], "truncated"),
    ):
        (tmp_path / name).write_bytes(content)
        found = decode(tmp_path / name, 8)
        assert found.pixels is None
        assert says in found.reason
        assert found.sha256 == hashlib.sha256(content).hexdigest()


def test_a_file_that_cannot_be_read_has_neither_pixels_nor_hash(tmp_path):
    found = decode(tmp_path / "gone.png", 8)
    assert (found.pixels, found.sha256) == (None, None)
    assert "No such file" in found.reason
    assert decode(tmp_path, 8).sha256 is None


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    path = image(tmp_path / "a.png", np.zeros((40, 40, 3)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "40 x 40 pixels are too many" in decode(path, 8).reason
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "decompression bomb" in decode(path, 8).reason


def test_a_file_beyond_all_measure_is_not_opened(tmp_path):
    with open(tmp_path / "a.png", "wb") as file:
        file.truncate(1 << 30)
    assert decode(tmp_path / "a.png", 8).reason == "larger than 512 MiB"


def test_pixels_of_32_bits_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "a.tif")
    assert "32 bits" in decode(tmp_path / "a.tif", 8).reason
