"""Finds all dropout calls of a network, and replaces them by shared masks.

`find_sites` watches a forward pass in training mode, so it finds modules, functional calls and dropout inside
attention. For predictions, the network is in evaluation mode, except for modules that own a site. `masking` then
replaces each dropout call.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from baldur.core.devices import seeded
from baldur.core.networks import call, device_of
from baldur.core.trees import map_tree
from baldur.errors import NoStochasticSite, UnsupportedNetwork
from baldur.posteriors.dropout.attention import attention
from baldur.posteriors.dropout.calls import KINDS, PROBABILITIES, RANDOM, arguments
from baldur.posteriors.dropout.products import affine
from baldur.posteriors.dropout.recurrent import RECURRENT, recurrent

# The value that SELU tends to for -inf; alpha dropout sets dropped units to it (Klambauer et al., NeurIPS 2017).
_ALPHA_PRIME = -1.0507009873554805 * 1.6732632423543772


@dataclass(frozen=True)
class Site:
    """One dropout call of a network.

    Args:
        name: The module that makes the call, by its path, with the kind of the call.
        kind: "unit", "channel", "alpha", "channel alpha", "attention"; or between recurrent layers "packed": on each
            step of packed sequences, and "sequence": on all steps.
        p: The probability of dropping.
        shape: The shape of what it acts on, in a batch of two items.
        batch_axis: Which axis is the batch; None where none is (a mask on a table of positions, or of sequences).
        in_place: Whether the call must change what it acts on, since the network uses that again.
    """

    name: str
    kind: str
    p: float
    shape: tuple[int, ...]
    batch_axis: int | None
    in_place: bool = False

    def mask_shape(self, shape: torch.Size) -> tuple[int, ...]:
        """The shape of one sample's mask on an input of this shape: the batch axis (and space, or time) is 1."""
        if self.kind == "sequence":  # also packed, where no axis is the batch alone
            return (*[1] * (len(shape) - 1), shape[-1])
        axis = -1 if self.batch_axis is None else self.batch_axis
        sizes = [1 if i == axis else size for i, size in enumerate(shape)]
        if self.kind.startswith("channel"):
            sizes[2:] = [1] * (len(sizes) - 2)
        return tuple(sizes)


@dataclass
class _Seen:
    name: str
    owner: nn.Module
    kind: str
    p: float
    shape: tuple[int, ...]
    in_place: bool


def _without_dispatch(func: FunctionType) -> Callable[..., Any]:
    """The same Python function, but looking inside itself instead of handing itself to the mode again."""
    inside = {**func.__globals__, "has_torch_function": lambda *_: False}
    copy = FunctionType(func.__code__, inside, func.__name__, func.__defaults__, func.__closure__)
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy


_attention_forward = _without_dispatch(functional.multi_head_attention_forward)  # type: ignore[arg-type]


_UNTRACKED = (
    "batch normalisation without running statistics makes every item's answer depend on its batch; "
    "use track_running_stats=True, or another normalisation"
)


class Dropouts(TorchFunctionMode):
    """Hands every active dropout call to a function and takes its answer for the result.

    Args:
        replace: `(kind, p, x, in place) -> Tensor`, called instead of the dropout; without it dropout is off.
        noise: Called with the name of a function that draws random numbers of its own.
        where: The name of the module that is running, for messages.
        each_step: Whether dropout between recurrent layers has a mask for each step, as in training.
    """

    def __init__(
        self,
        replace: Callable[[str, float, Tensor, bool], Tensor] = lambda kind, p, x, in_place: x,
        noise: Callable[[str], None] = lambda name: None,
        where: Callable[[], str] = lambda: "the network",
        each_step: bool = True,
    ) -> None:
        super().__init__()
        self.replace = replace
        self.each_step = each_step
        self.noise = noise
        self.where = where
        self.probabilities: tuple[str, Any] = "", None  # what gave the last ones, and them
        self.heads: int | None = None  # of the attention that is running with its heads folded into the batch

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in KINDS:
            p, training, in_place = arguments(func, args, kwargs)
            x: Tensor = args[0] if args else kwargs["input"]
            if not training:
                return x
            if self.heads is not None:
                by_head = torch.unflatten(x, 0, (-1, self.heads))  # (n, heads, L, S)
                return self.replace("attention", p, by_head, False).flatten(0, 1)  # (n * heads, L, S)
            return self.replace(KINDS[func], p, x, in_place)
        if func is functional.scaled_dot_product_attention:
            return attention(lambda p, h: self.replace("attention", p, h, False), *args, **kwargs)
        if func is functional.multi_head_attention_forward:
            self.heads = args[4] if len(args) > 4 else kwargs["num_heads"]
            try:
                with self:
                    return _attention_forward(*args, **kwargs)
            finally:
                self.heads = None
        if func is functional.batch_norm:  # statistics are those of training, whoever owns the call
            if (args[1] if len(args) > 1 else kwargs.get("running_mean")) is None:
                raise UnsupportedNetwork(f"{self.where()}: {_UNTRACKED}")
            return func(*args[:5], **{**kwargs, "training": False}, **_rest(args))
        if func in RECURRENT:
            return recurrent(func, args, lambda kind, p, h: self.replace(kind, p, h, False), self.each_step)
        if func is functional.linear and args:
            return affine(*args, **kwargs)
        if func in RANDOM:
            self.noise(getattr(func, "__name__", str(func)))
        out = func(*args, **kwargs)
        if func in PROBABILITIES:
            self.probabilities = getattr(func, "__name__", "a softmax"), out
        return out

    def refuse_probabilities(self, outputs: Any) -> None:
        """Refuse a network that returned what a softmax or a sigmoid gave: these are no logits.

        Args:
            outputs: The outputs of the network.

        Raises:
            UnsupportedNetwork: It did.
        """
        name, probabilities = self.probabilities
        if outputs is probabilities is not None:
            raise UnsupportedNetwork(
                f"the network ends in {name} and so returns probabilities; take that off: logits (or "
                "log-probabilities) are expected"
            )


def _rest(args: tuple[Any, ...]) -> dict[str, Any]:
    """The arguments of `batch_norm` after `training`, where they were given by position."""
    return dict(zip(("momentum", "eps"), args[6:], strict=False))


class _WatchingDropouts(Dropouts):
    """Passes every dropout call through, and notices when the network uses again what one was to change in place."""

    def __init__(self, running: list[tuple[str, nn.Module]], each_step: bool) -> None:
        super().__init__(
            self._pass, self._draws, lambda: running[-1][0] if running else "the network", each_step
        )
        self.running = running
        self.seen: list[_Seen] = []
        self.random: list[tuple[str, nn.Module | None]] = []
        self.changed: list[Tensor] = []
        self.again = False

    def _pass(self, kind: str, p: float, x: Tensor, in_place: bool) -> Tensor:
        name, owner = self.running[-1]
        self.seen.append(_Seen(f"{name} ({kind})", owner, kind, p, tuple(x.shape), in_place))
        if not in_place or p == 0:
            return x
        self.changed.append(x)
        return x.clone()  # another tensor, so that uses of the result are none of x

    def _draws(self, name: str) -> None:
        self.random.append((f"{self.where()} ({name})", self.running[-1][1] if self.running else None))

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        changed = self.changed.copy()
        out = super().__torch_function__(func, types, args, kwargs)
        if changed and _tensors(out):  # not where a shape was asked for
            self._look((args, kwargs), changed)
        return out

    def _look(self, used: Any, changed: Sequence[Tensor]) -> None:
        memory = {x.untyped_storage().data_ptr() for x in changed}
        self.again |= any(t.untyped_storage().data_ptr() in memory for t in _tensors(used))

    def finish(self, outputs: Any) -> None:
        """The pass is over."""
        self.refuse_probabilities(outputs)
        self._look(outputs, self.changed)
        if self.again:
            for x in self.changed:
                x.copy_(x.clone())  # an input then counts as changed


def _tensors(x: Any) -> list[Tensor]:
    """The dense tensors of anything that a function may take or give."""
    if isinstance(x, Tensor):
        return [x] if x.layout is torch.strided else []
    if isinstance(x, Mapping):
        return _tensors(list(x.values()))
    return [t for value in x for t in _tensors(value)] if isinstance(x, tuple | list) else []


@contextmanager
def _modes(
    network: nn.Module, trains: Callable[[nn.Module], bool], running: list[tuple[str, nn.Module]]
) -> Iterator[None]:
    """Some modules in training mode and the others not, and the path of the running module on a stack."""
    handles = []
    modes = {module: module.training for module in network.modules()}
    for path, module in network.named_modules():
        label = f"'{path}'" if path else f"'{type(network).__name__}'"
        handles.append(module.register_forward_pre_hook(lambda m, _, label=label: running.append((label, m))))
        handles.append(module.register_forward_hook(lambda *_: running.__delitem__(-1)))
        module.training = trains(module)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training


def _watch(
    network: nn.Module, x: Any, trains: Callable[[nn.Module], bool], each_step: bool
) -> _WatchingDropouts:
    """The active dropout calls of one pass, and who else draws random numbers."""
    running: list[tuple[str, nn.Module]] = []
    mode = _WatchingDropouts(running, each_step)
    with _modes(network, trains, running), seeded(0, device_of(network)), torch.no_grad():
        with mode:
            outputs = call(network, x)
        mode.finish(outputs)
    return mode


def _is_no_norm(module: nn.Module) -> bool:
    return not isinstance(module, nn.modules.batchnorm._NormBase)


def _batch_axis(two: _Seen, three: _Seen) -> int | None:
    """The one axis that has two entries in a batch of two items and three in a batch of three."""
    if two.kind == "sequence":
        return None
    if two.kind == "packed":
        return 1
    changed = [i for i, (a, b) in enumerate(zip(two.shape, three.shape, strict=True)) if a != b]
    if not changed:
        return None
    if len(changed) == 1 and (two.shape[changed[0]], three.shape[changed[0]]) == (2, 3):
        return changed[0]
    raise UnsupportedNetwork(
        f"dropout at {two.name} acts on a tensor of shape {two.shape} for two items and {three.shape} for three, "
        "so no axis is the batch alone and no mask can be shared by all items. Keep the batch as an axis of its own."
    )


def find_sites(
    network: nn.Module, two: Any, three: Any, each_step: bool = True
) -> tuple[list[Site], list[nn.Module], list[str]]:
    """Find the dropout calls of training that prediction makes as well, in order of execution; p = 0 is included.

    Args:
        network: The network. Its training modes are restored.
        two: A batch of two items. The network may change it.
        three: A batch of three items of the same shape.
        each_step: Whether dropout between recurrent layers has a mask for each step.

    Returns:
        The sites, the modules that make the calls, and the names of modules that are random in training only. Such a
        module draws its own random numbers (for example stochastic depth), or is called only in training (for example
        in an auxiliary head). It stays in evaluation mode.

    Raises:
        NoStochasticSite: All dropout calls are made in training only.
        UnsupportedNetwork: A site has no batch axis of its own, its module draws other random numbers, or the network
            returns probabilities.
    """
    training = _watch(network, map_tree(torch.clone, two), _is_no_norm, each_step)
    owners = [s.owner for s in training.seen]
    for name, module in training.random:
        if module in owners:
            raise UnsupportedNetwork(
                f"{name}: the module that calls dropout draws random numbers of its own when it trains, so a sample "
                "would not be one function; move that into a module of its own (it is then off at prediction)"
            )
    first, second = (_watch(network, x, set(owners).__contains__, each_step) for x in (two, three))
    if [s.name for s in first.seen] != [s.name for s in second.seen]:
        raise UnsupportedNetwork(
            f"the network made {len(second.seen)} dropout calls on three items but {len(first.seen)} on two, so a "
            "sample would not be one function of its input"
        )
    often = (Counter(s.name for s in mode.seen if s.p > 0) for mode in (training, first))
    only_training = [*(next(often) - next(often)).elements()]
    if only_training and not first.seen:
        raise NoStochasticSite(
            f"all dropout of this network ({', '.join(only_training)}) is in code that asks for the mode of a module "
            "around it and so runs in training only; call nn.Dropout without asking: it asks for its own mode"
        )
    sites = [
        Site(a.name, a.kind, a.p, a.shape, _batch_axis(a, b), a.in_place and first.again)
        for a, b in zip(first.seen, second.seen, strict=True)
    ]
    return sites, owners, [name for name, _ in training.random] + only_training


def apply_mask(kind: str, p: float, x: Tensor, mask: Tensor) -> Tensor:
    """Dropout with a given mask: x m / (1 - p), or the affine map of alpha dropout.

    Args:
        kind: The kind of the site.
        p: The probability of dropping.
        x: The input of the dropout.
        mask: True where a unit is kept; broadcasts against x.

    Returns:
        A tensor like x.
    """
    if p == 1:
        return torch.zeros_like(x)
    if kind.endswith("alpha"):
        a = ((1 - p) * (1 + p * _ALPHA_PRIME**2)) ** -0.5
        affine: Tensor = a * torch.where(mask, x, _ALPHA_PRIME) - a * p * _ALPHA_PRIME
        return affine
    scaled: Tensor = x * (mask.to(x.dtype) / (1 - p))
    return scaled


@contextmanager
def masking(sites: Sequence[Site], mask: Callable[[int, Site, Tensor], Tensor]) -> Iterator[None]:
    """One pass in which the s-th active dropout call takes `mask(s, site, x)` for its mask.

    Args:
        sites: The result of `find_sites`.
        mask: Gives the mask of a site, broadcasting against x.

    Yields:
        While the network runs.

    Raises:
        UnsupportedNetwork: The calls are others than the sites.
    """
    left = iter(enumerate(sites))
    why = "the network takes another path for other inputs, so a sample would not be one function"

    def replace(kind: str, p: float, x: Tensor, in_place: bool) -> Tensor:
        number, site = next(left, (len(sites), None))
        if site is None or (site.kind, site.p) != (kind, p):
            raise UnsupportedNetwork(
                f"dropout call {number + 1} of this batch ({kind}, p = {p}) is not the one seen before: {why}"
            )
        if p == 0:
            return x
        dropped = apply_mask(kind, p, x, mask(number, site, x))
        return x.copy_(dropped) if site.in_place else dropped

    with Dropouts(replace, each_step=all(site.kind != "sequence" for site in sites)):
        yield
    for number, site in left:
        raise UnsupportedNetwork(
            f"this batch made {number} dropout calls, and {site.name} would have been next: {why}"
        )
