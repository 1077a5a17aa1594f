"""How a network is trained, what may be added to that, and what is told of it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from baldur.errors import InvalidArgument
from baldur.protocols import Batch

Augment = Callable[[Batch, torch.Generator], Batch]
"""Changes a batch of inputs at random; the generator lives on the device of the fit."""

Progress = Callable[[str, int, int], None]
"""Told what is done, how much of it and how much there is at most."""


@dataclass(frozen=True)
class Step:
    """One step of a fit, as a penalty sees it.

    Args:
        x: The inputs, augmented.
        y: Their labels.
        outputs: What the network gave for them, with gradients.
        losses: The loss of each item before weighting, nats, (n,), with gradients.
        share: The share of the steps of all epochs that is done, in [0, 1).
        chosen: Which of the items they are, positions in what is trained on.
    """

    x: Batch
    y: Tensor
    outputs: Tensor
    losses: Tensor
    share: float
    chosen: Tensor


Penalty = Callable[[nn.Module, Step], Tensor]
"""A scalar in nats an item that is added to the mean loss of every step. Where it draws random numbers from
PyTorch's generator, a fit that was killed and goes on draws the same ones."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""Outputs and labels to the loss of each item, (n,), instead of the likelihood's."""

Schedule = Callable[[float], float]
"""What the learning rate is multiplied by once a share of all steps, in [0, 1), is done."""


@runtime_checkable
class AfterEpoch(Protocol):
    """Watches a fit; what it has seen is kept in the fit's checkpoints."""

    def __call__(self, network: nn.Module, epoch: int) -> None:
        """Look at the network, in training mode, after an epoch; epochs count from 1. Nothing may be changed."""
        ...

    def state(self) -> Mapping[str, Tensor]:
        """The state of the watcher."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore the result of `state`."""
        ...


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
        loss: Instead of the likelihood's own, such as one that wrong labels harm less.
        label_smoothing: The share of each target that is spread over all classes; not with another `loss`.
        class_weights: Weight each item by the inverse frequency of its class, with mean 1 over the items.
        augment: Changes each batch of training inputs at random.
        schedule: Multiplies the learning rate, by the share of the steps of all `epochs` that is done.
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
    loss: Loss | None = None
    label_smoothing: float = 0.0
    class_weights: bool = False
    augment: Augment | None = None
    schedule: Schedule | None = None
    patience: int = 5
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "epoch_size", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise InvalidArgument(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 < self.learning_rate < math.inf:
            raise InvalidArgument(f"learning_rate is {self.learning_rate}; it must be positive and finite")
        if not 0 <= self.label_smoothing < 1:
            raise InvalidArgument(f"label_smoothing is {self.label_smoothing}; it must be in [0, 1)")
        if self.loss is not None and self.label_smoothing:
            raise InvalidArgument(
                "label_smoothing is of the likelihood's own loss; give that or a loss, not both"
            )
        if self.momentum < 0 or self.weight_decay < 0:
            raise InvalidArgument("momentum and weight_decay must not be negative")


@dataclass(frozen=True)
class TrainingResult:
    """How a fit went.

    Args:
        epochs: Epochs that were run.
        loss: Mean training loss of the last epoch with its penalty, nats.
        reason: Why it ended: "epochs" or "patience".
        seconds: Wall-clock time, that before an interruption included.
        best_epoch: The epoch, counted from 1, whose weights were kept; the last one without validation.
        accuracy: Validation accuracy of these weights, None without validation or where nothing is right or wrong.
        nll: Their validation loss, nats, None without validation.
    """

    epochs: int
    loss: float
    reason: Literal["epochs", "patience"]
    seconds: float
    best_epoch: int
    accuracy: float | None
    nll: float | None
