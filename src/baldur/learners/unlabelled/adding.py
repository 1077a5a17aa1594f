"""Adds a term to the loss of every training, as semi-supervised learners do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from baldur.training import AfterEpoch, Penalty, Recipe, Step
from baldur.training.contract import Train, WrappingTrain


@dataclass(frozen=True)
class Addition:
    """An addition to one training.

    Args:
        penalty: A term that is added to the mean loss of every step.
        after_epoch: Stores the state of the penalty in checkpoints.
        finish: Called with the trained network.
    """

    penalty: Penalty
    after_epoch: AfterEpoch | None = None
    finish: Callable[[nn.Module], None] = lambda network: None


Make = Callable[[int, nn.Module, Train], Addition]
"""A function (seed, initial network, training) -> addition."""


def adding(train: Train, make: Make) -> Train:
    """Training with an addition, on top of any additions of the posterior function.

    Args:
        train: The training to wrap.
        make: Makes the addition for each network.

    Returns:
        The training with the addition.
    """
    return _Adding(train, make)


@dataclass(frozen=True)
class _Adding(WrappingTrain):
    train: Train
    make: Make

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
        added = self.make(seed, network, self.train)
        trained = self.train(
            seed,
            network=network,
            penalty=_sum(added.penalty, penalty),
            after_epoch=_both(added.after_epoch, after_epoch),
            recipe=recipe,
        )
        added.finish(trained)
        return trained


def _sum(added: Penalty, own: Penalty | None) -> Penalty:
    if own is None:
        return added

    def both(network: nn.Module, step: Step) -> Tensor:
        return own(network, step) + added(network, step)

    return both


def _both(added: AfterEpoch | None, own: AfterEpoch | None) -> AfterEpoch | None:
    if added is None or own is None:
        return added or own
    return _Both(added, own)


@dataclass(frozen=True)
class _Both:
    """Two watchers of one training, as one."""

    added: AfterEpoch
    own: AfterEpoch

    def __call__(self, network: nn.Module, epoch: int) -> None:
        self.own(network, epoch)
        self.added(network, epoch)

    def state(self) -> Mapping[str, Tensor]:
        return {
            **{f"added.{name}": value for name, value in self.added.state().items()},
            **{f"own.{name}": value for name, value in self.own.state().items()},
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        for part, prefix in ((self.added, "added."), (self.own, "own.")):
            part.load({name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)})
