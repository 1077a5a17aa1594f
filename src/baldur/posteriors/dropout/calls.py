"""Which functions of PyTorch drop, draw random numbers, or give probabilities."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_UNIT: set[Callable[..., Tensor]] = {functional.dropout, torch.dropout, torch.dropout_}
_CHANNEL: set[Callable[..., Tensor]] = {functional.dropout1d, functional.dropout2d, functional.dropout3d}
_CHANNEL |= {torch.feature_dropout, torch.feature_dropout_}
_ALPHA: set[Callable[..., Tensor]] = {functional.alpha_dropout, torch.alpha_dropout, torch.alpha_dropout_}
_FEATURE_ALPHA: set[Callable[..., Tensor]] = {functional.feature_alpha_dropout}
_FEATURE_ALPHA |= {torch.feature_alpha_dropout, torch.feature_alpha_dropout_}
KINDS: dict[Callable[..., Any], str] = {
    **dict.fromkeys(_UNIT, "unit"),
    **dict.fromkeys(_CHANNEL, "channel"),
    **dict.fromkeys(_ALPHA, "alpha"),
    **dict.fromkeys(_FEATURE_ALPHA, "channel alpha"),
}
RANDOM = {
    torch.rand,
    torch.randn,
    torch.rand_like,
    torch.randn_like,
    torch.bernoulli,
    torch.normal,
    torch.randint,
    torch.multinomial,
    torch.randperm,
    torch.native_dropout,
    functional.gumbel_softmax,
    functional.rrelu,
    Tensor.bernoulli,
    Tensor.bernoulli_,
    Tensor.uniform_,
    Tensor.normal_,
    Tensor.exponential_,
    Tensor.random_,
}

PROBABILITIES = {
    torch.softmax,
    functional.softmax,
    Tensor.softmax,
    torch.sigmoid,
    functional.sigmoid,
    Tensor.sigmoid,
}


def arguments(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[float, bool, bool]:
    """(p, training, in place) of a dropout call, with the defaults of its signature.

    Args:
        func: One of `KINDS`.
        args: The arguments of the call.
        kwargs: By name.

    Returns:
        The three.
    """
    p = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
    default = func is functional.dropout or func in {
        functional.dropout1d,
        functional.dropout2d,
        functional.dropout3d,
    }
    training = args[2] if len(args) > 2 else kwargs.get("training", kwargs.get("train", default))
    in_place = args[3] if len(args) > 3 else kwargs.get("inplace", func.__name__.endswith("_"))
    return float(p), bool(training), bool(in_place)
