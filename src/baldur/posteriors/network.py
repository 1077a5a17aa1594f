"""Shared parts of posteriors over a network: the frozen copy and its features."""

from abc import ABC
from typing import Any

import torch
from torch import Tensor, nn

from baldur.core.networks import call, channels_last, duplicate, is_lazy
from baldur.core.trees import items_of
from baldur.errors import Unsupported, UnsupportedNetwork
from baldur.protocols import Posterior


class NetworkPosterior(Posterior, ABC):
    """A posterior over the weights of one network, whose mean is `network`."""

    network: nn.Module

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The network."""
        return (self.network,)


def frozen(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode without gradients. The original is not changed, and later changes to it have no effect.

    Args:
        network: A trained network.

    Returns:
        The copy.

    Raises:
        UnsupportedNetwork: The network cannot be copied, has lazy layers without weights, or has batch normalisation
            without running statistics.
    """
    twin = duplicate(network)
    if is_lazy(twin):
        raise UnsupportedNetwork(
            "the network has lazy layers without weights yet; apply it to one batch first, and train it"
        )
    for path, module in twin.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise UnsupportedNetwork(
                f"'{path}': batch normalisation without running statistics makes every item's answer depend on its "
                "batch; use track_running_stats=True, or another normalisation"
            )
    return channels_last(twin.eval().requires_grad_(False))


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
    features = seen[-1].flatten(1)  # (n, D)
    return features if features.dtype == torch.float64 else features.float()
