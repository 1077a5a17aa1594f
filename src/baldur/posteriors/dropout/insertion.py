"""Inserts dropout into a network, without moving or renaming its modules."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from baldur.core.networks import duplicate
from baldur.errors import InvalidArgument, NoStochasticSite, UnsupportedNetwork

_CHILD = "inserted_dropout"
_CONVOLUTIONS = nn.modules.conv._ConvNd
_LAYERS = (nn.Linear, nn.Bilinear, _CONVOLUTIONS, nn.RNNBase, nn.MultiheadAttention)
_CHANNEL = {1: nn.Dropout1d, 2: nn.Dropout2d, 3: nn.Dropout3d}


class SequenceDropout(nn.Module):
    """Dropout of features of whole sequences: one mask for all time steps.

    h_s = h_s ⊙ m / (1 - p) at every step s. (Gal & Ghahramani, "A theoretically grounded application of dropout in
    recurrent neural networks", NIPS 2016.)

    Args:
        p: The probability of dropping a feature.
        batch_axis: 0 for (n, steps, D), 1 for (steps, n, D).
    """

    def __init__(self, p: float, batch_axis: int) -> None:
        super().__init__()
        self.p = p
        self.batch_axis = batch_axis

    def forward(self, h: Any) -> Any:
        """The sequences with features dropped.

        Args:
            h: (n, steps, D) or (steps, n, D), or packed.

        Returns:
            The same form.
        """
        if isinstance(h, PackedSequence):
            scale = self._scale(h.data, int(h.batch_sizes[0]))
            sizes: list[int] = h.batch_sizes.tolist()
            # Row i of each step is of the i-th sequence, by length.
            of_row = torch.cat([torch.arange(size, device=scale.device) for size in sizes])
            return h._replace(data=h.data * scale[of_row])
        scale = self._scale(h, h.shape[self.batch_axis])
        return h * scale.unsqueeze(1 - self.batch_axis)  # (n, L, D) or (L, n, D)

    def _scale(self, like: Tensor, n: int) -> Tensor:
        return functional.dropout(like.new_ones(n, like.shape[-1]), self.p, self.training)

    def extra_repr(self) -> str:
        """Its text where the network is printed.

        Returns:
            Its rate.
        """
        return f"p={self.p:g}"


def insert_dropout(network: nn.Module, rate: float, where: str = "last") -> nn.Module:
    """A copy of a network with dropout before its last layer, or after every layer but the last.

    Layers are linear, convolutional, recurrent and attention layers, in the order of their registration. Dropout drops
    units, or whole channels after a convolution. After and inside a recurrent layer, it drops features of whole
    sequences. Hooks call the dropout, and it has no weights, so the state dict stays the same. If the last registered
    layer is not the last to run, `MCDropout` raises an error.
    (Gal & Ghahramani, ICML 2016.)

    Args:
        network: Any network; it is not changed.
        rate: The probability of dropping.
        where: "last" or "every".

    Returns:
        The copy, to be trained, or given to `MCDropout`.

    Raises:
        InvalidArgument: The rate or `where` is not valid, or the network already has inserted dropout.
        NoStochasticSite: The network has no place for dropout.
        UnsupportedNetwork: Layers have no shape yet, or the last layer is attention.
    """
    if not 0 <= rate <= 1:
        raise InvalidArgument(f"a dropout rate is between 0 and 1, not {rate}")
    if where not in ("last", "every"):
        raise InvalidArgument(f'dropout is inserted where="last" or where="every", not {where!r}')
    if insertion(network) is not None:
        raise InvalidArgument("dropout is inserted in this network already")
    for path, module in network.named_modules():
        if any(isinstance(p, nn.parameter.UninitializedParameter) for p in module.parameters(recurse=False)):
            raise UnsupportedNetwork(f"'{path}' has no shape yet: apply the network to a batch first")
    twin = duplicate(network)
    layers = _layers(twin)
    if not layers or (where == "every" and len(layers) == 1):
        raise NoStochasticSite(
            "there is no place for dropout: the network needs a linear, convolutional or recurrent layer"
            + (' in front of the last one; where="last" needs one only' if layers else "")
        )
    *others, (name, last) = layers.items()
    if isinstance(last, nn.MultiheadAttention):
        raise UnsupportedNetwork(f"the last layer, '{name}', is an attention; a linear one was expected")
    if where == "last":
        _attach(last, rate, in_front=True)
    for _, layer in others if where == "every" else ():
        _attach(layer, rate, in_front=False)
    return twin


def insertion(network: nn.Module) -> tuple[float, str] | None:
    """The dropout that was inserted into a network.

    Args:
        network: Any network.

    Returns:
        Rate and place, or None.
    """
    for module in network.modules():
        dropout = inserted(module)
        if dropout is not None:
            return float(dropout.p), "last" if is_in_front(module) else "every"
    return None


def inserted(layer: nn.Module) -> Any:
    """The dropout that was inserted at a layer.

    Args:
        layer: A module.

    Returns:
        Its dropout, or None.
    """
    return layer._modules.get(_CHILD)


def is_in_front(layer: nn.Module) -> bool:
    """Whether a layer's dropout is on its input.

    Args:
        layer: One that has any.

    Returns:
        False where it is on the output.
    """
    return _in_front in layer._forward_pre_hooks.values()


def is_hooked(module: nn.Module) -> bool:
    """Whether a module has hooks, other than those of inserted dropout.

    Args:
        module: Any module.

    Returns:
        True if it has.
    """
    hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    return any(hook not in (_in_front, _behind) for hook in hooks)


@contextmanager
def order_checked(network: nn.Module) -> Iterator[None]:
    """Watch one pass of a network with inserted dropout.

    Args:
        network: Any network; without inserted dropout nothing is watched.

    Yields:
        While the network runs.

    Raises:
        UnsupportedNetwork: The layer that ran last is not the last one that is registered.
    """
    layers = _layers(network) if insertion(network) is not None else {}
    ran: list[str] = []
    handles = [
        layer.register_forward_hook(lambda *_, name=name: ran.append(name)) for name, layer in layers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    if layers and ran[-1:] != [*layers][-1:]:
        raise UnsupportedNetwork(
            f"the last layer to run is '{ran[-1] if ran else ''}', but dropout was inserted for '{[*layers][-1]}', the "
            "last one that the network registers; register them in the order in which they run, or write nn.Dropout "
            "into the network"
        )


def _layers(network: nn.Module) -> dict[str, nn.Module]:
    """The layers by path, in order of registration; what an attention is made of belongs to it."""
    found: dict[str, nn.Module] = {}
    inside: set[nn.Module] = set()
    for path, module in network.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            inside |= set(module.children())
        if isinstance(module, _LAYERS) and module not in inside:
            found[path] = module
    return found


def _attach(layer: nn.Module, rate: float, *, in_front: bool) -> None:
    layer.add_module(_CHILD, _dropout(layer, rate))
    if in_front:
        layer.register_forward_pre_hook(_in_front)
        return
    layer.register_forward_hook(_behind)
    if isinstance(layer, nn.RNNBase) and layer.num_layers > 1 and not layer.dropout:
        layer.dropout = rate  # between the layers inside


def _dropout(layer: nn.Module, rate: float) -> nn.Module:
    if isinstance(layer, nn.RNNBase):
        return SequenceDropout(rate, 0 if layer.batch_first else 1)
    return _CHANNEL[len(layer.kernel_size)](rate) if isinstance(layer, _CONVOLUTIONS) else nn.Dropout(rate)


# Functions, not methods of the insertion: a copied or pickled network keeps them, and finds its own dropout.


def _in_front(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (inserted(layer)(inputs[0]), *inputs[1:])


def _behind(layer: nn.Module, inputs: Any, output: Any) -> Any:
    several = isinstance(output, tuple) and not isinstance(output, PackedSequence)
    return (inserted(layer)(output[0]), *output[1:]) if several else inserted(layer)(output)
