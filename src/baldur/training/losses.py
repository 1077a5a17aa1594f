"""Losses for noisy labels: functions of outputs (n, C) and classes (n,) that return one loss for each item."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from baldur.errors import InvalidArgument


def generalised_cross_entropy(
    outputs: Float[Tensor, "n C"], y: Int[Tensor, " n"], *, q: float = 0.7
) -> Float[Tensor, " n"]:
    """Generalised cross-entropy (1 - p_y^q) / q, between cross-entropy (q → 0) and half the absolute error (q = 1).

    Its gradient is that of cross-entropy times p_y^q. So a label that the network considers improbable has little
    influence.

    Z. Zhang and M. R. Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels,
    NeurIPS 2018.

    Args:
        outputs: Logits, shape (n, C).
        y: Class indices, shape (n,).
        q: A number in [0, 1]; 0 is cross-entropy.

    Returns:
        Losses from 0 to 1/q, shape (n,).

    Raises:
        InvalidArgument: q is not in [0, 1].
    """
    if not 0 <= q <= 1:
        raise InvalidArgument(f"q must be from 0 (cross-entropy) to 1 (mean absolute error), not {q}")
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
    """Symmetric cross-entropy α (-log p_y) + β (-A) (1 - p_y): its reverse term replaces log 0 by a number A.

    Y. Wang, X. Ma, Z. Chen, Y. Luo, J. Yi and J. Bailey, Symmetric Cross Entropy for Robust Learning with Noisy Labels,
    ICCV 2019.

    Args:
        outputs: Logits, shape (n, C).
        y: Class indices, shape (n,).
        alpha: Weight of cross-entropy, which in the end fits every label.
        beta: Weight of the reverse cross-entropy, which is bounded.
        log_zero: A, a negative number.

    Returns:
        Losses of at least 0, shape (n,).

    Raises:
        InvalidArgument: A weight is negative, or `log_zero` is not.
    """
    if alpha < 0 or beta < 0 or log_zero >= 0:
        raise InvalidArgument(
            f"alpha and beta must be at least 0 and log_zero negative, not {alpha}, {beta} and {log_zero}"
        )
    log_p = _log_p(outputs, y)
    return -alpha * log_p + beta * log_zero * torch.expm1(log_p)


def _log_p(outputs: Tensor, y: Tensor) -> Tensor:
    return outputs.float().log_softmax(1).gather(1, y[:, None])[:, 0]
