"""Masks become algebra: a dense tail behind the first dropout, as matrix products with cut weights.

Because sample t has one mask for all items, dropout before a linear layer is h (m_t * W)^T: the weights are
masked once instead of every item, the rows of units that the next mask drops are never computed, and the
samples' weights are stacked so that the first and largest product is a single one over the whole batch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from baldur._modules import call
from baldur.posteriors._sites import Dropouts, Site

_DROPOUT_MODULES = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)
_DROPOUT_CALLS = {functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d}
_DROPOUT_CALLS |= {functional.alpha_dropout, functional.feature_alpha_dropout}
# max(0, c x) = c max(0, x) for c >= 0: a mask may be moved behind these.
_HOMOGENEOUS_MODULES = (nn.ReLU, nn.LeakyReLU, nn.Identity)
_HOMOGENEOUS_CALLS = {functional.relu, torch.relu, functional.leaky_relu}
_POINTWISE_MODULES = (
    *_HOMOGENEOUS_MODULES,
    nn.GELU,
    nn.Tanh,
    nn.Sigmoid,
    nn.SiLU,
    nn.ELU,
    nn.SELU,
    nn.Softplus,
)
_POINTWISE_CALLS = _HOMOGENEOUS_CALLS | {
    functional.gelu,
    torch.tanh,
    torch.sigmoid,
    functional.silu,
    functional.elu,
}
_LOG_SOFTMAX_CALLS = {functional.log_softmax, torch.log_softmax}
# Stacked weights are kept for all batches up to this size, else built anew for each batch.
_STACK_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Layer:
    """One linear layer of the tail: the sites before it and the pointwise functions behind it."""

    sites: tuple[int, ...]
    linear: nn.Linear
    after: tuple[Callable[[Tensor], Tensor], ...]


@dataclass(frozen=True)
class DenseTail:
    """A network cut in two: a deterministic trunk, and a chain of linear layers with dropout between them.

    Args:
        trunk: Everything before the first site, and the homogeneous functions right behind it.
        layers: The chain.
    """

    trunk: Callable[[Any], Tensor]
    layers: tuple[Layer, ...]


def _call_of(node: fx.Node, modules: dict[str, nn.Module]) -> tuple[str, Any]:
    """(what the node does, its function): "dropout", "flatten", "linear", "pointwise", ... or "other"."""
    if node.op == "call_module":
        module = modules[str(node.target)]
        if isinstance(module, _DROPOUT_MODULES):
            return ("dropout" if module.training else "identity"), module
        if isinstance(module, nn.Flatten):
            return ("flatten" if (module.start_dim, module.end_dim) == (1, -1) else "other"), module
        if isinstance(module, nn.Linear):
            return "linear", module
        if isinstance(module, nn.LogSoftmax):
            return "log_softmax", module
        if isinstance(module, _POINTWISE_MODULES):
            # In place would be wrong here: a layer's input is shared by all samples.
            kind = "homogeneous" if isinstance(module, _HOMOGENEOUS_MODULES) else "pointwise"
            return kind, _out_of_place(module)
    elif node.op == "call_function":
        if node.target in _DROPOUT_CALLS:
            training = node.args[2] if len(node.args) > 2 else node.kwargs.get("training", True)
            return ("dropout" if training else "identity"), node.target
        if node.target is torch.flatten:
            return ("flatten" if (*node.args[1:], *node.kwargs.values()) == (1,) else "other"), node.target
        if node.target in _POINTWISE_CALLS and len(node.args) == 1 and not node.kwargs:
            return ("homogeneous" if node.target in _HOMOGENEOUS_CALLS else "pointwise"), node.target
        if node.target in _LOG_SOFTMAX_CALLS:
            return "log_softmax", node.target
    elif node.op == "call_method":
        if node.target == "flatten" and node.args[1:] == (1,):
            return "flatten", None
        if node.target in ("view", "reshape") and len(node.args) == 3 and node.args[2] == -1:
            return "flatten", None
        if node.target == "relu":
            return "homogeneous", torch.relu
    return "other", None


def _out_of_place(module: nn.Module) -> Callable[[Tensor], Tensor]:
    if isinstance(module, nn.ReLU):
        return torch.relu
    if isinstance(module, nn.LeakyReLU):
        return lambda x: functional.leaky_relu(x, module.negative_slope)
    if isinstance(module, nn.ELU):
        return lambda x: functional.elu(x, module.alpha)
    if isinstance(module, nn.SELU):
        return torch.selu
    if isinstance(module, nn.SiLU):
        return functional.silu
    return module


def _chain(graph: fx.Graph, first: fx.Node) -> Iterator[fx.Node] | None:
    """The nodes from `first` to the output, if each feeds the next one only and nothing else feeds them."""
    (output,) = (node for node in graph.nodes if node.op == "output")
    nodes, node = [first], first
    while True:
        (nxt, *more) = node.users or (None,)
        if nxt is None or more:
            return None
        if nxt is output:
            return iter(nodes) if output.args[0] is node else None
        others = [
            a for a in nxt.all_input_nodes if a is not node and a.op != "call_method" and not _is_size(a)
        ]
        if others or nxt.args[:1] != (node,):
            return None
        nodes.append(nxt)
        node = nxt


def _is_size(node: fx.Node) -> bool:
    """Whether the node reads a size (`x.shape[0]`, `x.size(0)`) rather than computing on items."""
    return node.target in (getattr, "size") or (
        node.op == "call_function" and getattr(node.target, "__name__", "") == "getitem"
    )


def find_dense_tail(network: nn.Module, sites: Sequence[Site]) -> DenseTail | None:
    """Cut the network before its first site, if what follows is a dense chain that holds every site.

    Args:
        network: The network in the modes of prediction (owners of sites in training mode).
        sites: What `find_sites` found in it.

    Returns:
        The two parts, or None where the network is of another form or cannot be traced.
    """
    if any(site.batch_axis != 0 or "alpha" in site.kind for site in sites):
        return None
    if any(module._forward_hooks or module._forward_pre_hooks for module in network.modules()):
        return None  # a hook may change what its module gives, and the tracer does not see it
    try:
        traced = fx.symbolic_trace(network)
    except Exception:  # a network that cannot be traced takes the general path, whatever the tracer said
        return None
    modules = dict(traced.named_modules())
    first = next((n for n in traced.graph.nodes if _call_of(n, modules)[0] == "dropout"), None)
    chain = None if first is None else _chain(traced.graph, first)
    if chain is None or first is None:
        return None
    layers: list[Layer] = []
    before: list[int] = []
    ahead: list[Callable[[Tensor], Tensor]] = []  # moved in front of the first mask
    number, ended = 0, False
    for node in chain:
        kind, function = _call_of(node, modules)
        if ended:
            return None  # only the last call may be a log-softmax: it is idempotent there, and nowhere else
        if kind == "dropout":
            before.append(number)
            number += 1
        elif kind == "linear":
            layers.append(Layer(tuple(before), function, ()))
            before = []
        elif kind == "homogeneous" and not layers:
            ahead.append(function)
        elif kind in ("homogeneous", "pointwise") and layers and not before:
            layers[-1] = Layer(layers[-1].sites, layers[-1].linear, (*layers[-1].after, function))
        elif kind == "flatten" and not layers:
            continue
        elif kind == "log_softmax" and layers and not before:
            ended = True
        elif kind != "identity":
            return None
    inputs = torch.Size(sites[0].shape[1:]).numel() if sites else 0
    if before or not layers or number != len(sites) or layers[0].linear.in_features != inputs:
        return None
    return DenseTail(_trunk(traced, first, tuple(ahead)), tuple(layers))


def _trunk(traced: fx.GraphModule, first: fx.Node, ahead: Sequence[Callable[[Tensor], Tensor]]) -> Any:
    """The part of the graph that feeds `first`, flattened to (n, d)."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    source = first.all_input_nodes[0]
    for node in traced.graph.nodes:
        if node is first:
            break
        copies[node] = graph.node_copy(node, lambda n: copies[n])
    graph.output(copies[source])
    part = fx.GraphModule(traced, graph)

    def trunk(x: Any) -> Tensor:
        with Dropouts():  # for what it does to normalisation: no dropout is left in here
            h: Tensor = call(part, x).flatten(1)
        for function in ahead:
            h = function(h)
        return h

    return trunk


def _bias(linear: nn.Linear) -> Tensor:
    bias: Tensor | None = linear.bias
    return linear.weight.new_zeros(linear.out_features) if bias is None else bias


class DenseSamples:
    """The tail under T samples: (n, d) activations of the trunk to logits (n, T, C).

    Args:
        layers: The chain of the tail.
        keeps: For every layer which inputs each sample keeps, bool (T, d), and their factor 1 / (1 - p);
            None where no site stands before the layer.
    """

    def __init__(self, layers: Sequence[Layer], keeps: Sequence[tuple[Tensor, float] | None], T: int) -> None:
        self.layers = layers
        self.keeps = keeps
        self.T = T
        self._stacks: list[tuple[Tensor, Tensor, list[int]]] | None = None
        self._cuts: list[list[tuple[Tensor, Tensor]]] | None = None

    def _rows(self, layer: int, t: int) -> Tensor | None:
        """Which outputs of a layer the next mask keeps in sample t; None means all."""
        keep = self.keeps[layer + 1] if layer + 1 < len(self.layers) else None
        return None if keep is None else keep[0][t].nonzero().flatten()

    def _first(self, samples: range) -> tuple[Tensor, Tensor, list[int]]:
        """The masked and cut weights of the first layer for some samples, stacked, with biases and row counts."""
        linear, keep = self.layers[0].linear, self.keeps[0]
        bias = _bias(linear)
        weights, biases = [], []
        for t in samples:
            rows = self._rows(0, t)
            w = linear.weight if rows is None else linear.weight[rows]
            weights.append(w if keep is None else w * (keep[0][t].to(w.dtype) * keep[1]))
            biases.append(bias if rows is None else bias[rows])
        return torch.cat(weights), torch.cat(biases), [len(b) for b in biases]

    def _groups(self) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
        """The first layer's stacked weights, in groups of samples that stay within the limit."""
        if self._stacks is not None:
            yield from self._stacks
            return
        weight = self.layers[0].linear.weight
        group = max(1, _STACK_BYTES // (weight.numel() * weight.element_size()))
        ranges = [range(a, min(a + group, self.T)) for a in range(0, self.T, group)]
        if len(ranges) == 1:
            self._stacks = [self._first(ranges[0])]
            yield from self._stacks
        else:
            yield from map(self._first, ranges)

    def _later(self) -> list[list[tuple[Tensor, Tensor]]]:
        """For every later layer and sample the weights cut to the kept inputs and outputs, with their bias."""
        if self._cuts is None:
            self._cuts = [[self._cut(i, t) for t in range(self.T)] for i in range(1, len(self.layers))]
        return self._cuts

    def _cut(self, layer: int, t: int) -> tuple[Tensor, Tensor]:
        linear, keep = self.layers[layer].linear, self.keeps[layer]
        rows, columns = self._rows(layer, t), self._rows(layer - 1, t)
        weight = linear.weight if rows is None else linear.weight[rows]
        bias = _bias(linear)
        if columns is not None and keep is not None:
            weight = weight[:, columns] * keep[1]
        return weight.t().contiguous(), bias if rows is None else bias[rows]

    def __call__(self, h: Tensor) -> Tensor:
        parts: list[Tensor] = []
        for weight, bias, sizes in self._groups():
            z = torch.addmm(bias, h, weight.t())
            for function in self.layers[0].after:
                z = function(z)
            parts += torch.split(z, sizes, 1)
        if len(self.layers) == 1:
            return torch.stack(parts, 1)
        out = h.new_empty(len(h), self.T, self.layers[-1].linear.out_features)
        later = self._later()
        for t, a in enumerate(parts):
            for i, cuts in enumerate(later):
                a = torch.addmm(cuts[t][1], a, cuts[t][0])
                for function in self.layers[i + 1].after:
                    a = function(a)
            out[:, t] = a
        return out


def mean_features(layers: Sequence[Layer], h: Tensor) -> Tensor:
    """The input of the last layer without dropout, (n, D), from the activations of the trunk.

    Args:
        layers: The chain of the tail.
        h: What the trunk gives, (n, d).

    Returns:
        Activations.
    """
    for layer in layers[:-1]:
        h = layer.linear(h)
        for function in layer.after:
            h = function(h)
    return h
