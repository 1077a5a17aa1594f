"""Masks become algebra: a dense tail behind the first dropout, as matrix products with cut weights.

Because sample t has one mask for all items, dropout before a linear layer is h (m_t * W)^T: the weights are
masked once instead of every item, the rows of units that the next mask drops are never computed, and the
samples' weights are stacked so that the first and largest product is a single one over the whole batch.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from baldur.posteriors._chain import Layer

# Cut and stacked weights are kept for all batches up to this size, else built anew for each batch.
_KEPT_BYTES = 256 * 2**20


class Samples:
    """A chain of layers under T samples, with the weights that each sample needs.

    Args:
        layers: The chain.
        keeps: For every layer which inputs each sample keeps, bool (T, I), and their factor 1 / (1 - p); None
            where no site stands before the layer.
        T: How many samples.
    """

    def __init__(self, layers: Sequence[Layer], keeps: Sequence[tuple[Tensor, float] | None], T: int) -> None:
        self.layers = layers
        self.keeps = keeps
        self.T = T
        self._cuts: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self._inputs = [None if keep is None else self._channels(i, keep[0]) for i, keep in enumerate(keeps)]
        size = sum(layer.weight.nbytes for layer in layers[1:])
        self._cached = self.T * size <= _KEPT_BYTES

    def _channels(self, layer: int, mask: Tensor) -> Tensor:
        """Which channels feed anything that each sample keeps, (T, channels): a mask by units may split them."""
        channels = len(self.layers[layer - 1].weight) if layer else mask.shape[1]
        kept = mask.view(self.T, channels, -1).any(2)
        kept[:, 0] |= ~kept.any(1)  # there is no convolution of nothing; the masked weight is 0 all the same
        return kept

    def kept_inputs(self, layer: int, t: int) -> Tensor | None:
        """The channels that a layer reads in sample t; None means all.

        Args:
            layer: Its number.
            t: The sample's.

        Returns:
            Their numbers, ascending.
        """
        inputs = self._inputs[layer]
        return None if inputs is None else inputs[t].nonzero().flatten()

    def kept_outputs(self, layer: int) -> Tensor | None:
        """The channels of a layer that each sample needs later; None means all.

        Args:
            layer: Its number.

        Returns:
            bool (T, O).
        """
        return self._inputs[layer + 1] if layer + 1 < len(self.layers) else None

    def cut(self, layer: int, t: int) -> tuple[Tensor, Tensor]:
        """A layer's masked weights in sample t without the inputs and outputs that are not needed, and its bias.

        Args:
            layer: Its number.
            t: The sample's.

        Returns:
            Weights as `Layer.__call__` takes them.
        """
        if (layer, t) in self._cuts:
            return self._cuts[layer, t]
        weight, bias = self.layers[layer].weight, self.layers[layer].bias
        outputs, keep, inputs = self.kept_outputs(layer), self.keeps[layer], self.kept_inputs(layer, t)
        if outputs is not None:
            weight, bias = weight[outputs[t]], bias[outputs[t]]
        if keep is not None and inputs is not None:
            scale, units = keep[0][t].to(weight.dtype) * keep[1], keep[0].shape[1] // self._width(layer)
            columns = (inputs[:, None] * units + torch.arange(units, device=inputs.device)).flatten()
            weight = weight[:, columns] * scale[columns].view(-1, *[1] * (weight.ndim - 2))
        if self.layers[layer].options is None:
            weight = weight.t().contiguous()
        else:
            weight = weight.contiguous(memory_format=torch.channels_last)
        if self._cached:
            self._cuts[layer, t] = weight, bias
        return weight, bias

    def _width(self, layer: int) -> int:
        inputs = self._inputs[layer]
        assert inputs is not None
        return inputs.shape[1]

    def follow(self, a: Tensor, t: int, start: int = 1) -> Tensor:
        """What the layers from `start` on make of a sample's activations.

        Args:
            a: (n, channels that the sample needs, ...).
            t: The sample.
            start: The first layer to apply.

        Returns:
            Logits, (n, C).
        """
        for i in range(start, len(self.layers)):
            a = self.layers[i](a, *self.cut(i, t))
        return a.flatten(1)


class DenseSamples(Samples):
    """A dense tail under T samples: (n, d) activations of the trunk to logits (n, T, C)."""

    _stacks: list[tuple[Tensor, Tensor, list[int]]] | None = None

    def _first(self, samples: range) -> tuple[Tensor, Tensor, list[int]]:
        """The masked and cut weights of the first layer for some samples, stacked, with biases and row counts."""
        layer, keep, outputs = self.layers[0], self.keeps[0], self.kept_outputs(0)
        weights, biases = [], []
        for t in samples:
            w = layer.weight if outputs is None else layer.weight[outputs[t]]
            weights.append(w if keep is None else w * (keep[0][t].to(w.dtype) * keep[1]))
            biases.append(layer.bias if outputs is None else layer.bias[outputs[t]])
        return torch.cat(weights), torch.cat(biases), [len(b) for b in biases]

    def _groups(self) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
        """The first layer's stacked weights, in groups of samples that stay within the limit."""
        if self._stacks is not None:
            yield from self._stacks
            return
        group = max(1, _KEPT_BYTES // self.layers[0].weight.nbytes)
        ranges = [range(a, min(a + group, self.T)) for a in range(0, self.T, group)]
        if len(ranges) == 1:
            self._stacks = [self._first(ranges[0])]
            yield from self._stacks
        else:
            yield from map(self._first, ranges)

    def __call__(self, h: Tensor) -> Tensor:
        parts: list[Tensor] = []
        for weight, bias, sizes in self._groups():
            parts += torch.split(self.layers[0].finish(torch.addmm(bias, h, weight.t())), sizes, 1)
        if len(self.layers) == 1:
            return torch.stack(parts, 1)
        out = h.new_empty(len(h), self.T, len(self.layers[-1].weight))
        for t, a in enumerate(parts):
            out[:, t] = self.follow(a, t)
        return out
