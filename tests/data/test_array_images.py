import numpy as np
import pytest
import torch

from baldur.data import load
from baldur.data.array_images import depth_scale, understood
from baldur.errors import InvalidData
from baldur.runs.run import _dataset
from baldur.runs.settings import create

RNG = np.random.default_rng(0)


def loaded(x, source, tmp_path):
    y = np.arange(len(x)) % 2
    if source == "npz":
        np.savez(tmp_path / "d.npz", x=x, y=y)
        return load(str(tmp_path / "d.npz"))
    if source == "npy":
        np.save(tmp_path / "d.npy", x)
        np.save(tmp_path / "d_labels.npy", y)
        return load(str(tmp_path / "d.npy"))
    given = torch.from_numpy(x) if source == "tensor" else x
    return _dataset((given, y), create().data)


def in_order(data):
    x = {}
    for pool in (data.train, data.test):
        ((_, batch),) = pool.batches(np.arange(len(pool)), 100)
        x |= dict(zip(pool.ids, batch, strict=True))
    return np.stack([x[str(i)].numpy() for i in range(len(x))])


SOURCES = ["npz", "npy", "array", "tensor"]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32", "float64"])
@pytest.mark.parametrize("channels", [0, 1, 3, 4])
def test_images_of_any_type_are_the_same_images(source, dtype, channels, tmp_path):
    x = RNG.integers(0, 256, (20, 9, 9, channels or 1), np.uint8)
    expected = x.transpose(0, 3, 1, 2) / np.float32(255)
    given = (x if channels else x[..., 0]).astype(dtype)
    data = loaded(given, source, tmp_path)
    found = in_order(data)
    assert found.dtype == np.float32
    assert found == pytest.approx(expected, abs=1e-6)
    assert data.preprocessing["shape"] == [channels or 1, 9, 9]
    assert (data.preprocessing["kind"], data.preprocessing["scale"]) == ("image", 255.0)


@pytest.mark.parametrize("source", SOURCES)
def test_scaled_images_stay_as_they_are_and_get_a_channel(source, tmp_path):
    x = RNG.random((20, 12, 12)).astype(np.float32)
    data = loaded(x, source, tmp_path)
    assert in_order(data) == pytest.approx(x[:, None])
    assert "images of 12 x 12 pixels with 1 channel" in data.notes[0]
    x = RNG.normal(size=(20, 12, 12, 3)).astype(np.float32) * 300
    assert in_order(loaded(x, source, tmp_path)) == pytest.approx(x.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("source", SOURCES)
def test_deep_pixels_are_divided_by_the_range_in_use(bits, source, tmp_path):
    x = RNG.integers(0, 2**bits, (20, 9, 9), np.uint16)
    x[0, 0, 0] = 2**bits - 1
    data = loaded(x, source, tmp_path)
    assert in_order(data) == pytest.approx(x[:, None] / (2.0**bits - 1), abs=1e-6)
    assert f"divided by {2**bits - 1:,}" in data.notes[0]


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((9, 4, 32, 32), 1),
        ((9, 32, 32, 4), 3),
        ((9, 3, 4, 4), 1),
        ((9, 4, 4, 3), 3),
        ((9, 13, 32, 32), 1),
        ((9, 32, 32, 13), 3),
        ((9, 10, 5, 6), 1),
        ((9, 1, 1, 1), 1),
        ((9, 8, 8), 0),
        ((9, 8, 30), -1),
        ((9, 3), -1),
    ],
)
def test_the_channels_are_where_they_plainly_are(shape, axis):
    assert understood("x", shape, np.float32, 0, 1).channels == axis


@pytest.mark.parametrize("shape", [(9, 3, 28, 3), (9, 1, 28, 1), (9, 4, 4, 4), (9, 3, 20, 4)])
@pytest.mark.parametrize("source", SOURCES)
def test_channels_that_may_be_in_two_places_are_asked_about(shape, source, tmp_path):
    with pytest.raises(InvalidData, match="axis 1 or axis 3 may have the channels"):
        loaded(RNG.integers(0, 256, shape, np.uint8), source, tmp_path)


def test_rows_of_rows_are_named():
    assert "read as 8 rows of 30 numbers" in understood("x", (9, 8, 30), np.float32, 0, 1).notes[0]


def test_a_depth_holds_the_largest_value():
    assert [depth_scale(v) for v in (0, 255, 256, 4096, 65535, 65536)] == [255, 255, 1023, 16383, 65535, None]
