"""What learners, posterior functions and ways to train pass on of those that they wrap."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from baldur.learners.train import Train
from baldur.likelihoods import Likelihood
from baldur.protocols import Batch, Labelled, Pool
from baldur.training import Recipe


class WrappingLearner:
    """A learner around another, `self.learner`."""

    learner: Any

    def held_out(self, labelled: Labelled) -> Labelled | None:
        """Which items a fit on these does not train on, if the inner learner holds any out."""
        inner = getattr(self.learner, "held_out", None)
        held: Labelled | None = None if inner is None else inner(labelled)
        return held

    def pictures(self) -> bytes | None:
        """A PNG of what the last fit made up, if the inner learner makes anything up."""
        inner = getattr(self.learner, "pictures", None)
        made: bytes | None = None if inner is None else inner()
        return made


class WrappingFitting:
    """A posterior function around another, `self.inner`."""

    inner: Any

    @property
    def options(self) -> Mapping[str, Any]:
        """What networks are built with."""
        own: Mapping[str, Any] = getattr(self.inner, "options", {})
        return own

    def pictures(self) -> bytes | None:
        """A PNG of what the last fit made up, if the inner function makes anything up."""
        inner = getattr(self.inner, "pictures", None)
        made: bytes | None = None if inner is None else inner()
        return made


class WrappingTrain:
    """A way to train around another, `self.train`; see `Train`."""

    train: Train

    @property
    def recipe(self) -> Recipe:
        """As the inner one has it."""
        return self.train.recipe

    @property
    def classes(self) -> int:
        """As the inner one has it."""
        return self.train.classes

    @property
    def likelihood(self) -> Likelihood:
        """As the inner one has it."""
        return self.train.likelihood

    @property
    def unlabelled(self) -> Pool:
        """As the inner one has it."""
        return self.train.unlabelled

    def data(self) -> tuple[Batch, Tensor, Tensor]:
        """As the inner one has it."""
        return self.train.data()

    def build(self, seed: int, **options: Any) -> nn.Module:
        """As the inner one does."""
        return self.train.build(seed, **options)
