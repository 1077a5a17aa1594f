"""What a posterior is fitted with: a way to train networks, as often as it needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from baldur.likelihoods import Likelihood
from baldur.protocols import Batch, Labelled, Pool, Posterior, pictures_of
from baldur.training import AfterEpoch, Penalty, Recipe


@runtime_checkable
class Train(Protocol):
    """Trains networks on the labelled items, one call each; a fit that is killed goes on in the call where it was.

    So the calls, and what is asked of each, must follow from the seed alone.
    """

    @property
    def recipe(self) -> Recipe:
        """How networks are trained where nothing else is said."""
        ...

    @property
    def classes(self) -> int:
        """How many classes there are; labels or targets an item, where it is no question of classes."""
        ...

    @property
    def likelihood(self) -> Likelihood:
        """What the networks' outputs mean."""
        ...

    @property
    def unlabelled(self) -> Pool:
        """The items without labels."""
        ...

    def __call__(
        self,
        seed: int,
        *,
        network: nn.Module | None = None,
        penalty: Penalty | None = None,
        after_epoch: AfterEpoch | None = None,
        recipe: Recipe | None = None,
    ) -> nn.Module:
        """Train one network.

        Args:
            seed: Seed of the order of the items, dropout and augmentation; without `network` also of the initial
                weights.
            network: What to train, in place, instead of `build(seed)`.
            penalty: Added to the mean loss of each step. A divergence of a whole posterior belongs here divided by
                the number of training items, `len(data()[1])`; of maps, of labelled places.
            after_epoch: Shown the network after each epoch.
            recipe: Instead of the learner's.

        Returns:
            The network, trained, in evaluation mode.
        """
        ...

    def build(self, seed: int, **options: Any) -> nn.Module:
        """A network to begin with, at each call another one; last round's weights where the learner starts warm.

        Args:
            seed: Seed of the initial weights.
            options: For the learner's factory: `width=0.5`.

        Returns:
            The network.
        """
        ...

    def data(self) -> tuple[Batch, Tensor, Tensor]:
        """What is trained on: inputs, classes (n,) and weights (n,). What is held out is not in it."""
        ...


Together = Literal["auto", "stacked", "turn"]
"""How several networks are trained."""


@dataclass(frozen=True)
class TrainingRequest:
    """One training that is asked for; the arguments are those of `Train`.

    Args:
        seed: As in `Train`.
        network: What to train, in place.
        penalty: As in `Train`.
        after_epoch: As in `Train`.
        recipe: Instead of the learner's.
    """

    seed: int
    network: nn.Module
    penalty: Penalty | None = None
    after_epoch: AfterEpoch | None = None
    recipe: Recipe | None = None

    def by(self, train: Train) -> nn.Module:
        """The network, trained.

        Args:
            train: Trains it, in place.

        Returns:
            What `train` returns.
        """
        return train(
            self.seed,
            network=self.network,
            penalty=self.penalty,
            after_epoch=self.after_epoch,
            recipe=self.recipe,
        )


@runtime_checkable
class TrainsTogether(Protocol):
    """Can train several networks at once; what only wraps a `Train` need not."""

    def worth(self, request: TrainingRequest, how: Together) -> bool:
        """Whether to wait for the other networks, of which this is the first."""
        ...

    def together(self, requests: Sequence[TrainingRequest], how: Together) -> None:
        """Train the networks, in place: at once where that can be done, else in turn."""
        ...


@runtime_checkable
class Fitting(Protocol):
    """A posterior function: fits a posterior, and trains networks by `train` as often as it needs."""

    def __call__(self, train: Train, labelled: Labelled, seed: int, /) -> Posterior:
        """Fit a posterior to the labelled items.

        Args:
            train: Trains networks.
            labelled: What it trains on, with what is known of each label.
            seed: Seed of everything random.

        Returns:
            What is now believed.
        """
        ...


@runtime_checkable
class BuildsWith(Protocol):
    """What a posterior function may also have, if its networks are not those that the factory makes by default."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of the factory, by name; with them a learner builds the network of a saved posterior."""
        ...


def options_of(fitting: Fitting) -> Mapping[str, Any]:
    """The options that a posterior function's networks are built with; most have none.

    Args:
        fitting: A posterior function.

    Returns:
        Options of the factory by name.
    """
    return fitting.options if isinstance(fitting, BuildsWith) else {}


class WrappingFitting:
    """The base of a posterior function around another: whatever may be asked of one is passed on to that one."""

    inner: Fitting
    """The posterior function within."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The value of the inner function."""
        return options_of(self.inner)

    def pictures(self) -> bytes | None:
        """The value of the inner function."""
        return pictures_of(self.inner)


class WrappingTrain:
    """The base of a way to train around another, `self.train`; see `Train`."""

    train: Train

    @property
    def recipe(self) -> Recipe:
        """See the inner `Train`."""
        return self.train.recipe

    @property
    def classes(self) -> int:
        """See the inner `Train`."""
        return self.train.classes

    @property
    def likelihood(self) -> Likelihood:
        """See the inner `Train`."""
        return self.train.likelihood

    @property
    def unlabelled(self) -> Pool:
        """See the inner `Train`."""
        return self.train.unlabelled

    def data(self) -> tuple[Batch, Tensor, Tensor]:
        """See the inner `Train`."""
        return self.train.data()

    def build(self, seed: int, **options: Any) -> nn.Module:
        """As the inner one does.

        Args:
            seed: As in `Train.build`.
            options: As in `Train.build`.

        Returns:
            As `Train.build`.
        """
        return self.train.build(seed, **options)
