"""What every posterior over a network needs: a frozen copy, its logits, its features, and where it lives."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from baldur._modules import call, channels_last, map_tree
from baldur.errors import InvalidArgument, Unsupported, UnsupportedNetwork


def frozen(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode that needs no gradients; the original is neither changed nor watched.

    Args:
        network: A trained network.

    Returns:
        The copy.

    Raises:
        UnsupportedNetwork: It cannot be copied, or normalises by the batch.
    """
    for path, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise UnsupportedNetwork(
                f"'{path}': batch normalisation without running statistics makes every item's answer depend on its "
                "batch; use track_running_stats=True, or another normalisation"
            )
    try:
        twin = copy.deepcopy(network)
    except RuntimeError as error:
        raise UnsupportedNetwork(f"the network cannot be copied: {error}") from None
    return channels_last(twin.eval().requires_grad_(False))


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


def items_of(x: Any) -> int:
    """How many items a batch holds.

    Args:
        x: A tree of tensors whose first axis is the item.

    Returns:
        n.

    Raises:
        InvalidArgument: It is not made of tensors.
    """
    leaves: list[Any] = []
    map_tree(leaves.append, x)
    first = leaves[0] if leaves else x
    if not isinstance(first, Tensor):
        raise InvalidArgument(f"a batch is a torch tensor or a tree of them, not {type(first).__name__}")
    return len(first)


def differ(a: Any, b: Any) -> bool:
    """Whether two batches of the same form hold other values anywhere.

    Args:
        a: A tree of tensors.
        b: Another.

    Returns:
        True if they do.
    """
    if isinstance(a, dict):
        return any(differ(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return any(map(differ, a, b))
    return a is not None and not torch.equal(a.nan_to_num(), b.nan_to_num())


def versions(x: Any) -> Any:
    """How often each tensor of a batch was changed.

    Args:
        x: A tree of tensors, made outside inference mode.

    Returns:
        A tree of counts.
    """
    return map_tree(lambda leaf: leaf._version, x)


def shapes(x: Any) -> Any:
    """The shapes of a batch without the item axis: what a network's path may depend on.

    Args:
        x: A tree of tensors.

    Returns:
        A hashable value.
    """
    if isinstance(x, dict):
        return tuple((key, shapes(value)) for key, value in x.items())
    if isinstance(x, tuple | list):
        return tuple(shapes(value) for value in x)
    if x is None:
        return None
    return (tuple(x.shape[1:]), x.dtype)


def penultimate(network: nn.Module, x: Any) -> Tensor:
    """The input of the last linear layer that runs, flattened to (n, D).

    Args:
        network: The mean network.
        x: A batch.

    Returns:
        Features.

    Raises:
        Unsupported: No linear layer runs, or the last one does not have the item as its first axis.
    """
    seen: list[Tensor] = []
    handles = [
        module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for module in network.modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        call(network, x)
    finally:
        for handle in handles:
            handle.remove()
    if not seen:
        raise Unsupported("features are the input of the last nn.Linear, and this network runs none")
    if len(seen[-1]) != items_of(x):
        raise Unsupported(
            f"features are the input of the last nn.Linear, but its first axis has {len(seen[-1])} entries for "
            f"{items_of(x)} items"
        )
    features = seen[-1].flatten(1)
    return features if features.dtype == torch.float64 else features.float()
