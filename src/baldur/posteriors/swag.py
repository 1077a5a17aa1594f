"""A Gaussian around the average of the iterates of SGD: SWAG.

Maddox, Garipov, Izmailov, Vetrov & Wilson, "A simple baseline for Bayesian uncertainty in deep learning",
NeurIPS 2019.
"""

import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from baldur.core.networks import call, device_of, restore
from baldur.core.trees import items_of, place, take
from baldur.errors import DamagedArtefact, InvalidArgument
from baldur.likelihoods import CATEGORICAL, Likelihood
from baldur.posteriors._saving import read, save
from baldur.posteriors._weights import WeightDraws, Weights, generator
from baldur.posteriors.draws import number_of_draws
from baldur.posteriors.dropout.sites import Dropouts
from baldur.posteriors.network import NetworkPosterior, frozen
from baldur.protocols import Batch

KIND = "swag"
_BATCH = 256


class SWAG(NetworkPosterior):
    """q(w) = N(θ̄, s (diag(Σ) + D̂ᵀD̂ / (K - 1))), with D̂ of K rows.

    A sample is θ̄ + √s (√Σ ⊙ z₁ + D̂ᵀz₂ / √(K - 1)) with z₁, z₂ ~ N(0, I). Running statistics of batch normalisation
    belong to one set of weights. So each sample (and θ̄) gets new statistics, by one pass over `inputs` without dropout.
    Memory is that of K + 2 networks. T samples cost T passes and, with batch normalisation, T passes over `inputs`.

    Args:
        network: Holds θ̄; it is copied and never changed.
        variances: Σ by the names of the weights. Other weights do not vary.
        deviations: D̂ by the same names, (K, *shape) with K ≥ 2; None for a diagonal covariance.
        inputs: Inputs for the statistics of batch normalisation, a tree of tensors with the item as first axis. They
            are kept and saved only if there is batch normalisation.
        scale: s; ½ in the paper, and 1 for a diagonal covariance.
        likelihood: The meaning of the network's outputs.

    Raises:
        InvalidArgument: Names, shapes or the scale are not valid, or batch normalisation has no inputs.
    """

    def __init__(
        self,
        network: nn.Module,
        variances: Mapping[str, Tensor],
        deviations: Mapping[str, Tensor] | None = None,
        inputs: Batch | None = None,
        *,
        scale: float = 0.5,
        likelihood: Likelihood = CATEGORICAL,
    ) -> None:
        self.network = frozen(network)
        self.variances = {name: v.detach().cpu() for name, v in variances.items()}
        self.deviations = {name: d.detach().cpu() for name, d in (deviations or {}).items()}
        self.scale = scale
        self.likelihood = likelihood
        self.columns = _check(self.network, self.variances, self.deviations, scale)
        normalised = batch_normalised(self.network, 0 if inputs is None else items_of(inputs))
        self.inputs = inputs if normalised else None
        if normalised:
            restore(self.network, batch_statistics(self.network, {}, self.inputs))

    @property
    def mean(self) -> dict[str, Tensor]:
        """θ̄ by name."""
        return {name: p for name, p in self.network.named_parameters() if name in self.variances}

    def draw(self, T: int | None = None, seed: int = 0) -> WeightDraws:
        """T sets of weights. `draw(T)` is a prefix of `draw(T + 1)` with the same seed.

        Args:
            T: Number of samples; 20 by default.
            seed: Seed of the samples.

        Returns:
            The functions.

        Raises:
            InvalidArgument: T < 1.
        """
        statistics: dict[int, Weights] = {}  # small, and dear to make again for each batch

        def weights(t: int) -> Weights:
            made = self._sample(generator(seed, t))
            if self.inputs is not None:
                if t not in statistics:
                    statistics[t] = batch_statistics(self.network, made, self.inputs)
                made |= statistics[t]
            return made

        samples = range(number_of_draws(T))
        return WeightDraws(
            self.network, weights, samples, likelihood=self.likelihood, degenerate=self.scale == 0
        )

    def save(self, folder: Path) -> None:
        """Write mean, variances, deviations and inputs as safetensors, the rest as JSON.

        Args:
            folder: An existing folder.
        """
        inputs: dict[str, Tensor] = {}
        facts = {"scale": self.scale, "inputs": _flatten(self.inputs, inputs)}
        tensors = {"variances": self.variances, "deviations": self.deviations, "inputs": inputs}
        save(folder, self.network, KIND, likelihood=self.likelihood, facts=facts, tensors=tensors)

    def _sample(self, random: torch.Generator) -> dict[str, Tensor]:
        z2 = torch.randn(self.columns, generator=random)
        made = {}
        for name, mean in self.mean.items():
            z1 = torch.randn(mean.shape, generator=random)
            noise = perturbation(self.variances[name], self.deviations.get(name), z1, z2, self.scale)
            made[name] = mean + noise.to(mean)
        return made


def load(folder: Path, network: nn.Module) -> SWAG:
    """Load a saved posterior.

    Args:
        folder: The folder of the saved posterior.
        network: The architecture; its weights are overwritten.

    Returns:
        The posterior. Its draws equal those of the saved one.

    Raises:
        DamagedArtefact: A file is missing, incomplete or of another network.
    """
    saved = read(folder, network)
    groups = saved.tensors
    try:
        return SWAG(
            network,
            groups["variances"],
            groups.get("deviations"),
            _unflatten(saved.facts["inputs"], groups.get("inputs", {})),
            scale=saved.facts["scale"],
            likelihood=saved.likelihood,
        )
    except (KeyError, TypeError, InvalidArgument) as error:
        raise DamagedArtefact(f"the saved posterior in {folder} cannot be read: {error}") from error


def batch_normalised(network: nn.Module, items: int) -> bool:
    """Whether a network has batch normalisation, whose statistics need items.

    Args:
        network: The network.
        items: Number of items.

    Returns:
        True if it has.

    Raises:
        InvalidArgument: It has, but there are fewer than two items.
    """
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return False
    if items < 2:
        raise InvalidArgument(
            f"the network has batch normalisation; SWAG needs two inputs or more to estimate it on, not {items}"
        )
    return True


def perturbation(
    variance: Float[Tensor, "*shape"],
    deviations: Float[Tensor, "K *shape"] | None,
    z1: Float[Tensor, "*shape"],
    z2: Float[Tensor, " K"],
    scale: float,
) -> Float[Tensor, "*shape"]:
    """The difference between a sample and the mean: √s (√Σ ⊙ z₁ + D̂ᵀz₂ / √(K - 1)).

    Args:
        variance: Σ.
        deviations: D̂, or None.
        z1: Standard normal numbers.
        z2: Standard normal numbers, equal for all weights of a sample.
        scale: s.

    Returns:
        The perturbation.
    """
    noise = variance.sqrt() * z1
    if deviations is not None:
        low_rank = torch.tensordot(z2.to(deviations), deviations, 1)  # (*shape)
        noise = noise + low_rank / math.sqrt(len(z2) - 1)
    return math.sqrt(scale) * noise


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """The same as `functional.batch_norm`, but not intercepted by `Dropouts`."""
    cudnn = torch.backends.cudnn.enabled
    return torch.batch_norm(x, weight, bias, running_mean, running_var, training, momentum, eps, cudnn)


class _Estimating(Dropouts):
    """Turns dropout off, and lets batch normalisation use the statistics of the batch."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is functional.batch_norm:
            return _batch_norm(*args, **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs)


@torch.inference_mode(False)
@torch.no_grad()
def batch_statistics(network: nn.Module, weights: Weights, inputs: Batch) -> dict[str, Tensor]:
    """The running statistics of batch normalisation for other weights of a network.

    They are averages over batches, weighted by the number of items. Dropout is off, as in predictions.

    Args:
        network: The network; it is not changed.
        weights: The weights to use instead of its own.
        inputs: A tree of tensors with the item as first axis.

    Returns:
        Means and variances by the names of the buffers.
    """
    twin = copy.deepcopy(network).eval()
    restore(twin, dict(weights))
    norms = {path: m.train() for path, m in twin.named_modules() if isinstance(m, _BatchNorm)}
    n, seen = items_of(inputs), 0
    for positions in torch.tensor_split(
        torch.arange(n), -(-n // _BATCH)
    ):  # even parts: none of a single item
        seen += len(positions)
        for norm in norms.values():
            norm.momentum = len(positions) / seen
        with _Estimating():
            call(twin, place(take(inputs, positions), device_of(twin)))
    return {
        name: buffer
        for name, buffer in twin.named_buffers()
        if name.rpartition(".")[0] in norms and buffer.is_floating_point()
    }


def _check(
    network: nn.Module, variances: Mapping[str, Tensor], deviations: Mapping[str, Tensor], scale: float
) -> int:
    """Check all values, and return the number of columns of deviations."""
    shapes = {name: p.shape for name, p in network.named_parameters()}
    if not variances or any(shapes.get(name) != v.shape for name, v in variances.items()):
        raise InvalidArgument("the variances do not have the names and shapes of the network's weights")
    if any(bool((v < 0).any()) for v in variances.values()):
        raise InvalidArgument("a variance is negative")
    if not 0 <= scale < math.inf:
        raise InvalidArgument(f"scale is {scale}; it must not be negative")
    if not deviations:
        return 0
    counts = {len(d) for d in deviations.values()}
    fit = {name: d.shape[1:] for name, d in deviations.items()} == {n: v.shape for n, v in variances.items()}
    if len(counts) > 1 or not fit:
        raise InvalidArgument(
            "the deviations do not have the names and shapes of the variances, with K in front"
        )
    if (columns := counts.pop()) < 2:
        raise InvalidArgument("the deviations need at least two columns, since K - 1 divides them")
    return columns


def _flatten(x: Batch, leaves: dict[str, Tensor]) -> Any:
    """Collect the tensors of a tree, and describe the tree as JSON."""
    if x is None:
        return None
    if isinstance(x, dict):
        return {"dict": {key: _flatten(value, leaves) for key, value in x.items()}}
    if isinstance(x, tuple | list):
        return {"list" if isinstance(x, list) else "tuple": [_flatten(value, leaves) for value in x]}
    name = str(len(leaves))
    leaves[name] = x
    return name


def _unflatten(form: Any, leaves: Mapping[str, Tensor]) -> Batch:
    """Rebuild the tree from the result of `_flatten`."""
    if form is None:
        return None
    if isinstance(form, str):
        return leaves[form]
    ((kind, members),) = form.items()
    if kind == "dict":
        return {key: _unflatten(value, leaves) for key, value in members.items()}
    parts = [_unflatten(value, leaves) for value in members]
    return parts if kind == "list" else tuple(parts)
