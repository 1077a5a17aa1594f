"""Puts numbers on the scale that networks expect: pixels from 0 to 1, and columns with mean 0 and deviation 1."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.data.array_images import depth_scale, row_scale
from baldur.data.arrays import Divide
from baldur.data.dataset import Dataset
from baldur.errors import UnreadableItems
from baldur.protocols import Batch, Pool, Positions

_ENOUGH, _BATCH = 100_000, 4096  # items that the statistics are computed from, and that are read at a time


@dataclass(frozen=True)
class Standardise:
    """Standardises columns, x ↦ (x − mean) / std, as float32.

    Args:
        mean: Of each column.
        std: Of each column; 1 for a constant one.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, x: Batch) -> Batch:
        """Standardise a batch.

        Args:
            x: A tensor of shape (n, D).

        Returns:
            The same shape, float32.
        """
        import torch

        mean, std = (torch.tensor(v, dtype=torch.float64, device=x.device) for v in (self.mean, self.std))
        return ((x.double() - mean) / std).float()


@dataclass(frozen=True)
class ScaledPool:
    """A pool whose items are scaled as they are read.

    Args:
        whole: The pool.
        scale: Applied to each batch.
    """

    whole: Pool
    scale: Callable[[Batch], Batch]

    @property
    def ids(self) -> Any:
        """The ids of the items."""
        return self.whole.ids

    @property
    def groups(self) -> Any:
        """The groups of the items; None where there are none."""
        return self.whole.groups

    def __len__(self) -> int:
        return len(self.whole)

    def batches(self, positions: Positions, size: int) -> Iterator[tuple[Positions, Batch]]:
        """Read items as the pool does.

        Args:
            positions: Positions in this pool.
            size: The number of items in a batch.

        Yields:
            The positions of a batch, and their scaled inputs.
        """
        for read, x in self.whole.batches(positions, size):
            yield read, self.scale(x)


def scaled(
    dataset: Dataset, kept: Mapping[str, Any] | None = None, *, standardise: bool = True, tokens: bool = False
) -> Dataset:
    """The data set with its numbers on the scale that networks expect.

    Bytes and images of integers are divided by the largest value that a pixel can have. Vectors are standardised by
    the statistics of the pool; the test items are not looked at. All other items stay as they are.

    Args:
        dataset: The data set.
        kept: The `scaling` that an earlier call wrote into the preprocessing; it is used again.
        standardise: Whether vectors are standardised.
        tokens: Whether vectors of integers are tokens, and stay as they are. Otherwise they are numbers.

    Returns:
        The data set; its preprocessing has `scaling`.
    """
    found = kept if kept is not None else _found(dataset, standardise, tokens)
    preprocessing = {**dataset.preprocessing, "scaling": dict(found)}
    step = step_of(found)
    if step is None:
        return replace(dataset, preprocessing=preprocessing)
    train, test = (ScaledPool(pool, step) for pool in (dataset.train, dataset.test))
    return replace(dataset, train=train, test=test, preprocessing=preprocessing)


def step_of(scaling: Mapping[str, Any]) -> Callable[[Batch], Batch] | None:
    """The function of a batch that a stored `scaling` means.

    Args:
        scaling: From the preprocessing of a data set.

    Returns:
        The function; None if nothing is scaled.
    """
    if "mean" in scaling:
        return Standardise(tuple(scaling["mean"]), tuple(scaling["std"]))
    return Divide(scaling["scale"]) if "scale" in scaling else None


def uneven(spreads: NDArray[np.float64]) -> bool:
    """Whether the spreads of columns differ tenfold, so that networks learn badly without standardisation.

    Args:
        spreads: The standard deviation of each column; 0 for a constant one.

    Returns:
        True if they do.
    """
    some = spreads[spreads > 0]
    return bool(some.size and some.max() >= 10 * some.min())


def spreads_of(dataset: Dataset) -> NDArray[np.float64]:
    """The standard deviation of each column of the pool.

    Args:
        dataset: A data set whose items are vectors; others give no columns.

    Returns:
        Shape (D,); 0 for a constant column.
    """
    first = _first(dataset.train)
    if first is None or first.ndim != 2 or not first.dtype.is_floating_point:
        return np.zeros(0)
    scaler = _statistics(dataset.train)
    return np.zeros(0) if scaler is None else np.sqrt(np.asarray(scaler.var_))


def _found(dataset: Dataset, standardise: bool, tokens: bool) -> dict[str, Any]:
    import torch

    first = _first(dataset.train)
    told = dataset.preprocessing
    if (
        first is None or told.get("kind") in ("table", "image", "tree") or "scale" in told
    ):  # the reader did it
        return {}
    if first.dtype == torch.uint8 and (
        first.ndim != 2 or isinstance(row_scale(_range(dataset.train)[1]), Divide)
    ):
        return {"scale": 255.0}
    integers = not first.dtype.is_floating_point and first.dtype != torch.bool
    if integers and first.ndim == 4:
        low, high = _range(dataset.train)
        return {"scale": depth_scale(int(high)) or high} if 0 <= low < high else {}
    if first.ndim != 2 or (integers and tokens):
        return {}
    if not standardise:
        return {"scale": 1.0} if integers else {}
    scaler = _statistics(dataset.train)
    return {} if scaler is None else {"mean": scaler.mean_.tolist(), "std": scaler.scale_.tolist()}


def _first(pool: Pool) -> Any:
    """A batch of the first readable item, if it is one tensor."""
    import torch

    x = next(_read(pool, 1), None)
    return x if isinstance(x, torch.Tensor) else None


def _read(pool: Pool, size: int = _BATCH) -> Iterator[Batch]:
    """The inputs of a pool, or of items spread evenly over a large one, without unreadable items."""
    positions = np.unique(np.linspace(0, len(pool) - 1, min(len(pool), _ENOUGH)).astype(np.intp))
    for start in range(0, len(positions), size):
        part = positions[start : start + size]
        try:
            yield from (x for _, x in pool.batches(part, size))
        except UnreadableItems:
            for one in part:
                with suppress(UnreadableItems):
                    yield next(iter(pool.batches(np.array([one]), 1)))[1]


def _statistics(pool: Pool) -> Any:
    """A fitted `StandardScaler`; values that are not finite are passed over. None if there are no others."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    for x in _read(pool):
        rows = x.cpu().numpy().astype(np.float64)
        with np.errstate(invalid="ignore"):  # of a column without a value
            scaler.partial_fit(np.where(np.isfinite(rows), rows, np.nan))
    if not np.isfinite(scaler.mean_).all():
        return None
    return scaler


def _range(pool: Pool) -> tuple[float, float]:
    """The smallest and the largest value."""
    ends = [(float(x.min()), float(x.max())) for x in _read(pool)]
    return min(low for low, _ in ends), max(high for _, high in ends)
