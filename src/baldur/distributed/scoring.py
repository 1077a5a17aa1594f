"""Scores a pool on a cluster. Workers compute the blocks of the plain pass, and the driver stores the results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import baldur
from baldur import score
from baldur.core.sizes import bytes_of
from baldur.distributed.blocks import Kept, cut, digest
from baldur.distributed.cluster import Cluster
from baldur.distributed.shipping import forget, pack, share
from baldur.errors import ClusterFailed
from baldur.posteriors.draws import WrappedDraws
from baldur.protocols import Draws, Pool, Posterior, View
from baldur.score import passes
from baldur.score.passes import _allocate
from baldur.score.scorer import PoolScorer

BLOCK = 4096
"""Items in a block at most."""

_ANY = "1000000TB"  # a worker's batches are cut already

Reduce = Callable[[Any], Any]


@dataclass(frozen=True)
class RayScorer:
    """Scores a pool on a cluster; see `protocols.Scorer`.

    The results equal those of `PoolScorer` with as many threads as a worker has, bit for bit on machines of the same
    kind. Sample t is one function, and batches are cut at the same places.

    Args:
        plain: The plain scorer.
        cluster: The cluster.
        folder: The folder for results of blocks, from which an interrupted pass continues. They stay there until the
            folder is deleted. None stores nothing.
        block: Maximum number of items in a block.
    """

    plain: PoolScorer
    cluster: Cluster
    folder: Path | None = None
    block: int = BLOCK

    @property
    def memory(self) -> str | int:
        """The value of the plain scorer."""
        return self.plain.memory

    def predict(
        self, posterior: Posterior, pool: Pool, reduce: Callable[[Any], Any] | None = None
    ) -> NDArray[Any]:
        """See `PoolScorer.predict`.

        Args:
            posterior: The posterior. It and `reduce` are sent to the workers.
            pool: The items. Arrays in memory are sent to each node once; memory maps and folders are opened there.
            reduce: A function of log-probabilities that returns an array (n, ...).

        Returns:
            See `PoolScorer.predict`.

        Raises:
            InvalidPredictions: Predictions are NaN, or `reduce` finds that they are not normalised.
            ClusterFailed: Workers were lost several times; finished blocks are kept.
        """
        if not len(pool):
            return self.plain.predict(posterior, pool, reduce)
        draws = score.draws_of(posterior, self.plain.draws, self.plain.seed)
        values, differ = self._pass(posterior, draws, pool, "log_probs", reduce)
        if not differ and not draws.degenerate:
            passes.warn_of_agreement(values, reduced=reduce is not None)
        return values

    def features(self, posterior: Posterior, pool: Pool) -> NDArray[np.float32]:
        """See `PoolScorer.features`.

        Args:
            posterior: The posterior.
            pool: The items.

        Returns:
            (N, D).
        """
        return self.outputs(posterior, pool, "features")

    def outputs(self, posterior: Posterior, pool: Pool, name: str) -> NDArray[np.float32]:
        """See `PoolScorer.outputs`.

        Args:
            posterior: The posterior.
            pool: The items.
            name: The name of the output.

        Returns:
            (N, ...).

        Raises:
            Unsupported: The posterior has no such output.
            ClusterFailed: Workers were lost several times; finished blocks are kept.
        """
        draws = score.draws_of(posterior, None, self.plain.seed)
        if not len(pool) or (name != "features" and name not in draws.names):
            return self.plain.outputs(posterior, pool, name)  # which says what is wrong
        return self._pass(posterior, draws, pool, name, None)[0]

    def _pass(
        self, posterior: Posterior, draws: Draws, pool: Pool, name: str, reduce: Reduce | None
    ) -> tuple[NDArray[Any], bool]:
        """All blocks, from the folder or from workers, and whether the samples differed anywhere."""
        n = len(pool)
        size = self.plain.items_at_once(draws, pool)
        blocks = cut(n, size, self.block)
        alone = replace(self.plain, batch_size=size, memory=_ANY, trunks=None, progress=None)
        work = Work(posterior, pool, alone, name, reduce, tuple(blocks))
        kept = Kept(self.folder, "" if self.folder is None else work.key(self.cluster.threads))
        gathered = _Gathered(n, bytes_of(self.plain.memory) // 2, self.plain.progress)
        missing = []
        for number, items in enumerate(blocks):
            found = kept.load(number, len(items))
            if found is None:
                missing.append(number)
            else:
                gathered.put(items, *found)
        if missing:
            self.cluster.start()
            share(root(pool))
            share(work)
            try:
                for number, result in self.cluster.each(work.block, missing, f"a pass over {n:,} items"):
                    kept.save(number, *result)
                    gathered.put(blocks[number], *result)
            except ClusterFailed as error:
                raise ClusterFailed(f"{error}; {kept.describe(gathered.done, n)}") from error
            finally:
                forget(work)
        return gathered.values, gathered.differ


class _Gathered:
    """Joins the results of the blocks, in any order."""

    def __init__(self, n: int, limit: int, progress: score.Progress | None) -> None:
        self.n, self.limit, self.progress = n, limit, progress
        self.done, self.differ = 0, False
        self.values: NDArray[Any] = np.empty(0)
        if progress is not None:
            progress(0, n)

    def put(self, items: range, values: NDArray[Any], differ: bool) -> None:
        if not self.done:
            self.values = _allocate((self.n, *values.shape[1:]), values.dtype, self.limit)
        self.values[items.start : items.stop] = values
        self.done += len(items)
        self.differ |= differ
        if self.progress is not None:
            self.progress(self.done, self.n)


@dataclass(frozen=True)
class Work:
    """One pass over a pool in blocks. It is sent to the workers once.

    Args:
        posterior: The posterior.
        pool: The items.
        scorer: Scores a block, in the batches of the plain pass.
        name: "log_probs", or another output.
        reduce: A function of the log-probabilities.
        blocks: The positions of the items of each block.
    """

    posterior: Posterior
    pool: Pool
    scorer: PoolScorer
    name: str
    reduce: Reduce | None
    blocks: tuple[range, ...]

    def block(self, number: int) -> tuple[NDArray[Any], bool]:
        """Compute a block as the plain pass does.

        Args:
            number: The number of the block.

        Returns:
            The values, one row for each item, and whether the samples differed.
        """
        items = self.blocks[number]
        part = View(self.pool, np.arange(items.start, items.stop))
        if self.name != "log_probs":
            return self.scorer.outputs(self.posterior, part, self.name), True
        comparing = ComparingPosterior(self.posterior)
        values = self.scorer.predict(comparing, part, self.reduce)
        return values, comparing.differ

    def key(self, threads: int) -> str:
        """A hash of everything that the results depend on.

        Args:
            threads: Threads of a worker.

        Returns:
            Hexadecimal SHA-256.
        """
        data, buffers, _ = pack(self.reduce)
        about = (self.scorer, self.name, self.blocks[0], len(self.pool), threads)
        versions = (baldur.__version__, torch.__version__, np.__version__)
        return digest(
            self.posterior, self.pool, repr(about + versions).encode(), data, *(b.tobytes() for b in buffers)
        )


class ComparingPosterior(Posterior):
    """A posterior whose draws record whether any two samples differ, so that this can be checked for the whole pool.

    Args:
        inner: The posterior.
    """

    def __init__(self, inner: Posterior) -> None:
        self.inner = inner
        self.differ = False

    @property
    def functions(self) -> int | None:
        """See the inner posterior."""
        return self.inner.functions

    @property
    def networks(self) -> Sequence[Any]:
        """The networks of the inner posterior."""
        return self.inner.networks

    def draw(self, T: int | None = None, seed: int = 0) -> WrappedDraws:
        """Draw functions of the inner posterior.

        Args:
            T: Number of samples.
            seed: Seed of the samples.

        Returns:
            The same functions. Equal samples raise no error.
        """
        return WrappedDraws(self.inner.draw(T, seed), after=self._noted, may_agree=True)

    def save(self, folder: Path) -> None:
        """See the inner posterior.

        Args:
            folder: The folder of the saved posterior.
        """
        self.inner.save(folder)

    def _noted(self, log_probs: Any) -> Any:
        """Record differences, and return the log-probabilities (n, T, C, ...) unchanged."""
        differ = log_probs.shape[1] == 1 or self.differ
        self.differ = differ or bool((log_probs[:, :1] != log_probs[:, 1:]).any())
        return log_probs


def root(pool: Pool) -> Pool:
    """The pool behind a view or nested views.

    Args:
        pool: Any pool.

    Returns:
        A pool that is not a view.
    """
    while isinstance(pool, View):
        pool = pool.whole
    return pool
