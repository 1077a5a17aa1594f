"""BALD and EPIG in single precision with reused buffers: torch kernels beside the formulas."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import array_api_compat
import numpy as np
from jaxtyping import Float

from baldur.acquire.pointwise import pointwise
from baldur.core.arrays import Array, Samples, check_shape, tolerance
from baldur.core.blocks import blocks, room

if TYPE_CHECKING:
    from torch import Tensor

_CPU_BLOCK = 2**19  # elements that fit in the caches of two threads
_PRODUCT_BLOCK = 2**20  # elements of a product
_LARGE = 2**20  # elements of a NumPy array from which on importing torch pays
_TINY = 1e-37  # replaces a mean of 0; its term is 0 anyway
_SURE = 1e-3  # nats; entropies in single precision err by some 3e-7, too much for scores below this


def applies(log_probs: Any) -> bool:
    """Whether the kernel may replace the formula: (N, T, C) in single precision, in torch or large.

    Args:
        log_probs: The argument of an acquisition function.

    Returns:
        True if it may.
    """
    if getattr(log_probs, "ndim", 0) != 3 or not str(log_probs.dtype).endswith("float32"):
        return False
    if array_api_compat.is_torch_array(log_probs):
        return not log_probs.requires_grad
    if not isinstance(log_probs, np.ndarray) or log_probs.size < _LARGE or not log_probs.flags.writeable:
        return False
    if min(log_probs.strides) < 0:  # torch has no negative strides
        return False
    try:
        import torch  # noqa: F401
    except ImportError:
        return False
    return True


def bald(
    log_probs: Float[Array, "N T C"], formula: Callable[[Samples], Float[Array, " R"]]
) -> Float[Array, " N"]:
    """H(p̄) - (1/T) Σ_t H(p_t): a difference of entropies where it is large, else the formula.

    The formula computes small scores, which suffer from rounding, and rows with an impossible class. It also gets
    everything if a row is not normalised, and raises its error.

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
    for rows in blocks(len(unsure), x.shape[1] * x.shape[2], room(x, _CPU_BLOCK)):
        some = unsure[rows]
        scores[some] = pointwise(x[some], formula)
    return scores.numpy() if isinstance(log_probs, np.ndarray) else scores


def _entropies(x: "Tensor") -> tuple["Tensor", float]:
    """H(p̄) - (1/T) Σ_t H(p_t) of each item, float64, and the largest error of a row's sum."""
    import torch

    n, draws, classes = x.shape
    most = max(1, room(x, _CPU_BLOCK) // (draws * classes))
    scores = torch.empty(n, dtype=torch.float64, device=x.device)
    worst, one = torch.zeros((), device=x.device), torch.ones(classes, device=x.device)
    probs = torch.empty(min(most, n), draws, classes, device=x.device)
    for rows in blocks(n, 1, most):
        block = x[rows]
        p = torch.exp(block, out=probs[: len(block)])
        # Sums by matrix and vector products, which take one pass through memory and no temporary array.
        sums = p.view(-1, classes) @ one  # (R·T,)
        worst = torch.maximum(worst, sums.sub_(1).abs_().max())
        flat = block.reshape(len(block), -1)  # (R, T·C)
        within = torch.linalg.vecdot(flat, p.view(len(block), -1))  # (R,)
        mean = p.sum(1).double() / draws
        scores[rows] = within.double() / draws - torch.special.xlogy(mean, mean).sum(1)
    return scores, float(worst)


def epig(
    log_probs: Float[Array, "N T C"],
    deviation: Float[Array, "T MK"],
    weighted: Float[Array, " MK"],
    formula: Callable[[Samples], Float[Array, " R"]],
) -> Float[Array, " N"]:
    """Σ p̄ Σ_mk w_mk (1 + u) log(1 + u) with u = Σ_t (p_t/p̄ - 1) deviation_t, the products in single precision.

    The formula subtracts u from each term. Its sum over the classes of a target is 0 (rounding leaves some 1e-8 |u|),
    so it is left out here. If a row is not normalised, the formula gets everything and raises its error.

    Args:
        log_probs: Normalised log-probabilities, float32, shape (N, T, C).
        deviation: (q_t/q̄ - 1) / T of the targets, float32.
        weighted: Weights times mean probabilities of the targets, float32.
        formula: The formula of `acquire.epig` for the same targets.

    Returns:
        Scores in nats, float64, shape (N,), in the caller's namespace and on its device.
    """
    import torch

    host = isinstance(log_probs, np.ndarray)
    x, q, w = (torch.from_numpy(a) if host else a for a in (log_probs, deviation, weighted))
    n, draws, classes = x.shape
    most = max(1, room(x, _PRODUCT_BLOCK) // (classes * q.shape[1]))
    scores = torch.empty(n, dtype=torch.float64, device=x.device)
    worst, one = torch.zeros((), device=x.device), torch.ones(classes, device=x.device)
    logs = torch.empty(min(most, n) * classes, q.shape[1], device=x.device)
    times_q = _product(q)
    for rows in blocks(n, 1, most):
        p = torch.exp(x[rows])
        sums = p.reshape(-1, classes) @ one  # (R·T,)
        worst = torch.maximum(worst, sums.sub_(1).abs_().max())
        mean = p[:, 0] + (p - p[:, :1]).mean(1)  # exactly p where all samples are the same
        ratio = p / mean.clamp_min(_TINY)[:, None]  # (R, T, C)
        own = (ratio - 1).transpose(1, 2).reshape(-1, draws)  # (R·C, T)
        u = times_q(own).clamp_min_(torch.finfo(torch.float32).eps / 2 - 1)
        log = torch.log1p(u, out=logs[: len(own)])
        torch.addcmul(log, u, log, out=log)  # (1 + u) log(1 + u)
        each = (log @ w).view(-1, classes)  # (R, C)
        scores[rows] = (mean.double() * each.double()).sum(1).clamp_min_(0)
    if not float(worst) <= tolerance(log_probs):
        return pointwise(log_probs, formula)
    return scores.numpy() if host else scores


def _product(right: "Tensor") -> "Callable[[Tensor], Tensor]":
    """A function that multiplies a matrix by `right`, as fast as the device can.

    On the CPU that is a 1 x 1 convolution. Convolutions are oneDNN's, which uses the widest registers of any processor.
    Matrix products are MKL's, which does so on Intel's only. Two cores of an EPYC with AVX-512 reach 440 GFLOP/s by
    oneDNN and 215 by MKL.
    """
    import torch

    if right.device.type != "cpu":
        return lambda left: left @ right
    weight = right.t().contiguous()[:, :, None, None]  # (M·K, T, 1, 1)
    weight = weight.contiguous(memory_format=torch.channels_last)

    def times(left: "Tensor") -> "Tensor":
        image = left.contiguous()[None, :, None].permute(0, 3, 1, 2)  # (1, T, rows, 1), channels last
        product = torch.nn.functional.conv2d(image, weight)  # (1, M·K, rows, 1)
        return product.permute(0, 2, 3, 1).reshape(len(left), -1)  # (rows, M·K)

    return times
