"""Masks become algebra: a dense tail behind the first dropout, as matrix products with cut weights.

Sample t has one mask for all items, so dropout before a linear layer is h (m_t * W)^T. This saves work in three ways.
The weights are masked once, instead of every item. Units that the next mask drops are never computed. The weights of
all samples are stacked, so that the first and largest product is a single one over the whole batch.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from baldur.posteriors.dropout.chain import Layer
from baldur.posteriors.dropout.products import affine

# Cut and stacked weights are kept for all batches up to this size, the rest is built anew for each batch.
_KEPT_BYTES = 384 * 2**20
# Multiplications that an activation must save for it to be worth picking out of the others.
_WORTH_PICKING = 200
# Two layers of so many samples are two products; the second one's matrix has the samples' along its diagonal.
_TOGETHER = 20
_DIAGONAL = 512  # outputs; beyond, the zeros beside the diagonal cost more than products one by one


class ChainSamples:
    """A chain of layers under T samples, with the weights that each sample needs.

    The last layer stays in the type of the network: it costs little, and disagreement is a difference of what it gives.

    Args:
        layers: The chain.
        keeps: For every layer which inputs each sample keeps, bool (T, I), and their factor 1 / (1 - p); None
            where no site stands before the layer.
        T: Number of samples.
        dtype: Of activations and cut weights; None for that of the network.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        keeps: Sequence[tuple[Tensor, float] | None],
        T: int,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.layers = layers
        self.keeps = keeps
        self.T = T
        self.dtypes = [dtype or layer.weight.dtype for layer in layers[:-1]] + [layers[-1].weight.dtype]
        self._cuts: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self._inputs = [None if keep is None else self._channels(i, keep[0]) for i, keep in enumerate(keeps)]
        self._room = _KEPT_BYTES

    def _channels(self, layer: int, mask: Tensor) -> Tensor:
        """Which channels feed anything that each sample keeps, (T, channels): a mask by units may split them."""
        channels = len(self.layers[layer - 1].weight) if layer else mask.shape[1]
        kept = mask.view(self.T, channels, -1).any(2)  # (T, channels)
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
        return None if inputs is None else inputs[t].nonzero().flatten()  # (kept channels,)

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
            # (kept,): a channel of a flattened convolution is `units` columns of a linear layer's weight.
            columns = (inputs[:, None] * units + torch.arange(units, device=inputs.device)).flatten()
            scales = scale[columns].view(-1, *[1] * (weight.ndim - 2))  # (kept, ...)
            weight = weight.index_select(1, columns) * scales  # (O, kept, ...)
        weight, bias = weight.to(self.dtypes[layer]), bias.to(self.dtypes[layer])
        if self.layers[layer].options is None:
            weight = weight.contiguous()
        else:
            weight = weight.contiguous(memory_format=torch.channels_last)
        if weight.nbytes <= self._room:
            self._cuts[layer, t] = weight, bias
            self._room -= weight.nbytes
        return weight, bias

    def _width(self, layer: int) -> int:
        inputs = self._inputs[layer]
        assert inputs is not None
        return inputs.shape[1]

    def follow(self, a: Tensor, t: int, start: int = 1) -> Tensor:
        """Apply the layers from `start` on to the activations of a sample.

        Args:
            a: (n, channels that the sample needs, ...).
            t: The sample.
            start: The first layer to apply.

        Returns:
            Logits, (n, C).
        """
        for i in range(start, len(self.layers)):
            a = self.layers[i](a.to(self.dtypes[i]), *self.cut(i, t))
        return a.flatten(1)  # (n, C)


class DenseSamples(ChainSamples):
    """A dense tail under T samples: (n, d) activations of the trunk to logits (n, T, C)."""

    def __init__(
        self,
        layers: Sequence[Layer],
        keeps: Sequence[tuple[Tensor, float] | None],
        T: int,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(layers, keeps, T, dtype)
        self._stacks: list[_Stack] | None = None
        rows, kept = self.kept_outputs(0), self._inputs[0]
        outputs = len(layers[0].weight) if rows is None else float(rows.sum(1).float().mean())
        share = 1.0 if kept is None else float(kept.float().mean())  # of the inputs
        self.picked = (1 - share) * outputs > _WORTH_PICKING * share

    def __call__(self, h: Tensor) -> Tensor:
        h = h.to(self.dtypes[0])
        if self.picked:
            return torch.stack([self.follow(self._few(h, t), t, 0) for t in range(self.T)], 1)  # (n, T, C)
        parts: list[Tensor] = []
        for first, sizes, second in self._groups():
            z = self.layers[0].finish(affine(h, *first))  # (n, rows of the group's samples)
            if second is not None:
                z = self.layers[-1].finish(affine(z.to(self.dtypes[-1]), *second))
                parts.append(z.view(len(h), len(sizes), len(self.layers[1].weight)))  # (n, t, C)
            elif len(self.layers) == 1:
                parts.append(z.view(len(h), len(sizes), len(self.layers[0].weight)))  # (n, t, C)
            else:
                start = sum(part.shape[1] for part in parts)
                pieces = enumerate(torch.split(z, sizes, 1), start)  # of each sample (n, its rows)
                parts.append(torch.stack([self.follow(a, t) for t, a in pieces], 1))  # (n, t, C)
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]  # (n, T, C)

    def _few(self, h: Tensor, t: int) -> Tensor:
        """The activations that a sample keeps."""
        inputs = self.kept_inputs(0, t)
        return h if inputs is None else h.index_select(1, inputs)

    def _first(self, samples: range) -> "_Stack":
        """The stacked weights of some samples."""
        layer, keep, outputs = self.layers[0], self.keeps[0], self.kept_outputs(0)
        dtype = self.dtypes[0]
        weights, biases = [], []
        for t in samples:
            w = layer.weight if outputs is None else layer.weight[outputs[t]]
            weights.append((w if keep is None else w * (keep[0][t].to(w.dtype) * keep[1])).to(dtype))
            biases.append((layer.bias if outputs is None else layer.bias[outputs[t]]).to(dtype))
        second = None
        if len(self.layers) == 2 and len(samples) * len(self.layers[1].weight) <= _DIAGONAL:
            cuts = [self.cut(1, t) for t in samples]
            diagonal: Tensor = torch.block_diag(*(weight for weight, _ in cuts))  # type: ignore[no-untyped-call]
            second = diagonal, torch.cat([bias for _, bias in cuts])
        first = torch.cat(weights), torch.cat(biases)  # (rows, I) and (rows,)
        return first, [len(b) for b in biases], second

    def _groups(self) -> "Iterator[_Stack]":
        """The first layer's stacked weights, in groups of samples that stay within the limit."""
        if self._stacks is not None:
            yield from self._stacks
            return
        size = self.layers[0].weight.numel() * self.dtypes[0].itemsize
        most = max(1, _KEPT_BYTES // size)
        group = min(most, _TOGETHER) if len(self.layers) == 2 else most
        ranges = [range(a, min(a + group, self.T)) for a in range(0, self.T, group)]
        if most >= self.T:
            self._stacks = list(map(self._first, ranges))
            yield from self._stacks
        else:
            yield from map(self._first, ranges)


_Stack = tuple[tuple[Tensor, Tensor], list[int], tuple[Tensor, Tensor] | None]
"""Weights and bias of the first layer for some samples, how many rows each has, and the last layer of all of them."""
