"""The supervised loop: what it minimises, what it repeats, where it stops and where it goes on."""

import json
import math
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from baldur import training
from baldur.core import threads
from baldur.errors import (
    EmptyLabelledSet,
    InvalidArgument,
    InvalidCheckpoint,
    InvalidLabel,
    SpinningThreads,
    TrainingDiverged,
    UnsupportedNetwork,
)
from baldur.training import Checkpoints, _fitting, initialise, train, weights_hash
from baldur.training.stacked import train_stacked

Recipe = partial(training.Recipe, epoch_size=1)


class Slot:
    """A checkpoint slot that stops the fit after its n-th save."""

    def __init__(self, folder, stop_after=None):
        self.path = folder / "checkpoint"
        self.saves, self.stop_after = 0, stop_after

    def latest(self):
        return self.path if self.path.exists() else None

    def save(self, write):
        write(self.path)
        self.saves += 1
        if self.saves == self.stop_after:
            raise KeyboardInterrupt


def noise(x, generator):
    return x + 0.1 * torch.randn(x.shape, generator=generator)


def network(seed=0):
    return initialise(
        lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3)),
        seed,
    )


def items(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    return functional.one_hot(y, 4) + 0.3 * torch.randn(n, 4, generator=generator), y


X, Y = items(41)
VALIDATION = items(30, 1)


def fitted(recipe, seed=0, x=X, y=Y, **kwargs):
    trained = network()
    result = train(trained, x, y, recipe=recipe, seed=seed, **kwargs)
    return weights_hash(trained), result


# What it minimises


def test_a_step_is_that_of_the_weighted_loss():
    linear = nn.Linear(4, 3)
    weights = torch.linspace(0, 2, 6)
    expected = {name: p.detach().clone() for name, p in linear.named_parameters()}
    loss = (
        weights / weights.mean() * functional.cross_entropy(linear(X[:6]), Y[:6], reduction="none")
    ).mean()
    for (name, _), gradient in zip(
        linear.named_parameters(), torch.autograd.grad(loss, list(linear.parameters())), strict=True
    ):
        expected[name] -= 0.5 * gradient
    recipe = Recipe(epochs=1, optimizer="sgd", momentum=0.0, weight_decay=0.0, learning_rate=0.5)
    result = train(linear, X[:6], Y[:6], recipe=recipe, seed=0, weights=weights)
    assert result.loss == pytest.approx(float(loss.detach()), abs=1e-6)
    for name, p in linear.named_parameters():
        torch.testing.assert_close(p.detach(), expected[name])


def test_class_weights_are_inverse_frequencies_of_mean_1_over_the_items():
    y = torch.tensor([0] * 10 + [2])
    factors = _fitting.factors_of(torch.zeros(11, 1), y, None, Recipe(class_weights=True))
    torch.testing.assert_close(factors, torch.tensor([0.55] * 10 + [5.5]))
    assert _fitting.factors_of(X, Y[:41], None, Recipe()) is None


def test_class_weights_change_the_fit_of_unbalanced_labels_and_not_of_balanced_ones():
    once = Recipe(epochs=2)
    weighted = Recipe(epochs=2, class_weights=True)
    balanced = torch.arange(12) % 3
    unbalanced = torch.tensor([0] * 10 + [1, 2])
    assert fitted(once, x=X[:12], y=balanced)[0] == fitted(weighted, x=X[:12], y=balanced)[0]
    assert fitted(once, x=X[:12], y=unbalanced)[0] != fitted(weighted, x=X[:12], y=unbalanced)[0]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_every_optimiser_learns(optimizer):
    recipe = Recipe(epochs=60, optimizer=optimizer, learning_rate=0.05 if optimizer == "sgd" else 0.01)
    _, result = fitted(recipe)
    assert result.loss < 0.6
    assert (result.epochs, result.best_epoch, result.reason) == (60, 60, "epochs")


def test_bfloat16_keeps_the_weights_in_float32():
    trained = network()
    result = train(trained, X, Y, recipe=Recipe(epochs=40, learning_rate=0.01, precision="bfloat16"), seed=0)
    assert result.loss < 0.8
    assert all(p.dtype == torch.float32 for p in trained.parameters())


def test_inputs_may_be_a_tuple_or_a_dict():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, a, b):
            return self.layer(a + b)

    hashes = set()
    for x in ((X, X), {"a": X, "b": X}):
        trained = initialise(Sum, 0)
        train(trained, x, Y, recipe=Recipe(epochs=3), seed=0, validation=(x, Y))
        hashes.add(weights_hash(trained))
    assert len(hashes) == 1


# The order of the items


@settings(deadline=None, max_examples=50)
@given(
    n=st.integers(1, 40), size=st.integers(1, 200), batch=st.integers(1, 50), seed=st.integers(0, 2**63 - 1)
)
def test_an_epoch_takes_each_item_equally_often_and_never_leaves_one_alone(n, size, batch, seed):
    size = max(n, size)
    order = _fitting.order_of(n, size, seed)
    counts = torch.bincount(order, minlength=n)
    assert len(order) == size
    assert counts.max() - counts.min() <= 1
    steps = _fitting.steps_of(order, batch)
    assert torch.equal(torch.cat(steps), order)
    if batch > 1 and size > 1:
        assert min(len(step) for step in steps) > 1


def test_every_epoch_has_another_order():
    assert not torch.equal(_fitting.order_of(50, 50, 1), _fitting.order_of(50, 50, 2))


def test_an_epoch_is_never_smaller_than_the_labelled_set():
    seen = []

    def watch(x, generator):
        seen.append(len(x))
        return x

    fitted(Recipe(epochs=1, epoch_size=100, batch_size=33, augment=watch))
    assert seen == [33, 33, 34]
    seen.clear()
    fitted(Recipe(epochs=1, epoch_size=10, batch_size=64, augment=watch))
    assert seen == [41]


# Randomness


def test_the_seed_decides_everything_and_no_global_generator_moves():
    recipe = Recipe(epochs=3, augment=noise)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first = fitted(recipe)[0]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    torch.manual_seed(99)
    assert fitted(recipe)[0] == first
    assert fitted(recipe, seed=1)[0] != first
    assert fitted(Recipe(epochs=3))[0] != first


def test_validation_leaves_the_training_as_it_was():
    assert fitted(Recipe(epochs=1))[0] == fitted(Recipe(epochs=1), validation=VALIDATION)[0]


# Threads


def two_at_once(recipe):
    return train_stacked([nn.Linear(4, 3), nn.Linear(4, 3)], X, Y, recipe=recipe, seeds=[0, 1])


@pytest.mark.parametrize("fit", [fitted, two_at_once])
def test_a_fit_on_threads_that_spin_on_a_busy_machine_warns(monkeypatch, fit):
    threads._warn.cache_clear()
    monkeypatch.setattr(threads, "_crowded", lambda: True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.warns(SpinningThreads):
        fit(Recipe(epochs=1, device="cpu"))
    threads._warn.cache_clear()


# Early stopping


def test_the_best_weights_are_kept_and_the_fit_stops_when_none_better_come():
    trained = network()
    recipe = Recipe(epochs=500, learning_rate=0.05, patience=4)
    result = train(trained, X, Y, recipe=recipe, seed=0, validation=VALIDATION)
    assert result.reason == "patience"
    assert result.epochs == result.best_epoch + 4 < 500
    logits = trained(VALIDATION[0]).detach()
    assert not trained.training
    assert float((logits.argmax(1) == VALIDATION[1]).float().mean()) == pytest.approx(result.accuracy)
    assert float(functional.cross_entropy(logits, VALIDATION[1])) == pytest.approx(result.nll, rel=1e-5)
    again = network()
    train(again, X, Y, recipe=Recipe(epochs=result.best_epoch, learning_rate=0.05), seed=0)
    assert weights_hash(again) == weights_hash(trained)


def test_a_fit_that_runs_out_of_epochs_keeps_the_best_ones_too():
    _, result = fitted(Recipe(epochs=12, learning_rate=0.3, patience=12), validation=VALIDATION)
    assert result.reason == "epochs"
    assert result.best_epoch < result.epochs == 12


# Checkpoints


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


# Several fits in one slot


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


# What may be added


def test_a_penalty_is_added_to_the_mean_loss():
    recipe = Recipe(
        epochs=1, batch_size=64, optimizer="sgd", momentum=0.0, weight_decay=0.0, learning_rate=0.5
    )
    plain, pulled = nn.Linear(4, 3), nn.Linear(4, 3)
    pulled.load_state_dict(plain.state_dict())
    before = plain.weight.detach().clone()
    losses = [
        train(trained, X, Y, recipe=recipe, seed=0, penalty=penalty).loss
        for trained, penalty in ((plain, None), (pulled, lambda n, step: 0.1 * n.weight.square().sum()))
    ]
    torch.testing.assert_close(pulled.weight, plain.weight - 0.5 * 0.2 * before)
    assert losses[1] - losses[0] == pytest.approx(float(0.1 * before.square().sum()), rel=1e-4)


def test_a_schedule_multiplies_the_learning_rate_by_the_share_of_steps_done():
    shares = []

    def half(share):
        shares.append(share)
        return 0.5

    recipe = Recipe(epochs=2, batch_size=21, optimizer="sgd", momentum=0.0, learning_rate=0.2, schedule=half)
    assert fitted(recipe)[0] == fitted(replace(recipe, schedule=None, learning_rate=0.1))[0]
    assert shares == [0.0, 0.25, 0.5, 0.75]


# What is refused


def test_a_loss_that_is_not_finite_is_named_with_epoch_and_learning_rate():
    with pytest.raises(TrainingDiverged, match=r"epoch 1 .* learning rate 0\.001"):
        fitted(Recipe(), x=torch.full_like(X, math.nan))
    recipe = Recipe(epochs=1, optimizer="sgd", learning_rate=1e38, batch_size=64)
    with pytest.raises(TrainingDiverged, match=r"a weight is not finite, with learning rate 1e\+38"):
        train(nn.Linear(4, 3), 1e3 * X, Y, recipe=recipe, seed=0)


def test_weights_are_judged_one_by_one_though_their_sum_overflows():
    trained = nn.Linear(4, 3)
    trained.register_parameter("unused", nn.Parameter(torch.full((4,), 3e38)))
    train(trained, X, Y, recipe=Recipe(epochs=1), seed=0)
    with torch.no_grad():
        trained.unused[1] = -math.inf
    with pytest.raises(TrainingDiverged, match="a weight is not finite"):
        train(trained, X, Y, recipe=Recipe(epochs=1), seed=0)


@pytest.mark.parametrize("last", [nn.Linear(4, 1), nn.Unflatten(1, (2, 2))])
def test_a_network_without_a_column_a_class_is_refused(last):
    with pytest.raises(UnsupportedNetwork, match="logits"):
        train(nn.Sequential(nn.Linear(4, 4), last), X, Y, recipe=Recipe(), seed=0)


def test_columns_must_be_those_of_the_classes():
    with pytest.raises(UnsupportedNetwork, match="3 columns for 4 classes"):
        fitted(Recipe(), classes=4)
    with pytest.raises(InvalidLabel, match="class index 3 is beyond the 3 columns"):
        fitted(Recipe(), y=Y + 1)
    with pytest.raises(InvalidLabel, match="-1 is negative"):
        fitted(Recipe(), y=Y - 1)


def test_nothing_to_train_is_refused():
    with pytest.raises(EmptyLabelledSet, match="label some first"):
        fitted(Recipe(), x=X[:0], y=Y[:0])
    with pytest.raises(UnsupportedNetwork, match="nothing can be trained"):
        train(nn.Linear(4, 3).requires_grad_(False), X, Y, recipe=Recipe(), seed=0)


@pytest.mark.parametrize("weights", [torch.zeros(41), torch.full((41,), -1.0), torch.full((41,), math.nan)])
def test_weights_that_say_nothing_are_refused(weights):
    with pytest.raises(InvalidArgument, match="weights"):
        fitted(Recipe(), weights=weights)


def test_lengths_must_agree():
    with pytest.raises(InvalidArgument, match="40 labels came with inputs of lengths"):
        fitted(Recipe(), y=Y[:40])
    with pytest.raises(InvalidArgument, match="no validation items"):
        fitted(Recipe(), validation=(X[:0], Y[:0]))


@pytest.mark.parametrize(
    "values",
    [{"epochs": 0}, {"epoch_size": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": math.nan},
     {"weight_decay": -1.0}],
)  # fmt: skip
def test_recipes_out_of_their_domain_are_refused(values):
    with pytest.raises(InvalidArgument):
        Recipe(**values)


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
