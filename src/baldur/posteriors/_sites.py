"""Finds every dropout call that a network makes, and puts shared masks in its place.

What is stochastic is learned by watching one forward pass as training would make it (`find_sites`), so that
modules, functional calls and dropout inside attention are all seen. At prediction the network is in
evaluation mode but for the modules that own a site, and `masking` replaces each call.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from baldur._modules import call, seeded
from baldur.errors import UnsupportedNetwork
from baldur.posteriors._attention import attention
from baldur.posteriors._network import device_of
from baldur.posteriors._products import affine
from baldur.posteriors._recurrent import RECURRENT, recurrent

_UNIT: set[Callable[..., Tensor]] = {functional.dropout, torch.dropout, torch.dropout_}
_CHANNEL: set[Callable[..., Tensor]] = {functional.dropout1d, functional.dropout2d, functional.dropout3d}
_CHANNEL |= {torch.feature_dropout, torch.feature_dropout_}
_ALPHA: set[Callable[..., Tensor]] = {functional.alpha_dropout, torch.alpha_dropout, torch.alpha_dropout_}
_FEATURE_ALPHA: set[Callable[..., Tensor]] = {functional.feature_alpha_dropout}
_FEATURE_ALPHA |= {torch.feature_alpha_dropout, torch.feature_alpha_dropout_}
_KINDS: dict[Callable[..., Any], str] = {
    **dict.fromkeys(_UNIT, "unit"),
    **dict.fromkeys(_CHANNEL, "channel"),
    **dict.fromkeys(_ALPHA, "alpha"),
    **dict.fromkeys(_FEATURE_ALPHA, "channel alpha"),
}
_RANDOM = {
    torch.rand,
    torch.randn,
    torch.rand_like,
    torch.randn_like,
    torch.bernoulli,
    torch.normal,
    torch.randint,
}
_RANDOM |= {
    Tensor.bernoulli,
    Tensor.bernoulli_,
    Tensor.uniform_,
    Tensor.normal_,
    Tensor.exponential_,
    Tensor.random_,
}
_RANDOM |= {
    torch.multinomial,
    torch.randperm,
    torch.native_dropout,
    functional.gumbel_softmax,
    functional.rrelu,
}

# The value that SELU tends to for -inf; alpha dropout sets dropped units to it (Klambauer et al., NeurIPS 2017).
_ALPHA_PRIME = -1.0507009873554805 * 1.6732632423543772


@dataclass(frozen=True)
class Site:
    """One dropout call of a network.

    Args:
        name: The module that makes the call, by its path, with the kind of the call.
        kind: "unit", "channel", "alpha", "channel alpha", "attention", or "sequence": between recurrent layers.
        p: The probability of dropping.
        shape: The shape of what it acts on, in a batch of two items.
        batch_axis: Which axis is the batch; None where none is (a mask on a table of positions, or of sequences).
    """

    name: str
    kind: str
    p: float
    shape: tuple[int, ...]
    batch_axis: int | None

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


def _arguments(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[float, bool]:
    """(p, training) of a dropout call, with the defaults of its signature."""
    p = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
    default = func is functional.dropout or func in {
        functional.dropout1d,
        functional.dropout2d,
        functional.dropout3d,
    }
    training = args[2] if len(args) > 2 else kwargs.get("training", kwargs.get("train", default))
    return float(p), bool(training)


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
_PROBABILITIES = {
    torch.softmax,
    functional.softmax,
    Tensor.softmax,
    torch.sigmoid,
    functional.sigmoid,
    Tensor.sigmoid,
}


class Dropouts(TorchFunctionMode):
    """Hands every active dropout call to a function and takes its answer for the result.

    Args:
        replace: `(kind, p, x) -> Tensor`, called in place of the dropout; without it dropout is off.
        noise: Called with the name of a function that draws random numbers of its own.
        where: The name of the module that is running, for messages.
    """

    def __init__(
        self,
        replace: Callable[[str, float, Tensor], Tensor] = lambda kind, p, x: x,
        noise: Callable[[str], None] = lambda name: None,
        where: Callable[[], str] = lambda: "the network",
    ) -> None:
        super().__init__()
        self.replace = replace
        self.noise = noise
        self.where = where
        self.last: Callable[..., Any] | None = None
        self.heads: int | None = None  # of the attention that is running with its heads folded into the batch

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        self.last = func
        if func in _KINDS:
            p, training = _arguments(func, args, kwargs)
            x: Tensor = args[0] if args else kwargs["input"]
            if not training:
                return x
            if self.heads is not None:
                return self.replace("attention", p, torch.unflatten(x, 0, (-1, self.heads))).flatten(0, 1)
            return self.replace(_KINDS[func], p, x)
        if func is functional.scaled_dot_product_attention:
            return attention(lambda p, h: self.replace("attention", p, h), *args, **kwargs)
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
            return recurrent(func, args, lambda p, h: self.replace("sequence", p, h))
        if func is functional.linear:
            return affine(*args, **kwargs)
        if func in _RANDOM:
            self.noise(getattr(func, "__name__", str(func)))
        return func(*args, **kwargs)

    def refuse_probabilities(self) -> None:
        """Refuse a network whose last call was a softmax or a sigmoid: it returned no logits.

        Raises:
            UnsupportedNetwork: It was.
        """
        if self.last in _PROBABILITIES:
            raise UnsupportedNetwork(
                f"the network ends in {getattr(self.last, '__name__', 'a softmax')} and so returns probabilities; "
                "take that off: logits (or log-probabilities) are expected"
            )


def _rest(args: tuple[Any, ...]) -> dict[str, Any]:
    """The arguments of `batch_norm` after `training`, where they were given by position."""
    return dict(zip(("momentum", "eps"), args[6:], strict=False))


@contextmanager
def _as_training(network: nn.Module, running: list[tuple[str, nn.Module]]) -> Iterator[None]:
    """Everything but normalisation in training mode, and the path of the running module on a stack."""
    handles = []
    modes = {module: module.training for module in network.modules()}
    for path, module in network.named_modules():
        label = f"'{path}'" if path else f"'{type(network).__name__}'"
        handles.append(module.register_forward_pre_hook(lambda m, _, label=label: running.append((label, m))))
        handles.append(module.register_forward_hook(lambda *_: running.__delitem__(-1)))
        module.training = not isinstance(module, nn.modules.batchnorm._NormBase)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training


def _watch(network: nn.Module, x: Any) -> tuple[list[_Seen], list[tuple[str, nn.Module | None]]]:
    """The active dropout calls of one pass, each passed through unchanged, and who else draws random numbers."""
    seen: list[_Seen] = []
    noise: list[tuple[str, nn.Module | None]] = []
    running: list[tuple[str, nn.Module]] = []

    def record(kind: str, p: float, x: Tensor) -> Tensor:
        name, owner = running[-1]
        seen.append(_Seen(f"{name} ({kind})", owner, kind, p, tuple(x.shape)))
        return x

    def where() -> str:
        return running[-1][0] if running else "the network"

    def owned(name: str) -> None:
        noise.append((f"{where()} ({name})", running[-1][1] if running else None))

    mode = Dropouts(record, owned, where)
    with _as_training(network, running), seeded(0, device_of(network)), torch.no_grad(), mode:
        call(network, x)
    mode.refuse_probabilities()
    return seen, noise


def _batch_axis(two: _Seen, three: _Seen) -> int | None:
    """The one axis that has two entries in a batch of two items and three in a batch of three."""
    if two.kind == "sequence":
        return None
    changed = [i for i, (a, b) in enumerate(zip(two.shape, three.shape, strict=True)) if a != b]
    if not changed:
        return None
    if len(changed) == 1 and (two.shape[changed[0]], three.shape[changed[0]]) == (2, 3):
        return changed[0]
    raise UnsupportedNetwork(
        f"dropout at {two.name} acts on a tensor of shape {two.shape} for two items and {three.shape} for three, "
        "so no axis is the batch alone and no mask can be shared by all items. Keep the batch as an axis of its own."
    )


def find_sites(network: nn.Module, two: Any, three: Any) -> tuple[list[Site], list[nn.Module], list[str]]:
    """Every dropout call that training would make, p = 0 included, in order of execution.

    Args:
        network: The network; its modes are as before on return.
        two: A batch of two items.
        three: A batch of three items of the same shape.

    Returns:
        The sites, the modules that own them, and the names of calls that draw random numbers of their own
        (stochastic depth, say), which stay as evaluation mode has them.

    Raises:
        UnsupportedNetwork: A site has no batch axis of its own, its module draws other random numbers, or the network
            returns probabilities.
    """
    (first, noise), (second, _) = _watch(network, two), _watch(network, three)
    if [s.name for s in first] != [s.name for s in second]:
        raise UnsupportedNetwork(
            f"the network made {len(second)} dropout calls on three items but {len(first)} on two, so a sample would "
            "not be one function of its input"
        )
    sites = [
        Site(a.name, a.kind, a.p, a.shape, _batch_axis(a, b)) for a, b in zip(first, second, strict=True)
    ]
    owners = [s.owner for s in first]
    for name, module in noise:
        if module in owners:
            raise UnsupportedNetwork(
                f"{name}: the module that calls dropout draws random numbers of its own when it trains, so a sample "
                "would not be one function; move that into a module of its own (it is then off at prediction)"
            )
    return sites, owners, [name for name, _ in noise]


def apply_mask(kind: str, p: float, x: Tensor, mask: Tensor) -> Tensor:
    """Dropout with a given mask: x m / (1 - p), or the affine map of alpha dropout.

    Args:
        kind: The kind of the site.
        p: The probability of dropping.
        x: What it acts on.
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


def masking(sites: Sequence[Site], mask: Callable[[int, Site, Tensor], Tensor]) -> Dropouts:
    """A mode in which the s-th active dropout call takes `mask(s, site, x)` for its mask. Good for one pass.

    Args:
        sites: What `find_sites` found.
        mask: Gives the mask of a site, broadcasting against x.

    Returns:
        A context manager.
    """
    left = iter(enumerate(sites))

    def replace(kind: str, p: float, x: Tensor) -> Tensor:
        number, site = next(left, (len(sites), None))
        if site is None or (site.kind, site.p) != (kind, p):
            raise UnsupportedNetwork(
                f"dropout call {number + 1} of this batch ({kind}, p = {p}) is not the one seen before: the network "
                "takes another path for other inputs, so a sample would not be one function"
            )
        return apply_mask(kind, p, x, mask(number, site, x)) if p > 0 else x

    return Dropouts(replace)
