"""The supervised loop: fits one network, always in the same way, and goes on where it was killed.

All randomness of an epoch derives from the seed and the epoch's number, inside `fork_rng`. So nothing global
changes, and what a fit needs to go on after an epoch is weights and optimiser, but no state of a generator.
"""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from baldur._modules import (
    bits,
    call,
    channels_last,
    initialise,
    map_tree,
    pick_device,
    place,
    read_tensors,
    restore,
    seeded,
    take,
    tensors,
    weights_hash,
    write_tensors,
)
from baldur._seeds import derive
from baldur.errors import (
    EmptyLabelledSet,
    InvalidArgument,
    InvalidCheckpoint,
    InvalidLabel,
    TrainingDiverged,
    UnsupportedNetwork,
)
from baldur.protocols import Batch, Checkpoint

__all__ = ["Augment", "Progress", "Recipe", "TrainingResult", "call", "initialise", "train", "weights_hash"]

Augment = Callable[[Batch, torch.Generator], Batch]
"""Changes a batch of inputs at random; the generator lives on the device of the fit."""

Progress = Callable[[str, int, int], None]
"""Told what is done, how much of it and how much there is at most."""

_FORMAT = 1
_EVALUATION_BATCH = 512


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Args:
        epochs: Passes over the labelled set, at most.
        epoch_size: Items in an epoch at least; a smaller labelled set is repeated evenly. 1 takes each item once.
        batch_size: Items in a step. A last one of a single item joins the one before (batch normalisation).
        optimizer: "adam", "adamw" or "sgd".
        learning_rate: Step size.
        momentum: Of "sgd"; the others have their own.
        weight_decay: L2 penalty; decoupled in "adamw".
        class_weights: Weight each item by the inverse frequency of its class, with mean 1 over the items.
        augment: Changes each batch of training inputs at random.
        patience: Epochs without improvement after which a fit with validation items stops.
        precision: "auto" is bfloat16 autocast on a GPU that has it, and float32 elsewhere.
        device: "auto" takes a GPU where there is one; else "cpu", "cuda", "cuda:1", ...
    """

    epochs: int = 50
    epoch_size: int = 512
    batch_size: int = 64
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 1e-4
    class_weights: bool = False
    augment: Augment | None = None
    patience: int = 5
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "epoch_size", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise InvalidArgument(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 < self.learning_rate < math.inf:
            raise InvalidArgument(f"learning_rate is {self.learning_rate}; it must be positive and finite")
        if self.momentum < 0 or self.weight_decay < 0:
            raise InvalidArgument("momentum and weight_decay must not be negative")


@dataclass(frozen=True)
class TrainingResult:
    """How a fit went.

    Args:
        epochs: Epochs that were run.
        loss: Mean training loss of the last epoch, nats.
        reason: Why it ended: "epochs" or "patience".
        seconds: Wall-clock time, that before an interruption included.
        best_epoch: The epoch, counted from 1, whose weights were kept; the last one without validation.
        accuracy: Validation accuracy of these weights, None without validation.
        nll: Their validation loss, nats, None without validation.
    """

    epochs: int
    loss: float
    reason: Literal["epochs", "patience"]
    seconds: float
    best_epoch: int
    accuracy: float | None
    nll: float | None


@dataclass
class _Fit:
    """One fit as it goes on; from `epoch` on, what a checkpoint keeps beside weights and optimiser."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    device: torch.device
    seed: int
    identity: dict[str, Any]
    epoch: int = 0
    loss: float = math.nan
    best_epoch: int = 0
    accuracy: float | None = None
    nll: float | None = None
    seconds: float = 0.0
    best: dict[str, Tensor] = field(default_factory=dict)


_REMEDY = "delete it, and the fit begins anew"
_KEPT = ("epoch", "loss", "best_epoch", "accuracy", "nll", "seconds")


def train(
    network: nn.Module,
    x: Batch,
    y: Int[Tensor, " n"],
    *,
    recipe: Recipe,
    seed: int,
    classes: int | None = None,
    weights: Float[Tensor, " n"] | None = None,
    validation: tuple[Batch, Int[Tensor, " v"]] | None = None,
    checkpoint: Checkpoint | None = None,
    interval: float = 10.0,
    progress: Progress | None = None,
) -> TrainingResult:
    """Minimise the weighted mean cross-entropy of a network, in place.

    L = 1/n Σᵢ wᵢ · −log softmax(f(xᵢ))[yᵢ], the weights w scaled to mean 1. The network is left on the
    recipe's device, in evaluation mode. One seed gives one set of weights, bit for bit on the same machine.

    Args:
        network: Gives logits (n, C); it is called as `call` says.
        x: Inputs, a tree of tensors with the item as first axis. They are put on the device once.
        y: Class indices, shape (n,).
        recipe: How to train.
        seed: Of the order of the items, dropout and augmentation.
        classes: How many columns the network must have; unset, any that the labels fit.
        weights: How much each item counts, shape (n,), not negative.
        validation: Inputs and classes. The weights of the epoch with the highest accuracy on them (then the
            lowest loss) are kept, and `recipe.patience` epochs without a better one end the fit.
        checkpoint: Where the state is kept at the ends of epochs, and where an interrupted fit goes on from.
            A checkpoint of another seed is that of another fit, and is passed over.
        interval: Least seconds between two checkpoints.
        progress: Called after each epoch with ("training", epochs done, epochs at most).

    Returns:
        How it went.

    Raises:
        EmptyLabelledSet: There are no items.
        InvalidArgument: Lengths or weights do not fit, or there is no such device.
        InvalidLabel: A class is negative or beyond the columns of the network.
        InvalidCheckpoint: The checkpoint is damaged, or that of another recipe, network or labelled set.
        TrainingDiverged: The loss or a weight is no longer finite.
        UnsupportedNetwork: The network has nothing to train, or does not give logits (n, C).
    """
    if validation is not None and len(validation[1]) == 0:
        raise InvalidArgument("there are no validation items; give some, or None to train for all epochs")
    device = pick_device(recipe.device)
    factors = _factors(x, y, weights, recipe)
    identity = _identity(network, recipe, y, factors)
    network.to(device)
    if isinstance(x, Tensor) and x.ndim == 4 and x.shape[1] > 1:
        channels_last(network)  # measured: a third less time for colour images, a tenth more for grey ones
    x, y, factors = (place(part, device) for part in (x, y, factors))
    fit = _Fit(network, _optimizer(network, recipe), recipe, device, seed, identity)
    _check_output(fit, x, y, classes)
    if checkpoint is not None and (path := checkpoint.latest()) is not None:
        _read(path, fit)
    started = saved = time.monotonic()
    before = fit.seconds
    stopped = False
    while fit.epoch < recipe.epochs and not stopped:
        fit.loss = _epoch(fit, x, y, factors)
        fit.epoch += 1
        _check_finite(fit)
        if validation is None:
            fit.best_epoch = fit.epoch
        else:
            _judge(fit, *validation)
            stopped = fit.epoch - fit.best_epoch >= recipe.patience
        fit.seconds = before + time.monotonic() - started
        if progress is not None:
            progress("training", fit.epoch, recipe.epochs)
        last = stopped or fit.epoch == recipe.epochs
        if checkpoint is not None and not last and time.monotonic() - saved >= interval:
            checkpoint.save(lambda path: _write(path, fit))
            saved = time.monotonic()
    restore(network, fit.best)
    network.eval()
    reason: Literal["epochs", "patience"] = "patience" if stopped else "epochs"
    return TrainingResult(fit.epoch, fit.loss, reason, fit.seconds, fit.best_epoch, fit.accuracy, fit.nll)


def _autocast(fit: _Fit) -> torch.autocast:
    wanted = fit.recipe.precision
    if wanted == "auto":
        wanted = "bfloat16" if fit.device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    return torch.autocast(fit.device.type, torch.bfloat16, enabled=wanted == "bfloat16")


def _factors(x: Batch, y: Tensor, weights: Tensor | None, recipe: Recipe) -> Tensor | None:
    """The weight of each item in the loss, mean 1; None where all are equal."""
    n = len(y)
    if n == 0:
        raise EmptyLabelledSet("there are no labelled items to train on; label some first")
    lengths: list[int] = []
    map_tree(lambda leaf: lengths.append(len(leaf)), x)
    if set(lengths) != {n} or (weights is not None and len(weights) != n):
        raise InvalidArgument(
            f"{n} labels came with inputs of lengths {sorted(set(lengths))} or with other weights"
        )
    if int(y.min()) < 0:
        raise InvalidLabel(f"class index {int(y.min())} is negative; unlabelled items cannot be trained on")
    factors = torch.ones(n) if weights is None else weights.detach().to("cpu", torch.float32)
    if not bool(torch.isfinite(factors).all()) or bool((factors < 0).any()) or float(factors.sum()) == 0:
        raise InvalidArgument("weights must be finite, not negative and not all zero")
    if recipe.class_weights:
        labels = y.cpu()
        factors = factors / torch.bincount(labels)[labels]
    factors = factors / factors.mean()
    return None if bool((factors == factors[0]).all()) else factors


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    parameters = [p for p in network.parameters() if p.requires_grad]
    if not parameters:
        raise UnsupportedNetwork(
            "the network has no parameters that require gradients, so nothing can be trained"
        )
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, recipe.momentum, weight_decay=decay, fused=True)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, rate, weight_decay=decay, fused=True)


def _check_output(fit: _Fit, x: Batch, y: Tensor, classes: int | None) -> None:
    fit.network.eval()
    try:
        with seeded(fit.seed, fit.device), torch.inference_mode(), _autocast(fit):
            logits = call(fit.network, take(x, slice(2)))
    except RuntimeError as error:
        kinds: list[str] = []
        map_tree(lambda leaf: kinds.append(f"{leaf.dtype} {tuple(leaf.shape[1:])}".removeprefix("torch.")), x)
        raise UnsupportedNetwork(
            f"the network cannot take inputs of {', '.join(kinds)}: {error}. "
            "Numbers that are no codes belong in float32"
        ) from error
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
        raise UnsupportedNetwork(
            f"the network gives {shape} where logits (n, classes) were expected, classes >= 2"
        )
    if classes is not None and logits.shape[1] != classes:
        raise UnsupportedNetwork(f"the network gives {logits.shape[1]} columns for {classes} classes")
    if int(y.max()) >= logits.shape[1]:
        raise InvalidLabel(
            f"class index {int(y.max())} is beyond the {logits.shape[1]} columns of the network"
        )


def _epoch(fit: _Fit, x: Batch, y: Tensor, factors: Tensor | None) -> float:
    """One pass; the mean training loss."""
    recipe, network = fit.recipe, fit.network
    size = max(len(y), recipe.epoch_size)
    generator = torch.Generator(fit.device).manual_seed(derive(fit.seed, "augment", fit.epoch))
    order = _order(len(y), size, derive(fit.seed, "order", fit.epoch)).to(fit.device)
    total = torch.zeros((), device=fit.device)
    network.train()
    with seeded(derive(fit.seed, "epoch", fit.epoch), fit.device):
        for chosen in _steps(order, recipe.batch_size):
            batch = take(x, chosen)
            if recipe.augment is not None:
                batch = recipe.augment(batch, generator)
            with _autocast(fit):
                logits = call(network, batch)
            if factors is None:
                loss = functional.cross_entropy(logits.float(), y[chosen])
            else:
                losses = functional.cross_entropy(logits.float(), y[chosen], reduction="none")
                loss = (losses * factors[chosen]).mean()
            fit.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            fit.optimizer.step()
            total += loss.detach() * len(chosen)
    return float(total) / size


def _order(n: int, size: int, seed: int) -> Tensor:
    """`size` positions below n in random order, each as often as any other, give or take one."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=generator)
    return order if size == n else order[torch.randperm(size, generator=generator) % n]


def _steps(order: Tensor, batch_size: int) -> list[Tensor]:
    """Batches of positions; a last one of a single item joins the one before."""
    steps = list(torch.split(order, batch_size))
    if len(steps) > 1 and len(steps[-1]) == 1:
        steps[-2:] = [torch.cat(steps[-2:])]
    return steps


def _check_finite(fit: _Fit) -> None:
    finite = torch.stack([p.detach().isfinite().all() for p in fit.network.parameters()]).all()
    if not math.isfinite(fit.loss) or not bool(finite):
        raise TrainingDiverged(
            f"after epoch {fit.epoch} the training loss is {fit.loss} or a weight is not finite, with "
            f"learning rate {fit.recipe.learning_rate:g}; try a tenth of it, and look for extreme inputs"
        )


def _judge(fit: _Fit, x: Batch, y: Tensor) -> None:
    """Keep the weights if none before were better on the validation items."""
    fit.network.eval()
    right, nll = 0, 0.0
    with seeded(fit.seed, fit.device), torch.inference_mode():
        for start in range(0, len(y), _EVALUATION_BATCH):
            part = slice(start, start + _EVALUATION_BATCH)
            with _autocast(fit):
                logits = call(fit.network, place(take(x, part), fit.device))
            target = y[part].to(fit.device)
            right += int((logits.argmax(1) == target).sum())
            nll += float(functional.cross_entropy(logits.float(), target, reduction="sum"))
    accuracy, nll = right / len(y), nll / len(y)
    if fit.accuracy is None or fit.nll is None or (accuracy, -nll) > (fit.accuracy, -fit.nll):
        fit.accuracy, fit.nll, fit.best_epoch = accuracy, nll, fit.epoch
        fit.best = {name: tensor.detach().clone() for name, tensor in tensors(fit.network).items()}


def _identity(network: nn.Module, recipe: Recipe, y: Tensor, factors: Tensor | None) -> dict[str, Any]:
    """What a checkpoint must agree with to be that of this fit."""
    values = {f.name: getattr(recipe, f.name) for f in fields(recipe)}
    if recipe.augment is not None:
        values["augment"] = getattr(recipe.augment, "__qualname__", type(recipe.augment).__qualname__)
    parts = [f"{name} {t.dtype} {tuple(t.shape)}" for name, t in tensors(network).items()]
    parts += [f"{name} {type(module).__qualname__}" for name, module in network.named_modules()]
    labels = bits(y) + (b"" if factors is None else bits(factors))
    return {
        "format": _FORMAT,
        "recipe": values,
        "network": hashlib.sha256("\n".join(parts).encode()).hexdigest(),
        "labels": hashlib.sha256(labels).hexdigest(),
    }


def _write(path: Path, fit: _Fit) -> None:
    groups = {"network": tensors(fit.network), "best": fit.best}
    for i, moments in fit.optimizer.state_dict()["state"].items():
        groups[f"optimizer.{i}"] = {name: value for name, value in moments.items() if value is not None}
    kept = {name: getattr(fit, name) for name in _KEPT}
    write_tensors(path, groups, fit.identity | {"seed": fit.seed, "fit": kept})


def _read(path: Path, fit: _Fit) -> None:
    """Put a fit where its checkpoint was written, unless it is that of another seed."""
    try:
        groups, said = read_tensors(path)
        differing = [key for key, value in fit.identity.items() if said[key] != value]
    except (ValueError, KeyError) as error:
        raise InvalidCheckpoint(f"the checkpoint {path} cannot be read ({error}); {_REMEDY}") from None
    if differing:
        raise InvalidCheckpoint(f"the checkpoint {path} has another {' and '.join(differing)}; {_REMEDY}")
    if said["seed"] != fit.seed:
        return
    restore(fit.network, groups.pop("network", {}))
    fit.best = groups.pop("best", {})
    moments = {int(name.removeprefix("optimizer.")): values for name, values in groups.items()}
    own = fit.optimizer.state_dict()["param_groups"]
    for number, parameter in enumerate(fit.optimizer.param_groups[0]["params"]):
        for name, moment in moments.get(number, {}).items():
            if (
                moment.shape == parameter.shape
            ):  # fused optimisers walk over memory: it must be laid out alike
                moments[number][name] = torch.empty_like(parameter).copy_(moment)
    fit.optimizer.load_state_dict({"state": moments, "param_groups": own})
    for name, value in said["fit"].items():
        setattr(fit, name, value)
