import io
import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits
from torch import nn

from baldur.data import from_arrays, in_memory, load, near
from baldur.data.near import NEAR, limit, nearest

RNG = np.random.default_rng(0)


def split_file(path, x, y, x_test, y_test):
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return load(str(path))


@pytest.mark.parametrize("n", [50, 9000])
def test_the_nearest_item_is_that_of_brute_force(n):
    train = (RNG.normal(size=(n, 7)) * [1, 10, 0.1, 1, 1, 1, 1] + 5).astype(np.float32)
    train[:, 3] = 4
    test = (train[:9] + RNG.normal(size=(9, 7)) * train.std(0) / 20).astype(np.float32)
    at, distance = nearest(test, train)
    used = train.std(0) > 1e-3
    apart = ((test[:, None] - train)[..., used] / train.std(0, dtype=np.float64)[used]) ** 2
    assert at.tolist() == apart.sum(2).argmin(1).tolist()
    assert distance == pytest.approx(np.sqrt(apart.sum(2).min(1) / 12), rel=1e-3)


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_disturbed_copies_of_training_items_are_named_and_stay(tmp_path, noise):
    x, y = load_digits(return_X_y=True)
    copies = x[:20] + noise * x.std(0) * RNG.normal(size=(20, 64))
    data = split_file(tmp_path / "d.npz", x[:1500], y[:1500], np.concatenate([copies, x[1500:]]), y[-317:])
    assert (len(data.train), len(data.test)) == (1500, 317)
    (note,) = data.notes
    assert note.startswith("20 test items are nearly equal to a training item, and none was left out: test/")
    assert all(a.split("/")[1] == b.split("/")[1] for a, b in pairs_in(note))


def pairs_in(note):
    shown = note.split("left out: ")[1].removesuffix(", ...").split(", ")
    return [pair.split(" ~ ") for pair in shown]


@pytest.mark.parametrize("dimensions", [2, 4, 16])
def test_items_that_are_near_by_chance_are_not_named(dimensions):
    x = RNG.normal(size=(3000, dimensions)).astype(np.float32)
    _, distance = nearest(x[:600], x[600:])
    assert (distance <= limit(x[600:])).mean() <= 0.005
    data = in_memory(from_arrays(x), np.arange(3000) % 2, test_fraction=0.2)
    assert all(int(note.split()[0]) <= 3 for note in data.notes)


def test_the_limit_is_smaller_where_items_lie_dense():
    x = RNG.normal(size=(3000, 30)).astype(np.float32)
    assert limit(x) == NEAR
    assert limit(x[:, :2]) < 0.01
    assert limit(x[:, :2] @ RNG.normal(size=(2, 50)).astype(np.float32)) < 0.01
    assert 0 < limit(np.tile(x[:, :1], (1, 5))) < 0.001


def test_of_large_sets_a_part_is_compared_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(near._PRODUCTS, "array", 64 * 100_000)
    x = RNG.normal(size=(2000, 64)).astype(np.float32)
    copies = x + np.float32(0.01)
    y = np.arange(2000) % 3
    (note,) = split_file(tmp_path / "d.npz", x, y, copies, y).notes
    assert "Only 79 of 2,000 test items were compared with 1,265 of 2,000 training items" in note
    assert 30 < int(note.split()[0]) < 70


def test_nothing_is_said_of_constant_or_single_items():
    for x in (np.zeros((10, 9)), np.ones((2, 9))):
        x[0, 0] = 1
        in_memory(from_arrays(x), np.arange(len(x)) % 2, test_fraction=0.5)


class Grid(nn.Module):
    """Means over a grid of 8 by 8 places."""

    def forward(self, x):
        return nn.functional.adaptive_avg_pool2d(x, 8).flatten(1)


def test_augmented_copies_of_images_are_found_by_the_features_of_an_encoder(tmp_path, monkeypatch):
    module = ModuleType("near_encoder")
    module.make = Grid
    monkeypatch.setitem(sys.modules, "near_encoder", module)
    digits = np.uint8(load_digits().images[:280] * 15)
    tiles = [Image.fromarray(digit).resize((80, 80), Image.Resampling.BICUBIC) for digit in digits]
    for i, tile in enumerate(tiles):
        side, label = ("test" if i % 7 == 0 else "train"), f"c{i % 2}"
        (tmp_path / "p" / side / label).mkdir(parents=True, exist_ok=True)
        tile.save(tmp_path / "p" / side / label / f"{i}.png")
    changed = {
        "compressed": lambda t: Image.open(compressed(t)),
        "brighter": lambda t: ImageEnhance.Brightness(t).enhance(1.03),
        "noisy": lambda t: Image.fromarray(np.uint8(np.clip(t + RNG.normal(size=(80, 80)) * 8, 0, 255))),
    }
    for number, (name, change) in enumerate(changed.items()):
        i = [1, 9, 17][number]
        change(tiles[i]).save(tmp_path / "p/test" / f"c{i % 2}" / f"{name}-{i}.png")
    data = load(str(tmp_path / "p"), encoder="near_encoder:make", cache=tmp_path / "cache", image_size=64)
    note = data.notes[-1]
    assert note.startswith("3 test items are nearly equal to a training item")
    for i, name in zip((1, 9, 17), changed, strict=True):
        assert f"test/c{i % 2}/{name}-{i}.png ~ train/c{i % 2}/{i}.png" in note


def compressed(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file


def test_equal_rows_are_not_said_twice():
    data = in_memory(from_arrays(np.zeros((60, 4))), np.arange(60) % 2, test_fraction=0.2)
    assert len(data.notes) == 1
