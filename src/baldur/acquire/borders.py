"""Outputs of a network to log-probabilities (N, T, C, ...); nothing is guessed from the values."""

from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from baldur.core.arrays import Array, describe, log, log_sum_exp, namespace, to_numpy, tolerance
from baldur.errors import InvalidPredictions


def from_probs(probs: Shaped[Array, "*shape"]) -> Float[Array, "N T C *spatial"]:
    """Log-probabilities of probabilities: log p, with -inf at 0.

    Needs: probabilities. Cost: O(N T C). Use: where a network or another library gives probabilities.

    Args:
        probs: Probabilities, shape (N, C) or (N, T, C, ...). They sum to 1 over the classes within 1e-3. In half
            precision the tolerance is 2e-2, and they are normalised again in float32.

    Returns:
        Log-probabilities, shape (N, T, C, ...); (N, C) gains T = 1.

    Raises:
        InvalidPredictions: The shape or type does not fit, a value is outside [0, 1] or a row does not
            sum to 1.
    """
    xp = namespace(probs)
    limit = tolerance(probs)
    p = _with_samples(xp, probs)
    total = xp.sum(p, axis=2, keepdims=True)
    # Rounding may leave a probability slightly above 1; a negative one is never rounding.
    good = xp.all(p >= 0, axis=2, keepdims=True) & (xp.abs(total - 1) <= limit)
    _refuse(xp, ~good, p, "probabilities in [0, 1] that sum to 1 were expected")
    return log(p / total if probs.dtype.itemsize == 2 else p)


def from_logits(logits: Shaped[Array, "*shape"]) -> Float[Array, "N T C *spatial"]:
    """Log-probabilities of logits: z_c - log Σ_d exp(z_d), in at least float32.

    Needs: logits. Cost: O(N T C). Use: where there are logits; they keep the small probabilities that a softmax
    rounds to 0.

    Args:
        logits: Logits, shape (N, C) or (N, T, C, ...); -inf is the logit of an impossible class.

    Returns:
        Log-probabilities, shape (N, T, C, ...); (N, C) gains T = 1.

    Raises:
        InvalidPredictions: The shape or type does not fit, a logit is NaN or +inf, or a whole row is -inf.
    """
    xp = namespace(logits)
    tolerance(logits)
    z = _with_samples(xp, logits)
    _refuse(xp, xp.isnan(z) | (z == xp.inf), z, "a logit is not a number below infinity")
    total = log_sum_exp(z, axis=2)
    _refuse(xp, total == -xp.inf, z, "every logit is -inf")
    return z - total


def from_sigmoid(probs: Shaped[Array, "*shape"]) -> Float[Array, "N T 2"]:
    """Log-probabilities of two classes from one sigmoid output p: (log(1 - p), log p).

    It takes probabilities; for the logits z of such a head, give `from_logits` the two columns (0, z).

    Needs: probabilities. Cost: O(N T). Use: for networks with one output for two classes.

    Args:
        probs: Probabilities of the second class, shape (N,), (N, 1) or (N, T, 1).

    Returns:
        Log-probabilities, shape (N, T, 2); (N,) and (N, 1) gain T = 1.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a value is outside [0, 1].
    """
    xp = namespace(probs)
    tolerance(probs)
    shape = tuple(probs.shape)
    if len(shape) not in (1, 2, 3) or (len(shape) > 1 and shape[-1] != 1):
        raise InvalidPredictions(
            f"sigmoid outputs (N,), (N, 1) or (N, T, 1) were expected, not the shape {shape}"
        )
    p = xp.reshape(probs, shape if len(shape) == 3 else (-1, 1, 1))  # (N, T, 1)
    p = _at_least_float32(xp, p)
    _refuse(xp, ~((p >= 0) & (p <= 1)), p, "a probability is outside [0, 1]")
    return log(xp.concat([1 - p, p], axis=2))  # (N, T, 2)


def _with_samples(xp: Any, x: Array) -> Array:
    shape = tuple(x.shape)
    if len(shape) < 2:
        raise InvalidPredictions(
            f"(N, C) or (N, T, C, ...) was expected, not the shape {shape};"
            " from_sigmoid takes the one output of a sigmoid"
        )
    x = x[:, None, :] if len(shape) == 2 else x  # (N, T, C, ...)
    if x.shape[1] == 0:
        raise InvalidPredictions(f"at least one posterior sample was expected, not the shape {shape}")
    if x.shape[2] < 2:
        raise InvalidPredictions(
            f"at least two classes were expected, not the shape {shape};"
            " from_sigmoid makes two of the one column of a sigmoid"
        )
    return _at_least_float32(xp, x)


def _at_least_float32(xp: Any, x: Array) -> Array:
    return xp.astype(x, xp.float32) if x.dtype.itemsize == 2 else x


def _refuse(xp: Any, bad: Array, x: Array, why: str) -> None:
    """Raise for the first bad row; `bad` has the shape of x (N, T, C, ...), or C = 1."""
    if not bool(xp.any(bad)):
        return
    n, t, _, *place = np.argwhere(to_numpy(bad))[0].tolist()
    row = np.moveaxis(to_numpy(x[n, t, ...]), 0, -1)[tuple(place)].astype(np.float64)  # (C,)
    at = f" at {tuple(place)}" if place else ""
    raise InvalidPredictions(f"item {n}, sample {t}{at}: {why}: {describe(row, row)}")
