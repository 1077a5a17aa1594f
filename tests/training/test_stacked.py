"""Several networks trained at once, against each of them trained by itself."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from baldur import networks
from baldur.errors import InvalidArgument, TrainingDiverged, UnsupportedNetwork
from baldur.likelihoods import BERNOULLI, GAUSSIAN
from baldur.training import Checkpoints, Recipe, initialise, train, weights_hash
from baldur.training._stack import pays
from baldur.training.schedules import cosine
from baldur.training.stacked import CannotStack, train_stacked

GENERATOR = torch.Generator().manual_seed(0)
VECTORS = torch.randn(30, 5, generator=GENERATOR)
IMAGES = torch.randn(30, 2, 6, 6, generator=GENERATOR)
Y = torch.arange(30) % 3
ONCE = Recipe(epochs=3, epoch_size=1, batch_size=8, learning_rate=0.01)


def dense():
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.LayerNorm(16), nn.Linear(16, 3))


def convolutional():
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3))


def normalised():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )


def dropping():
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))


class Tied(nn.Module):
    """Two inputs, a layer with two names, a weight in two layers, and a layer that is not trained."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(5, 5)
        self.other = self.one
        self.third = nn.Linear(5, 5)
        self.third.weight = self.one.weight
        self.fixed = nn.Linear(5, 3).requires_grad_(False)

    def forward(self, a, b):
        return self.fixed(self.one(a).relu() + self.third(self.other(b)))


class Slot:
    """A checkpoint slot that stops the fit after its n-th save."""

    def __init__(self, folder, kill_after=None):
        self.path, self.left = folder / "checkpoint", kill_after

    def latest(self):
        return self.path if self.path.exists() else None

    def save(self, write):
        self.path.parent.mkdir(exist_ok=True)
        write(self.path)
        if self.left is not None:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt


def both(factory, x, y=Y, recipe=ONCE, seeds=(1, 2, 3), **kwargs):
    """(networks, results) of each way."""
    at_once = [initialise(factory, seed) for seed in seeds]
    by_itself = copy.deepcopy(at_once)
    results = train_stacked(at_once, x, y, recipe=recipe, seeds=seeds, **kwargs)
    alone = [train(n, x, y, recipe=recipe, seed=s, **kwargs) for n, s in zip(by_itself, seeds, strict=True)]
    return (at_once, results), (by_itself, alone)


def agree(stacked, turn):
    for one, other in zip(stacked[0], turn[0], strict=True):
        assert not one.training
        torch.testing.assert_close(one.state_dict(), other.state_dict(), atol=1e-5, rtol=1e-4)
    for one, other in zip(stacked[1], turn[1], strict=True):
        assert (one.epochs, one.reason, one.best_epoch) == (other.epochs, other.reason, other.best_epoch)
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert one.accuracy == pytest.approx(other.accuracy, abs=1e-6)
        assert (one.nll is None) == (other.nll is None)
        assert one.nll is None or one.nll == pytest.approx(other.nll, rel=1e-4)


@pytest.mark.parametrize(
    ("factory", "x"), [(dense, VECTORS), (convolutional, IMAGES), (normalised, IMAGES)], ids=lambda v: ""
)
@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(epochs=3, epoch_size=1, batch_size=8, learning_rate=0.003),
        Recipe(epochs=2, batch_size=7, epoch_size=40, optimizer="sgd", learning_rate=0.05, schedule=cosine),
        Recipe(epochs=2, batch_size=16, optimizer="adamw", weight_decay=0.1, label_smoothing=0.1),
    ],
    ids=["adam", "sgd", "adamw"],
)
def test_each_ends_where_it_would_by_itself(factory, x, recipe):
    agree(*both(factory, x, recipe=recipe))


def noisy(x, generator):
    return x + 0.1 * torch.randn(x.shape, generator=generator)


def test_everything_that_a_recipe_has_means_the_same():
    recipe = Recipe(epochs=2, batch_size=8, class_weights=True, augment=noisy)
    agree(*both(dense, VECTORS, y=(torch.arange(30) % 5).clamp(max=2), recipe=recipe))
    agree(*both(dense, VECTORS, weights=torch.linspace(0, 2, 30)))
    agree(*both(Tied, {"a": VECTORS, "b": -VECTORS}))
    agree(*both(dense, VECTORS, y=torch.eye(3)[Y], likelihood=BERNOULLI))
    agree(*both(partial(nn.Linear, 5, 2), VECTORS, y=VECTORS.sum(1), likelihood=GAUSSIAN))


def test_bfloat16_keeps_the_weights_in_float32():
    recipe = Recipe(epochs=30, epoch_size=1, learning_rate=0.03, precision="bfloat16")
    (trained, results), _ = both(dense, VECTORS, recipe=recipe)
    assert all(p.dtype == torch.float32 for n in trained for p in n.parameters())
    assert max(result.loss for result in results) < 0.8


def test_each_stops_early_by_itself():
    """Noise for labels: one network is out of patience long before another."""
    recipe = Recipe(epochs=40, epoch_size=1, batch_size=8, learning_rate=0.02, patience=3)
    held = torch.randn(24, 5, generator=torch.Generator().manual_seed(1)), torch.arange(24) % 3
    stacked, turn = both(dense, VECTORS, recipe=recipe, seeds=(1, 2, 3, 4), validation=held)
    assert len({result.epochs for result in stacked[1]}) > 1
    agree(stacked, turn)


@pytest.mark.parametrize("kill_after", [1, 3, 5])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_fit_that_is_killed_goes_on(tmp_path, optimizer, kill_after):
    """Past the epoch in which the first network stopped, too."""
    recipe = Recipe(
        epochs=12, epoch_size=1, batch_size=8, learning_rate=0.05, patience=2, optimizer=optimizer
    )
    held = torch.randn(24, 5, generator=torch.Generator().manual_seed(1)), torch.arange(24) % 3

    def fit(slot):
        made = [initialise(dropping, seed) for seed in range(4)]
        kept = None if slot is None else Checkpoints(slot, 0.0)
        results = train_stacked(
            made, VECTORS, Y, recipe=recipe, seeds=range(4), validation=held, checkpoint=kept
        )
        return [weights_hash(n) for n in made], [(r.epochs, r.loss, r.reason, r.nll) for r in results]

    whole = fit(None)
    with pytest.raises(KeyboardInterrupt):
        fit(Slot(tmp_path, kill_after))
    assert fit(Slot(tmp_path)) == whole
    assert fit(None) == whole


def test_a_fit_that_is_done_is_not_done_again(tmp_path):
    def fits(slot, seeds=range(3)):
        epochs = []
        kept = Checkpoints(slot, 0.0)
        made = [initialise(dropping, seed) for seed in seeds]
        watch = {"checkpoint": kept, "progress": lambda *told: epochs.append(told)}
        train_stacked(made, VECTORS, Y, recipe=ONCE, seeds=seeds, **watch)
        train(dense(), VECTORS, Y, recipe=ONCE, seed=9, checkpoint=kept)
        return epochs, [weights_hash(network) for network in made]

    with pytest.raises(KeyboardInterrupt):
        fits(Slot(tmp_path, 4))
    again, whole = fits(Slot(tmp_path)), fits(Slot(tmp_path / "other"))
    assert (len(again[0]), len(whole[0])) == (0, 3)
    assert again[1] == whole[1]
    assert len(fits(Slot(tmp_path), range(2))[0]) == 3  # other seeds are other fits


def test_dropout_is_shared_only_where_the_seed_is():
    same = [initialise(dropping, 0) for _ in range(2)]
    train_stacked(same, VECTORS, Y, recipe=ONCE, seeds=(5, 5))
    assert weights_hash(same[0]) == weights_hash(same[1])
    recipe = Recipe(
        epochs=1, epoch_size=1, batch_size=30, optimizer="sgd"
    )  # one step: the order does not matter
    other = [initialise(dropping, 0) for _ in range(2)]
    train_stacked(other, VECTORS, Y, recipe=recipe, seeds=(5, 6))
    assert not torch.allclose(other[0][0].weight, other[1][0].weight, atol=1e-6)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, x):
        return self.layer(x) if float(x.detach().sum()) > 0 else -self.layer(x)


class Scaled(nn.Linear):
    """A weight of its own that is neither a parameter nor a buffer."""

    def __init__(self):
        super().__init__(5, 3)
        self.scale = float(torch.rand(()))

    def forward(self, x):
        return super().forward(x) * self.scale


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ([Branching, Branching], "cannot vectorise"),
        ([Scaled, Scaled], "differ in more"),
        ([dense, dropping], "different architectures"),
    ],
)
def test_what_cannot_be_stacked_is_refused_and_left_alone(made, said):
    three = [initialise(factory, seed) for seed, factory in enumerate(made)]
    before = [weights_hash(n) for n in three]
    with pytest.raises(CannotStack, match=said):
        train_stacked(three, VECTORS, Y, recipe=ONCE, seeds=(1, 2))
    assert [weights_hash(n) for n in three] == before


def test_what_no_network_could_be_trained_on_is_refused():
    fit = partial(train_stacked, [dense(), dense()], VECTORS, Y, seeds=(1, 2))
    with pytest.raises(InvalidArgument, match="as many seeds, not 3"):
        fit(recipe=ONCE, seeds=(1, 2, 3))
    with pytest.raises(InvalidArgument, match="validation set is empty"):
        fit(recipe=ONCE, validation=(VECTORS[:0], Y[:0]))
    with pytest.raises(UnsupportedNetwork, match="4 classes"):
        fit(recipe=ONCE, classes=4)
    with pytest.raises(TrainingDiverged):
        fit(recipe=Recipe(epochs=3, optimizer="sgd", learning_rate=1e30))


def test_only_small_dense_networks_pay_on_a_processor():
    cpu = Recipe(device="cpu")
    assert pays(networks.mlp((20,), 10), cpu)
    assert not pays(networks.mlp((784,), 10), cpu)
    assert not pays(convolutional(), cpu)
    assert not pays(nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)), cpu)
