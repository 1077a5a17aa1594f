"""Random changes of inputs."""

from functools import partial

import pytest
import torch
from torch import nn

from baldur import training
from baldur.training import augmentation

X = torch.rand(64, 3, 12, 10, generator=torch.Generator().manual_seed(1))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("augment", [augmentation.weak, augmentation.strong])
def test_a_generator_decides_and_nothing_else_is_touched(augment):
    batch = {
        "picture": X.clone(),
        "table": torch.randn(64, 5),
        "codes": torch.arange(64)[:, None],
        "none": None,
    }
    before = {name: None if leaf is None else leaf.clone() for name, leaf in batch.items()}
    state = torch.get_rng_state()
    one, same, other = (augment(batch, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    for name in ("picture", "table"):
        assert torch.equal(one[name], same[name])
        assert not torch.equal(one[name], other[name])
        assert one[name].shape == batch[name].shape
        assert torch.equal(batch[name], before[name])
    assert torch.equal(one["codes"], batch["codes"])
    assert one["none"] is None


def test_weak_shifts_each_picture_by_whole_pixels_and_repeats_borders():
    found = set()
    moved = augmentation.weak(X, seeded(), shift=0.2)  # 2 of 12 rows, 2 of 10 columns
    for before, after in zip(X, moved, strict=True):
        matches = [
            (u, v)
            for u in range(-2, 3)
            for v in range(-2, 3)
            if torch.equal(
                after,
                before[:, (torch.arange(12) + u).clamp(0, 11)][:, :, (torch.arange(10) + v).clamp(0, 9)],
            )
        ]
        assert len(matches) == 1
        found.update(matches)
    assert {u for u, _ in found} == {v for _, v in found} == {-2, -1, 0, 1, 2}


def test_pictures_are_mirrored_only_on_request():
    flipped = augmentation.weak(X, seeded(), shift=0, flip=True)
    mirrored = (flipped == X.flip(3)).flatten(1).all(1)
    assert torch.equal(augmentation.weak(X, seeded(), shift=0), X)
    assert torch.equal(flipped, torch.where(mirrored[:, None, None, None], X.flip(3), X))
    assert 16 < int(mirrored.sum()) < 48


def test_noise_is_in_units_of_the_features():
    table = torch.randn(20_000, 3, generator=seeded()) * torch.tensor([1.0, 100.0, 0.0])
    noise = augmentation.weak(table, seeded(1), noise=0.1) - table
    assert torch.allclose(noise.std(0), torch.tensor([0.1, 10.0, 0.0]), rtol=0.03)


def test_no_operation_and_no_cutout_is_the_identity():
    same = augmentation.strong(X, seeded(), operations=0, cutout=0, shift=0)
    assert torch.allclose(same, X, atol=1e-5)


def test_cutout_sets_a_square_to_the_mean():
    cut = augmentation.strong(X, seeded(), operations=0, cutout=1, shift=0)
    gone = (cut - X).abs().amax(1) > 1e-4
    assert 0.05 < float(gone.float().mean()) < 0.5  # 0.33 less what lies outside
    means = X.mean((2, 3))[:, :, None, None].expand(X.shape)
    assert torch.allclose(cut[gone[:, None].expand(X.shape)], means[gone[:, None].expand(X.shape)], atol=1e-5)


def test_each_picture_gets_as_many_operations_as_said():
    """Contrast and brightness alone change a picture affinely; geometry does not."""
    changed = augmentation.strong(X, seeded(), operations=1, cutout=0, shift=0)
    flat, after = X.flatten(1), changed.flatten(1)
    a, b = flat - flat.mean(1, keepdim=True), after - after.mean(1, keepdim=True)
    correlation = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    affine = (correlation > 1 - 1e-5).float().mean()
    assert 0.1 < float(affine) < 0.5  # two operations of seven


def test_a_turn_keeps_the_form_of_pictures_that_are_not_square():
    """A disc stays a disc under rotation."""
    rows, columns = torch.arange(24.0)[:, None] - 11.5, torch.arange(40.0) - 19.5
    disc = torch.sigmoid(4 * (8 - (rows**2 + columns**2).sqrt())).expand(1, 1, 24, 40)
    many = disc.expand(200, 1, 24, 40).clone()
    turned = augmentation.strong(many, seeded(), operations=1, cutout=0, shift=0)
    area = turned.sum((1, 2, 3)) / disc.sum()
    same = (turned - many).abs().amax((1, 2, 3)) < 0.1
    assert float(same.float().mean()) > 0.1  # those that were turned
    assert float((area - 1).abs().median()) < 0.7


def test_it_serves_as_a_recipe_s_augment():
    network = nn.Sequential(nn.Flatten(), nn.Linear(360, 2))
    recipe = training.Recipe(epochs=1, augment=partial(augmentation.strong, operations=1))
    result = training.train(network, X, torch.arange(64) % 2, recipe=recipe, seed=0)
    assert result.epochs == 1
