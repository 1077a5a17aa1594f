"""Supervised learning on the labelled items only."""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baldur import posteriors
from baldur.core.devices import pick_device, seeded
from baldur.core.networks import call, is_lazy
from baldur.core.seeds import derive
from baldur.core.trees import join, take
from baldur.errors import EmptyLabelledSet, InvalidArgument, InvalidLabel, OneClassOnly
from baldur.learners.building import Network as Network
from baldur.learners.building import build, go_on_from, networks_of
from baldur.learners.held_out import hold_out, part
from baldur.likelihoods import CATEGORICAL, IGNORED, Likelihood
from baldur.posteriors.fit.dropout import mc_dropout
from baldur.protocols import Batch, Checkpoint, Labelled, Pool, Posterior, pictures_of
from baldur.training import (
    AfterEpoch,
    Checkpoints,
    Penalty,
    Progress,
    Recipe,
    TrainingResult,
    train,
    weights_hash,
)
from baldur.training.contract import Fitting, Together, TrainingRequest, options_of
from baldur.training.together import at_once, worth_waiting

_READ = 1024


@dataclass(frozen=True)
class FitRecord:
    """The record of one trained network.

    Args:
        round: The round of the training.
        seed: Seed of the initial weights and of the training.
        training: Number of training items.
        validation: Number of items for early stopping.
        free: Whether these items do not count as labels.
        initial_hash: SHA-256 of the initial weights.
        weights_hash: SHA-256 of the final weights.
        result: The result of the training.
    """

    round: int
    seed: int
    training: int
    validation: int
    free: bool
    initial_hash: str
    weights_hash: str
    result: TrainingResult


class Supervised:
    """A learner that trains networks on the labelled items, which it holds in memory.

    Args:
        network: A factory, or a network whose weights every fit starts from. For narrower networks, it must be a
            factory with the argument `width=`, a share of the units.
        classes: Number of classes; with another likelihood, the number of labels or targets of an item.
        likelihood: The meaning of the outputs and labels: classes, several labels for each item, or numbers.
        recipe: The recipe of the training; a `Recipe` with its defaults if unset.
        posterior: The posterior function. It trains networks as often as it needs. If it is a
            `training.contract.BuildsWith`, its `options` are passed to the factory.
        validation: Number of labelled items held out for early stopping. They count as labels.
        validation_set: Items for early stopping that do not count as labels, instead of `validation`.
        validation_seed: Seed of the choice of held-out items, which stays the same from round to round.
        warm_start: Start from the weights of the previous round, if there is one. Several networks each start from
            their own.
        interval: Minimum seconds between two checkpoints.
        progress: Called after each epoch.
        record: Called with the record of each trained network.
    """

    def __init__(
        self,
        network: Network,
        *,
        classes: int,
        likelihood: Likelihood = CATEGORICAL,
        recipe: Recipe | None = None,
        posterior: Fitting = mc_dropout,
        validation: int = 0,
        validation_set: Labelled | None = None,
        validation_seed: int = 0,
        warm_start: bool = False,
        interval: float = 10.0,
        progress: Progress | None = None,
        record: Callable[[FitRecord], None] | None = None,
    ) -> None:
        if classes < 2 and likelihood.kind == "categorical":
            raise InvalidArgument(f"classes must be at least 2, not {classes}")
        if not callable(posterior):
            raise InvalidArgument(
                f"posterior must be a function such as baldur.posteriors.fit.swag, not {posterior!r}"
            )
        if validation < 0 or (validation and validation_set is not None):
            raise InvalidArgument("give validation, a number of at least 0, or validation_set, but not both")
        self.network = network
        self.classes = classes
        self.likelihood = likelihood
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
        """Fit a posterior to the labelled items.

        Args:
            labelled: The labelled items.
            unlabelled: The unlabelled items; they are ignored unless a wrapper uses them.
            seed: Seed of initial weights and training.
            round: The round, for the record.
            previous: The posterior of the previous round, for a warm start.
            checkpoint: Stores the state of a long fit, from which an interrupted fit continues.

        Returns:
            The posterior.

        Raises:
            EmptyLabelledSet: There are no labelled items.
            InvalidLabel: A label is not one of the classes.
            InvalidArgument: There are too few labelled items for the validation items.
        """
        x, y, weights, validation = self._split(labelled)
        if y.ndim == 1 and not y.is_floating_point() and bool((y == y[0]).all()):
            warnings.warn(f"all {len(y)} labels are of class {int(y[0])}", OneClassOnly, stacklevel=2)
        before = networks_of(previous) if self.warm_start and previous is not None else []
        kept = None if checkpoint is None else Checkpoints(checkpoint, self.interval)
        training = _Training(self, x, y, weights, validation, round, before, kept, unlabelled)
        return self.posterior(training, labelled, seed)

    def but(self, **changes: Any) -> "Supervised":
        """A copy with some arguments changed.

        Args:
            changes: New values by name.

        Returns:
            The copy.

        Raises:
            InvalidArgument: There is no such argument.
        """
        twin = copy.copy(self)
        for name, value in changes.items():
            if name not in vars(self):
                raise InvalidArgument(
                    f"Supervised has no argument {name!r}; its arguments are {', '.join(vars(self))}"
                )
            setattr(twin, name, value)
        return twin

    def predicts(self) -> str:
        """The kind of draws of its posteriors.

        Returns:
            "categorical", "bernoulli" or "gaussian".
        """
        return self.likelihood.kind

    def held_out(self, labelled: Labelled) -> Labelled | None:
        """The validation items of a fit, which are not trained on.

        Args:
            labelled: All labelled items.

        Returns:
            The validation items, or None if there are none.
        """
        if self.validation_set is not None or not self.validation:
            return self.validation_set
        return part(labelled, self._parts(labelled)[1])

    def pictures(self) -> bytes | None:
        """A PNG of the images that the last fit generated, in one row.

        Returns:
            The picture, or None if no images were generated.
        """
        return pictures_of(self.posterior)

    def load(self, folder: Path) -> Posterior:
        """Load a saved posterior of this learner.

        Args:
            folder: The folder of the saved posterior.

        Returns:
            The posterior. Its draws equal those of the saved one.
        """
        network = build(self.network, 0, options_of(self.posterior)).to(pick_device(self.recipe.device))
        return posteriors.load(folder, network)

    def _split(self, labelled: Labelled) -> tuple[Batch, Tensor, Tensor, tuple[Batch, Tensor] | None]:
        """Inputs, classes and weights for training, and the validation items."""
        x, y, weights = self._gather(labelled)
        if self.validation_set is not None:
            return x, y, weights, self._gather(self.validation_set)[:2]
        if not self.validation:
            return x, y, weights, None
        kept, held = (torch.from_numpy(positions) for positions in self._parts(labelled))
        return take(x, kept), y[kept], weights[kept], (take(x, held), y[held])

    def _parts(self, labelled: Labelled) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Positions for training, and held-out positions. Only labels from the oracle are held out."""
        asked = np.flatnonzero([source == "oracle" for source in labelled.sources])
        names = labelled.pool.groups or labelled.pool.ids
        by_class = labelled.labels.ndim == 1 and self.likelihood.kind == "categorical"
        classes = labelled.labels[asked] if by_class else np.zeros(len(asked), np.int64)
        _, held = hold_out(classes, [names[int(i)] for i in asked], self.validation, self.validation_seed)
        held = asked[held]
        groups = {names[int(i)] for i in held}
        return np.flatnonzero([name not in groups for name in names]), held

    def _gather(self, labelled: Labelled) -> tuple[Batch, Tensor, Tensor]:
        if len(labelled) == 0:
            raise EmptyLabelledSet(
                "there are no labelled items; label at least one item of each of two classes"
            )
        y = torch.tensor(labelled.labels)
        if self.likelihood.kind == "categorical":
            low, high = int(y.min()), int(y.max())
            if low < (IGNORED if y.ndim > 1 else 0) or high >= self.classes:
                raise InvalidLabel(
                    f"labels must be from 0 to {self.classes - 1}, but they run from {low} to {high}"
                )
        else:
            y = y.float()
        return gather(labelled.pool), y, torch.tensor(labelled.weights)


class _Training:
    """Trains the networks of one fit; see `Train`."""

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
        unlabelled: Pool,
    ) -> None:
        self.learner = learner
        self.x, self.y, self.weights = x, y, weights
        self.validation = validation
        self.round = round
        self.before = before
        self.kept = kept
        self.unlabelled = unlabelled
        self.built = self.trained = 0

    @property
    def recipe(self) -> Recipe:
        return self.learner.recipe

    @property
    def classes(self) -> int:
        return self.learner.classes

    @property
    def likelihood(self) -> Likelihood:
        return self.learner.likelihood

    def data(self) -> tuple[Batch, Tensor, Tensor]:
        return self.x, self.y, self.weights

    def build(self, seed: int, **options: Any) -> nn.Module:
        network = build(self.learner.network, derive(seed, "weights"), options)
        if is_lazy(network):  # its first batch decides the shapes
            with seeded(derive(seed, "weights", "lazy"), torch.device("cpu")), torch.no_grad():
                call(network.eval(), take(self.x, slice(2)))
        if self.built < len(self.before):
            go_on_from(network, self.before[self.built])
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
            seed=derive(seed, "training"),
            progress=self._progress(),
            penalty=penalty,
            after_epoch=after_epoch,
            **self._about(),
        )
        self._tell(seed, network, initial, result)
        return network

    def worth(self, request: TrainingRequest, how: Together) -> bool:
        return worth_waiting(request, how, self.recipe)

    def together(self, requests: Sequence[TrainingRequest], how: Together) -> None:
        initial = [weights_hash(one.network) for one in requests]
        told, count = self.learner.progress, len(requests)
        progress = None if told is None else lambda what, *done: told(f"{what} {count} networks", *done)
        results = at_once(
            requests, how, self.x, self.y, recipe=self.recipe, progress=progress, **self._about()
        )
        if results is None:
            for one in requests:
                one.by(self)
            return
        self.trained += count
        for one, before, result in zip(requests, initial, results, strict=True):
            self._tell(one.seed, one.network, before, result)

    def _about(self) -> dict[str, Any]:
        """Arguments that all trainings have in common."""
        return {
            "classes": self.learner.classes,
            "likelihood": self.likelihood,
            "weights": self.weights,
            "validation": self.validation,
            "checkpoint": self.kept,
        }

    def _tell(self, seed: int, network: nn.Module, initial: str, result: TrainingResult) -> None:
        """Record a trained network."""
        if self.learner.record is None:
            return
        held = len(self.validation[1]) if self.validation else 0
        free = self.learner.validation_set is not None
        about = (self.round, seed, len(self.y), held, free, initial, weights_hash(network), result)
        self.learner.record(FitRecord(*about))

    def _progress(self) -> Progress | None:
        told, number = self.learner.progress, self.trained
        if told is None or number == 1:
            return told
        return lambda what, done, total: told(f"{what} network {number}", done, total)


def gather(pool: Pool) -> Batch:
    """Read all items of a pool into memory.

    Args:
        pool: The pool.

    Returns:
        One tree of tensors, in the order of the pool.
    """
    parts = [x for _, x in pool.batches(np.arange(len(pool)), _READ)]
    return join(parts)  # (N, ...)
