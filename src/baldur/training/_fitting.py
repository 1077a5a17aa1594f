"""Shared parts of the fit of one network and of several networks at once."""

import hashlib
import math
from dataclasses import dataclass, field, fields
from functools import partial
from types import FunctionType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from baldur.core.devices import seeded
from baldur.core.networks import call, least_items, restore, tensors
from baldur.core.trees import bits, leaves, map_tree, take
from baldur.errors import (
    BaldurError,
    EmptyLabelledSet,
    InvalidArgument,
    InvalidLabel,
    TrainingDiverged,
    UnsupportedNetwork,
)
from baldur.likelihoods import Likelihood
from baldur.protocols import Batch
from baldur.training._checkpoints import State
from baldur.training._optimizers import Optimizer
from baldur.training.recipe import AfterEpoch, Penalty, Recipe, TrainingResult

EVALUATION_BATCH = 512
_KEPT = ("epoch", "loss", "reason", "best_epoch", "accuracy", "nll", "seconds")


@dataclass
class Fit:
    """The current state of one fit. Checkpoints store the fields from `epoch` on, weights and optimiser."""

    kept: ClassVar[tuple[str, ...]] = _KEPT

    network: nn.Module
    optimizer: Optimizer
    recipe: Recipe
    device: torch.device
    seed: int
    identity: dict[str, Any]
    likelihood: Likelihood
    penalty: Penalty | None
    after_epoch: AfterEpoch | None
    epoch: int = 0
    loss: float = math.nan
    reason: Literal["epochs", "patience"] = "epochs"
    best_epoch: int = 0
    accuracy: float | None = None
    nll: float | None = None
    seconds: float = 0.0
    least: int = 1
    best: dict[str, Tensor] = field(default_factory=dict)

    def state(self) -> State:
        """The state from which the fit can resume."""
        groups = {"network": tensors(self.network), "best": self.best}
        groups |= {f"optimizer.{i}": own for i, own in enumerate(self.optimizer.moments) if own}
        return self._state(groups, done=False)

    def ended(self) -> State:
        """The state of the finished fit."""
        return self._state({"network": tensors(self.network)}, done=True)

    def _state(self, groups: dict[str, dict[str, Tensor]], *, done: bool) -> State:
        if self.after_epoch is not None:
            groups["seen"] = {name: t.detach().clone() for name, t in self.after_epoch.state().items()}
        return State(
            self.identity, self.seed, done, {name: getattr(self, name) for name in self.kept}, groups
        )

    def go_back(self, state: State) -> None:
        """Restore a stored state."""
        groups = {name: dict(members) for name, members in state.groups.items()}
        restore(self.network, groups.pop("network"))
        self.best = groups.pop("best", {})
        seen = groups.pop("seen", {})
        if self.after_epoch is not None:
            self.after_epoch.load(seen)
        for name, value in state.values.items():
            setattr(self, name, value)
        self.optimizer.load({int(name.removeprefix("optimizer.")): own for name, own in groups.items()})

    def result(self) -> TrainingResult:
        """The result of the fit."""
        return TrainingResult(
            self.epoch, self.loss, self.reason, self.seconds, self.best_epoch, self.accuracy, self.nll
        )


def autocast(fit: Fit) -> torch.autocast:
    """The precision of the recipe, on the device of the fit."""
    wanted = fit.recipe.precision
    if wanted == "auto":
        wanted = "bfloat16" if fit.device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    return torch.autocast(fit.device.type, torch.bfloat16, enabled=wanted == "bfloat16")


def factors_of(x: Batch, y: Tensor, weights: Tensor | None, recipe: Recipe) -> Tensor | None:
    """The weight of each item in the loss, with mean 1; None if all are equal."""
    n = len(y)
    if n == 0:
        raise EmptyLabelledSet("there are no labelled items to train on; label some first")
    lengths = {len(leaf) for leaf in leaves(x)}
    if lengths != {n} or (weights is not None and len(weights) != n):
        raise InvalidArgument(
            f"{n} labels need as many inputs and weights, but the inputs have lengths {sorted(lengths)}"
        )
    factors = torch.ones(n) if weights is None else weights.detach().to("cpu", torch.float32)
    if not bool(torch.isfinite(factors).all()) or bool((factors < 0).any()) or float(factors.sum()) == 0:
        raise InvalidArgument("weights must be finite and at least 0, and not all of them 0")
    if recipe.class_weights:
        if y.ndim > 1 or y.is_floating_point():
            raise InvalidArgument(
                "class_weights need one class for each item; leave them out for other labels"
            )
        if int(y.min()) < 0:
            raise InvalidLabel(
                f"class index {int(y.min())} is negative; unlabelled items cannot be trained on"
            )
        labels = y.cpu()
        factors = factors / torch.bincount(labels)[labels]
    factors = factors / factors.mean()
    return None if bool((factors == factors[0]).all()) else factors


def optimizer_of(network: nn.Module, recipe: Recipe) -> Optimizer:
    """The optimiser of the recipe, for all trainable parameters."""
    return Optimizer([p for p in network.parameters() if p.requires_grad], recipe)


def check_output(fit: Fit, network: nn.Module, x: Batch, y: Tensor, classes: int | None) -> None:
    """Raise an error if the network does not accept the inputs or has wrong outputs."""
    network.eval()
    try:
        with seeded(fit.seed, fit.device), torch.inference_mode(), autocast(fit):
            outputs = call(network, take(x, slice(2)))
    except BaldurError:
        raise
    except Exception as error:
        kinds: list[str] = []
        map_tree(lambda leaf: kinds.append(f"{leaf.dtype} {tuple(leaf.shape[1:])}".removeprefix("torch.")), x)
        about = "" if isinstance(error, RuntimeError) else f"{type(error).__name__}: "
        raise UnsupportedNetwork(
            f"the network does not accept inputs of {', '.join(kinds)}: {about}{error}. "
            "Give numbers as float32, and only codes as integers; a network in half precision as network.float()"
        ) from error
    fit.likelihood.check(outputs, y, classes)


def losses_of(fit: Fit, outputs: Tensor, y: Tensor) -> Tensor:
    """The loss of each item, from the recipe or the likelihood."""
    if fit.recipe.loss is not None:
        return fit.recipe.loss(outputs, y)
    return fit.likelihood.losses(outputs, y, fit.recipe.label_smoothing)


def order_of(n: int, size: int, seed: int) -> Tensor:
    """`size` positions below n in random order; each occurs equally often, up to one."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=generator)
    return order if size == n else order[torch.randperm(size, generator=generator) % n]


def fewest_items(fit: Fit, network: nn.Module, x: Batch, items: int) -> int:
    """How many items a step needs at least; the network is only tried where a step could have a single item."""
    if min(fit.recipe.batch_size, items) > 1:
        return 1
    with autocast(fit):
        return least_items(network, x, fit.seed, fit.device)


def steps_of(order: Tensor, batch_size: int, least: int = 1) -> list[Tensor]:
    """Batches of positions; a last batch with a single item is merged into the one before.

    Where a step needs two items, the only item is repeated, and batches of one become batches of two.
    """
    if len(order) < least:
        order = order.repeat(least)
    steps = list(torch.split(order, max(batch_size, least)))
    if len(steps) > 1 and len(steps[-1]) == 1:
        steps[-2:] = [torch.cat(steps[-2:])]
    return steps


def check_finite(fit: Fit) -> None:
    """Raise an error if a weight or the loss is no longer finite."""
    weights = [p.detach() for p in fit.network.parameters()]
    # a sum with a term that is not finite is not finite either, and costs an eighth of looking at each term
    quick = torch.stack([p.sum(dtype=torch.float32) for p in weights]).isfinite().all()
    finite = bool(quick) or bool(torch.stack([p.isfinite().all() for p in weights]).all())
    if not math.isfinite(fit.loss) or not finite:
        raise TrainingDiverged(
            f"after epoch {fit.epoch} the training loss is {fit.loss} or a weight is not finite, with "
            f"learning rate {fit.recipe.learning_rate:g}; try a tenth of this rate, and look for extreme inputs"
        )


def architecture_of(network: nn.Module) -> str:
    """A digest of the names, types and shapes of all tensors, and of the classes of all layers."""
    parts = [f"{name} {t.dtype} {tuple(t.shape)}" for name, t in tensors(network).items()]
    parts += [f"{name} {type(module).__qualname__}" for name, module in network.named_modules()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def identity_of(network: nn.Module, recipe: Recipe, y: Tensor, factors: Tensor | None) -> dict[str, Any]:
    """The identity of a fit, which its checkpoints contain."""
    values = {f.name: getattr(recipe, f.name) for f in fields(recipe)}
    for name in ("augment", "schedule", "loss"):
        values[name] = _name(values[name])
    labels = bits(y) + (b"" if factors is None else bits(factors))
    return {
        "recipe": values,
        "network": architecture_of(network),
        "labels": hashlib.sha256(labels).hexdigest(),
    }


def added_to(penalty: Penalty | None, after_epoch: AfterEpoch | None) -> dict[str, str | None]:
    """The part of the identity that depends on the additions to a fit."""
    return {
        "penalty": _name(penalty),
        "after_epoch": None if after_epoch is None else _name(type(after_epoch)),
    }


def _name(thing: Any) -> str | None:
    """The name of a function with its bound options, or the class of an object."""
    if isinstance(thing, partial):
        options = ", ".join(f"{key}={value!r}" for key, value in sorted(thing.keywords.items()))
        return f"{_name(thing.func)}({options})"
    name = None if thing is None else str(getattr(thing, "__qualname__", type(thing).__qualname__))
    cells = (
        zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True)
        if isinstance(thing, FunctionType)
        else ()
    )
    told = [
        f"{key}={cell.cell_contents!r}"
        for key, cell in cells
        if isinstance(cell.cell_contents, bool | int | float | str)
    ]
    return f"{name}({', '.join(told)})" if told else name
