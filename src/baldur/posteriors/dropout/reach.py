"""Finds the parts of a network that depend on the samples. These run for every sample, all others once."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn


def reached(network: nn.Module, sample: Callable[[Tensor], Tensor], device: torch.device) -> set[str] | None:
    """The layers with weights, by path, whose output differs between samples.

    Args:
        network: The network that `sample` runs.
        sample: t to the outputs of sample t.
        device: Where the network is.

    Returns:
        Their paths; None where the samples cannot be vectorised, and so everything runs for each.
    """
    found: set[str] = set()

    def note(path: str) -> Callable[..., None]:
        return lambda module, inputs, output: found.add(path) if _by_sample(output) else None

    # In front of the dropout that may have been inserted behind a layer.
    handles = [module.register_forward_hook(note(path), prepend=True) for path, module in _layers(network)]
    try:
        torch.vmap(sample)(torch.arange(2, device=device).unsqueeze(1))  # samples 0 and 1, (2, 1)
    except (RuntimeError, ValueError):
        return None
    finally:
        for handle in handles:
            handle.remove()
    return found


def _by_sample(output: Any) -> bool:
    if isinstance(output, tuple | list):
        return any(map(_by_sample, output))
    return isinstance(output, Tensor) and torch._C._functorch.is_batchedtensor(output)


def _layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return (item for item in network.named_modules() if any(True for _ in item[1].parameters(recurse=False)))


def together(network: nn.Module, among: set[str]) -> list[str]:
    """Paths in the order of the network, those of all layers of a part as one.

    Args:
        network: Whose modules.
        among: Paths of layers with weights.

    Returns:
        The fewest paths that cover these and no others; '' is the network.
    """
    layers = [path for path, _ in _layers(network)]
    covered: list[str] = []
    for path, _ in network.named_modules():
        below = [layer for layer in layers if layer == path or not path or layer.startswith(path + ".")]
        seen = any(path == name or not name or path.startswith(name + ".") for name in covered)
        if below and not seen and among.issuperset(below):
            covered.append(path)
    return covered
