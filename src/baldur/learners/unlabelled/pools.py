"""Shared parts of learners with unlabelled items: joined pools, random batches, and modes of a network."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from baldur.core.networks import device_of, least_items
from baldur.core.trees import bytes_in, join, place, take
from baldur.learners.supervised import gather
from baldur.learners.unlabelled.adding import Make, adding
from baldur.protocols import Batch, Labelled, Pool, Positions, Posterior
from baldur.training import Augment, Recipe
from baldur.training.contract import Fitting, Train, WrappingFitting

_KEPT = 256 << 20  # bytes; a pool up to this size is read once and kept


@dataclass(frozen=True)
class Joined:
    """Two pools as one."""

    first: Pool
    second: Pool

    @property
    def ids(self) -> Sequence[str]:
        return [*self.first.ids, *self.second.ids]

    @property
    def groups(self) -> Sequence[str] | None:
        if self.first.groups is None and self.second.groups is None:
            return None
        return [g for pool in (self.first, self.second) for g in pool.groups or pool.ids]

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def batches(self, positions: Positions, size: int) -> Iterator[tuple[Positions, Batch]]:
        border = len(self.first)
        for start in range(0, len(positions), size):
            part = positions[start : start + size]
            sides = (part < border, part >= border)
            pools = ((self.first, 0), (self.second, border))
            read = [
                x
                for (pool, offset), here in zip(pools, sides, strict=True)
                if here.any()
                for _, x in pool.batches(part[here] - offset, size)
            ]
            # Items were read from one pool after the other: restore the requested order.
            back = np.argsort(np.concatenate([np.flatnonzero(here) for here in sides]))  # (b,)
            yield part, take(join(read), torch.from_numpy(back))


@dataclass
class Sampler:
    """Random batches of a pool on a device. A small pool is read once; from a large one, single batches are read.

    Args:
        pool: The pool.
        memory: Size in bytes up to which a pool is kept in memory.
        least: The least number of items in a batch.
    """

    pool: Pool
    memory: int = _KEPT
    least: int = 1
    _kept: Batch = field(default=None, init=False, repr=False)
    _fits: bool | None = field(default=None, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.pool)

    def draw(self, n: int, device: torch.device) -> Batch:
        """Draw items with replacement, with PyTorch's generator.

        Args:
            n: Number of items, at least `least`.
            device: The device of the batch.

        Returns:
            A batch.
        """
        return self.at(torch.randint(len(self.pool), (max(n, self.least),)), device)

    def suit(self, network: nn.Module, train: Train, n: int) -> None:
        """Draw two items instead of one for a network whose batch normalisation needs two.

        Args:
            network: The network.
            train: Its training.
            n: The number of items that is asked for.
        """
        self.least = least_items(network, train.data()[0], 0, device_of(network)) if n == 1 else 1

    def at(self, positions: Tensor, device: torch.device) -> Batch:
        """The items at some positions.

        Args:
            positions: Positions on the CPU, (n,).
            device: The device of the batch.

        Returns:
            A batch.
        """
        if self._fits is None:
            self._fits = self._bytes() * len(self.pool) <= self.memory
        if not self._fits:
            ((_, x),) = self.pool.batches(positions.numpy(), len(positions))
            return place(x, device)
        if self._kept is None:
            self._kept = place(gather(self.pool), device)
        return take(self._kept, positions.to(device))

    def _bytes(self) -> int:
        _, x = next(iter(self.pool.batches(np.zeros(1, np.intp), 1)))
        return bytes_in(x)


@dataclass(frozen=True)
class FileSlot:
    """A slot for a checkpoint in one file, which is always replaced as a whole."""

    path: Path

    def latest(self) -> Path | None:
        return self.path if self.path.exists() else None

    def save(self, write: Callable[[Path], None]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(f".{os.getpid()}.part")
        write(temporary)
        temporary.replace(self.path)


@dataclass(frozen=True)
class Added(WrappingFitting):
    """A posterior function that trains with an addition.

    Args:
        inner: The posterior function.
        begin: Called once for each fit; returns the maker of the additions.
    """

    inner: Fitting
    begin: Callable[[Train], Make]

    def __call__(self, train: Train, labelled: Labelled, seed: int) -> Posterior:
        return self.inner(adding(train, self.begin(train)), labelled, seed)


def changed(x: Batch, augment: Augment, device: torch.device) -> Batch:
    """Augment a batch. PyTorch's generator seeds the random changes.

    Args:
        x: A batch on the device.
        augment: The augmentation.
        device: The device of the batch.

    Returns:
        A batch of the same form.
    """
    return augment(x, torch.Generator(device).manual_seed(int(torch.randint(2**62, ()))))


def augmented(recipe: Recipe, augment: Augment) -> Recipe:
    """A recipe that also augments labelled items.

    Args:
        recipe: The recipe.
        augment: The augmentation, used if the recipe has none.

    Returns:
        The recipe.
    """
    return recipe if recipe.augment is not None else replace(recipe, augment=augment)


@contextmanager
def without_dropout(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, except that batch normalisation still uses the statistics of each batch.

    Args:
        network: The network, in training mode before and after.

    Yields:
        Nothing.
    """
    before = [(module, module.training) for module in network.modules()]
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.train()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Batch normalisation uses the statistics of each batch, but does not update its running statistics.

    Args:
        network: The network, in training mode.

    Yields:
        Nothing.
    """
    normal = [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats
    ]
    for module in normal:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in normal:
            module.track_running_stats = True
