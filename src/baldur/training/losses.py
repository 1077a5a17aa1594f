"""Losses that wrong labels pull less: outputs (n, C) and classes (n,) to one loss an item."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from baldur.errors import InvalidArgument


def generalised_cross_entropy(
    outputs: Float[Tensor, "n C"], y: Int[Tensor, " n"], *, q: float = 0.7
) -> Float[Tensor, " n"]:
    """Between cross-entropy (q → 0) and mean absolute error (q = 1, half of it): (1 - p_y^q) / q.

    Its gradient is that of cross-entropy times p_y^q, so a label that the network holds improbable pulls little.

    Z. Zhang and M. R. Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels,
    NeurIPS 2018.

    Args:
        outputs: Logits, shape (n, C).
        y: Class indices, shape (n,).
        q: In [0, 1]; 0 is cross-entropy itself.

    Returns:
        At least 0 and at most 1/q, shape (n,).

    Raises:
        InvalidArgument: q is not in [0, 1].
    """
    if not 0 <= q <= 1:
        raise InvalidArgument(f"q is {q}; it lies between 0, cross-entropy, and 1, mean absolute error")
    log_p = _log_p(outputs, y)
    return -log_p if q == 0 else -torch.expm1(q * log_p) / q


def symmetric_cross_entropy(
    outputs: Float[Tensor, "n C"],
    y: Int[Tensor, " n"],
    *,
    alpha: float = 0.1,
    beta: float = 1.0,
    log_zero: float = -4.0,
) -> Float[Tensor, " n"]:
    """Cross-entropy, and its reverse with log 0 replaced by a number A: α (-log p_y) + β (-A) (1 - p_y).

    Y. Wang, X. Ma, Z. Chen, Y. Luo, J. Yi and J. Bailey, Symmetric Cross Entropy for Robust Learning with Noisy Labels,
    ICCV 2019.

    Args:
        outputs: Logits, shape (n, C).
        y: Class indices, shape (n,).
        alpha: Weight of cross-entropy, which fits every label in the end.
        beta: Weight of its reverse, which is bounded.
        log_zero: A, negative.

    Returns:
        At least 0, shape (n,).

    Raises:
        InvalidArgument: A weight is negative, or `log_zero` is not.
    """
    if alpha < 0 or beta < 0 or log_zero >= 0:
        raise InvalidArgument(
            f"alpha and beta must not be negative and log_zero must be, not {alpha}, {beta} and {log_zero}"
        )
    log_p = _log_p(outputs, y)
    return -alpha * log_p + beta * log_zero * torch.expm1(log_p)


def _log_p(outputs: Tensor, y: Tensor) -> Tensor:
    return outputs.float().log_softmax(1).gather(1, y[:, None])[:, 0]
