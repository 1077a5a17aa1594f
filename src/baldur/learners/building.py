"""The networks that a learner's fits begin with: made by a factory, or those of last round."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from baldur.core.networks import initialise, restore, tensors
from baldur.errors import Unsupported
from baldur.protocols import Posterior

Network = Callable[[], nn.Module] | nn.Module
"""A factory; or a network, to whose weights every fit goes back."""


def build(network: Network, seed: int, options: Mapping[str, Any]) -> nn.Module:
    """A fresh network.

    Args:
        network: A factory, or a network to whose weights every fit goes back.
        seed: Seed of the weights that a factory draws.
        options: For the factory, such as `width`.

    Returns:
        The network.

    Raises:
        Unsupported: There are options, and it is no factory that takes them.
    """
    if not options:
        return initialise(network, seed)
    named = ", ".join(f"{name}={value}" for name, value in options.items())
    if isinstance(network, nn.Module):
        raise Unsupported(
            f"a network cannot be made again with {named}; give the learner a factory of networks"
        )
    try:
        inspect.signature(network).bind(**options)
    except (TypeError, ValueError):  # it takes no such argument, or does not say what it takes
        raise Unsupported(
            f"the learner's factory of networks takes no {' and no '.join(options)}, so it cannot be asked for {named}"
        ) from None
    return initialise(partial(network, **options), seed)


def go_on_from(network: nn.Module, before: nn.Module) -> None:
    """Give a network the weights of last round's.

    Args:
        network: Changed in place.
        before: Last round's.

    Raises:
        Unsupported: They are not of one architecture.
    """
    try:
        restore(network, tensors(before))
    except (KeyError, RuntimeError) as error:
        raise Unsupported(f"a warm start needs the network of last round, not another one: {error}") from None


def networks_of(posterior: Posterior) -> list[nn.Module]:
    """All networks of a posterior, in the order in which they were built.

    Args:
        posterior: Of the round before.

    Returns:
        The networks; not copies.

    Raises:
        Unsupported: It is not a posterior over networks.
    """
    if not posterior.networks:
        raise Unsupported(f"a warm start needs a posterior over networks, not {type(posterior).__name__}")
    return list(posterior.networks)
