"""The supervised loop: what it minimises, what it repeats, where it stops."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.training.small_fits import VALIDATION, Recipe, X, Y, fitted, network, noise
from torch import nn
from torch.nn import functional

from baldur.core import threads
from baldur.errors import (
    EmptyLabelledSet,
    InvalidArgument,
    InvalidLabel,
    SpinningThreads,
    TrainingDiverged,
    UnsupportedNetwork,
)
from baldur.training import initialise, train, weights_hash
from baldur.training.stacked import train_stacked


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


def test_the_error_of_a_network_that_fails_is_the_cause():
    class Failing(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 3)

        def forward(self, x):
            return self.layer(x).logits

    with pytest.raises(UnsupportedNetwork, match=r"inputs of float32 \(2,\): AttributeError: ") as told:
        train(
            Failing(), torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64), recipe=Recipe(epochs=1), seed=0
        )
    assert isinstance(told.value.__cause__, AttributeError)


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
    with pytest.raises(InvalidArgument, match="40 labels need as many inputs"):
        fitted(Recipe(), y=Y[:40])
    with pytest.raises(InvalidArgument, match="validation set is empty"):
        fitted(Recipe(), validation=(X[:0], Y[:0]))


def weighted(weight):
    def added(network, step):
        return weight * network[0].weight.square().sum()

    return added


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
