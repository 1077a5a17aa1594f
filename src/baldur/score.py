"""Evaluates draws over a whole pool, in one pass and in bounded memory."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from baldur.data import from_arrays
from baldur.errors import IdenticalDraws, InvalidPredictions, Unsupported
from baldur.protocols import Batch, Draws, Pool, Posterior
from baldur.settings import bytes_of

Progress = Callable[[int, int], None]
"""Called with (items done, items in all)."""

# What a network holds of one item at a time, in multiples of the item itself; layers come and go, so that even
# wide convolutions on small images stay below it.
_ACTIVATIONS = 64


def predict(
    draws: Draws,
    pool: Pool | Any,
    reduce: Callable[[Any], Any] | None = None,
    memory: str | int = "1GiB",
    *,
    batch_size: int = 128,
    progress: Progress | None = None,
) -> NDArray[Any]:
    """Evaluate T functions on every item of a pool: `reduce` of log p(y | x_n, w_t).

    The items are read once, in order. Boundaries of batches follow from the arguments and the shapes alone.

    Args:
        draws: T functions.
        pool: A pool, or an array of N inputs.
        reduce: Log-probabilities (n, T, C, ...) to an array (n, ...), such as `acquire.bald`. Without it the
            log-probabilities themselves are returned.
        memory: What the pass may use beyond the pool, "1GiB" say. The returned log-probabilities are a
            memory-mapped temporary file where they would take more than half of it.
        batch_size: Items at a time; fewer where `memory` asks for it.
        progress: Told how many items are done.

    Returns:
        (N, ...) float64 with `reduce`, else (N, T, C, ...) float32.

    Raises:
        IdenticalDraws: All T > 1 samples gave the same for every item.
        InvalidPredictions: Predictions are NaN, or, from `reduce`, not normalised.
    """
    whole = _as_pool(pool)
    n, budget = len(whole), bytes_of(memory)
    out: NDArray[Any] | None = None
    done, differ = 0, len(draws) == 1
    size = _batch_size(draws, whole, budget, batch_size)
    for positions, x in whole.batches(np.arange(n), size):
        log_probs = draws(x)
        differ = differ or bool((log_probs[:, :1] != log_probs[:, 1:]).any())
        if reduce is None and bool((bad := log_probs.isnan().flatten(1).any(1)).any()):
            row = int(positions[int(bad.nonzero()[0])])
            raise InvalidPredictions(
                f"the predictions of item {row} of the pool hold NaN; are its inputs finite?"
            )
        values = _to_numpy(log_probs if reduce is None else reduce(log_probs))
        if out is None:
            kind = np.dtype(np.float32) if reduce is None else np.result_type(values.dtype, np.float64)
            out = _allocate((n, *values.shape[1:]), kind, budget // 2)
        out[done : done + len(positions)] = values
        done += len(positions)
        if progress is not None:
            progress(done, n)
    if out is None:
        return np.empty((0,))
    if not differ and not draws.degenerate:
        raise IdenticalDraws(
            f"the {len(draws)} posterior samples agree on all {n} items, so disagreement is 0 everywhere and a ranking "
            "by it would be the order of the pool; is dropout behind a layer whose output does not matter?"
        )
    return out


def features(
    draws: Draws,
    pool: Pool | Any,
    memory: str | int = "1GiB",
    *,
    batch_size: int = 128,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """The features of every item under the mean network, (N, D).

    Args:
        draws: T functions.
        pool: A pool, or an array of N inputs.
        memory: As in `predict`.
        batch_size: Items at a time; fewer where `memory` asks for it.
        progress: Told how many items are done.

    Returns:
        float32, memory-mapped where it would take more than half of `memory`.

    Raises:
        Unsupported: The draws have no features.
    """
    return outputs(draws, pool, "features", memory, batch_size=batch_size, progress=progress)


def outputs(
    draws: Draws,
    pool: Pool | Any,
    name: str,
    memory: str | int = "1GiB",
    *,
    batch_size: int = 128,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """One of the outputs that `draws.names` lists, of every item, (N, ...).

    Args:
        draws: T functions.
        pool: A pool, or an array of N inputs.
        name: Which: "features", or "loss" where the learner predicts it.
        memory: As in `predict`.
        batch_size: Items at a time; fewer where `memory` asks for it.
        progress: Told how many items are done.

    Returns:
        float32, memory-mapped where it would take more than half of `memory`.

    Raises:
        Unsupported: The draws have no such output.
    """
    if name != "features" and name not in draws.names:
        raise Unsupported(
            f"this posterior gives {', '.join(draws.names)}, not {name!r}; it takes a learner whose draws do"
        )
    whole = _as_pool(pool)
    n, budget = len(whole), bytes_of(memory)
    out: NDArray[np.float32] | None = None
    done = 0
    for positions, x in whole.batches(np.arange(n), _batch_size(draws, whole, budget, batch_size)):
        values = _to_numpy(draws.features(x) if name == "features" else draws.outputs(x, (name,))[name])
        if out is None:
            out = _allocate((n, *values.shape[1:]), np.dtype(np.float32), budget // 2)
        out[done : done + len(positions)] = values
        done += len(positions)
        if progress is not None:
            progress(done, n)
    return np.empty((0, 0), np.float32) if out is None else out


@dataclass(frozen=True)
class PoolScorer:
    """Binds how a pool is scored; see `protocols.Scorer`.

    Args:
        draws: Posterior samples T; None for the posterior's own number. Where there are only so many functions, as
            in an ensemble of networks, all of them are taken.
        seed: Which samples.
        memory: What a pass may use beyond the pool.
        batch_size: Items at a time.
        progress: Told how many items are done.
    """

    draws: int | None = 20
    seed: int = 0
    memory: str = "1GiB"
    batch_size: int = 128
    progress: Progress | None = None

    def predict(
        self, posterior: Posterior, pool: Pool, reduce: Callable[[Any], Any] | None = None
    ) -> NDArray[Any]:
        """`predict` with what is bound here.

        Args:
            posterior: What the model believes.
            pool: The items.
            reduce: Log-probabilities to an array (n, ...).

        Returns:
            As `predict`.
        """
        only = getattr(posterior, "functions", None)
        draws = posterior.draw(only or self.draws, self.seed)
        return predict(draws, pool, reduce, self.memory, batch_size=self.batch_size, progress=self.progress)

    def features(self, posterior: Posterior, pool: Pool) -> NDArray[np.float32]:
        """`features` with what is bound here.

        Args:
            posterior: What the model believes.
            pool: The items.

        Returns:
            (N, D).
        """
        return self.outputs(posterior, pool, "features")

    def outputs(self, posterior: Posterior, pool: Pool, name: str) -> NDArray[np.float32]:
        """`outputs` with what is bound here.

        Args:
            posterior: What the model believes.
            pool: The items.
            name: Which output.

        Returns:
            (N, ...).
        """
        draws = posterior.draw(None, self.seed)
        return outputs(draws, pool, name, self.memory, batch_size=self.batch_size, progress=self.progress)


def _as_pool(pool: Pool | Any) -> Pool:
    if isinstance(pool, np.ndarray | torch.Tensor | tuple | list):
        return from_arrays(pool)
    whole: Pool = pool
    return whole


def _batch_size(draws: Draws, pool: Pool, budget: int, limit: int) -> int:
    """At most `limit` items, so that inputs, activations and log-probabilities stay within a quarter of the budget."""
    if not len(pool):
        return 1
    _, x = next(iter(pool.batches(np.arange(1), 1)))
    item = _ACTIVATIONS * _bytes(x) + 8 * int(draws(x).nbytes)
    return max(1, min(limit, budget // 4 // item))


def _bytes(x: Batch) -> int:
    if isinstance(x, dict):
        return sum(map(_bytes, x.values()))
    if isinstance(x, Sequence):
        return sum(map(_bytes, x))
    return int(x.nbytes)


def _to_numpy(values: Any) -> NDArray[Any]:
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _allocate(shape: tuple[int, ...], dtype: np.dtype[Any], limit: int) -> NDArray[Any]:
    """An array in memory, or in an unnamed temporary file where it is larger than `limit`."""
    if int(np.prod(shape)) * dtype.itemsize <= limit:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:  # the mapping keeps the pages alive; the file itself has no name
        return np.memmap(file, dtype, "w+", shape=shape)
