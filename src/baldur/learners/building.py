"""Initial networks of a fit: new ones from a factory, or those of the previous round."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from baldur.core.networks import initialise, restore, tensors
from baldur.errors import Unsupported
from baldur.protocols import Posterior

Network = Callable[[], nn.Module] | nn.Module
"""A factory, or a network whose weights every fit starts from."""


def build(network: Network, seed: int, options: Mapping[str, Any]) -> nn.Module:
    """Make an initial network.

    Args:
        network: A factory, or a network whose weights every fit starts from.
        seed: Seed of the initial weights from a factory.
        options: Options of the factory, such as `width`.

    Returns:
        The network.

    Raises:
        Unsupported: The factory does not accept the options, or `network` is no factory.
    """
    if not options:
        return initialise(network, seed)
    named = ", ".join(f"{name}={value}" for name, value in options.items())
    if isinstance(network, nn.Module):
        raise Unsupported(
            f"a given network cannot be changed to {named}; give the learner a factory of networks"
        )
    try:
        inspect.signature(network).bind(**options)
    except (TypeError, ValueError):  # no such argument, or no known signature
        raise Unsupported(
            f"the learner's factory of networks must accept {' and '.join(options)} to make networks with {named}"
        ) from None
    return initialise(partial(network, **options), seed)


def go_on_from(network: nn.Module, before: nn.Module) -> None:
    """Copy the weights of the previous round into a network.

    Args:
        network: The network; it is changed in place.
        before: The network of the previous round.

    Raises:
        Unsupported: The networks have different architectures.
    """
    try:
        restore(network, tensors(before))
    except (KeyError, RuntimeError) as error:
        raise Unsupported(f"a warm start needs the same network as in the previous round: {error}") from None


def networks_of(posterior: Posterior) -> list[nn.Module]:
    """All networks of a posterior, in the order in which they were built.

    Args:
        posterior: The posterior of the previous round.

    Returns:
        The networks themselves, not copies.

    Raises:
        Unsupported: The posterior has no networks.
    """
    if not posterior.networks:
        raise Unsupported(f"a warm start needs a posterior over networks, not {type(posterior).__name__}")
    return list(posterior.networks)
