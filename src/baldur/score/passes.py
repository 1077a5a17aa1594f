"""Evaluates draws over a whole pool, in one pass and in bounded memory."""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from baldur.core.sizes import bytes_of
from baldur.core.trees import bytes_in, leaves
from baldur.data import as_pool
from baldur.errors import (
    DiskFull,
    IdenticalDraws,
    InvalidArgument,
    InvalidPredictions,
    NonFiniteItems,
    Unsupported,
)
from baldur.protocols import Draws, Pool, Positions, Posterior
from baldur.score.trunks import Trunks

Progress = Callable[[int, int], None]
"""Called with (items done, items in all)."""

Precision = Literal["float32", "bfloat16"]
"""The type of matrix products. Log-probabilities and scores are float32 or more in either."""

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
    precision: Precision = "float32",
    trunks: Trunks | None = None,
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
        precision: "bfloat16" is faster where the processor or the GPU has it, and has two to three digits.
        trunks: Keeps what an unchanged trunk gives, for the next pass.
        progress: Called with the number of finished items.

    Returns:
        (N, ...) float64 with `reduce`, else (N, T, C, ...) float32; (0,) of an empty pool.

    Raises:
        IdenticalDraws: All T > 1 samples gave the same for every item.
        InvalidPredictions: Predictions are NaN, or, from `reduce`, not normalised.
        NonFiniteItems: Inputs are not finite.
        UnreadableItems: The pool cannot read them.
        DiskFull: There is no room for the temporary file.
    """
    _check_draws(draws)
    if reduce is not None and not callable(reduce):
        raise InvalidArgument(f"reduce must be a function such as baldur.acquire.bald, not {reduce!r}")
    whole = as_pool(pool)
    n, budget = len(whole), bytes_of(memory)
    out: NDArray[Any] | None = None
    done, differ = 0, len(draws) == 1
    size = _batch_size(draws, whole, budget, batch_size, precision)
    for positions, log_probs in _evaluated(draws, whole, size, precision, trunks):
        differ = differ or bool((log_probs[:, :1] != log_probs[:, 1:]).any())
        try:
            values = _to_numpy(_without_nan(log_probs) if reduce is None else reduce(log_probs))
        except InvalidPredictions as error:
            raise _blamed(error, log_probs, whole, positions) from error
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
        raise identical(draws, n)
    return out


def features(
    draws: Draws,
    pool: Pool | Any,
    memory: str | int = "1GiB",
    *,
    batch_size: int = 128,
    precision: Precision = "float32",
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """The features of every item under the mean network, (N, D).

    Args:
        draws: T functions.
        pool: A pool, or an array of N inputs.
        memory: See `predict`.
        batch_size: Items at a time; fewer where `memory` asks for it.
        precision: "bfloat16" is faster where the processor or the GPU has it, and has two to three digits.
        progress: Called with the number of finished items.

    Returns:
        float32, memory-mapped where it would take more than half of `memory`.

    Raises:
        Unsupported: The draws have no features.
    """
    return outputs(
        draws, pool, "features", memory, batch_size=batch_size, precision=precision, progress=progress
    )


def outputs(
    draws: Draws,
    pool: Pool | Any,
    name: str,
    memory: str | int = "1GiB",
    *,
    batch_size: int = 128,
    precision: Precision = "float32",
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """One of the outputs that `draws.names` lists, of every item, (N, ...).

    Args:
        draws: T functions.
        pool: A pool, or an array of N inputs.
        name: Which: "features", or "loss" where the learner predicts it.
        memory: See `predict`.
        batch_size: Items at a time; fewer where `memory` asks for it.
        precision: "bfloat16" is faster where the processor or the GPU has it, and has two to three digits.
        progress: Called with the number of finished items.

    Returns:
        float32, memory-mapped where it would take more than half of `memory`.

    Raises:
        Unsupported: The draws have no such output.
    """
    _check_draws(draws)
    if name != "features" and name not in draws.names:
        raise Unsupported(
            f"this posterior gives {', '.join(draws.names)}, not {name!r}; it takes a learner whose draws do"
        )
    whole = as_pool(pool)
    n, budget = len(whole), bytes_of(memory)
    out: NDArray[np.float32] | None = None
    done = 0
    size = _batch_size(draws, whole, budget, batch_size, precision)
    for positions, x in whole.batches(np.arange(n), size):
        with _computed_in(precision):
            values = draws.features(x) if name == "features" else draws.outputs(x, (name,))[name]
        values = _to_numpy(values)
        if out is None:
            out = _allocate((n, *values.shape[1:]), np.dtype(np.float32), budget // 2)
        out[done : done + len(positions)] = values
        done += len(positions)
        if progress is not None:
            progress(done, n)
    return np.empty((0, 0), np.float32) if out is None else out


def _check_draws(draws: Any) -> None:
    if isinstance(draws, Posterior):
        raise InvalidArgument(
            f"draws were expected, not a posterior ({type(draws).__name__}); give posterior.draw(20, seed=0)"
        )


def identical(draws: Draws, n: int) -> IdenticalDraws:
    """The error that all samples gave the same for all items of a pass.

    Args:
        draws: T > 1 functions.
        n: Items.

    Returns:
        To be raised.
    """
    return IdenticalDraws(
        f"the {len(draws)} posterior samples agree on all {n} items, so disagreement is 0 everywhere and a ranking "
        "by it would be the order of the pool; is dropout behind a layer whose output does not matter?"
    )


def _evaluated(
    draws: Draws, pool: Pool, size: int, precision: Precision, trunks: Trunks | None
) -> Iterator[tuple[Positions, Any]]:
    """Positions and log-probabilities of all items of a pool, batch by batch."""
    parts = None if trunks is None or not len(pool) else draws.split()
    if trunks is not None and parts is not None:
        trunk, rest = parts
        rows = trunks.rows(trunk, pool, size, partial(_computed_in, precision), precision)
        if rows is not None:
            for positions, h in rows:
                with _computed_in(precision):
                    log_probs = rest(h)
                yield positions, log_probs
            return
    for positions, x in pool.batches(np.arange(len(pool)), size):
        with _computed_in(precision):
            log_probs = draws(x)
        yield positions, log_probs


def _without_nan(log_probs: Any) -> Any:
    if bool(log_probs.isnan().any()):
        raise InvalidPredictions("the predictions hold NaN")
    return log_probs


def _blamed(error: InvalidPredictions, log_probs: Any, pool: Pool, positions: Positions) -> Exception:
    """The same error with the names of the items, and whether these or the network are to blame."""
    nan = torch.as_tensor(log_probs).isnan().flatten(1).any(1)  # (n,)
    bad = positions[nan.cpu().numpy()]
    if not len(bad):
        return error
    ids, reasons = pool.ids, {}
    for position, (_, x) in zip(bad, pool.batches(bad, 1), strict=True):
        if not all(bool(leaf.isfinite().all()) for leaf in leaves(x)):
            reasons[ids[int(position)]] = "holds NaN or an infinite value"
    if reasons:
        return NonFiniteItems(reasons)
    more = f" and of {len(bad) - 1} more" if len(bad) > 1 else ""
    return InvalidPredictions(
        f"the predictions of {ids[int(bad[0])]}{more} hold NaN, and the inputs are finite: look at the fit's loss, "
        "and lower the learning rate"
    )


@contextmanager
def _computed_in(precision: Precision) -> Iterator[None]:
    """Matrix products in that type, wherever they are computed; what the caller asked for is left as it is."""
    if precision == "float32":
        yield
        return
    if precision != "bfloat16":
        raise InvalidArgument(f"the precision of scoring is float32 or bfloat16, not {precision!r}")
    on_gpu = torch.autocast("cuda", torch.bfloat16, enabled=torch.cuda.is_available())
    with torch.autocast("cpu", torch.bfloat16), on_gpu:  # what the draws are on is theirs to know
        yield


def _batch_size(draws: Draws, pool: Pool, budget: int, limit: int, precision: Precision) -> int:
    """At most `limit` items, so that inputs, activations and log-probabilities stay within a quarter of the budget."""
    if not len(pool):
        return 1
    _, x = next(iter(pool.batches(np.arange(1), 1)))
    with _computed_in(precision):
        item = _ACTIVATIONS * bytes_in(x) + 8 * int(draws(x).nbytes)
    return max(1, min(limit, budget // 4 // item))


def _to_numpy(values: Any) -> NDArray[Any]:
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    return (values.float() if values.dtype == torch.bfloat16 else values).cpu().numpy()


def _allocate(shape: tuple[int, ...], dtype: np.dtype[Any], limit: int) -> NDArray[Any]:
    """An array in memory, or in an unnamed temporary file where it is larger than `limit`."""
    size = int(np.prod(shape)) * dtype.itemsize
    if size <= limit:
        return np.empty(shape, dtype)
    folder = tempfile.gettempdir()
    try:
        # the mapping keeps the pages alive; the file itself has no name
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):  # else a page without room would kill the process later
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype, "w+", shape=shape)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise DiskFull(
            f"there is no room for predictions of {size / 2**20:,.0f} MiB in {folder}; make room there, set TMPDIR to "
            "another folder, or choose among fewer items (candidates). What was recorded before is safe: start again"
        ) from error
