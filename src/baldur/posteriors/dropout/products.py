"""Matrix products of float32 by the faster of two libraries."""

import torch
from torch import Tensor
from torch.nn import functional

# oneDNN's product of float32 matrices, beside MKL's: measured 2.2 to 2.5 times as fast on a processor with AVX-512
# that is not Intel's, for which MKL does not use it.
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch._C.has_mkl else None
# Which transformation of functions is running, `torch.vmap` say.
_running = getattr(torch._C._functorch, "peek_interpreter_stack", None)
# Multiplications below which MKL was measured as fast: a call costs more.
_SMALL = 2**20


def affine(h: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """h Wᵀ + b, as `functional.linear`.

    Args:
        h: (..., I).
        weight: W, (O, I).
        bias: b, (O,).

    Returns:
        (..., O).
    """
    if _ONEDNN is None or not _suits(h, weight, bias):
        return functional.linear(h, weight, bias)
    product: Tensor = _ONEDNN(h.contiguous(), weight, bias, "none", [], "")
    return product


def _suits(h: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether oneDNN's product can be called: plain float32 matrices on the processor, outside transformations."""
    return (
        h.numel() * len(weight) >= _SMALL
        and all(t.device.type == "cpu" and t.dtype == torch.float32 for t in (h, weight))
        and (bias is None or bias.dtype == torch.float32)
        and weight.ndim == 2
        and weight.is_contiguous()
        and torch.is_inference_mode_enabled()
        and torch._C._get_mkldnn_enabled()
        and not torch.is_autocast_enabled("cpu")
        and _running is not None
        and _running() is None
    )
