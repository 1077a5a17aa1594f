"""Monte-Carlo DropConnect: random masks on weights instead of activations."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrize import is_parametrized

from baldur.core.networks import device_of, tensors
from baldur.core.trees import items_of, map_tree, place, take
from baldur.errors import DamagedArtefact, InvalidArgument, NoStochasticSite, UnsupportedNetwork
from baldur.likelihoods import CATEGORICAL, Likelihood
from baldur.posteriors._saving import read, save
from baldur.posteriors._weights import WeightDraws
from baldur.posteriors.draws import number_of_draws
from baldur.posteriors.dropout.masks import keep
from baldur.posteriors.dropout.sites import apply_mask
from baldur.posteriors.network import NetworkPosterior, frozen

KIND = "dropconnect"

# Items times samples at a time, and what the weights of the samples that are computed together may take.
_ROWS = 2048
_STACKED = 2**28

LAYERS: tuple[type[nn.Module], ...] = (
    nn.Linear,
    nn.Bilinear,
    nn.modules.conv._ConvNd,
    nn.RNNBase,
    nn.RNNCellBase,
    nn.MultiheadAttention,
)
"""Whose weights are masked where nothing else is said: linear, convolutional and recurrent layers, and attention."""

Layers = Sequence[type[nn.Module]] | Sequence[str]
"""Types of layers, or paths in the network: of layers, of blocks, for all layers in them, or of weights."""


class DropConnect(NetworkPosterior):
    """Masks on the weights at prediction time as samples from an approximate posterior.

    Sample t has the weights W ⊙ M_t / (1 - p), M_t ~ Bernoulli(1 - p) for every entry, and the biases of the
    network. Only tensors are replaced, so stride, groups, dilation and padding stay the same. A weight that is used in
    several places has one mask. The masks are kept, with T bits for each weight.
    (Wan et al., ICML 2013; Mobiny et al., Scientific Reports 11, 2021.)

    Args:
        network: A trained network; it is copied and never changed. Its dropout is off.
        p: The probability of dropping a weight; 0 gives the network itself.
        layers: The layers with masked weights, as types or paths.
        likelihood: The meaning of the network's outputs.

    Raises:
        InvalidArgument: p is not a probability, or there is no layer of that path.
        NoStochasticSite: There are no such layers.
        UnsupportedNetwork: A layer computes its weights from others.
    """

    def __init__(
        self,
        network: nn.Module,
        p: float,
        layers: Layers = LAYERS,
        *,
        likelihood: Likelihood = CATEGORICAL,
    ) -> None:
        self.network = frozen(network)
        self.p = _checked(p)
        self.likelihood = likelihood
        self.masked = masked_weights(self.network, layers)
        if p == 0:
            warnings.warn("p is 0, so all samples are the same function", stacklevel=2)

    def draw(self, T: int | None = None, seed: int = 0) -> WeightDraws:
        """T functions. `draw(T)` is a prefix of `draw(T + 1)` with the same seed.

        Args:
            T: Number of samples; 20 by default.
            seed: Seed of the samples.

        Returns:
            The functions.

        Raises:
            InvalidArgument: T < 1.
        """
        samples = range(number_of_draws(T))
        kind = _TogetherDraws if self.p > 0 and self._linear else WeightDraws
        return kind(
            self.network,
            _MaskedWeights(self, seed),
            samples,
            likelihood=self.likelihood,
            degenerate=self.p == 0,
        )

    @property
    def _linear(self) -> bool:
        """Whether all masked weights are matrices of linear layers or attention."""
        owners = (self.network.get_submodule(name.rpartition(".")[0]) for name in self.masked)
        return all(isinstance(owner, nn.Linear | nn.MultiheadAttention) for owner in owners)

    def save(self, folder: Path) -> None:
        """Write the weights as safetensors, and the rate and the names of masked weights as JSON.

        Args:
            folder: An existing folder.
        """
        facts = {"p": self.p, "masked": list(self.masked)}
        save(folder, self.network, KIND, likelihood=self.likelihood, facts=facts)


class _TogetherDraws(WeightDraws):
    """Samples that differ in the matrices of linear layers. The unmasked part runs once, the rest as batched products.

    On a processor, the batched products take as long as T single ones, so the unmasked part saves the time.
    """

    _together = True  # until vmap refuses the network
    _stacks: tuple[dict[str, Tensor], ...] | None = None

    @torch.inference_mode()
    def __call__(self, x: Any) -> Tensor:
        x = place(x, device_of(self.network))
        n, size = items_of(x), max(1, _ROWS // len(self))
        if self._together and n:
            try:
                parts = [self._of_all(take(x, slice(a, min(a + size, n)))) for a in range(0, n, size)]
                return torch.cat(parts) if len(parts) > 1 else parts[0]
            except (UnsupportedNetwork, torch.OutOfMemoryError):
                raise
            except (RuntimeError, ValueError):  # what vmap says of code that it cannot vectorise
                self._together = False
        return super().__call__(x)

    def _of_all(self, x: Any) -> Tensor:
        """All samples of some items, (n, T, C, ...), in groups whose weights fit into the memory limit."""
        # A copy for each, since the network may change it. With out_dims=1, vmap transposes equal samples.
        parts = [torch.vmap(partial(self._of, map_tree(torch.clone, x)))(stack) for stack in self._stacked()]
        return (torch.cat(parts) if len(parts) > 1 else parts[0]).movedim(0, 1)  # (n, T, C, ...)

    def _of(self, x: Any, weights: Mapping[str, Tensor]) -> Tensor:
        return WeightDraws(self.network, lambda _: weights, range(1), likelihood=self.likelihood)._sample(
            0, x
        )

    def _stacked(self) -> Iterable[dict[str, Tensor]]:
        """The stacked weights of the samples, kept if there is only one group."""
        if self._stacks is not None:
            return self._stacks
        bytes_each = sum(weight.nbytes for weight in self._weights(self.samples[0]).values())
        group = max(1, _STACKED // bytes_each)
        ranges = [self.samples[a : a + group] for a in range(0, len(self), group)]
        stacks = map(self._stack, ranges)
        if len(ranges) > 1:
            return stacks
        self._stacks = tuple(stacks)
        return self._stacks

    def _stack(self, samples: range) -> dict[str, Tensor]:
        each = [self.weights(t) for t in samples]
        return {name: torch.stack([weights[name] for weights in each]) for name in each[0]}  # (t, *shape)


class _MaskedWeights:
    """Maps t to the masked weights of sample t. The masks are made once."""

    def __init__(self, posterior: DropConnect, seed: int) -> None:
        own = tensors(posterior.network)
        self.own = {name: own[name] for name in posterior.masked}
        self.p = posterior.p
        self.seed = seed
        self.bits: dict[tuple[int, str], NDArray[np.uint8]] = {}

    def __call__(self, t: int) -> Mapping[str, Tensor]:
        if self.p == 0:
            return {}
        return {
            name: apply_mask("unit", self.p, weight, self._mask(t, name, weight))
            for name, weight in self.own.items()
        }

    def _mask(self, t: int, name: str, weight: Tensor) -> Tensor:
        if (t, name) not in self.bits:
            mask = keep(self.seed, name, range(t, t + 1), weight.shape, self.p)
            self.bits[t, name] = np.packbits(mask.numpy())
        bits = np.unpackbits(self.bits[t, name], count=weight.numel())
        mask = torch.from_numpy(bits).view(torch.bool).view(weight.shape)  # (*weight shape)
        return mask.to(weight.device)


def masked_weights(network: nn.Module, layers: Layers = LAYERS) -> tuple[str, ...]:
    """The names of the weights of some layers. Shared weights occur once.

    Args:
        network: Any network.
        layers: Types of layers, or paths.

    Returns:
        Names from `network.named_parameters()`.

    Raises:
        InvalidArgument: There is no layer of that path.
        NoStochasticSite: There are no such layers.
        UnsupportedNetwork: A layer computes its weights from others, or has none yet.
    """
    if isinstance(layers, str):
        raise InvalidArgument(f"layers are a sequence of paths: layers=({layers!r},)")
    modules = dict(network.named_modules())
    weights = dict(network.named_parameters(remove_duplicate=False))
    paths = [layer for layer in layers if isinstance(layer, str)]
    types = tuple(layer for layer in layers if isinstance(layer, type))
    if unknown := [path for path in paths if path not in modules and path not in weights]:
        raise InvalidArgument(f"the network has no layer {', '.join(map(repr, unknown))}")
    blocks = [modules[path] for path in paths if path in modules] + ([network] if types else [])
    chosen = {module for block in blocks for module in block.modules() if isinstance(module, types or LAYERS)}
    wanted = {weights[path] for path in paths if path in weights}
    for path, module in modules.items():
        if module in chosen:
            wanted |= _weights_of(path, module)
    names = tuple(name for name, parameter in network.named_parameters() if parameter in wanted)
    if not names:
        raise NoStochasticSite(
            "the network has none of the layers whose weights are to be dropped; name some that it has with layers="
        )
    return names


def _weights_of(path: str, layer: nn.Module) -> set[nn.Parameter]:
    own = {p for name, p in layer._parameters.items() if "weight" in name and p is not None}
    if is_parametrized(layer) or not own:
        raise UnsupportedNetwork(f"'{path}': its weights are computed from others, so none can be dropped")
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in own):
        raise UnsupportedNetwork(f"'{path}' has no shape yet: apply the network to a batch first")
    return own


@contextmanager
def weights_dropped(network: nn.Module, p: float, layers: Layers = LAYERS) -> Iterator[None]:
    """Train a network with DropConnect: in training mode, each pass has new masks, which all its items share.

    The masks come from PyTorch's generator. Weights keep their names, and are masked only while the network runs.

    Args:
        network: The network; hooks change it until the block ends.
        p: The probability of dropping a weight.
        layers: The layers with masked weights, as types or paths.

    Yields:
        Nothing; train the network in the block.

    Raises:
        InvalidArgument: p is not a probability, or there is no layer of that path.
        NoStochasticSite: There are no such layers.
        UnsupportedNetwork: A layer computes its weights from others.
    """
    masking = _Masking(_checked(p), frozenset(masked_weights(network, layers)))
    handles = (
        network.register_forward_pre_hook(masking.begin),
        network.register_forward_hook(masking.end, always_call=True),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Masking:
    """Replaces weights by masked tensors before a pass, and restores them after it."""

    def __init__(self, p: float, names: frozenset[str]) -> None:
        self.p = p
        self.names = names
        self.away: list[tuple[nn.Module, str, nn.Parameter]] = []

    def begin(self, network: nn.Module, inputs: Any) -> None:
        if not network.training or self.p == 0:
            return
        masked = {
            parameter: functional.dropout(parameter, self.p)
            for name, parameter in network.named_parameters()
            if name in self.names
        }
        for module in network.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None and parameter in masked:
                    self.away.append((module, name, parameter))
        for module, name, parameter in self.away:
            held: dict[str, Any] = module._parameters
            held[name] = masked[parameter]  # no parameter, for the length of a pass

    def end(self, network: nn.Module, inputs: Any, output: Any) -> None:
        while self.away:
            module, name, parameter = self.away.pop()
            module._parameters[name] = parameter


def _checked(p: float) -> float:
    if not 0 <= p <= 1:
        raise InvalidArgument(f"the probability of dropping a weight is between 0 and 1, not {p}")
    return float(p)


def load(folder: Path, network: nn.Module) -> DropConnect:
    """Load a saved posterior.

    Args:
        folder: The folder of the saved posterior.
        network: The architecture; its weights are overwritten.

    Returns:
        The posterior.

    Raises:
        DamagedArtefact: A file is missing, incomplete or of another network.
    """
    saved = read(folder, network)
    try:
        p, masked = float(saved.facts["p"]), tuple(map(str, saved.facts["masked"]))
        return DropConnect(network, p, masked, likelihood=saved.likelihood)
    except (KeyError, TypeError, ValueError, InvalidArgument, NoStochasticSite) as error:
        raise DamagedArtefact(f"the saved posterior in {folder} is not whole: {error}") from error
