"""Supervised learning on what is labelled, and on nothing else."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from baldur import posteriors
from baldur._modules import restore, take, tensors
from baldur._seeds import derive
from baldur.errors import EmptyLabelledSet, InvalidArgument, InvalidLabel, OneClassOnly, Unsupported
from baldur.learners._held_out import hold_out
from baldur.learners.train import Fitting, Train
from baldur.protocols import Batch, Checkpoint, Labelled, Pool, Posterior
from baldur.training import (
    AfterEpoch,
    Checkpoints,
    Penalty,
    Progress,
    Recipe,
    TrainingResult,
    initialise,
    train,
    weights_hash,
)

Network = Callable[[], nn.Module] | nn.Module
"""A factory; or a network, to whose weights every fit goes back."""

_READ = 1024


@dataclass(frozen=True)
class Fit:
    """What is recorded of one trained network.

    Args:
        round: The round it was trained in.
        seed: Of its initial weights and of its training.
        training: Items it was trained on.
        validation: Items held out for early stopping.
        free: Whether these are beside the labelled set, declared free; else they count as labels.
        initial_hash: SHA-256 of the weights it began with.
        weights_hash: SHA-256 of the weights it ended with.
        result: How the training went.
    """

    round: int
    seed: int
    training: int
    validation: int
    free: bool
    initial_hash: str
    weights_hash: str
    result: TrainingResult


def mc_dropout(train: Train, labelled: Labelled, seed: int) -> Posterior:
    """One network, whose dropout is the posterior.

    Args:
        train: Trains a network.
        labelled: What it is trained on.
        seed: Of the training.

    Returns:
        An `MCDropout`.
    """
    return posteriors.MCDropout(train(seed))


def deterministic(train: Train, labelled: Labelled, seed: int) -> Posterior:
    """One network, taken at its word.

    Args:
        train: Trains a network.
        labelled: What it is trained on.
        seed: Of the training.

    Returns:
        A `Deterministic`.
    """
    return posteriors.Deterministic(train(seed))


class Supervised:
    """A learner that trains networks on the labelled items from memory.

    Args:
        network: A factory, or a network to whose weights every fit goes back. Only a factory that takes `width=` (the
            share of its units) can be asked for narrower networks.
        classes: How many classes there are.
        recipe: How to train; a `Recipe` of defaults where unset.
        posterior: Makes a posterior of networks; it trains as often as it needs. Where it has `options`, they are what
            its networks are built with.
        validation: Labelled items held out for early stopping; they count as labels.
        validation_set: Items for early stopping that are declared free, instead.
        validation_seed: Which items are held out; the same ones from round to round.
        warm_start: Begin with last round's weights, where there are any; each of several networks with its own.
        interval: Least seconds between two checkpoints.
        progress: Told of the epochs.
        record: Told of each network that was trained.
    """

    def __init__(
        self,
        network: Network,
        *,
        classes: int,
        recipe: Recipe | None = None,
        posterior: Fitting = mc_dropout,
        validation: int = 0,
        validation_set: Labelled | None = None,
        validation_seed: int = 0,
        warm_start: bool = False,
        interval: float = 10.0,
        progress: Progress | None = None,
        record: Callable[[Fit], None] | None = None,
    ) -> None:
        if classes < 2:
            raise InvalidArgument(f"there must be at least 2 classes to tell apart, not {classes}")
        if validation < 0 or (validation and validation_set is not None):
            raise InvalidArgument("hold out a number of labelled items, or give a validation set, not both")
        self.network = network
        self.classes = classes
        self.recipe = recipe or Recipe()
        self.posterior = posterior
        self.validation = validation
        self.validation_set = validation_set
        self.validation_seed = validation_seed
        self.warm_start = warm_start
        self.interval = interval
        self.progress = progress
        self.record = record

    def fit(
        self,
        labelled: Labelled,
        unlabelled: Pool,
        *,
        seed: int,
        round: int,
        previous: Posterior | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Posterior:
        """Fit on what is labelled and return what is now believed.

        Args:
            labelled: What to learn from.
            unlabelled: Not looked at.
            seed: Of initial weights and training.
            round: The round, for the record.
            previous: Last round's posterior, for a warm start.
            checkpoint: Where the state of a long fit is kept, and where an interrupted one goes on from.

        Returns:
            The posterior.

        Raises:
            EmptyLabelledSet: Nothing is labelled.
            InvalidLabel: A label is not one of the classes.
            InvalidArgument: As many validation items as asked for cannot be held out.
        """
        x, y, weights, validation = self._split(labelled)
        if bool((y == y[0]).all()):
            warnings.warn(f"all {len(y)} labels are of class {int(y[0])}", OneClassOnly, stacklevel=2)
        before = _networks_of(previous) if self.warm_start and previous is not None else []
        kept = None if checkpoint is None else Checkpoints(checkpoint, self.interval)
        return self.posterior(_Training(self, x, y, weights, validation, round, before, kept), labelled, seed)

    def load(self, folder: Path) -> Posterior:
        """Rebuild a posterior that this learner fitted.

        Args:
            folder: Where it was saved.

        Returns:
            The posterior, whose draws equal those of the saved one.
        """
        options: Mapping[str, Any] = getattr(self.posterior, "options", {})
        return posteriors.load(folder, _build(self.network, 0, options))

    def _split(self, labelled: Labelled) -> tuple[Batch, Tensor, Tensor, tuple[Batch, Tensor] | None]:
        """Inputs, classes and weights to train on, and what stops the training early."""
        x, y, weights = self._gather(labelled)
        if self.validation_set is not None:
            return x, y, weights, self._gather(self.validation_set)[:2]
        if not self.validation:
            return x, y, weights, None
        groups = labelled.pool.groups or labelled.pool.ids
        parts = hold_out(labelled.labels, groups, self.validation, self.validation_seed)
        kept, held = (torch.from_numpy(positions) for positions in parts)
        return take(x, kept), y[kept], weights[kept], (take(x, held), y[held])

    def _gather(self, labelled: Labelled) -> tuple[Batch, Tensor, Tensor]:
        if len(labelled) == 0:
            raise EmptyLabelledSet("nothing is labelled yet; label at least one item of each of two classes")
        low, high = int(labelled.labels.min()), int(labelled.labels.max())
        if low < 0 or high >= self.classes:
            raise InvalidLabel(f"labels run from {low} to {high}, not from 0 to {self.classes - 1}")
        return gather(labelled.pool), torch.tensor(labelled.labels), torch.tensor(labelled.weights)


class _Training:
    """How one fit of a learner trains networks; see `Train`."""

    def __init__(
        self,
        learner: Supervised,
        x: Batch,
        y: Tensor,
        weights: Tensor,
        validation: tuple[Batch, Tensor] | None,
        round: int,
        before: Sequence[nn.Module],
        kept: Checkpoints | None,
    ) -> None:
        self.learner = learner
        self.x, self.y, self.weights = x, y, weights
        self.validation = validation
        self.round = round
        self.before = before
        self.kept = kept
        self.built = self.trained = 0

    @property
    def recipe(self) -> Recipe:
        return self.learner.recipe

    def data(self) -> tuple[Batch, Tensor, Tensor]:
        return self.x, self.y, self.weights

    def build(self, seed: int, **options: Any) -> nn.Module:
        network = _build(self.learner.network, derive(seed, "weights"), options)
        if self.built < len(self.before):
            _go_on_from(network, self.before[self.built])
        self.built += 1
        return network

    def __call__(
        self,
        seed: int,
        *,
        network: nn.Module | None = None,
        penalty: Penalty | None = None,
        after_epoch: AfterEpoch | None = None,
        recipe: Recipe | None = None,
    ) -> nn.Module:
        network = self.build(seed) if network is None else network
        initial = weights_hash(network)
        self.trained += 1
        result = train(
            network,
            self.x,
            self.y,
            recipe=recipe or self.recipe,
            classes=self.learner.classes,
            seed=derive(seed, "training"),
            weights=self.weights,
            validation=self.validation,
            checkpoint=self.kept,
            progress=self._progress(),
            penalty=penalty,
            after_epoch=after_epoch,
        )
        if self.learner.record is not None:
            held, free = (
                len(self.validation[1]) if self.validation else 0,
                self.learner.validation_set is not None,
            )
            about = (self.round, seed, len(self.y), held, free, initial, weights_hash(network), result)
            self.learner.record(Fit(*about))
        return network

    def _progress(self) -> Progress | None:
        told, number = self.learner.progress, self.trained
        if told is None or number == 1:
            return told
        return lambda what, done, total: told(f"{what} network {number}", done, total)


def _build(network: Network, seed: int, options: Mapping[str, Any]) -> nn.Module:
    if not options:
        return initialise(network, seed)
    named = ", ".join(f"{name}={value}" for name, value in options.items())
    if isinstance(network, nn.Module):
        raise Unsupported(
            f"a network cannot be made again with {named}; give the learner a factory of networks"
        )
    try:
        inspect.signature(network).bind(**options)
    except (TypeError, ValueError):  # it takes no such argument, or does not say what it takes
        raise Unsupported(
            f"the learner's factory of networks takes no {' and no '.join(options)}, so it cannot be asked for {named}"
        ) from None
    return initialise(partial(network, **options), seed)


def _go_on_from(network: nn.Module, before: nn.Module) -> None:
    try:
        restore(network, tensors(before))
    except (KeyError, RuntimeError) as error:
        raise Unsupported(f"a warm start needs the network of last round, not another one: {error}") from None


def gather(pool: Pool) -> Batch:
    """Read all items of a pool into memory.

    Args:
        pool: What to read.

    Returns:
        One tree of tensors, in the order of the pool.
    """
    parts = [x for _, x in pool.batches(np.arange(len(pool)), _READ)]
    return _join(parts)


def _join(parts: list[Any]) -> Any:
    first = parts[0]
    if isinstance(first, dict):
        return {key: _join([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple | list):
        return type(first)([_join(list(members)) for members in zip(*parts, strict=True)])
    return torch.cat(parts)


def _networks_of(posterior: Posterior) -> list[nn.Module]:
    members = getattr(posterior, "members", None)
    if isinstance(members, list | tuple):
        return [network for member in members for network in _networks_of(member)]
    network = getattr(posterior, "network", None)
    if not isinstance(network, nn.Module):
        raise Unsupported(f"a warm start needs a posterior over networks, not {type(posterior).__name__}")
    return [network]
