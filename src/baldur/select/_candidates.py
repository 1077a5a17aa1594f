"""Information in the label of a candidate, given the labels of the chosen items: blocked matrix products."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from baldur.acquire.disagreement import mean_divergence
from baldur.core.arrays import FLOOR, Array, Samples, detached, map_samples, namespace, to_numpy
from baldur.core.blocks import blocks, room
from baldur.select._contenders import Contenders

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]

_STORED = 2**29
_CPU_BLOCK = 2**18


@dataclass(frozen=True)
class Candidates:
    """A pool whose items can be asked for their information about the posterior samples.

    Args:
        log_probs: Checked log-probabilities, shape (N, T, C), or a reader of them.
        bald: BALD of each item, shape (N,).
        packed: Probabilities and, behind the classes, negative entropies, float32, shape (N, C + 1, T). None for a
            large pool, where they are computed again whenever they are needed.
        each: Calls a function on every block, as `map` does.
    """

    log_probs: Float[Array, "N T C"] | Contenders
    bald: NDArray[np.float64]
    packed: Float[Array, "N K T"] | None
    each: Map = map

    @property
    def like(self) -> Float[Array, "n T C"]:
        """An array of the same library, device, T and C."""
        return self.log_probs.like if isinstance(self.log_probs, Contenders) else self.log_probs

    def take(self, items: NDArray[np.intp]) -> Float[Array, "n T C"]:
        """Log-probabilities of some items."""
        if isinstance(self.log_probs, Contenders):
            return self.log_probs.take(items)
        return _rows(self.log_probs, items)

    def portions(self, items: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
        """Some items, as many at a time as fit in memory; a portion is read before it is given."""
        source = self.log_probs
        most = source.room if isinstance(source, Contenders) else max(1, len(items))
        for start in range(0, len(items), most):
            portion = items[start : start + most]
            if isinstance(source, Contenders):
                source.want(portion)
            yield portion

    def rows(self, items: NDArray[np.intp], dtype: Any) -> Float[Array, "n K T"]:
        """Probabilities and negative entropies of some items, shape (n, C + 1, T)."""
        if self.packed is not None and dtype == namespace(self.like).float32:
            return _rows(self.packed, items)
        return map_samples(self.take(items), lambda s: _pack(s, dtype))

    def log_rows(self, items: NDArray[np.intp]) -> Float[Array, "n T C"]:
        """Log-probabilities of some items in float64, raised to a floor so that they can be added."""
        xp = namespace(self.like)
        return map_samples(
            self.take(items),
            lambda s: xp.astype(xp.clip(s.log_probs, min=FLOOR), xp.float64),
        )


def prepare(log_probs: Float[Array, "N T C"], each: Map = map) -> Candidates:
    """Check a pool, and compute BALD and the arrays for every step.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C).
        each: Calls a function on every block, as `map` does.

    Returns:
        The pool with its BALD scores.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
    """
    xp = namespace(log_probs)
    log_probs = detached(log_probs)
    count, draws, classes = log_probs.shape
    packed, filled = None, 0
    if 4 * count * draws * (classes + 1) <= _STORED:
        device = array_api_compat.device(log_probs)
        packed = xp.empty((count, classes + 1, draws), dtype=xp.float32, device=device)

    def visit(samples: Samples) -> Array:
        # One pass checks, scores and packs, since reading the pool costs more than the arithmetic.
        nonlocal filled
        if packed is not None:
            rows = samples.log_probs.shape[0]
            packed[filled : filled + rows, ...] = _pack(samples, xp.float32)
            filled += rows
        return mean_divergence(samples)

    return Candidates(log_probs, to_numpy(map_samples(log_probs, visit)), packed, each)


@contextmanager
def block_threads(log_probs: Float[Array, "N T C"]) -> Iterator[Map]:
    """Inside, a product of NumPy matrices takes one thread, so that blocks can be computed side by side.

    The products are small. Several threads for one of them would wait for each other more than they compute.

    Args:
        log_probs: Log-probabilities; torch shares its products out among threads itself.

    Yields:
        A function like `map`: it works on as many blocks at a time as a product had threads before.
    """
    if not array_api_compat.is_numpy_array(log_probs):
        yield map
        return
    from threadpoolctl import threadpool_info, threadpool_limits

    threads = [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(max(threads, default=1)) as pool:
        yield pool.map


def _rows(x: Array, items: NDArray[np.intp]) -> Array:
    xp = namespace(x)
    return xp.take(x, xp.asarray(items, device=array_api_compat.device(x)), axis=0)


def _pack(samples: Samples, dtype: Any) -> Float[Array, "R K T"]:
    xp = samples.xp
    log_p = xp.astype(xp.clip(samples.log_probs, min=FLOOR), dtype)
    # Nothing is exactly 0, so that no logarithm needs a mask.
    p = xp.clip(xp.exp(log_p), min=1e-30)
    within = xp.sum(p * log_p, axis=2, keepdims=True)  # (R, T, 1)
    return xp.permute_dims(xp.concat([p, within], axis=2), (0, 2, 1))  # (R, C + 1, T)


def mutual_information(weights: Float[Array, "M T"], packed: Float[Array, "n K T"]) -> Float[Array, "n M"]:
    """I(y; ω) of each item under each distribution over the samples: H(Σ_t w_t P_t) - Σ_t w_t H(P_t).

    Args:
        weights: Distributions over the samples, shape (M, T).
        packed: Probabilities and negative entropies of items, shape (n, C + 1, T).

    Returns:
        Information in nats, shape (n, M).
    """
    xp = namespace(weights)
    count, rows, draws = packed.shape
    flat = xp.reshape(packed, (count * rows, draws))  # (n·(C + 1), T)
    mixed = xp.matmul(flat, weights.T)  # (n·(C + 1), M)
    mixed = xp.reshape(mixed, (count, rows, weights.shape[0]))  # (n, C + 1, M)
    p = mixed[:, :-1, :]
    terms = xp.log(p)
    terms *= p
    return mixed[:, -1, :] - xp.sum(terms, axis=1)


def mean_information(
    candidates: Candidates, items: NDArray[np.intp], weights: Float[Array, "M T"], share: Float[Array, " M"]
) -> NDArray[np.float64]:
    """The information of each item, averaged over distributions; in bounded memory.

    Args:
        candidates: The pool.
        items: Positions of items.
        weights: Distributions over the samples, shape (M, T); the products have their type.
        share: The weight of each distribution in the mean, float64, shape (M,).

    Returns:
        Information in nats, shape (n,).
    """
    xp = namespace(weights)

    def mean(block: NDArray[np.intp]) -> NDArray[np.float64]:
        each = xp.astype(mutual_information(weights, candidates.rows(block, weights.dtype)), xp.float64)
        return to_numpy(xp.matmul(each, share))

    parts = [np.zeros(0)]
    width = (candidates.log_probs.shape[2] + 1) * len(share)
    numbers = room(candidates.like, _CPU_BLOCK)
    for portion in candidates.portions(items):
        some = [portion[part] for part in blocks(len(portion), width, numbers)]
        parts += candidates.each(mean, some) if len(some) > 1 else map(mean, some)
    return np.concatenate(parts)  # (n,)
