"""Evaluates draws on a whole pool, in one pass and in bounded memory."""

import errno
import os
import re
import tempfile
import warnings
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
    InvalidArgument,
    InvalidPredictions,
    NonFiniteItems,
    TieBreakWarning,
    Unsupported,
)
from baldur.protocols import Draws, Pool, Positions, Posterior
from baldur.score.trunks import Trunks

Progress = Callable[[int, int], None]
"""Called with (finished items, all items)."""

Precision = Literal["float32", "bfloat16"]
"""The type of matrix products. Log-probabilities and scores always have at least float32."""

# Upper bound of the activations of one item, in multiples of the size of the item. It also holds for wide convolutions
# on small images.
_ACTIVATIONS = 64

_ROUNDING = 1e-6  # scores that differ less are equal

_SHAPES = re.compile("shape|size|dimension|channel|expected|same dtype", re.IGNORECASE)


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
    """Evaluate T functions on every item of a pool, and reduce their log-probabilities log p(y | x_n, w_t).

    The items are read once, in order. The batches depend only on the arguments and the shapes. If all T > 1 samples
    agree on every item, there is a `TieBreakWarning`, unless the returned values differ all the same.

    Args:
        draws: T functions, from `posterior.draw(T, seed)`.
        pool: A pool, or an array of N inputs.
        reduce: A function of log-probabilities (n, T, C, ...) that returns an array (n, ...), such as `acquire.bald`.
            Without it, the log-probabilities themselves are returned.
        memory: Memory for the pass in addition to the pool, such as "1GiB". If the returned log-probabilities need more
            than half of it, they are a memory-mapped temporary file.
        batch_size: Maximum number of items in a batch; `memory` may reduce it.
        precision: "bfloat16" is faster on hardware that supports it, and has two to three digits.
        trunks: A cache for the outputs of unchanged trunks.
        progress: Called with the number of finished items.

    Returns:
        (N, ...) float64 with `reduce`, otherwise (N, T, C, ...) float32; (0,) for an empty pool.

    Raises:
        InvalidArgument: `draws` is a posterior, or `reduce` is not a function.
        InvalidPredictions: Predictions are NaN, or `reduce` finds that they are not normalised.
        NonFiniteItems: Inputs are not finite.
        UnreadableItems: The pool cannot read some items.
        DiskFull: There is no space for the temporary file.
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
        warn_of_agreement(out, reduced=reduce is not None)
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
        float32, memory-mapped if it needs more than half of `memory`.

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
    """One output of every item, (N, ...). `draws.names` lists the possible outputs.

    Args:
        draws: T functions.
        pool: A pool, or an array of N inputs.
        name: The output: "features", or "loss" if the posterior predicts it.
        memory: See `predict`.
        batch_size: Items at a time; fewer where `memory` asks for it.
        precision: "bfloat16" is faster where the processor or the GPU has it, and has two to three digits.
        progress: Called with the number of finished items.

    Returns:
        float32, memory-mapped if it needs more than half of `memory`.

    Raises:
        Unsupported: The draws have no such output.
    """
    _check_draws(draws)
    if name != "features" and name not in draws.names:
        raise Unsupported(
            f"this posterior gives {', '.join(draws.names)}, not {name!r}; use a posterior that gives it"
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


def warn_of_agreement(values: NDArray[Any], *, reduced: bool) -> None:
    """Warn of samples that agree on every item of a pass, where their disagreement may rank the items.

    Args:
        values: What the pass returns: log-probabilities, scores (N,), or other values of each item.
        reduced: Whether these are no longer the log-probabilities of the samples.
    """
    if len(values) < 2 or (reduced and (values.ndim > 1 or np.ptp(values) > _ROUNDING)):
        return
    warnings.warn(
        "all posterior samples agree on every item, so their disagreement is 0 everywhere and the order of the pool "
        "decides. Use a strategy that needs no disagreement, such as entropy, or a posterior whose samples differ more",
        TieBreakWarning,
        stacklevel=3,
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
    """The same error with the names of the items. It says whether the inputs or the network caused it."""
    nan = torch.as_tensor(log_probs).isnan().flatten(1).any(1)  # (n,)
    bad = positions[nan.cpu().numpy()]
    if not len(bad):
        return error
    ids, reasons = pool.ids, {}
    for position, (_, x) in zip(bad, pool.batches(bad, 1), strict=True):
        if not all(bool(leaf.isfinite().all()) for leaf in leaves(x)):
            reasons[ids[int(position)]] = "holds NaN, an infinite value, or one too large for float32"
    if reasons:
        return NonFiniteItems(reasons)
    more = f" and of {len(bad) - 1} more" if len(bad) > 1 else ""
    return InvalidPredictions(
        f"the predictions of {ids[int(bad[0])]}{more} are NaN, but the inputs are finite; check the training loss, and "
        "lower the learning rate"
    )


@contextmanager
def _computed_in(precision: Precision) -> Iterator[None]:
    """Compute matrix products in a type, on any device. With float32, the caller's autocast stays active."""
    if precision == "float32":
        yield
        return
    if precision != "bfloat16":
        raise InvalidArgument(f"precision must be 'float32' or 'bfloat16', not {precision!r}")
    on_gpu = torch.autocast("cuda", torch.bfloat16, enabled=torch.cuda.is_available())
    with torch.autocast("cpu", torch.bfloat16), on_gpu:  # the draws choose their device
        yield


def _batch_size(draws: Draws, pool: Pool, budget: int, limit: int, precision: Precision) -> int:
    """At most `limit` items. Inputs, activations and log-probabilities may use a quarter of the budget."""
    if not len(pool):
        return 1
    _, x = next(iter(pool.batches(np.arange(1), 1)))
    with _computed_in(precision):
        item = _ACTIVATIONS * bytes_in(x) + 8 * int(_first(draws, x).nbytes)
    return max(1, min(limit, budget // 4 // item))


def _first(draws: Draws, x: Any) -> Any:
    """The log-probabilities of the first item. An error about shapes is told in words."""
    try:
        return draws(x)
    except (
        RuntimeError
    ) as error:  # matrix products, convolutions and normalisations have no class of their own
        if isinstance(error, torch.OutOfMemoryError) or not _SHAPES.search(str(error)):
            raise
        found = " and ".join(str(tuple(leaf.shape[1:])) for leaf in leaves(x))
        if "dtype" in str(error):
            kinds = " and ".join(str(leaf.dtype).removeprefix("torch.") for leaf in leaves(x))
            raise InvalidArgument(
                f"the model cannot predict items of the type {kinds}: {str(error).splitlines()[0]}. Give items of the "
                "type that it was trained with, such as x.astype('float32')"
            ) from error
        raise InvalidArgument(
            f"the model cannot predict items of shape {found}: {str(error).splitlines()[0]}. Give items of the shape "
            "that it was trained with"
        ) from error


def _to_numpy(values: Any) -> NDArray[Any]:
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    return (values.float() if values.dtype == torch.bfloat16 else values).cpu().numpy()


def _allocate(shape: tuple[int, ...], dtype: np.dtype[Any], limit: int) -> NDArray[Any]:
    """An array in memory, or in an unnamed temporary file if it is larger than `limit`."""
    size = int(np.prod(shape)) * dtype.itemsize
    if size <= limit:
        return np.empty(shape, dtype)
    folder = tempfile.gettempdir()
    try:
        # the mapping keeps the pages; the file itself has no name
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):  # otherwise a full disk would kill the process later
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype, "w+", shape=shape)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise DiskFull(
            f"there is no space for predictions of {size / 2**20:,.0f} MiB in {folder}; free some space, set TMPDIR to "
            "another folder, or choose among fewer items (--candidates). Earlier results are safe; then start again"
        ) from error
