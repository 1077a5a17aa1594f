"""Networks in the type that autocast asks for."""

import copy

import torch
from torch import nn

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


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
