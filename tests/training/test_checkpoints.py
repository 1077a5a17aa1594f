"""A fit that was killed goes on from its checkpoint, bit for bit, or says why it cannot."""

import json
import time

import pytest
import torch
from tests.training.small_fits import VALIDATION, Recipe, Slot, X, Y, fitted, network, noise
from torch import nn

from baldur.errors import InvalidCheckpoint
from baldur.training import Checkpoints, initialise, train, weights_hash


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("stop_after", [1, 5, 11])
def test_a_fit_that_was_killed_goes_on_bit_for_bit(tmp_path, optimizer, stop_after):
    recipe = Recipe(epochs=12, patience=12, learning_rate=0.02, optimizer=optimizer, augment=noise)
    given = {"validation": VALIDATION, "interval": 0.0}
    whole, result = fitted(recipe, **given)
    with pytest.raises(KeyboardInterrupt):
        fitted(recipe, checkpoint=Slot(tmp_path, stop_after), **given)
    epochs = []
    rest, resumed = fitted(
        recipe, checkpoint=Slot(tmp_path), progress=lambda what, done, of: epochs.append(done), **given
    )
    assert rest == whole
    assert epochs == list(range(stop_after + 1, 13))
    assert (resumed.loss, resumed.best_epoch, resumed.nll) == (result.loss, result.best_epoch, result.nll)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_convolutions_go_on_bit_for_bit_too(tmp_path, optimizer):
    """Their weights lie with the channels last, and so must the moments that are read back."""
    recipe = Recipe(epochs=4, epoch_size=1, learning_rate=0.02, optimizer=optimizer)
    x, y = torch.randn(24, 3, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 2

    def fit(slot):
        network = initialise(
            lambda: nn.Sequential(
                nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.Flatten(), nn.Linear(16, 2)
            ),
            1,
        )
        train(network, x, y, recipe=recipe, seed=1, checkpoint=slot, interval=0.0)
        return weights_hash(network)

    whole = fit(None)
    with pytest.raises(KeyboardInterrupt):
        fit(Slot(tmp_path, 2))
    assert fit(Slot(tmp_path)) == whole


def test_a_fit_stopped_by_patience_stops_there_when_it_goes_on(tmp_path):
    recipe = Recipe(epochs=500, learning_rate=0.05, patience=4)
    given = {"validation": VALIDATION, "interval": 0.0}
    whole, result = fitted(recipe, **given)
    with pytest.raises(KeyboardInterrupt):
        fitted(recipe, checkpoint=Slot(tmp_path, result.epochs - 1), **given)
    rest, resumed = fitted(recipe, checkpoint=Slot(tmp_path), **given)
    assert rest == whole
    assert resumed.epochs == result.epochs


def test_checkpoints_keep_their_distance(tmp_path):
    slot = Slot(tmp_path)
    fitted(Recipe(epochs=5), checkpoint=slot, interval=60.0)
    assert slot.saves == 0
    fitted(Recipe(epochs=5), checkpoint=slot, interval=0.0)
    assert slot.saves == 4  # none after the last epoch


def saved(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fitted(Recipe(epochs=5), checkpoint=Slot(tmp_path, 2), interval=0.0)
    return Slot(tmp_path)


def test_a_checkpoint_of_another_seed_is_passed_over(tmp_path):
    slot = saved(tmp_path)
    assert fitted(Recipe(epochs=5), seed=7, checkpoint=slot)[0] == fitted(Recipe(epochs=5), seed=7)[0]


@pytest.mark.parametrize("cut", [0, 7, 200, -1])
def test_a_truncated_checkpoint_is_refused_by_name(tmp_path, cut):
    slot = saved(tmp_path)
    slot.path.write_bytes(slot.path.read_bytes()[:cut])
    with pytest.raises(InvalidCheckpoint, match=r"checkpoint cannot be read .* delete it"):
        fitted(Recipe(epochs=5), checkpoint=slot)


def test_a_file_of_another_kind_is_refused(tmp_path):
    from safetensors.torch import save_file

    slot = Slot(tmp_path)
    for metadata in (None, {"baldur": "not json"}, {"baldur": json.dumps({"seed": 0})}):
        save_file({"network/x": torch.ones(1)}, slot.path, metadata)
        with pytest.raises(InvalidCheckpoint, match="cannot be read"):
            fitted(Recipe(epochs=5), checkpoint=slot)


def test_a_checkpoint_of_another_fit_is_refused_and_says_what_differs(tmp_path):
    slot = saved(tmp_path)
    with pytest.raises(InvalidCheckpoint, match="another recipe"):
        fitted(Recipe(epochs=6), checkpoint=slot)
    with pytest.raises(InvalidCheckpoint, match="another labels"):
        fitted(Recipe(epochs=5), y=Y.flip(0), checkpoint=slot)
    with pytest.raises(InvalidCheckpoint, match="another network"):
        train(nn.Linear(4, 3), X, Y, recipe=Recipe(epochs=5), seed=0, checkpoint=slot)


def test_a_checkpoint_of_another_version_is_passed_over(tmp_path):
    slot = saved(tmp_path)
    slot.path.write_bytes(slot.path.read_bytes().replace(b'\\"format\\": 2', b'\\"format\\": 9'))
    epochs = []
    fitted(Recipe(epochs=5), checkpoint=slot, progress=lambda what, done, of: epochs.append(done))
    assert epochs == [1, 2, 3, 4, 5]


class Sum:
    """Adds up the weights that it is shown."""

    def __init__(self):
        self.total, self.epochs = torch.zeros(8, 4), []

    def __call__(self, shown, epoch):
        assert shown.training
        self.total = self.total + shown[0].weight.detach()
        self.epochs.append(epoch)

    def state(self):
        return {"total": self.total, "row": self.total[0]}

    def load(self, state):
        self.total = state["total"]


def squares(penalised, step):
    return penalised[0].weight.square().sum()


def three(slot=None):
    """Three fits that follow each other: hashes, what was seen, results, and which epochs were run."""
    kept = None if slot is None else Checkpoints(slot, 0.0)
    hashes, sums, results, epochs = [], [], [], []
    for seed in range(3):
        trained, seen = network(seed), Sum()
        given = {"checkpoint": kept, "after_epoch": seen, "penalty": squares}
        recipe = Recipe(epochs=3, learning_rate=0.02, augment=noise)
        results.append(train(trained, X, Y, recipe=recipe, seed=seed, validation=VALIDATION, **given))
        hashes.append(weights_hash(trained))
        sums.append(seen.total.tolist())
        epochs.append(seen.epochs)
        with torch.no_grad():
            trained[0].weight.zero_()  # what becomes of a network is no matter of its checkpoint
    return hashes, sums, [(r.loss, r.epochs, r.best_epoch, r.reason, r.nll) for r in results], epochs


def test_fits_that_follow_each_other_go_on_where_they_were_killed_bit_for_bit(tmp_path):
    whole = three()
    assert three(Slot(tmp_path)) == whole
    for stop_after, run in [
        (1, [[2, 3], [1, 2, 3], [1, 2, 3]]),
        (3, [[], [1, 2, 3], [1, 2, 3]]),  # between two networks
        (5, [[], [3], [1, 2, 3]]),
        (8, [[], [], [3]]),
    ]:
        (tmp_path / "checkpoint").unlink()
        with pytest.raises(KeyboardInterrupt):
            three(Slot(tmp_path, stop_after))
        rest = three(Slot(tmp_path))
        assert rest[:3] == whole[:3]
        assert rest[3] == run


def test_a_fit_of_another_seed_is_dropped_with_those_after_it(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        three(Slot(tmp_path, 8))
    kept = Checkpoints(Slot(tmp_path), 60.0)
    seen = []
    for seed in (0, 7, 2):
        given = {"checkpoint": kept, "after_epoch": Sum(), "penalty": squares}
        told = lambda what, done, of: seen.append(done)  # noqa: E731
        recipe = Recipe(epochs=3, learning_rate=0.02, augment=noise)
        train(network(seed), X, Y, recipe=recipe, seed=seed, validation=VALIDATION, progress=told, **given)
    assert seen == [1, 2, 3, 1, 2, 3]


def test_a_checkpoint_says_that_a_fit_had_another_penalty_or_watcher(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        three(Slot(tmp_path, 1))
    recipe = Recipe(epochs=3, learning_rate=0.02, augment=noise)
    with pytest.raises(InvalidCheckpoint, match="another penalty and after_epoch"):
        train(network(), X, Y, recipe=recipe, seed=0, checkpoint=Slot(tmp_path))


def test_saves_that_take_long_are_further_apart(tmp_path):
    class Slow(Slot):
        def save(self, write):
            super().save(write)
            time.sleep(0.5)

    slot = Slow(tmp_path)
    fitted(
        Recipe(epochs=9, augment=lambda x, generator: time.sleep(0.002) or x), checkpoint=slot, interval=1e-6
    )
    assert slot.saves == 1  # the next is due ten seconds later


def weighted(weight):
    def added(network, step):
        return weight * network[0].weight.square().sum()

    return added


def test_a_checkpoint_says_that_a_penalty_had_another_weight(tmp_path):
    given = {"recipe": Recipe(epochs=3), "seed": 0, "interval": 0}
    with pytest.raises(KeyboardInterrupt):
        train(network(), X, Y, checkpoint=Slot(tmp_path, 1), penalty=weighted(0.1), **given)
    with pytest.raises(InvalidCheckpoint, match="another penalty"):
        train(network(), X, Y, checkpoint=Slot(tmp_path), penalty=weighted(0.2), **given)
