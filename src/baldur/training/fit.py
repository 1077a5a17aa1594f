"""Fits one network."""

import hashlib
import math
import time
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from baldur._modules import (
    bits,
    call,
    channels_last,
    map_tree,
    pick_device,
    place,
    restore,
    seeded,
    take,
    tensors,
)
from baldur._seeds import derive
from baldur.errors import (
    EmptyLabelledSet,
    InvalidArgument,
    InvalidLabel,
    TrainingDiverged,
    UnsupportedNetwork,
)
from baldur.protocols import Batch, Checkpoint
from baldur.training._checkpoints import Checkpoints, State
from baldur.training.recipe import AfterEpoch, Penalty, Progress, Recipe, TrainingResult

_EVALUATION_BATCH = 512
_KEPT = ("epoch", "loss", "reason", "best_epoch", "accuracy", "nll", "seconds")


@dataclass
class _Fit:
    """One fit as it goes on; from `epoch` on, what a checkpoint keeps beside weights and optimiser."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    device: torch.device
    seed: int
    identity: dict[str, Any]
    penalty: Penalty | None
    after_epoch: AfterEpoch | None
    epoch: int = 0
    loss: float = math.nan
    reason: Literal["epochs", "patience"] = "epochs"
    best_epoch: int = 0
    accuracy: float | None = None
    nll: float | None = None
    seconds: float = 0.0
    best: dict[str, Tensor] = field(default_factory=dict)

    def state(self) -> State:
        """Everything needed to go on from here."""
        groups = {"network": tensors(self.network), "best": self.best}
        for i, moments in self.optimizer.state_dict()["state"].items():
            groups[f"optimizer.{i}"] = {name: value for name, value in moments.items() if value is not None}
        return self._state(groups, done=False)

    def ended(self) -> State:
        """What is needed of it once it has ended."""
        return self._state({"network": tensors(self.network)}, done=True)

    def _state(self, groups: dict[str, dict[str, Tensor]], *, done: bool) -> State:
        if self.after_epoch is not None:
            groups["seen"] = {name: t.detach().clone() for name, t in self.after_epoch.state().items()}
        return State(self.identity, self.seed, done, {name: getattr(self, name) for name in _KEPT}, groups)

    def go_back(self, state: State) -> None:
        """Put everything where it was when the state was taken."""
        groups = {name: dict(members) for name, members in state.groups.items()}
        restore(self.network, groups.pop("network"))
        self.best = groups.pop("best", {})
        seen = groups.pop("seen", {})
        if self.after_epoch is not None:
            self.after_epoch.load(seen)
        for name, value in state.values.items():
            setattr(self, name, value)
        moments = {int(name.removeprefix("optimizer.")): members for name, members in groups.items()}
        for number, parameter in enumerate(self.optimizer.param_groups[0]["params"]):
            for name, moment in moments.get(number, {}).items():
                if moment.shape == parameter.shape:  # fused optimisers walk over memory: it must lie alike
                    moments[number][name] = torch.empty_like(parameter).copy_(moment)
        own = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": own})

    def result(self) -> TrainingResult:
        """How it went."""
        return TrainingResult(
            self.epoch, self.loss, self.reason, self.seconds, self.best_epoch, self.accuracy, self.nll
        )


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
    checkpoint: Checkpoint | Checkpoints | None = None,
    interval: float = 10.0,
    progress: Progress | None = None,
    penalty: Penalty | None = None,
    after_epoch: AfterEpoch | None = None,
) -> TrainingResult:
    """Minimise the weighted mean cross-entropy of a network, in place.

    L = 1/n Σᵢ wᵢ · −log softmax(f(xᵢ))[yᵢ] + penalty(f), the weights w scaled to mean 1. The network is left on the
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
            A checkpoint of another seed is that of another fit, and is passed over. `Checkpoints` keep several
            fits, which must be made in the same order again.
        interval: Least seconds between two checkpoints; `Checkpoints` have their own.
        progress: Called after each epoch with ("training", epochs done, epochs at most).
        penalty: Added to the mean loss of each step.
        after_epoch: Shown the network after each epoch.

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
    identity = _identity(network, recipe, y, factors) | _added(penalty, after_epoch)
    network.to(device)
    if isinstance(x, Tensor) and x.ndim == 4 and x.shape[1] > 1:
        channels_last(network)  # measured: a third less time for colour images, a tenth more for grey ones
    x, y, factors = (place(part, device) for part in (x, y, factors))
    fit = _Fit(network, _optimizer(network, recipe), recipe, device, seed, identity, penalty, after_epoch)
    _check_output(fit, x, y, classes)
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
    fit: _Fit,
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
        _check_finite(fit)
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
        steps = _steps(order, recipe.batch_size)
        for number, chosen in enumerate(steps):
            if recipe.schedule is not None:
                share = (fit.epoch + number / len(steps)) / recipe.epochs
                fit.optimizer.param_groups[0]["lr"] = recipe.learning_rate * recipe.schedule(share)
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
            if fit.penalty is not None:
                loss = loss + fit.penalty(network)
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
    for name in ("augment", "schedule"):
        values[name] = _name(values[name])
    parts = [f"{name} {t.dtype} {tuple(t.shape)}" for name, t in tensors(network).items()]
    parts += [f"{name} {type(module).__qualname__}" for name, module in network.named_modules()]
    labels = bits(y) + (b"" if factors is None else bits(factors))
    return {
        "recipe": values,
        "network": hashlib.sha256("\n".join(parts).encode()).hexdigest(),
        "labels": hashlib.sha256(labels).hexdigest(),
    }


def _added(penalty: Penalty | None, after_epoch: AfterEpoch | None) -> dict[str, str | None]:
    return {
        "penalty": _name(penalty),
        "after_epoch": None if after_epoch is None else _name(type(after_epoch)),
    }


def _name(thing: Any) -> str | None:
    """What a function or a class is called; an object goes by its class."""
    return None if thing is None else str(getattr(thing, "__qualname__", type(thing).__qualname__))
