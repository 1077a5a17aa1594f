"""BALD and EPIG in single precision, in buffers that are made once: torch kernels beside the formulas."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import array_api_compat
import numpy as np
from jaxtyping import Float

from baldur.acquire.pointwise import pointwise
from baldur.core.arrays import Array, Samples, check_shape, tolerance

if TYPE_CHECKING:
    from torch import Tensor

_CPU_BLOCK = 2**19  # elements: what two threads hold in their caches
_PRODUCT_BLOCK = 2**20  # elements of a product
_DEVICE_BLOCK = 2**26
_LARGE = 2**20  # elements of a NumPy array for which it pays to import torch
_TINY = 1e-37  # where every sample says 0, so does the mean, and the term counts nothing
_SURE = 1e-3  # nats; entropies of single precision differ by some 3e-7, too much for scores below this


def applies(log_probs: Any) -> bool:
    """Whether the kernel may stand in for the formula: (N, T, C) in single precision, in torch or large.

    Args:
        log_probs: What an acquisition function was given.

    Returns:
        True if it may.
    """
    if getattr(log_probs, "ndim", 0) != 3 or not str(log_probs.dtype).endswith("float32"):
        return False
    if array_api_compat.is_torch_array(log_probs):
        return not log_probs.requires_grad
    if not isinstance(log_probs, np.ndarray) or log_probs.size < _LARGE or not log_probs.flags.writeable:
        return False
    if min(log_probs.strides) < 0:  # which torch has not
        return False
    try:
        import torch  # noqa: F401
    except ImportError:
        return False
    return True


def bald(
    log_probs: Float[Array, "N T C"], formula: Callable[[Samples], Float[Array, " R"]]
) -> Float[Array, " N"]:
    """H(p̄) - (1/T) Σ_t H(p_t), as a difference of entropies where it is large; by the formula where it is not.

    Small scores, on which rounding would tell, and rows with an impossible class are given to the formula, and so is
    everything where a row is not normalised, for its error.

    Args:
        log_probs: Normalised log-probabilities, float32, shape (N, T, C).
        formula: `mean_divergence`.

    Returns:
        Scores in nats, float64, shape (N,), in the caller's namespace and on its device.
    """
    import torch

    check_shape(log_probs)
    x = torch.from_numpy(log_probs) if isinstance(log_probs, np.ndarray) else log_probs
    scores, worst = _entropies(x)
    if not worst <= tolerance(log_probs):
        return pointwise(log_probs, formula)
    unsure = (~(scores >= _SURE)).nonzero()[:, 0]
    rows = max(1, (_CPU_BLOCK if x.device.type == "cpu" else _DEVICE_BLOCK) // (x.shape[1] * x.shape[2]))
    for start in range(0, len(unsure), rows):
        some = unsure[start : start + rows]
        scores[some] = pointwise(x[some], formula)
    return scores.numpy() if isinstance(log_probs, np.ndarray) else scores


def _entropies(x: "Tensor") -> tuple["Tensor", float]:
    """H(p̄) - (1/T) Σ_t H(p_t) of each item, float64, and how far the probabilities of a row are from 1 at most."""
    import torch

    n, draws, classes = x.shape
    rows = max(1, (_CPU_BLOCK if x.device.type == "cpu" else _DEVICE_BLOCK) // (draws * classes))
    scores = torch.empty(n, dtype=torch.float64, device=x.device)
    worst, one = torch.zeros((), device=x.device), torch.ones(classes, device=x.device)
    probs = torch.empty(min(rows, n), draws, classes, device=x.device)
    for start in range(0, n, rows):
        block = x[start : start + rows]
        p = torch.exp(block, out=probs[: len(block)])
        worst = torch.maximum(worst, (p.view(-1, classes) @ one).sub_(1).abs_().max())
        within = torch.linalg.vecdot(block.reshape(len(block), -1), p.view(len(block), -1))
        mean = p.sum(1).double() / draws
        scores[start : start + rows] = within.double() / draws - torch.special.xlogy(mean, mean).sum(1)
    return scores, float(worst)


def epig(
    log_probs: Float[Array, "N T C"],
    deviation: Float[Array, "T MK"],
    weighted: Float[Array, " MK"],
    formula: Callable[[Samples], Float[Array, " R"]],
) -> Float[Array, " N"]:
    """Σ p̄ Σ_mk w_mk (1 + u) log(1 + u) with u = Σ_t (p_t/p̄ - 1) deviation_t, the products in single precision.

    The formula subtracts u from each term. Its sum over the classes of a target is 0 but for rounding, some 1e-8 |u|,
    so it is left out here.

    Where a row is not normalised, everything is given to the formula, for its error.

    Args:
        log_probs: Normalised log-probabilities, float32, shape (N, T, C).
        deviation: (q_t/q̄ - 1) / T of the targets, float32.
        weighted: The weights of the target probabilities, float32.
        formula: That of `acquire.epig` for the same targets.

    Returns:
        Scores in nats, float64, shape (N,), in the caller's namespace and on its device.
    """
    import torch

    host = isinstance(log_probs, np.ndarray)
    x, q, w = (torch.from_numpy(a) if host else a for a in (log_probs, deviation, weighted))
    n, draws, classes = x.shape
    rows = max(1, (_PRODUCT_BLOCK if x.device.type == "cpu" else _DEVICE_BLOCK) // (classes * q.shape[1]))
    scores = torch.empty(n, dtype=torch.float64, device=x.device)
    worst, one = torch.zeros((), device=x.device), torch.ones(classes, device=x.device)
    logs = torch.empty(min(rows, n) * classes, q.shape[1], device=x.device)
    times_q = _product(q)
    for start in range(0, n, rows):
        p = torch.exp(x[start : start + rows])
        worst = torch.maximum(worst, (p.reshape(-1, classes) @ one).sub_(1).abs_().max())
        mean = p[:, 0] + (p - p[:, :1]).mean(1)  # exactly p where all samples are the same
        own = (p / mean.clamp_min(_TINY)[:, None] - 1).transpose(1, 2).reshape(-1, draws)
        u = times_q(own).clamp_min_(torch.finfo(torch.float32).eps / 2 - 1)
        log = torch.log1p(u, out=logs[: len(own)])
        torch.addcmul(log, u, log, out=log)
        each = (log @ w).view(-1, classes)
        scores[start : start + rows] = (mean.double() * each.double()).sum(1).clamp_min_(0)
    if not float(worst) <= tolerance(log_probs):
        return pointwise(log_probs, formula)
    return scores.numpy() if host else scores


def _product(right: "Tensor") -> "Callable[[Tensor], Tensor]":
    """A matrix to its product with `right`, by whatever is fastest.

    On the CPU that is a 1 x 1 convolution: oneDNN uses the widest registers of any processor, and MKL those of Intel's
    only (measured on an EPYC with AVX-512: 440 against 215 GFLOP/s on two cores).
    """
    import torch

    if right.device.type != "cpu":
        return lambda left: left @ right
    weight = right.t().contiguous()[:, :, None, None].contiguous(memory_format=torch.channels_last)

    def times(left: "Tensor") -> "Tensor":
        image = left.contiguous()[None, :, None].permute(0, 3, 1, 2)  # (1, T, rows, 1), channels last
        product = torch.nn.functional.conv2d(image, weight)
        return product.permute(0, 2, 3, 1).reshape(len(left), -1)

    return times
