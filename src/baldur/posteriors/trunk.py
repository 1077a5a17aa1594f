"""The part of a network that is the same for all samples, identified by its computation."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from baldur.core.networks import weights_hash
from baldur.posteriors.dropout.steps import Pooling


@dataclass(frozen=True)
class Trunk:
    """A deterministic function of a batch, with an identity.

    Args:
        function: The function.
        identity: Returns a text that is equal for functions with equal results.
        device: Returns the device of the outputs.
    """

    function: Callable[[Any], Tensor]
    identity: Callable[[], str]
    device: Callable[[], torch.device]

    def __call__(self, x: Any) -> Tensor:
        return self.function(x)


def identity(part: fx.GraphModule, ahead: Sequence[Callable[[Tensor], Tensor]], more: object = None) -> str:
    """A hash of everything that a traced network depends on: code, settings of modules, weights, and later functions.

    Args:
        part: The traced network.
        ahead: Functions that are applied to its outputs.
        more: All other dependencies.

    Returns:
        64 hexadecimal digits.
    """
    texts = [part.code, repr(part), weights_hash(part), *map(_described, ahead), repr(more)]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _described(thing: Any) -> str:
    """A description of a function and its bound values, without memory addresses."""
    if isinstance(thing, nn.Module):
        return repr(thing) + weights_hash(thing)
    if isinstance(thing, partial):
        return f"{_described(thing.func)}{thing.args}{sorted(thing.keywords.items())}"
    if isinstance(thing, Pooling):
        return _described(thing.function)
    if not callable(thing):
        return repr(thing)
    bound = [_described(cell.cell_contents) for cell in getattr(thing, "__closure__", None) or ()]
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', type(thing))}{bound}"
