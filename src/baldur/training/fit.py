"""Fits one network."""

import math
import time

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from baldur.core.devices import pick_device, seeded
from baldur.core.networks import call, channels_last, restore, tensors
from baldur.core.seeds import derive
from baldur.core.threads import warn_of_spinning
from baldur.core.trees import place, take
from baldur.errors import InvalidArgument
from baldur.likelihoods import CATEGORICAL, Likelihood
from baldur.protocols import Batch, Checkpoint
from baldur.training._checkpoints import Checkpoints
from baldur.training._fitting import (
    EVALUATION_BATCH,
    Fit,
    added_to,
    autocast,
    check_finite,
    check_output,
    factors_of,
    identity_of,
    losses_of,
    optimizer_of,
    order_of,
    steps_of,
)
from baldur.training.recipe import AfterEpoch, Penalty, Progress, Recipe, Step, TrainingResult


def train(
    network: nn.Module,
    x: Batch,
    y: Shaped[Tensor, "n *labels"],
    *,
    recipe: Recipe,
    seed: int,
    classes: int | None = None,
    likelihood: Likelihood = CATEGORICAL,
    weights: Float[Tensor, " n"] | None = None,
    validation: tuple[Batch, Shaped[Tensor, "v *labels"]] | None = None,
    checkpoint: Checkpoint | Checkpoints | None = None,
    interval: float = 10.0,
    progress: Progress | None = None,
    penalty: Penalty | None = None,
    after_epoch: AfterEpoch | None = None,
) -> TrainingResult:
    """Minimise the weighted mean loss of a network, in place.

    L = 1/n Σᵢ wᵢ · −log p(yᵢ | f(xᵢ)) + penalty(f), the weights w scaled to mean 1. The network is left on the
    recipe's device, in evaluation mode. One seed gives one set of weights, bit for bit on the same machine.

    Args:
        network: Gives outputs as the likelihood has them: logits (n, C); it is called as `call` says.
        x: Inputs, a tree of tensors with the item as first axis. They are put on the device once.
        y: Labels as the likelihood has them: class indices, shape (n,).
        recipe: How to train.
        seed: Seed of the order of the items, dropout and augmentation.
        classes: How many columns the network must have; unset, any that the labels fit.
        likelihood: What outputs and labels mean.
        weights: How much each item counts, shape (n,), not negative.
        validation: Inputs and classes. The weights of the epoch with the highest accuracy on them (then the
            lowest loss) are kept, and `recipe.patience` epochs without a better one end the fit.
        checkpoint: Where the state is kept at the ends of epochs, and where an interrupted fit goes on from.
            A checkpoint of another seed is that of another fit, and is passed over. `Checkpoints` keep several
            fits, which must be made in the same order again.
        interval: Minimum seconds between two checkpoints; `Checkpoints` have their own.
        progress: Called after each epoch with ("training", epochs done, epochs at most).
        penalty: Added to the mean loss of each step.
        after_epoch: Shown the network after each epoch.

    Returns:
        How it went.

    Raises:
        EmptyLabelledSet: There are no items.
        InvalidArgument: Lengths or weights do not fit, or there is no such device.
        InvalidLabel: A label does not fit: a class is negative or beyond the columns of the network.
        InvalidCheckpoint: The checkpoint is damaged, or that of another recipe, network or labelled set.
        TrainingDiverged: The loss or a weight is no longer finite.
        UnsupportedNetwork: The network has nothing to train, or does not give such outputs.
    """
    if validation is not None and len(validation[1]) == 0:
        raise InvalidArgument("there are no validation items; give some, or None to train for all epochs")
    device = pick_device(recipe.device)
    if device.type == "cpu":
        warn_of_spinning(torch.get_num_threads())
    factors = factors_of(x, y, weights, recipe)
    identity = identity_of(network, recipe, y, factors) | added_to(penalty, after_epoch)
    network.to(device)
    if isinstance(x, Tensor) and x.ndim == 4 and (x.shape[1] > 1 or device.type == "cpu"):
        channels_last(network)  # on a processor a third less time for colour images, 8 to 29 % for grey ones
    x, y, factors = (place(part, device) for part in (x, y, factors))
    optimizer = optimizer_of(network, recipe)
    fit = Fit(network, optimizer, recipe, device, seed, identity, likelihood, penalty, after_epoch)
    check_output(fit, network, x, y, classes)
    kept = Checkpoints(checkpoint, interval) if isinstance(checkpoint, Checkpoint) else checkpoint
    found = None if kept is None else kept.begin(identity, seed)
    if found is not None:
        fit.go_back(found)
    if found is None or not found.done:
        _run(fit, x, y, factors, validation, kept, progress)
    if kept is not None:
        kept.end(fit.ended())
    network.eval()
    return fit.result()


def _run(
    fit: Fit,
    x: Batch,
    y: Tensor,
    factors: Tensor | None,
    validation: tuple[Batch, Tensor] | None,
    kept: Checkpoints | None,
    progress: Progress | None,
) -> None:
    """All epochs that are left; then the best weights are those of the network."""
    started = time.monotonic() - fit.seconds
    epochs = fit.recipe.epochs
    stopped = False
    while fit.epoch < epochs and not stopped:
        fit.loss = _epoch(fit, x, y, factors)
        fit.epoch += 1
        check_finite(fit)
        if fit.after_epoch is not None:
            fit.after_epoch(fit.network, fit.epoch)
        if validation is None:
            fit.best_epoch = fit.epoch
        else:
            _judge(fit, *validation)
            stopped = fit.epoch - fit.best_epoch >= fit.recipe.patience
        fit.seconds = time.monotonic() - started
        if progress is not None:
            progress("training", fit.epoch, epochs)
        if kept is not None and not stopped and fit.epoch < epochs and kept.due():
            kept.save(fit.state())
    restore(fit.network, fit.best)
    fit.reason = "patience" if stopped else "epochs"


def _epoch(fit: Fit, x: Batch, y: Tensor, factors: Tensor | None) -> float:
    """One pass; the mean training loss."""
    recipe, network = fit.recipe, fit.network
    size = max(len(y), recipe.epoch_size)
    generator = torch.Generator(fit.device).manual_seed(derive(fit.seed, "augment", fit.epoch))
    order = order_of(len(y), size, derive(fit.seed, "order", fit.epoch)).to(fit.device)
    total = torch.zeros((), device=fit.device)
    precision = autocast(fit)
    network.train()
    with seeded(derive(fit.seed, "epoch", fit.epoch), fit.device):
        steps = steps_of(order, recipe.batch_size)
        for number, chosen in enumerate(steps):
            share = (fit.epoch + number / len(steps)) / recipe.epochs
            if recipe.schedule is not None:
                fit.optimizer.rate = recipe.learning_rate * recipe.schedule(share)
            batch = take(x, chosen)
            if recipe.augment is not None:
                batch = recipe.augment(batch, generator)
            with precision:
                outputs = call(network, batch)
            outputs, labels = outputs.float(), y[chosen]
            losses = losses_of(fit, outputs, labels)
            loss = losses.mean() if factors is None else (losses * factors[chosen]).mean()
            if fit.penalty is not None:
                with precision:
                    added = fit.penalty(network, Step(batch, labels, outputs, losses, share, chosen))
                loss = loss + added.float()
            fit.optimizer.clear()
            torch.autograd.backward(loss)
            fit.optimizer.step()
            total += loss.detach() * len(chosen)
    return float(total) / size


def _judge(fit: Fit, x: Batch, y: Tensor) -> None:
    """Keep the weights if none before were better on the validation items."""
    fit.network.eval()
    right, nll = 0.0, 0.0
    with seeded(fit.seed, fit.device), torch.inference_mode():
        for start in range(0, len(y), EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            with autocast(fit):
                outputs = call(fit.network, place(take(x, part), fit.device)).float()
            target = y[part].to(fit.device)
            hits = fit.likelihood.right(outputs, target)
            right = math.nan if hits is None else right + float(hits.sum())
            nll += float(fit.likelihood.losses(outputs, target).sum())
    accuracy, nll = None if math.isnan(right) else right / len(y), nll / len(y)
    if fit.nll is None or (accuracy or 0.0, -nll) > (fit.accuracy or 0.0, -fit.nll):
        fit.accuracy, fit.nll, fit.best_epoch = accuracy, nll, fit.epoch
        fit.best = {name: tensor.detach().clone() for name, tensor in tensors(fit.network).items()}
