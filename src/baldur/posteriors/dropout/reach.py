"""Finds the parts of a network that depend on the samples. These run for every sample, all others once."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from baldur.core.devices import seeded
from baldur.core.networks import call, device_of, restore
from baldur.core.trees import leaves, map_tree
from baldur.posteriors.dropout.sites import Dropouts

_LOUD = 10  # times the largest value: enough to pass rectifiers that are off for all usual values


def acts(network: nn.Module, x: Any) -> bool:
    """Whether active dropout can change the outputs: whether they differ if its result is noise, and other noise.

    Args:
        network: As at prediction; its buffers do not change.
        x: A batch.

    Returns:
        False where the outputs are the same.
    """

    def noise(kind: str, p: float, h: Tensor, in_place: bool) -> Tensor:
        if p == 0:
            return h
        made = torch.randn_like(h) * _LOUD * (1 + h.abs().max())
        return h.copy_(made) if in_place else made

    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    found = []
    try:
        for seed in (0, 1):
            with torch.inference_mode(), Dropouts(noise), seeded(seed, device_of(network)):
                found.append(leaves(call(network, map_tree(torch.clone, x))))
    except Exception:  # a network of a user may refuse noise in any way
        return True
    finally:
        restore(network, before)
    return not all(torch.equal(one, other) for one, other in zip(*found, strict=True))


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
