"""Several networks of one architecture as one module, and a test whether this is faster."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from baldur.core.devices import pick_device
from baldur.core.networks import arguments_of, logits_of, tensors
from baldur.protocols import Batch
from baldur.training.recipe import Recipe

_SMALL = 2**15  # weights of a network; see `pays`
_PREFIX = "of/"  # no layer of a network is called so


def pays(network: nn.Module, recipe: Recipe) -> bool:
    """Whether several such networks are trained faster at once than one after the other.

    Measured on a processor (one thread, batches of 64), a stacked step of five networks took 0.6 to 0.9 times as long
    for dense networks with up to 20,000 weights, 1.0 to 1.7 times for larger ones, and 1.2 times for `batchbald2019`.
    On a GPU, the launch of small kernels dominates, so dense networks of any size are stacked. This was not measured.

    Args:
        network: One of the networks.
        recipe: The recipe of the training.

    Returns:
        True if all weights belong to linear layers or normalisation over features, and there are not too many.
    """
    own = [m for m in network.modules() if m._parameters]
    if not all(isinstance(m, nn.Linear | nn.LayerNorm | nn.RMSNorm) for m in own):
        return False
    weights = sum(p.numel() for p in network.parameters())
    return pick_device(recipe.device).type == "cuda" or weights <= _SMALL


class Stack(nn.Module):
    """Networks of one architecture as one module with the networks as the first axis.

    Args:
        networks: At least one network. Their weights are copied; the first gives the code.
        alike: Whether dropout is the same for all networks.
    """

    def __init__(self, networks: Sequence[nn.Module], *, alike: bool) -> None:
        super().__init__()
        self._one = (networks[0],)  # in a tuple: its weights are no part of this module
        self.alike = alike
        every = [tensors(network) for network in networks]
        for name, first in every[0].items():
            whole = torch.stack([own[name].detach() for own in every]).contiguous()
            if isinstance(first, nn.Parameter):
                self.register_parameter(_stored(name), nn.Parameter(whole, requires_grad=first.requires_grad))
            else:
                self.register_buffer(_stored(name), whole)
        names = {id(t): name for name, t in every[0].items()}
        self._places = {  # every place in a layer, also of tied weights, to the name of what stands there
            f"{path}.{own}".removeprefix("."): names[id(t)]
            for path, layer in networks[0].named_modules()
            for own, t in (*layer._parameters.items(), *layer._buffers.items())
            if t is not None
        }

    def forward(self, x: Batch, shared: bool = False) -> Any:
        """Apply each network to its own batch.

        Args:
            x: A tree of tensors (M, b, ...).
            shared: Whether x is one batch (b, ...) for all networks.

        Returns:
            Outputs (M, b, ...).
        """

        def one(values: dict[str, Tensor], batch: Batch) -> Any:
            arguments, named = arguments_of(self._one[0], batch)
            # PyTorch's own way with ties leaves a layer that has two names with the wrong weights
            return logits_of(functional_call(self._one[0], values, arguments, named, tie_weights=False))

        each = torch.vmap(
            one, in_dims=(0, None if shared else 0), randomness="same" if self.alike else "different"
        )
        own = {_named(stored): t for stored, t in tensors(self).items()}
        return each({place: own[name] for place, name in self._places.items()}, x)

    def train(self, mode: bool = True) -> "Stack":
        """Set the mode of all networks.

        Args:
            mode: True for training mode.

        Returns:
            The module itself.
        """
        self._one[0].train(mode)
        return super().train(mode)

    def member(self, row: int, values: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The tensors of one network.

        Args:
            row: The number of the network.
            values: Stacked tensors to use instead of the module's.

        Returns:
            Tensors by their names in the network.
        """
        values = values or tensors(self)
        return {_named(stored): t.detach()[row] for stored, t in values.items()}

    def keep(self, rows: Sequence[int]) -> None:
        """Remove all other networks.

        Args:
            rows: The numbers of the networks to keep.
        """
        for parameter in self.parameters():
            parameter.data = parameter.data[rows]
        for name, buffer in self.named_buffers():
            self._buffers[name] = buffer[rows]


def _stored(name: str) -> str:
    return _PREFIX + name.replace(".", "/")


def _named(stored: str) -> str:
    return stored.removeprefix(_PREFIX).replace("/", ".")
