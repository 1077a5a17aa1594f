"""Channel dropout in front of a convolution, as algebra.

A convolution is a sum over its input channels, and a channel mask weighs the terms: z_t = b + sum_i a_ti (W_i * h_i)
with a_ti = m_ti / (1 - p). So each channel's contribution W_i * h_i is computed once for all samples. The T samples are
then the product of a (T, I) matrix with the contributions. If the next mask drops an output channel in some samples,
those rows are left out.

Inside, the items are the last axis. Each product is then one large matrix product for pictures of any size, and pooling
is vectorised over the items.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil, prod

import torch
from torch import Tensor
from torch.nn import functional

from baldur.posteriors.dropout.chain import Layer
from baldur.posteriors.dropout.dense import ChainSamples
from baldur.posteriors.dropout.steps import Pair, Pooling, TensorFunction

# What the activations of a block of items may take: on a processor, little more than its caches hold.
_BLOCK_BYTES = {"cpu": 16 * 2**20}
# What the contributions to a group of output channels may take.
_GROUP_BYTES = {"cpu": 8 * 2**20}
_OTHER_BYTES = 512 * 2**20
# More threads would wait for the interpreter.
_MOST_THREADS = 8


class ConvolutionalSamples(ChainSamples):
    """A chain that begins with a convolution under T samples: (n, I, H, W) of the trunk to logits (n, T, C)."""

    def __init__(
        self,
        layers: Sequence[Layer],
        keeps: Sequence[tuple[Tensor, float] | None],
        T: int,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(layers, keeps, T, dtype)
        first, keep = layers[0], keeps[0]
        assert keep is not None
        mixing = keep[0].to(first.weight.dtype) * keep[1]
        mixing = torch.cat([mixing, mixing.new_ones(T, 1)], 1)  # (T, I + 1), the last for the bias
        self.mixing = mixing.to(self.dtypes[0])
        outputs = self.kept_outputs(0)
        kept = torch.ones(T, len(first.weight), dtype=torch.bool) if outputs is None else outputs.cpu()
        counts = kept.sum(1)
        self.starts = [0, *counts.cumsum(0).tolist()]
        # Sample t's activations lie together: rows starts[t] to starts[t + 1], one for each channel it needs.
        rows = kept.cumsum(1) - 1 + torch.tensor(self.starts[:-1]).unsqueeze(1)  # (T, O)
        device = first.weight.device
        # Of each output channel the samples that need it, (t,), and the rows where their activations go, (t,).
        self.samples = [kept[:, o].nonzero().flatten().to(device) for o in range(len(first.weight))]
        self.rows = [rows[kept[:, o], o].to(device) for o in range(len(first.weight))]  # O times (t,)
        inputs, taps = first.weight.shape[1], first.weight[0, 0].numel()
        together = inputs * (taps * len(first.weight) + int(counts.sum()))
        apart = taps * int((keep[0].cpu().sum(1) * counts).sum())
        self.contributions = together < apart
        self._by_input: Tensor | None = None
        self._geometry: dict[torch.Size, _Geometry] = {}
        self._idle: list[_Workspace] = []

    def __call__(self, h: Tensor) -> Tensor:
        h = h.to(self.dtypes[0])
        size = self._block(h)
        parts = _each(self._logits, [h[a : a + size] for a in range(0, max(1, len(h)), size)])
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _logits(self, h: Tensor) -> Tensor:
        """The samples of one block of items, (n, T, C)."""
        if not self.contributions or not len(h):
            return torch.stack([self.follow(a, t) for t, a in enumerate(self._apart(h))], 1)  # (n, T, C)
        work = self._idle.pop() if self._idle else _Workspace()  # one for each thread that is here
        logits = [self.follow(a, t) for t, a in enumerate(self._mixed(h, work))]
        self._idle.append(work)
        return torch.stack(logits, 1)  # (n, T, C)

    def _block(self, h: Tensor) -> int:
        """Items at a time, by shapes alone, and as equal as they can be."""
        plan = self._plan(h)
        weight = self.layers[0].weight
        most = max(map(len, self.samples))
        item = plan.positions * (weight[0].numel() + most) + prod(plan.out) * self.starts[-1]
        budget = _BLOCK_BYTES.get(h.device.type, _OTHER_BYTES)
        size = max(1, budget // (item * h.element_size()))
        return ceil(len(h) / ceil(len(h) / size)) if len(h) else 1

    def _plan(self, h: Tensor) -> "_Geometry":
        if h.shape[2:] not in self._geometry:
            self._geometry[h.shape[2:]] = _geometry(self.layers[0], h)
        return self._geometry[h.shape[2:]]

    def _apart(self, h: Tensor) -> Iterator[Tensor]:
        """The first convolution for one sample after the other, on the channels that it keeps."""
        for t in range(self.T):
            inputs = self.kept_inputs(0, t)
            assert inputs is not None
            yield self.layers[0](h.index_select(1, inputs), *self.cut(0, t))

    def _mixed(self, h: Tensor, work: "_Workspace") -> Iterator[Tensor]:
        """The first convolution for all samples at once, as mixtures of its input channels' contributions."""
        first, n, plan = self.layers[0], len(h), self._plan(h)
        columns = plan.positions * n
        inputs, outputs = first.weight.shape[1], len(first.weight)
        patches = _patches(first, h, plan, work)
        if self._by_input is None:
            self._by_input = first.weight.flatten(2).transpose(0, 1).to(h.dtype).contiguous()  # (I, O, taps)
        limit = _GROUP_BYTES.get(h.device.type, _OTHER_BYTES)
        group = max(1, min(outputs, limit // (inputs * columns * h.element_size())))
        group = ceil(outputs / ceil(outputs / group))
        done = work.take("done", h, (self.starts[-1], prod(plan.out) * n))
        for start in range(0, outputs, group):
            weight = self._by_input[:, start : start + group]
            terms = work.take("terms", h, (inputs + 1, weight.shape[1], columns))
            torch.bmm(weight, patches, out=terms[:-1])  # (I, o, columns)
            terms[-1] = first.bias[start : start + group, None]  # (o, columns), as one more input channel
            for i, samples in enumerate(self.samples[start : start + group]):
                if len(samples):
                    z = work.take("mixed", h, (len(samples), columns))
                    torch.mm(self.mixing[samples], terms[:, i], out=z)  # (t, columns)
                    finished = plan.finish(z, n).flatten(1)  # (t, height * width * n)
                    done.index_copy_(0, self.rows[start + i], finished)
        for t in range(self.T):
            own = done[self.starts[t] : self.starts[t + 1]].view(-1, *plan.out, n)  # (c, height, width, n)
            yield own.permute(3, 0, 1, 2)  # (n, c, height, width)


@dataclass(frozen=True)
class _Geometry:
    """How a convolution's output lies in memory: window offset, height, width, and the items last.

    Args:
        window: The sides of the windows that the first pooling takes the maximum of; (1, 1) where it is another.
        inside: How many windows there are, down and across.
        before: The functions before that pooling; none where there is none.
        behind: The functions that are left.
        out: Height and width after all.
    """

    window: Pair
    inside: Pair
    before: tuple[TensorFunction, ...]
    behind: tuple[TensorFunction, ...]
    out: Pair

    @property
    def positions(self) -> int:
        return prod(self.window) * prod(self.inside)

    def finish(self, z: Tensor, n: int) -> Tensor:
        """Later functions, for one channel: (samples, positions * n) to (samples, height, width, n)."""
        for function in self.before:
            z = function(z)
        if self.window != (1, 1):
            z = z.view(len(z), prod(self.window), -1).amax(1)  # (samples, windows * n)
        # The items are what a picture's channels are elsewhere, and lie last.
        z = z.view(len(z), *self.inside, n).permute(0, 3, 1, 2)  # (samples, n, down, across)
        for function in self.behind:
            z = function(z)
        return z.permute(0, 2, 3, 1)  # (samples, height, width, n)


def _geometry(layer: Layer, h: Tensor) -> _Geometry:
    assert layer.options is not None
    image = h.new_empty(1, 1, *h.shape[2:], device="meta")
    z = functional.conv2d(image, image.new_empty(1, 1, *layer.weight.shape[2:]), None, *layer.options)
    height, width = z.shape[2:]
    less = layer.finish(z).shape[2:]
    pools = [i for i, function in enumerate(layer.after) if isinstance(function, Pooling)]
    first = layer.after[pools[0]] if pools else None
    if isinstance(first, Pooling) and first.window is not None:
        (down, across), split = first.window, pools[0]
        before, behind = layer.after[:split], layer.after[split + 1 :]
    else:
        (down, across), before, behind = (1, 1), (), layer.after
    return _Geometry((down, across), (height // down, width // across), before, behind, (less[0], less[1]))


def _patches(layer: Layer, h: Tensor, plan: _Geometry, work: "_Workspace") -> Tensor:
    """The inputs of each tap of the kernel, by input channel: (I, taps, positions * n)."""
    assert layer.options is not None
    (down, right), (top, left), (dy, dx) = layer.options
    n, inputs, rows, columns = h.shape
    image = work.take("image", h, (inputs, rows + 2 * top, columns + 2 * left, n))
    if top or left:
        image.zero_()
    image[:, top : top + rows, left : left + columns] = h.permute(1, 2, 3, 0)  # (I, rows, columns, n)
    channel, row, column, item = image.stride()
    kernel, (high, wide) = layer.weight.shape[2:], plan.window
    # The image once for each tap of the kernel, by strides alone: nothing is copied before `patches`.
    windows = image.as_strided(
        (inputs, *kernel, high, wide, *plan.inside, n),
        (
            *(channel, dy * row, dx * column),
            *(down * row, right * column, high * down * row, wide * right * column, item),
        ),
    )
    patches = work.take("patches", h, tuple(windows.shape))
    patches.copy_(windows)  # (I, kernel, window, windows down and across, n)
    return patches.view(inputs, kernel.numel(), -1)  # (I, taps, positions * n)


class _Workspace:
    """Memory that is used again for each block: fresh pages would cost as much as the arithmetic."""

    def __init__(self) -> None:
        self._parts: dict[str, Tensor] = {}

    def take(self, name: str, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        """An uninitialised tensor of that shape; what had the name before is lost."""
        size, part = prod(shape), self._parts.get(name)
        if part is None or len(part) < size:
            self._parts[name] = part = like.new_empty(size)
        return part[:size].view(shape)


def _each(function: Callable[[Tensor], Tensor], blocks: Sequence[Tensor]) -> list[Tensor]:
    """The function of every block, several at a time where PyTorch may use several threads.

    One block is thousands of short steps; threads that share each step would spend their time waiting for
    each other.
    """
    threads = torch.get_num_threads()
    if threads == 1 or blocks[0].device.type != "cpu":
        return [function(block) for block in blocks]

    def alone(block: Tensor) -> Tensor:
        with torch.inference_mode():
            return function(block)

    workers = min(threads, len(blocks), _MOST_THREADS)
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(alone, blocks))
    finally:  # the number that the workers set for themselves would be that of threads to come
        torch.set_num_threads(threads)
