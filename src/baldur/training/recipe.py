"""The settings, additions and results of a training."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from baldur.errors import InvalidArgument
from baldur.protocols import Batch

Augment = Callable[[Batch, torch.Generator], Batch]
"""Changes a batch of inputs at random. The generator is on the device of the fit."""

Progress = Callable[[str, int, int], None]
"""Called with the task, the finished units and the maximum number of units."""


@dataclass(frozen=True)
class Step:
    """One step of a fit, as a penalty sees it.

    Args:
        x: The augmented inputs.
        y: Their labels.
        outputs: The outputs of the network for them, with gradients.
        losses: The loss of each item before weighting, in nats, (n,), with gradients.
        share: The finished share of the steps of all epochs, in [0, 1).
        chosen: The positions of these items in the training data.
    """

    x: Batch
    y: Tensor
    outputs: Tensor
    losses: Tensor
    share: float
    chosen: Tensor


Penalty = Callable[[nn.Module, Step], Tensor]
"""Returns a scalar, in nats per item, that is added to the mean loss of every step. If it draws random numbers from
PyTorch's generator, a resumed fit draws the same numbers."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""A function of outputs and labels that returns the loss of each item, (n,), instead of the likelihood's loss."""

Schedule = Callable[[float], float]
"""Returns the factor for the learning rate, given the finished share of all steps, in [0, 1)."""


@runtime_checkable
class AfterEpoch(Protocol):
    """Watches a fit. Its state is stored in the checkpoints of the fit."""

    def __call__(self, network: nn.Module, epoch: int) -> None:
        """Inspect the network, in training mode, after an epoch, without changing it. Epochs count from 1."""
        ...

    def state(self) -> Mapping[str, Tensor]:
        """The state of the watcher."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore the result of `state`."""
        ...


@dataclass(frozen=True)
class Recipe:
    """The settings of a training.

    Args:
        epochs: Maximum number of passes over the labelled items.
        epoch_size: Minimum number of items in an epoch. Fewer labelled items are repeated evenly; 1 uses each once.
        batch_size: Items in a step. A last batch with one item is merged into the one before (batch normalisation).
        optimizer: "adam", "adamw" or "sgd".
        learning_rate: Step size.
        momentum: Momentum of "sgd"; ignored by the others.
        weight_decay: L2 penalty; decoupled in "adamw".
        loss: A loss instead of the likelihood's, for example one for noisy labels.
        label_smoothing: Share of each target that is spread over all classes; not possible with `loss`.
        class_weights: Whether to weight each item by the inverse frequency of its class, with mean 1.
        augment: Changes each batch of training inputs at random.
        schedule: Returns a factor for the learning rate, given the finished share of all steps.
        patience: Epochs without improvement before a fit with validation items stops.
        precision: "float32" or "bfloat16" (autocast). "auto" is bfloat16 on a GPU that supports it, else float32.
        device: "cpu", "cuda", "cuda:1", ... "auto" uses a GPU if there is one.
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
    """The result of a training.

    Args:
        epochs: Number of finished epochs.
        loss: Mean training loss of the last epoch with its penalty, in nats.
        reason: Reason for the end: "epochs" or "patience".
        seconds: Wall-clock time, including the time before an interruption.
        best_epoch: The epoch, counted from 1, with the final weights; without validation, the last epoch.
        accuracy: Validation accuracy of these weights; None without validation or for likelihoods without accuracy.
        nll: Validation loss of these weights, in nats; None without validation.
    """

    epochs: int
    loss: float
    reason: Literal["epochs", "patience"]
    seconds: float
    best_epoch: int
    accuracy: float | None
    nll: float | None
