"""Cuts a network in two: a trunk before all dropout, and a chain of layers with dropout between them.

A channel mask is a scale per channel that is not negative, so it commutes with ReLU and with pooling: those
functions are moved in front of the mask, and each mask acts on the input of a layer's weights.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from baldur.core.networks import call, device_of
from baldur.posteriors.dropout.insertion import inserted, is_hooked, is_in_front
from baldur.posteriors.dropout.lowered import Lowered, exactly
from baldur.posteriors.dropout.products import affine
from baldur.posteriors.dropout.sites import Dropouts, Site
from baldur.posteriors.dropout.steps import Pair, TensorFunction, step
from baldur.posteriors.trunk import Trunk, identity

Options = tuple[Pair, Pair, Pair]
"""Stride, padding and dilation of a convolution, in the order of `functional.conv2d`."""


@dataclass(frozen=True)
class Layer:
    """One layer of weights, linear or a two-dimensional convolution.

    Args:
        sites: The dropout sites on its input.
        weight: (O, I), or (O, I, height, width) for a convolution.
        bias: (O,).
        options: Stride, padding and dilation of a convolution; None for a linear layer.
        after: Later functions: pointwise ones, and pooling after a convolution.
    """

    sites: tuple[int, ...]
    weight: Tensor
    bias: Tensor
    options: Options | None
    after: tuple[TensorFunction, ...] = ()

    def __call__(self, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The layer with other weights, such as its own after cutting.

        Args:
            h: (n, I, ...); flattened for a linear layer.
            weight: As `weight`, with fewer inputs and outputs.
            bias: As `bias`, with fewer outputs.

        Returns:
            Activations, (n, O, ...).
        """
        if self.options is None:
            return self.finish(affine(h.flatten(1), weight, bias))  # (n, I) to (n, O)
        return self.finish(functional.conv2d(h, weight, bias, *self.options))

    def finish(self, z: Tensor) -> Tensor:
        """Apply what is behind the weights.

        Args:
            z: (n, O, ...).

        Returns:
            Activations, (n, O, ...).
        """
        for function in self.after:
            z = function(z)
        return z


@dataclass(frozen=True)
class Tail:
    """A network cut in two.

    Args:
        trunk: Everything before the first site, and what could be moved in front of it.
        layers: The chain behind it.
    """

    trunk: Trunk
    layers: tuple[Layer, ...]

    @property
    def convolutions(self) -> int:
        """How many layers of the chain are convolutions; they come first."""
        return sum(layer.options is not None for layer in self.layers)

    def mean_features(self, h: Tensor) -> Tensor:
        """The input of the last layer without dropout, (n, D).

        Args:
            h: The output of the trunk.

        Returns:
            Activations.
        """
        with exactly(h.device):
            for layer in self.layers[:-1]:
                h = layer(h.to(layer.weight.dtype), layer.weight, layer.bias)
            return h.flatten(1).to(self.layers[-1].weight.dtype)  # (n, D)


def find_tail(network: nn.Module, sites: Sequence[Site]) -> Tail | None:
    """Cut the network before its first site, if what follows is a chain that holds every site.

    Args:
        network: The network in the modes of prediction (owners of sites in training mode).
        sites: The result of `find_sites`.

    Returns:
        The two parts, or None where the network is of another form or cannot be traced. They are the network only
        where its path depends on nothing but the tracer's stand-ins for its inputs: compare them with it.
    """
    if any(site.batch_axis != 0 or site.kind not in ("unit", "channel") for site in sites):
        return None
    if any(map(is_hooked, network.modules())):
        return None  # a hook may change what its module gives, and the tracer does not see it
    try:
        return _cut(network, sites)
    except Exception:  # a network that cannot be traced takes the general path, whatever the tracer said
        return None


def _cut(network: nn.Module, sites: Sequence[Site]) -> Tail | None:
    with _TRACING:
        traced = fx.GraphModule(network, _Tracer().trace(network))
    modules = dict(traced.named_modules())
    first = next((n for n in traced.graph.nodes if step(n, modules)[0] == "dropout"), None)
    nodes = None if first is None else _chain(traced.graph, first)
    if first is None or nodes is None or not sites:
        return None
    builder = _Builder(sites)
    if not all(builder.add(*step(node, modules)) for node in nodes) or not builder.whole():
        return None
    flat = builder.layers[0].options is None
    return Tail(_trunk(traced, first, builder.ahead, flat), tuple(builder.layers))


_TRACING = threading.Lock()
"""Tracing changes how any module is called, in all threads: one trace at a time puts back what it found."""


class _Tracer(fx.Tracer):
    """Sees the dropout that was inserted at a layer, which hooks call. Other threads call modules as ever."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        dropout = inserted(m)
        if dropout is None or not self.is_leaf_module(m, self.path_of_module(m)):
            return super().call_module(m, forward, args, kwargs)
        if not isinstance(m, nn.Linear | nn.Conv2d):
            raise TypeError(f"{type(m).__name__} is no link of a chain")
        if is_in_front(m):
            return super().call_module(m, forward, (dropout(args[0]), *args[1:]), kwargs)
        return dropout(super().call_module(m, forward, args, kwargs))


class _Builder:
    """Takes the steps of a chain one by one; `add` says whether a step fits."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self.sites = sites
        self.layers: list[Layer] = []
        self.ahead: list[TensorFunction] = []  # moved in front of the first mask
        self.waiting: list[int] = []  # sites that no weights have followed yet
        self.number = 0
        self.rank = len(sites[0].shape)
        self.ended = False

    def add(self, kind: str, what: Any) -> bool:
        if self.ended:
            return False  # only the last call may be a log-softmax: it is idempotent there, and nowhere else
        if kind in ("identity", "flatten"):
            self.rank = 2 if kind == "flatten" else self.rank
            return True
        if kind == "dropout":
            self.waiting.append(self.number)
            self.number += 1
            return self.number <= len(self.sites)
        if kind in ("linear", "convolution"):
            return self._weights(kind, what)
        if kind == "pool" and not (self.rank == 4 and self._by_channel()):
            return False
        if kind in ("homogeneous", "pool"):
            if kind == "pool" and not self.layers:
                self.ahead.append(_channels_last)
            self._behind(what)
            return True
        if self.waiting or not self.layers:
            return False
        if kind == "pointwise":
            self._behind(what)
        elif (
            kind == "norm" and not self.layers[-1].after and what.num_features == len(self.layers[-1].weight)
        ):
            self.layers[-1] = _folded(self.layers[-1], what)
        else:
            self.ended = kind == "log_softmax"
            return self.ended
        return True

    def whole(self) -> bool:
        """Whether the chain ends in (n, C) and holds every site."""
        return bool(self.layers and not self.waiting and self.number == len(self.sites) and self.rank == 2)

    def _by_channel(self) -> bool:
        """Whether every mask that waits is one scale per channel."""
        return all(self.sites[s].kind == "channel" or len(self.sites[s].shape) == 2 for s in self.waiting)

    def _weights(self, kind: str, module: Any) -> bool:
        if kind == "linear":
            options, fits = None, self.rank == 2
        else:
            options = _options(module)
            fits = self.rank == 4 and options is not None and self._by_channel()
        weight, bias = module.weight, module.bias
        if bias is None:
            bias = weight.new_zeros(len(weight))
        self.layers.append(Layer(tuple(self.waiting), weight, bias, options))
        self.waiting = []
        return fits

    def _behind(self, function: TensorFunction) -> None:
        """The function, in front of the masks that wait."""
        if self.layers:
            self.layers[-1] = replace(self.layers[-1], after=(*self.layers[-1].after, function))
        else:
            self.ahead.append(function)


def _channels_last(h: Tensor) -> Tensor:
    """The same activations as pooling is many times faster on."""
    return h.contiguous(memory_format=torch.channels_last)


def _options(conv: nn.Conv2d) -> Options | None:
    """Stride, padding and dilation; None where the convolution is of another form."""
    if conv.groups != 1 or conv.padding_mode != "zeros":
        return None
    down, right = (d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
    if not isinstance(conv.padding, str):
        padding: Pair = (conv.padding[0], conv.padding[1])
    elif conv.padding == "same" and (down % 2 or right % 2):
        return None  # one more on one side than on the other
    else:
        padding = (down // 2, right // 2) if conv.padding == "same" else (0, 0)
    return (conv.stride[0], conv.stride[1]), padding, (conv.dilation[0], conv.dilation[1])


def _folded(layer: Layer, norm: nn.modules.batchnorm._BatchNorm) -> Layer:
    """The layer with the normalisation right behind it as part of its weights."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps) * (norm.weight if norm.affine else 1)
    shift = (layer.bias - norm.running_mean) * scale + (norm.bias if norm.affine else 0)
    weight = layer.weight * scale.view(-1, *[1] * (layer.weight.ndim - 1))  # (O, I, ...), scaled along O
    return replace(layer, weight=weight, bias=shift)


def _chain(graph: fx.Graph, first: fx.Node) -> Iterator[fx.Node] | None:
    """The nodes from `first` to the output, if each feeds the next one only and nothing else feeds them."""
    (output,) = (node for node in graph.nodes if node.op == "output")
    nodes, node = [first], first
    while True:
        (nxt, *more) = [user for user in node.users if not _is_size(user)] or (None,)
        if nxt is None or more:
            return None
        if nxt is output:
            return iter(nodes) if output.args[0] is node else None
        others = [a for a in nxt.all_input_nodes if a is not node and not _is_size(a)]
        if others or nxt.args[:1] != (node,):
            return None
        nodes.append(nxt)
        node = nxt


def _is_size(node: fx.Node) -> bool:
    """Whether the node reads a size (`x.shape[0]`, `x.size(0)`) rather than computing on items."""
    if node.op == "call_function" and getattr(node.target, "__name__", "") == "getitem":
        return isinstance(node.args[0], fx.Node) and _is_size(node.args[0])
    return (node.op, node.target) == ("call_method", "size") or (
        node.target is getattr and node.args[1:] == ("shape",)
    )


def _trunk(traced: fx.GraphModule, first: fx.Node, ahead: Sequence[TensorFunction], flat: bool) -> Trunk:
    """The part of the graph that feeds `first`, with what was moved in front of it; (n, d) if `flat`."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    source = first.all_input_nodes[0]
    for node in traced.graph.nodes:
        if node is first:
            break
        copies[node] = graph.node_copy(node, lambda n: copies[n])
    graph.output(copies[source])
    cut = fx.GraphModule(traced, graph)
    type(cut).__call__ = nn.Module.__call__  # type: ignore[method-assign]  # fx prints where a call fails
    part = Lowered(cut)

    def trunk(x: Any) -> Tensor:
        with Dropouts():  # for what it does to normalisation: no dropout is left in here
            h: Tensor = call(part.now(device_of(part.network)), x)
        for function in ahead:
            h = function(h)
        return h.flatten(1) if flat else h  # (n, d), or (n, channels, height, width)

    return Trunk(trunk, lambda: identity(cut, ahead, flat), lambda: device_of(part.network))
