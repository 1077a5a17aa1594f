"""Recurrent layers with dropout between them as masks of a sample, and vectorised over the samples.

PyTorch runs all layers of an `nn.LSTM` in one call, its dropout included. Here they run one by one. When it trains,
PyTorch drops other units at each step, so a sample has a mask for each step of a sequence, the same for all items.
Runs of Baldur 0.1 have one mask for all steps, which samples another distribution than the trained one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

RECURRENT = {torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu}


@dataclass(frozen=True)
class _Call:
    """A call of one of these, but for its tensors: x, the states, and the weights of each layer and direction.

    Args:
        function: Which.
        batch_sizes: Of packed sequences, else None.
        several: Whether the state is more than one tensor.
        settings: Biases, layers, dropout, training, bidirectional, and batch first but where packed.
    """

    function: Callable[..., Any]
    batch_sizes: Tensor | None
    several: bool
    settings: tuple[Any, ...]

    @property
    def batch_axis(self) -> int:
        return 0 if self.batch_sizes is not None or self.settings[5] else 1

    def __call__(self, x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
        packed = () if self.batch_sizes is None else (self.batch_sizes,)
        state = list(states) if self.several else states[0]
        out: tuple[Tensor, ...] = self.function(x, *packed, state, list(weights), *self.settings)
        return out

    def vectorised(
        self, x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        """The same, also inside `torch.vmap`."""
        if torch.is_grad_enabled():
            return self(x, states, weights)
        out: tuple[Tensor, ...] = _FoldedCall.apply(self, len(states), x, *states, *weights)  # type: ignore[no-untyped-call]
        return out


class _FoldedCall(torch.autograd.Function):
    """A call whose samples `torch.vmap` makes further items: PyTorch has no such rule of its own."""

    @staticmethod
    def forward(call: _Call, states: int, x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        return call(x, tensors[:states], tensors[states:])

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """There is no gradient to prepare."""

    @staticmethod
    def vmap(
        info: Any, axes: tuple[Any, ...], call: _Call, states: int, x: Tensor, *tensors: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """The samples next to the items, so that packed sequences stay in order."""
        of_x, of_tensors, size = axes[2], axes[3:], info.batch_size
        if any(axis is not None for axis in of_tensors[states:]):
            raise RuntimeError("a recurrent layer with weights of each sample cannot be vectorised")
        inner = call.batch_axis
        if call.batch_sizes is not None:
            call = replace(call, batch_sizes=call.batch_sizes * size)
        begun = [
            _fold(h, axis, 1, size) for h, axis in zip(tensors[:states], of_tensors[:states], strict=True)
        ]
        out, *ends = call.vectorised(_fold(x, of_x, inner, size), begun, tensors[states:])
        # (..., n * samples, ...) to (..., n, samples, ...)
        parts = [torch.unflatten(out, inner, (-1, size)), *(torch.unflatten(h, 1, (-1, size)) for h in ends)]
        return tuple(parts), (inner + 1, *[2] * len(ends))


def _fold(h: Tensor, axis: int | None, inner: int, size: int) -> Tensor:
    """(..., n, ...) for each sample to (..., n * samples, ...)."""
    # (..., n, samples, ...), expanded where the tensor is the same for all samples
    whole = (
        h.unsqueeze(inner + 1).expand(*h.shape[: inner + 1], size, *h.shape[inner + 1 :])
        if axis is None
        else h.movedim(axis, inner + 1)
    )
    return whole.flatten(inner, inner + 1)  # (..., n * samples, ...)


Drop = Callable[[str, float, Tensor], Tensor]
"""(kind of the dropout, probability, input) to its result."""


def recurrent(
    function: Callable[..., Any], args: tuple[Any, ...], drop: Drop, each_step: bool
) -> tuple[Tensor, ...]:
    """A recurrent call in which a function stands for the dropout between its layers.

    Args:
        function: One of `RECURRENT`.
        args: The arguments of the call.
        drop: Called with the output of each layer but the last; not where the call drops nothing.
        each_step: Whether a mask is for one step, as PyTorch trains; otherwise it is for all steps of a sequence.

    Returns:
        What the call returns: the output of the last layer and the last states of all.
    """
    x, *rest = args
    sizes = rest.pop(0) if isinstance(rest[2], list | tuple) else None
    states, weights, *settings = rest
    several = isinstance(states, list | tuple)
    states = tuple(states) if several else (states,)
    call = _Call(function, sizes, several, tuple(settings))
    biases, layers, p, training, bidirectional, *first = settings
    if not (layers > 1 and p > 0 and training):
        return call.vectorised(x, states, weights)
    one = replace(call, settings=(biases, 1, 0.0, False, bidirectional, *first))
    rows, per_layer = (2 if bidirectional else 1), len(weights) // layers
    ends = []
    for layer in range(layers):
        begun = [h[rows * layer : rows * (layer + 1)] for h in states]
        x, *end = one.vectorised(x, begun, weights[per_layer * layer : per_layer * (layer + 1)])
        ends.append(end)
        if layer + 1 < layers:
            x = _dropped(p, x, sizes, drop) if each_step else drop("sequence", p, x)
    return (x, *(torch.cat(h) for h in zip(*ends, strict=True)))


def _dropped(p: float, x: Tensor, sizes: Tensor | None, drop: Drop) -> Tensor:
    """Dropout with a mask of each step, which all items share."""
    if sizes is None:
        return drop("unit", p, x)
    # Rows of packed sequences: those of the first step, of the second, ... Their masks are those of whole sequences.
    length, items = len(sizes), int(sizes[0])
    factors = drop("packed", p, x.new_ones(()).expand(length, items, x.shape[-1]))  # (L, n, H)
    step = torch.repeat_interleave(torch.arange(length), sizes).to(x.device)  # (rows,)
    return x * factors[:, 0].index_select(0, step)
