"""What a posterior is fitted with: a way to train networks, as often as it needs."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from baldur.protocols import Batch, Labelled, Posterior
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
            seed: Of the order of the items, dropout and augmentation; and of the initial weights, without `network`.
            network: What to train, in place, instead of `build(seed)`.
            penalty: Added to the mean loss of each step. A divergence of a whole posterior belongs here divided by
                the number of training items, `len(data()[1])`.
            after_epoch: Shown the network after each epoch.
            recipe: Instead of the learner's.

        Returns:
            The network, trained, in evaluation mode.
        """
        ...

    def build(self, seed: int, **options: Any) -> nn.Module:
        """A network to begin with, at each call another one; last round's weights where the learner starts warm.

        Args:
            seed: Of the initial weights.
            options: For the learner's factory: `width=0.5`.

        Returns:
            The network.
        """
        ...

    def data(self) -> tuple[Batch, Tensor, Tensor]:
        """What is trained on: inputs, classes (n,) and weights (n,). What is held out is not in it."""
        ...


Fitting = Callable[[Train, Labelled, int], Posterior]
"""Fits a posterior: how to train, what is labelled, and a seed."""
