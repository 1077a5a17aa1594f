"""The contract between learners and posterior functions: training networks, as often as needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from baldur.likelihoods import Likelihood
from baldur.protocols import Batch, Labelled, Pool, Posterior, pictures_of
from baldur.training import AfterEpoch, Penalty, Recipe


@runtime_checkable
class Train(Protocol):
    """Trains networks on the labelled items, one network for each call. A killed fit resumes in its last call.

    So the number of calls and their arguments must depend only on the seed.
    """

    @property
    def recipe(self) -> Recipe:
        """The recipe of the learner, used by default."""
        ...

    @property
    def classes(self) -> int:
        """Number of classes; with another likelihood, the number of labels or targets of an item."""
        ...

    @property
    def likelihood(self) -> Likelihood:
        """The meaning of the networks' outputs."""
        ...

    @property
    def unlabelled(self) -> Pool:
        """The unlabelled items."""
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
            seed: Seed of the order of the items, dropout and augmentation; without `network`, also of the initial
                weights.
            network: The network to train in place, instead of `build(seed)`.
            penalty: A term that is added to the mean loss of each step. Divide the divergence of a whole posterior by
                the number of training items, `len(data()[1])`; for maps, by the number of labelled pixels.
            after_epoch: Called with the network after each epoch.
            recipe: The recipe; by default, the learner's.

        Returns:
            The trained network, in evaluation mode.
        """
        ...

    def build(self, seed: int, **options: Any) -> nn.Module:
        """Make an initial network. With a warm start, it has the weights of the previous round.

        Args:
            seed: Seed of the initial weights.
            options: Options of the learner's factory, such as `width=0.5`.

        Returns:
            The network.
        """
        ...

    def data(self) -> tuple[Batch, Tensor, Tensor]:
        """The training data: inputs, classes (n,) and weights (n,), without held-out items."""
        ...


Together = Literal["auto", "stacked", "turn"]
"""How several networks are trained: all at once, or one after the other."""


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
        """Carry out the request.

        Args:
            train: Trains the network in place.

        Returns:
            The trained network.
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
    """A `Train` that can train several networks at once. Wrappers need not support it."""

    def worth(self, request: TrainingRequest, how: Together) -> bool:
        """Whether to wait for the other networks, to train them together with this first one."""
        ...

    def together(self, requests: Sequence[TrainingRequest], how: Together) -> None:
        """Train the networks in place: at once if possible, otherwise one after the other."""
        ...


@runtime_checkable
class Fitting(Protocol):
    """A posterior function. It fits a posterior, and calls `train` as often as it needs."""

    def __call__(self, train: Train, labelled: Labelled, seed: int, /) -> Posterior:
        """Fit a posterior to the labelled items.

        Args:
            train: Trains networks.
            labelled: The labelled items, with the round, weight and source of each label.
            seed: Seed of all randomness.

        Returns:
            The posterior.
        """
        ...


@runtime_checkable
class BuildsWith(Protocol):
    """A posterior function whose networks need options of the factory."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Options of the factory, by name. A learner also uses them to load a saved posterior."""
        ...


def options_of(fitting: Fitting) -> Mapping[str, Any]:
    """The options of the factory that a posterior function uses; most use none.

    Args:
        fitting: A posterior function.

    Returns:
        Options of the factory by name.
    """
    return fitting.options if isinstance(fitting, BuildsWith) else {}


class WrappingFitting:
    """Base class of a posterior function that wraps another one, to which it passes all requests."""

    inner: Fitting
    """The wrapped posterior function."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The value of the inner function."""
        return options_of(self.inner)

    def pictures(self) -> bytes | None:
        """The value of the inner function."""
        return pictures_of(self.inner)


class WrappingTrain:
    """Base class of a `Train` that wraps another one, `self.train`."""

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
