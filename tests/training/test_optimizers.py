"""The optimisers of recipes: bit for bit those of PyTorch's classes."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from baldur import networks
from baldur.core.networks import channels_last
from baldur.core.seeds import derive
from baldur.errors import UnsupportedNetwork
from baldur.training import Recipe, initialise, train, weights_hash
from baldur.training._optimizers import Optimizer
from baldur.training.schedules import linear

X = torch.randn(24, 3, 6, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(24) % 2
RECIPES = {
    "adam": Recipe(optimizer="adam", learning_rate=0.01),
    "adam without decay": Recipe(optimizer="adam", learning_rate=0.01, weight_decay=0.0),
    "adamw": Recipe(optimizer="adamw", learning_rate=0.01, weight_decay=0.1),
    "sgd": Recipe(optimizer="sgd", learning_rate=0.05),
    "sgd without momentum": Recipe(optimizer="sgd", learning_rate=0.05, momentum=0.0),
}


def layers():
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.Flatten(), nn.Linear(16, 2))


def network():
    return channels_last(initialise(layers, 1))


def of_torch(parameters, recipe):
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, recipe.momentum, weight_decay=decay, fused=True)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, rate, weight_decay=decay, fused=True)


def backward(trained, step):
    """The gradients of one step; that of the last bias is missing in every third one."""
    trained[4].bias.requires_grad_(step == 0 or step % 3 != 0)
    functional.cross_entropy(trained(X), Y).backward()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_steps_are_those_of_torch_bit_for_bit(recipe):
    ours, theirs = network(), network()
    optimizer, reference = Optimizer(ours.parameters(), recipe), of_torch(theirs.parameters(), recipe)
    for step in range(8):
        optimizer.rate = reference.param_groups[0]["lr"] = recipe.learning_rate / (step + 1)
        optimizer.clear()
        reference.zero_grad()
        backward(ours, step)
        backward(theirs, step)
        optimizer.step()
        reference.step()
    assert weights_hash(ours) == weights_hash(theirs) != weights_hash(network())


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_moments_that_were_put_back_go_on_bit_for_bit(recipe):
    whole, halves = network(), network()
    optimizer = Optimizer(whole.parameters(), recipe)
    first = Optimizer(halves.parameters(), recipe)
    for step in range(6):
        if step == 3:
            rest = Optimizer(halves.parameters(), recipe)
            plain = [{name: t.contiguous() for name, t in own.items()} for own in first.moments]
            rest.load(dict(enumerate(plain)))  # a file knows no layout but the plain one
            first = rest
        for trained, mover in ((whole, optimizer), (halves, first)):
            mover.clear()
            backward(trained, step)
            mover.step()
    assert weights_hash(whole) == weights_hash(halves)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_fit_is_the_loop_that_everyone_writes_first(recipe):
    """Beside it stand only the seeds of each epoch, and the layout of the weights."""
    recipe = replace(recipe, epochs=4, epoch_size=50, batch_size=16, schedule=linear, device="cpu")
    ours = initialise(lambda: networks.cnn8((3, 6, 6), 2), 1)
    plain = channels_last(initialise(ours, 1)).train()
    optimizer = of_torch(plain.parameters(), recipe)
    steps, total = 0, 0.0
    with torch.random.fork_rng(devices=[]):
        for epoch in range(4):
            generator = torch.Generator().manual_seed(derive(3, "order", epoch))
            order = torch.randperm(24, generator=generator)
            order = order[torch.randperm(50, generator=generator) % 24]
            torch.manual_seed(derive(3, "epoch", epoch))
            total = torch.zeros(())
            for chosen in order.split(16):
                optimizer.param_groups[0]["lr"] = recipe.learning_rate * linear(steps / 16)
                optimizer.zero_grad()
                loss = functional.cross_entropy(plain(X[chosen]), Y[chosen], reduction="none").mean()
                loss.backward()
                optimizer.step()
                steps += 1
                total += loss.detach() * len(chosen)
    result = train(ours, X, Y, recipe=recipe, seed=3)
    assert weights_hash(ours) == weights_hash(plain)
    assert result.loss == float(total) / 50


def test_a_fit_does_not_load_the_compiler_of_torch():
    code = (
        "import sys, torch; from baldur.training import Recipe, train; "
        "recipe = Recipe(epochs=1, device='cpu'); "
        "train(torch.nn.Linear(2, 2), torch.ones(4, 2), torch.arange(4) % 2, recipe=recipe, seed=0); "
        "print('torch._dynamo' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_a_layer_with_sparse_gradients_is_refused():
    sparse = nn.Sequential(nn.Embedding(9, 4, sparse=True), nn.Flatten(), nn.Linear(8, 2))
    with pytest.raises(UnsupportedNetwork, match="sparse=False"):
        train(sparse, torch.arange(48).view(24, 2) % 9, Y, recipe=Recipe(epochs=1, device="cpu"), seed=0)


def test_parameters_that_are_no_real_numbers_are_refused():
    with pytest.raises(UnsupportedNetwork, match="complex64"):
        Optimizer([nn.Parameter(torch.zeros(2, dtype=torch.complex64))], Recipe())
