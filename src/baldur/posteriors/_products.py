"""Matrix products by the faster of two libraries, and networks in the type that autocast asks for."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

# oneDNN's product of float32 matrices, beside MKL's: measured 2.2 to 2.5 times as fast on a processor with AVX-512
# that is not Intel's, for which MKL does not use it.
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch._C.has_mkl else None
# Which transformation of functions is running, `torch.vmap` say.
_running = getattr(torch._C._functorch, "peek_interpreter_stack", None)
# Multiplications below which MKL was measured as fast: a call costs more.
_SMALL = 2**20
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


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


def asked(device: torch.device) -> torch.dtype | None:
    """The type that autocast asks matrix products to be in on a device; None where there is no autocast.

    Args:
        device: Any.

    Returns:
        bfloat16, say.
    """
    kind = device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


def exactly(device: torch.device) -> torch.autocast:
    """Types are what the code says, whatever autocast asks for.

    Args:
        device: Any.

    Returns:
        A context manager.
    """
    return torch.autocast(device.type, enabled=False)


class Lowered:
    """A network and, made when autocast first asks for it, its twin whose matrices are in that type already.

    Autocast would convert them again for each batch. All else is shared between the two.

    Args:
        network: Frozen; it may be changed until `forget` is called.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._twins: dict[torch.dtype, nn.Module] = {}

    def now(self, device: torch.device) -> nn.Module:
        """The one that suits what is asked now.

        Args:
            device: Where the network is.

        Returns:
            The network, or its twin.
        """
        dtype = asked(device)
        if dtype is None:
            return self.network
        if dtype not in self._twins:
            self._twins[dtype] = _twin(self.network, dtype)
        return self._twins[dtype]

    def forget(self) -> None:
        """The network was changed."""
        self._twins = {}


def _twin(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy that shares all tensors but the float32 weights of linear layers and convolutions."""
    shared = {id(t): t for t in (*network.parameters(), *network.buffers())}
    twin = copy.deepcopy(network, shared)
    for module in twin.modules():
        if type(module) in _LAYERS:  # not those whose weights are computed, or used otherwise
            for name, weight in module._parameters.items():
                if weight is not None and weight.dtype == torch.float32:
                    module._parameters[name] = nn.Parameter(weight.to(dtype), requires_grad=False)
    return twin
