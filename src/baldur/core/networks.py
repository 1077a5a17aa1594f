"""Functions for any network: initialise it, apply it, name its tensors."""

import copy
import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from baldur.core.devices import seeded
from baldur.core.trees import bits


def initialise(network: Callable[[], nn.Module] | nn.Module, seed: int) -> nn.Module:
    """A network with initial weights, ready for training.

    Args:
        network: A factory, which is called with a seeded generator; or a network, which is copied with its weights.
        seed: Seed of the initial weights.

    Returns:
        A network that shares no tensor with the given one.
    """
    if isinstance(network, nn.Module):
        return copy.deepcopy(network)
    with seeded(seed, torch.device("cpu")):
        return network()


def call(network: nn.Module, x: Any) -> Any:
    """Apply a network to a batch: a tensor as it is, a tuple or list as arguments, a dict as named arguments.

    Args:
        network: Any network.
        x: A batch of a pool.

    Returns:
        The output of the network.
    """
    try:
        return _apply(network, x)
    except RuntimeError as error:
        if not wants_channels_first(error) or not channels_first(network):
            raise
        return _apply(network, x)


def _apply(network: nn.Module, x: Any) -> Any:
    if isinstance(x, dict):
        return network(**x)
    return network(*x) if isinstance(x, tuple | list) else network(x)


def wants_channels_first(error: RuntimeError) -> bool:
    """Whether a network failed because `h.view(n, -1)` does not accept channels-last tensors.

    Args:
        error: The error of the network.

    Returns:
        True for this error.
    """
    return "view size is not compatible" in str(error)


def channels_first(network: nn.Module) -> bool:
    """Undo `channels_last`.

    Args:
        network: Its memory layout changes in place; its values stay.

    Returns:
        Whether there was anything to undo.
    """
    changed = False
    with torch.inference_mode(False):
        for parameter in network.parameters():
            if parameter.ndim == 4:
                whole = parameter.data.contiguous().view(-1).view(parameter.shape)
                if whole.stride() != parameter.stride():
                    parameter.data = whole
                    changed = True
    return changed


def channels_last(network: nn.Module) -> nn.Module:
    """Store the weights of two-dimensional convolutions channels-last, which is faster on processors and GPUs.

    Outputs take the format of the weights, so no other code changes.

    Args:
        network: Its memory layout changes in place; its values stay.

    Returns:
        The network.
    """
    for parameter in network.parameters():
        if parameter.ndim == 4:
            last = parameter.data.contiguous(memory_format=torch.channels_last)
            if last.shape[1] == 1:  # both formats at once, and taken for the other one
                last = last.as_strided(last.shape, (last[0].numel(), 1, last.shape[3], 1))
            parameter.data = last
    return network


def weights_hash(network: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and bits of all weights and buffers of a network.

    Args:
        network: Any network, on any device.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, tensor in tensors(network).items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(bits(tensor))
    return digest.hexdigest()


def tensors(network: nn.Module) -> dict[str, Tensor]:
    """All weights and buffers by name. A shared tensor occurs once.

    Args:
        network: Any network.

    Returns:
        The tensors themselves, not copies.
    """
    return dict(network.named_parameters()) | dict(network.named_buffers())


def restore(network: nn.Module, values: dict[str, Tensor]) -> None:
    """Copy values into the weights and buffers of a network.

    Args:
        network: Changed in place.
        values: New values by name; see `tensors`. Other tensors stay.
    """
    with torch.no_grad():
        own = tensors(network)
        for name, tensor in values.items():
            own[name].copy_(tensor)


def device_of(network: nn.Module) -> torch.device:
    """The device of the first parameter or buffer; the CPU for a network that has none.

    Args:
        network: Any network.

    Returns:
        A device.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        return tensor.device
    return torch.device("cpu")
