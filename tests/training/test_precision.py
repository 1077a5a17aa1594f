"""Training in bfloat16 with a learning rate that rises and falls: one seed, one set of weights, also after a kill."""

from functools import partial

import pytest
import torch

from baldur import networks
from baldur.training import Recipe, initialise, schedules, train, weights_hash

RECIPE = Recipe(
    epochs=4,
    epoch_size=48,
    batch_size=16,
    learning_rate=2e-3,
    schedule=partial(schedules.cosine, warm_up=0.2),
    precision="bfloat16",
    device="cpu",
)
BUILD = {
    name: partial(getattr(networks, name), shape, 10, width=0.25)
    for name, shape in {"gal2017": (1, 12, 12), "cnn32": (3, 8, 8)}.items()
}


class Slot:
    """A checkpoint slot that stops the fit after its n-th save."""

    def __init__(self, folder, stop_after=None):
        self.path, self.left = folder / "checkpoint", stop_after

    def latest(self):
        return self.path if self.path.exists() else None

    def save(self, write):
        write(self.path)
        if self.left is not None:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt


def fitted(name, recipe=RECIPE, **given):
    network = initialise(BUILD[name], 0)
    x = torch.randn(40, *BUILD[name].args[0], generator=torch.Generator().manual_seed(0))
    train(network, x, torch.arange(40) % 10, recipe=recipe, seed=3, interval=0.0, **given)
    return weights_hash(network)


@pytest.mark.parametrize("stop_after", [1, 3])
@pytest.mark.parametrize("name", BUILD)
def test_it_goes_on_bit_for_bit(tmp_path, name, stop_after):
    whole = fitted(name)
    with pytest.raises(KeyboardInterrupt):
        fitted(name, checkpoint=Slot(tmp_path, stop_after))
    assert fitted(name, checkpoint=Slot(tmp_path)) == whole


@pytest.mark.parametrize("name", BUILD)
def test_the_precision_is_what_the_recipe_says(name):
    plain = fitted(name, Recipe(**{**vars(RECIPE), "precision": "float32"}))
    assert fitted(name, Recipe(**{**vars(RECIPE), "precision": "auto"})) == plain  # on a processor
    assert fitted(name) != plain
