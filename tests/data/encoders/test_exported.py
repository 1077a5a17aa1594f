import os
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from baldur.data import load
from baldur.data.encoders.exported import load_encoder
from baldur.errors import DataNotFound, InvalidArgument, InvalidData


class Means(nn.Module):
    """Means over each quarter of the picture, and a dropout layer that evaluation must switch off."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.pool, self.dropout = nn.AdaptiveAvgPool2d(2), nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(self.pool(x) * self.scale).flatten(1)


@pytest.fixture
def encoders(monkeypatch):
    """A module whose `make` gives what is put into it, and the batches that went through."""
    module = ModuleType("own_encoders")
    module.seen = []
    monkeypatch.setitem(sys.modules, "own_encoders", module)

    def offer(network):
        def make():
            network.register_forward_pre_hook(lambda _, x: module.seen.append(len(x[0])))
            return network

        module.make = make
        return "own_encoders:make"

    module.offer = offer
    return module


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(10):
            Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8)).save(
                tmp_path / f"photos/{label}/{i}.png"
            )
    return str(tmp_path / "photos")


def everything(pool):
    ((_, x),) = pool.batches(np.arange(len(pool)), 2000)
    return x


def test_features_stand_in_the_place_of_images_and_are_computed_once(photos, tmp_path, encoders):
    options = {"image_size": 8, "cache": tmp_path / "cache"}
    steps = []
    data = load(photos, encoder=encoders.offer(Means()), progress=lambda *s: steps.append(s), **options)
    x = everything(data.train)
    assert (x.shape, data.preprocessing["kind"], data.preprocessing["shape"]) == ((16, 12), "features", [12])
    assert data.preprocessing["input"]["mode"] == "RGB"
    assert steps[-1] == ("features", 20, 20)
    assert sum(encoders.seen) == 20
    assert torch.equal(x, everything(load(photos, encoder="own_encoders:make", **options).train))
    assert sum(encoders.seen) == 20
    load(photos, encoder=encoders.offer(Means(2.0)), **options)
    assert sum(encoders.seen) == 40


@pytest.mark.parametrize("second", [nn.Tanh(), nn.ReLU6()])
def test_another_layer_without_weights_is_another_encoder(tmp_path, encoders, second):
    def made(last):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), last)

    first = load_encoder(encoders.offer(made(nn.ReLU())), "cpu").sha256
    assert load_encoder(encoders.offer(made(nn.ReLU())), "cpu").sha256 == first
    assert load_encoder(encoders.offer(made(second)), "cpu").sha256 != first


def test_another_forward_is_another_encoder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    found = []
    for i, body in enumerate(("x.flatten(1)", "x.flatten(1).tanh()", "x.flatten(1)")):
        text = f"from torch import nn\n\n\nclass Own(nn.Module):\n    def forward(self, x):\n        return {body}\n"
        (tmp_path / "written_encoder.py").write_text(
            f"{text}\n\ndef make():\n    return nn.Sequential(Own())\n"
        )
        os.utime(tmp_path / "written_encoder.py", (i, i))
        sys.modules.pop("written_encoder", None)
        found.append(load_encoder("written_encoder:make", "cpu").sha256)
    monkeypatch.delitem(sys.modules, "written_encoder")
    assert found[0] == found[2] != found[1]


def test_an_exported_program_gives_the_same_features(photos, tmp_path, encoders):
    shape = ({0: torch.export.Dim("n")},)
    program = torch.export.export(Means().eval(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=shape)
    torch.export.save(program, tmp_path / "e.pt2")
    options = {"image_size": 8, "cache": tmp_path / "cache"}
    exported = load(photos, encoder=str(tmp_path / "e.pt2"), **options)
    made = load(photos, encoder=encoders.offer(Means()), **options)
    assert everything(exported.test).numpy() == pytest.approx(everything(made.test).numpy(), abs=1e-6)
    with pytest.raises(InvalidArgument, match=r"\(.*3, 16, 16\).*Set the image size"):
        load(photos, encoder=str(tmp_path / "e.pt2"), image_size=16, cache=tmp_path / "cache")


def test_named_sets_are_encoded_too(tmp_path, encoders):
    data = load("digits", encoder=encoders.offer(Means()), cache=tmp_path)
    assert everything(data.train).shape == (1438, 4)
    before = sum(encoders.seen)
    load("digits", encoder="own_encoders:make", cache=tmp_path)
    assert (before, sum(encoders.seen)) == (1797, 1797)


class Gives(nn.Module):
    def __init__(self, give):
        super().__init__()
        self.give = give

    def forward(self, x):
        return self.give(x)


@pytest.mark.parametrize(
    ("give", "error", "says"),
    [
        (lambda x: x, InvalidArgument, r"features of shape \(\d+, D\)"),
        (lambda x: (x, x), InvalidArgument, "gives tuple"),
        (lambda x: x.flatten(1) @ torch.zeros(5, 2), InvalidArgument, "cannot take images"),
        (lambda x: x.flatten(1) / 0, InvalidData, "NaN or an infinite feature for"),
    ],
)
def test_a_network_that_gives_no_features_is_refused(tmp_path, encoders, give, error, says):
    with pytest.raises(error, match=says):
        load("digits", encoder=encoders.offer(Gives(give)), cache=tmp_path)


def test_what_is_no_encoder_is_said(tmp_path, encoders):
    for spec, error, says in (
        ("resnet", InvalidArgument, "FILE.pt2 or package.module:factory"),
        ("no.such:thing", InvalidArgument, "No module named"),
        ("own_encoders:absent", InvalidArgument, "absent"),
        (str(tmp_path / "gone.pt2"), DataNotFound, "gone"),
    ):
        with pytest.raises(error, match=says):
            load_encoder(spec, "cpu")
    encoders.make = dict
    with pytest.raises(InvalidArgument, match="gave dict"):
        load_encoder("own_encoders:make", "cpu")
    (tmp_path / "bad.pt2").write_bytes(b"no program")
    with pytest.raises(InvalidData, match="not an exported program"):
        load_encoder(str(tmp_path / "bad.pt2"), "cpu")


def test_the_hash_is_of_the_weights(encoders):
    first = load_encoder(encoders.offer(Means()), "cpu")
    assert first.sha256 == load_encoder(encoders.offer(Means()), "auto").sha256
    assert first.sha256 != load_encoder(encoders.offer(Means(2.0)), "cpu").sha256
