"""Image models of transformers as encoders. The models are tiny, and saved to a folder."""

import json

import numpy as np
import pytest
import torch

from baldur.data import from_arrays, in_memory, load, load_for_labelling
from baldur.data.encoders.exported import encoded, load_encoder
from baldur.data.encoders.hugging_face import load_model
from baldur.errors import DataNotFound, InvalidArgument

transformers = pytest.importorskip("transformers")

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]


def saved(folder, model, processor):
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return f"hf:{folder}"


def small(kind, **options):
    told = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    return kind(**told | options)


@pytest.fixture
def vit(tmp_path):
    config = small(transformers.ViTConfig, image_size=16, patch_size=8)
    processor = {"size": {"height": 16, "width": 16}, "image_mean": MEAN, "image_std": STD}
    return saved(tmp_path / "vit", transformers.ViTModel(config), processor)


def images(n=12, channels=3, side=16):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, channels, side, side), np.uint8)


def test_the_features_are_those_of_the_model(vit, tmp_path):
    x = images()
    dataset = in_memory(from_arrays(x), np.arange(12) % 2, test_fraction=0.25, images=True)
    found = encoded(dataset, load_encoder(vit, "cpu"), tmp_path / "cache", None)
    ((_, features),) = found.train.batches(np.arange(len(found.train)), 99)
    model = transformers.ViTModel.from_pretrained(vit.removeprefix("hf:")).eval()
    own = [int(i) for i in found.train.ids]
    pixels = (torch.from_numpy(x[own]) / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[
        :, None, None
    ]
    with torch.inference_mode():
        expected = model(pixel_values=pixels).pooler_output
    torch.testing.assert_close(torch.as_tensor(features), expected, rtol=1e-4, atol=1e-5)
    assert found.preprocessing["encoder"] == vit


@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 40)])
def test_images_of_other_forms_are_brought_into_form(vit, tmp_path, channels, side):
    x = images(channels=channels, side=side)
    dataset = in_memory(from_arrays(x), np.arange(12) % 2, test_fraction=0.25, images=True)
    found = encoded(dataset, load_encoder(vit, "cpu"), tmp_path / "cache", None)
    assert found.preprocessing["shape"] == [16]


def test_photographs_get_the_size_of_the_model(vit, tmp_path):
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i, pixels in enumerate(images(6, side=50)):
            Image.fromarray(np.roll(pixels, i).transpose(1, 2, 0)).save(
                tmp_path / "photos" / name / f"{i}{name}.png"
            )
    found = load(str(tmp_path / "photos"), encoder=vit, cache=tmp_path / "cache", image_size=64)
    assert found.preprocessing["input"]["shape"] == [3, 16, 16]
    assert found.preprocessing["shape"] == [16]
    people = load_for_labelling(
        tmp_path / "photos", classes=["cat", "dog"], encoder=vit, cache=tmp_path / "cache"
    )
    assert people.preprocessing["shape"] == [16]


def test_clip_and_models_without_a_pooled_output(tmp_path):
    vision = {"image_size": 16, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "intermediate_size": 16}
    text = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config=text | {"intermediate_size": 16}, vision_config=vision, projection_dim=8
    )
    clip = saved(
        tmp_path / "clip", transformers.CLIPModel(config), {"crop_size": {"height": 16, "width": 16}}
    )
    assert load_model(clip).network(torch.rand(3, 3, 16, 16)).shape == (3, 8)
    config = transformers.ConvNextConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], image_size=32)
    next_ = saved(tmp_path / "next", transformers.ConvNextModel(config), {"size": {"shortest_edge": 32}})
    assert load_model(next_).network(torch.rand(3, 3, 32, 32)).shape == (3, 8)
    config = small(transformers.ViTConfig, image_size=16, patch_size=8)
    bare = saved(tmp_path / "bare", transformers.ViTModel(config, add_pooling_layer=False), {"size": 16})
    assert load_model(bare).network(torch.rand(3, 3, 16, 16)).shape == (3, 16)


def test_the_digest_is_that_of_weights_and_input(vit, tmp_path):
    first = load_model(vit).sha256
    assert load_model(vit).sha256 == first
    told = json.loads((tmp_path / "vit" / "preprocessor_config.json").read_text())
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(told | {"image_mean": [0.1] * 3}))
    assert load_model(vit).sha256 != first


def test_what_is_no_image_model(tmp_path, monkeypatch):
    with pytest.raises(InvalidArgument, match="names no model"):
        load_model("hf:")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataNotFound, match="cannot be loaded"):
        load_model(f"hf:{tmp_path / 'empty'}")
    config = small(transformers.ViTConfig, image_size=16, patch_size=8)
    pickled = tmp_path / "pickled"
    transformers.ViTModel(config).save_pretrained(pickled)
    (pickled / "preprocessor_config.json").write_text("{}")
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(DataNotFound, match="cannot be loaded"):  # a pickle is never read
        load_model(f"hf:{pickled}")
