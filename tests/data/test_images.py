import hashlib
import io
import struct
import threading
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from baldur.data import images
from baldur.data.images import decode, decode_bytes, depth_of, sha256_of, threads


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
        assert decode(tmp_path / "a.png", 8).pixels[:, 0, 0].tolist() == [132, 137, 142]


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


def deep_png(values):
    """A PNG of 16 bits for each value, (height, width, channels)."""
    height, width, channels = values.shape
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]

    def chunk(name, content):
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_transparent_pixels_are_white(kind):
    made = Image.new("RGBA", (8, 8), (200, 0, 0, 255))
    made.paste((0, 0, 0, 0), (0, 0, 8, 4))
    options = {"lossless": True} if kind == "WEBP" else {}
    found = decode_bytes(saved(made, kind, **options), 8)
    assert found.clear
    assert found.pixels[:, 1, 3].astype(float) == pytest.approx([255] * 3, abs=3)
    assert found.pixels[:, 6, 3].astype(float) == pytest.approx([200, 0, 0], abs=9)


@pytest.mark.parametrize("mode", ["LA", "P", "L", "RGB", "1"])
def test_transparency_of_every_mode_is_white(mode):
    black = Image.new("L", (8, 8), 0)
    alpha = Image.new("L", (8, 8), 255)
    alpha.paste(0, (0, 0, 8, 4))
    if mode == "LA":
        content = saved(Image.merge("LA", (black, alpha)), "PNG")
    else:
        shades = {"P": 0, "L": 7, "RGB": (7, 7, 7), "1": 0}
        made = Image.new(mode, (8, 8), {"P": 1, "L": 100, "RGB": (100,) * 3, "1": 1}[mode])
        if mode == "P":
            made.putpalette([9, 9, 9, 100, 100, 100])
        made.paste(shades[mode], (0, 0, 8, 4))
        content = saved(made, "PNG", transparency=shades[mode])
    found = decode_bytes(content, 8)
    assert found.reason == ""
    assert (found.pixels[:, 1, 3] == 255).all()
    assert found.grey == (mode in ("LA", "L", "1"))


def test_an_image_that_is_opaque_everywhere_is_as_it_was():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 4), np.uint8)
    pixels[..., 3] = 255
    found = decode_bytes(saved(Image.fromarray(pixels), "PNG"), 8)
    assert not found.clear
    assert (found.pixels == pixels[..., :3].transpose(2, 0, 1)).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [8, 10, 12, 14, 16])
def test_the_bits_in_use_fill_the_whole_range(channels, depth):
    values = np.random.default_rng(0).integers(0, 2**depth, (8, 8, channels))
    values[0, 0] = 2**depth - 1
    if channels in (2, 4):
        values[..., -1] = 2**depth - 1
    content = deep_png(values)
    found = decode_bytes(content, 8, depth)
    assert (found.peak, depth_of(found.peak)) == (2**depth - 1, depth)
    expected = (values[..., : 1 if channels < 3 else 3] * 255 / (2**depth - 1)).transpose(2, 0, 1)
    assert np.abs(found.pixels - expected).max() <= (1 if depth == 16 else 0.5)
    if depth == 16:
        assert (found.pixels == (values[..., : 1 if channels < 3 else 3] >> 8).transpose(2, 0, 1)).all()
    assert found.grey == (channels == 1)
    assert not found.clear


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_deep_tiff_is_read_like_deep_png(mode, compression):
    values = np.random.default_rng(0).integers(0, 4096, (8, 8)).astype("<u2" if mode == "I;16" else ">u2")
    made = Image.frombytes(mode, (8, 8), values.tobytes())
    content = saved(made, "TIFF", **({"compression": compression} if compression else {}))
    found = decode_bytes(content, 8, 12)
    assert np.abs(found.pixels[0] - values * (255 / 4095)).max() <= 0.5


def test_a_deep_image_is_turned_upright():
    values = np.zeros((64, 64, 1), int)
    values[:32, :32] = 4095
    made = Image.fromarray(values[..., 0].astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("PNG", "TIFF"):
        assert corners(decode_bytes(saved(made, kind, exif=exif), 16, 12)) == (0, 1)


def test_a_deep_pgm_names_its_range_itself():
    found = decode_bytes(b"P5\n2 2\n4095\n" + np.array([0, 4095, 0, 4095], ">u2").tobytes(), 8, 16)
    assert (found.reason, found.grey) == ("", True)
    assert (found.pixels.min(), found.pixels.max()) == (0, 255)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_pictures_the_first_is_read(kind):
    first, second = Image.new("RGB", (8, 8), (250, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 250))
    found = decode_bytes(saved(first, kind, save_all=True, append_images=[second]), 8)
    assert found.several
    assert found.pixels[:, 4, 4].astype(float) == pytest.approx([250, 0, 0], abs=6)
    assert not decode_bytes(saved(first, kind), 8).several


def test_cmyk_is_the_colour_that_it_shows():
    for kind in ("JPEG", "TIFF"):
        found = decode_bytes(saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), kind), 8)
        assert found.pixels[:, 4, 4].astype(float) == pytest.approx([255, 0, 0], abs=4)


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    inside, most, lock = [0], [0], threading.Lock()
    original = images.flattened

    def watched(*told):
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        time.sleep(0.02)
        found = original(*told)
        with lock:
            inside[0] -= 1
        return found

    monkeypatch.setattr(images, "flattened", watched)
    content = saved(Image.new("RGB", (60, 60)), "PNG")
    for limit, expected in ((1 << 22, 4), (1000, 1)):
        monkeypatch.setattr(images, "_LARGE", limit)
        most[0] = 0
        with ThreadPoolExecutor(4) as pool:
            assert all(not f.reason for f in pool.map(lambda _: decode_bytes(content, 8), range(8)))
        assert most[0] == expected if expected == 1 else most[0] > 1


def test_a_bomb_beyond_the_limit_of_pillow_is_one_sentence(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    found = decode_bytes(saved(Image.new("RGB", (60, 60)), "PNG"), 8)
    assert found.reason == "has too many pixels; it may be a decompression bomb. Save it smaller"
