"""Trains several networks of one architecture at once, with stacked weights and one pass for each step."""

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from baldur.core.devices import pick_device, seeded
from baldur.core.networks import call, restore, tensors
from baldur.core.seeds import derive
from baldur.core.threads import warn_of_spinning
from baldur.core.trees import join, map_tree, place, take
from baldur.errors import InvalidArgument, UnsupportedNetwork
from baldur.likelihoods import CATEGORICAL, Likelihood
from baldur.protocols import Batch, Checkpoint
from baldur.training._checkpoints import Checkpoints, State
from baldur.training._fitting import (
    EVALUATION_BATCH,
    Fit,
    added_to,
    architecture_of,
    autocast,
    check_finite,
    check_output,
    factors_of,
    fewest_items,
    identity_of,
    losses_of,
    optimizer_of,
    order_of,
    steps_of,
)
from baldur.training._stack import Stack
from baldur.training.recipe import Progress, Recipe, TrainingResult

_AGREE = 1e-2  # of the largest output; a GPU multiplies in TF32


class CannotStack(UnsupportedNetwork):
    """The networks cannot be trained at once; the message gives the reason."""


@dataclass
class _Several(Fit):
    """The state of several fits. Networks that stop early leave the stack."""

    kept: ClassVar[tuple[str, ...]] = ("epoch", "loss", "seconds", "alive", "members")

    networks: Sequence[nn.Module] = ()
    seeds: Sequence[int] = ()
    alive: list[int] = field(default_factory=list)
    members: list[dict[str, Any]] = field(default_factory=list)  # what `TrainingResult` holds

    @property
    def stack(self) -> Stack:
        assert isinstance(self.network, Stack)
        return self.network

    def ended(self) -> State:
        return self._state({}, done=True)

    def _state(self, groups: dict[str, dict[str, Tensor]], *, done: bool) -> State:
        stopped = set(range(len(self.networks))) - set(self.alive)
        groups |= {f"member.{m}": tensors(self.networks[m]) for m in sorted(stopped)}
        return super()._state(groups, done=done)

    def go_back(self, state: State) -> None:
        groups = dict(state.groups)
        for name in [name for name in groups if name.startswith("member.")]:
            restore(self.networks[int(name.removeprefix("member."))], dict(groups.pop(name)))
        self._leave_out(state.values["alive"])
        if state.done:
            groups["network"] = {}
        super().go_back(replace(state, groups=groups))

    def stop(self, stopped: Sequence[int]) -> None:
        """Load the final weights into these networks, and continue without them."""
        for m in stopped:
            row = self.alive.index(m)
            restore(self.networks[m], self.stack.member(row, self.best))
        self._leave_out([m for m in self.alive if m not in stopped])

    def _leave_out(self, alive: list[int]) -> None:
        rows = [self.alive.index(m) for m in alive]
        if len(rows) == len(self.alive):
            return
        for parameter, moments in zip(self.optimizer.parameters, self.optimizer.moments, strict=True):
            for name, value in moments.items():
                if value.shape == parameter.shape:
                    moments[name] = value[rows]
        self.best = {name: value[rows] for name, value in self.best.items()}
        self.stack.keep(rows)
        self.alive = alive

    def results(self) -> list[TrainingResult]:
        """The result of each network, with an equal share of the time."""
        share = self.seconds / len(self.networks)
        return [TrainingResult(**{**member, "seconds": share}) for member in self.members]


def train_stacked(
    networks: Sequence[nn.Module],
    x: Batch,
    y: Shaped[Tensor, "n *labels"],
    *,
    recipe: Recipe,
    seeds: Sequence[int],
    classes: int | None = None,
    likelihood: Likelihood = CATEGORICAL,
    weights: Float[Tensor, " n"] | None = None,
    validation: tuple[Batch, Shaped[Tensor, "v *labels"]] | None = None,
    checkpoint: Checkpoint | Checkpoints | None = None,
    interval: float = 10.0,
    progress: Progress | None = None,
) -> list[TrainingResult]:
    """Train several networks at once, in place, each with its own loss; see `train`.

    Lₘ = 1/n Σᵢ wᵢ · −log p(yᵢ | fₘ(xᵢ)). The gradient of Σₘ Lₘ contains all gradients, because the networks share no
    weights. Each network has its own initial weights, order of items, augmentation, dropout and early stopping. Without
    dropout, the result equals that of `train` up to rounding. With dropout, the masks differ.

    Args:
        networks: Networks of one architecture.
        x: See `train`.
        y: See `train`.
        recipe: See `train`.
        seeds: The seed of each network. With equal seeds, order, augmentation and dropout are the same, too.
        classes: See `train`.
        likelihood: See `train`.
        weights: See `train`.
        validation: See `train`. Each network stops by itself.
        checkpoint: See `train`. All networks together are one fit.
        interval: See `train`.
        progress: See `train`.

    Returns:
        The result of each network, with an equal share of the time.

    Raises:
        CannotStack: The networks differ, or PyTorch cannot vectorise them. Their weights are unchanged.
        EmptyLabelledSet: There are no items.
        InvalidArgument: Lengths or weights do not match, or there is no such device.
        InvalidLabel: A label is not valid.
        InvalidCheckpoint: The checkpoint is damaged, or belongs to another fit.
        TrainingDiverged: The loss or a weight of a network is no longer finite.
        UnsupportedNetwork: The networks have no trainable weights, or their outputs do not match the likelihood.
    """
    if not networks or len(networks) != len(seeds):
        raise InvalidArgument(f"{len(networks)} networks need as many seeds, not {len(seeds)}")
    if validation is not None and len(validation[1]) == 0:
        raise InvalidArgument("the validation set is empty; give items, or None to train for all epochs")
    if len({architecture_of(network) for network in networks}) > 1:
        raise CannotStack("the networks have different architectures")
    device = pick_device(recipe.device)
    if device.type == "cpu":
        warn_of_spinning(torch.get_num_threads())
    factors = factors_of(x, y, weights, recipe)
    for network in networks:
        network.to(device)
    stack = Stack(networks, alike=len(set(seeds)) == 1)
    identity = identity_of(stack, recipe, y, factors) | added_to(None, None)
    identity["network"] = architecture_of(networks[0]) + f" x {len(networks)}"
    x, y, factors = (place(part, device) for part in (x, y, factors))
    seed = derive(seeds[0], "together", *seeds[1:])
    common = (stack, optimizer_of(stack, recipe), recipe, device, seed, identity, likelihood, None, None)
    fit = _Several(*common, networks=networks, seeds=seeds, alive=list(range(len(networks))))
    fit.members = [asdict(Fit.result(fit)) for _ in networks]
    check_output(fit, networks[0], x, y, classes)
    fit.least = fewest_items(fit, networks[0], x, max(len(y), recipe.epoch_size))
    _check_stack(fit, take(x, slice(2)))
    kept = Checkpoints(checkpoint, interval) if isinstance(checkpoint, Checkpoint) else checkpoint
    found = None if kept is None else kept.begin(identity, seed)
    if found is not None:
        fit.go_back(found)
    _run(fit, x, y, factors, validation, kept, progress)
    if kept is not None:
        kept.end(fit.ended())
    for network in networks:
        network.eval()
    return fit.results()


def _check_stack(fit: _Several, x: Batch) -> None:
    """Raise an error if PyTorch cannot vectorise the networks, or if they differ in more than their weights."""
    stack = fit.stack
    before = {name: buffer.clone() for name, buffer in stack.named_buffers()}
    trained = [p for p in stack.parameters() if p.requires_grad]
    each = map_tree(lambda leaf: leaf.expand(len(fit.networks), *leaf.shape), x)
    try:
        with seeded(fit.seed, fit.device), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            with autocast(fit):
                outputs = stack.train()(each)
            torch.autograd.grad(outputs.float().sum(), trained, allow_unused=True)
            restore(stack, before)
            with torch.no_grad():
                together = stack.eval()(x, shared=True)
                alone = torch.stack([call(network.eval(), x) for network in fit.networks])
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError) as error:
        raise CannotStack(f"PyTorch cannot vectorise the network: {error}") from error
    if any("performance drop" in str(warning.message) for warning in said):
        raise CannotStack("PyTorch can compute a part of the network only in a loop")
    if float((together - alone).abs().max()) > _AGREE * float(alone.abs().max()):
        raise CannotStack("the networks differ in more than parameters and buffers")


def _run(
    fit: _Several,
    x: Batch,
    y: Tensor,
    factors: Tensor | None,
    validation: tuple[Batch, Tensor] | None,
    kept: Checkpoints | None,
    progress: Progress | None,
) -> None:
    """Train for the remaining epochs, until each network has its final weights."""
    started = time.monotonic() - fit.seconds
    while fit.alive:
        losses = _epoch(fit, x, y, factors)
        fit.loss = sum(losses)
        fit.epoch += 1
        check_finite(fit)
        for m, loss in zip(fit.alive, losses, strict=True):
            fit.members[m] |= {"epochs": fit.epoch, "loss": loss}
            if validation is None:
                fit.members[m]["best_epoch"] = fit.epoch
        if validation is not None:
            _judge(fit, *validation)
            late = [m for m in fit.alive if fit.epoch - fit.members[m]["best_epoch"] >= fit.recipe.patience]
            for m in late:
                fit.members[m]["reason"] = "patience"
            fit.stop(late)
        fit.seconds = time.monotonic() - started
        if progress is not None:
            progress("training", fit.epoch, fit.recipe.epochs)
        if fit.epoch >= fit.recipe.epochs:  # those that are left
            fit.stop(list(fit.alive))
        if kept is not None and fit.alive and kept.due():
            kept.save(fit.state())


def _epoch(fit: _Several, x: Batch, y: Tensor, factors: Tensor | None) -> list[float]:
    """Train for one epoch, and return the mean training loss of each network."""
    recipe, seeds = fit.recipe, [fit.seeds[m] for m in fit.alive]
    size = max(len(y), recipe.epoch_size)
    orders = torch.stack([order_of(len(y), size, derive(s, "order", fit.epoch)) for s in seeds]).to(
        fit.device
    )
    generators = [torch.Generator(fit.device).manual_seed(derive(s, "augment", fit.epoch)) for s in seeds]
    total = torch.zeros(len(seeds), device=fit.device)
    fit.stack.train()
    with seeded(derive(fit.seed, "epoch", fit.epoch), fit.device):
        steps = steps_of(torch.arange(size, device=fit.device), recipe.batch_size, fit.least)
        for number, places in enumerate(steps):
            if recipe.schedule is not None:
                share = (fit.epoch + number / len(steps)) / recipe.epochs
                fit.optimizer.rate = recipe.learning_rate * recipe.schedule(share)
            chosen = orders[:, places]  # (M, b)
            batch = _batch(fit, x, chosen, generators)
            with autocast(fit):
                outputs = fit.stack(batch)
            flat = losses_of(fit, outputs.float().flatten(0, 1), y[chosen].flatten(0, 1))
            losses = flat.view_as(chosen)
            loss = (losses if factors is None else losses * factors[chosen]).mean(1)
            fit.optimizer.clear()
            torch.autograd.backward(loss.sum())
            fit.optimizer.step()
            total += loss.detach() * len(places)
    return [value / sum(map(len, steps)) for value in total.tolist()]


def _batch(fit: _Several, x: Batch, chosen: Tensor, generators: Sequence[torch.Generator]) -> Batch:
    """The batches of all networks, (M, b, ...)."""
    augment = fit.recipe.augment
    if augment is None:
        return map_tree(lambda leaf: leaf[chosen], x)
    parts = [augment(take(x, own), random) for own, random in zip(chosen, generators, strict=True)]
    return join([map_tree(lambda leaf: leaf[None], part) for part in parts])


def _judge(fit: _Several, x: Batch, y: Tensor) -> None:
    """Store the weights of each network if they are its best so far on the validation items."""
    fit.stack.eval()
    right, nll = [0.0] * len(fit.alive), [0.0] * len(fit.alive)
    with seeded(fit.seed, fit.device), torch.inference_mode():
        for start in range(0, len(y), EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            with autocast(fit):
                outputs = fit.stack(place(take(x, part), fit.device), shared=True).float()
            target = y[part].to(fit.device)
            for row, own in enumerate(outputs):
                hits = fit.likelihood.right(own, target)
                right[row] = math.nan if hits is None else right[row] + float(hits.sum())
                nll[row] += float(fit.likelihood.losses(own, target).sum())
    now = tensors(fit.stack)
    fit.best = fit.best or {name: tensor.detach().clone() for name, tensor in now.items()}
    for row, m in enumerate(fit.alive):
        member = fit.members[m]
        accuracy = None if math.isnan(right[row]) else right[row] / len(y)
        rank = (accuracy or 0.0, -nll[row] / len(y))
        if member["nll"] is None or rank > (member["accuracy"] or 0.0, -member["nll"]):
            member |= {"accuracy": accuracy, "nll": -rank[1], "best_epoch": fit.epoch}
            for name, tensor in now.items():
                fit.best[name][row] = tensor.detach()[row]
