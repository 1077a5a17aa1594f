"""A network's last layer as a regression on fixed features: the outputs are φ̃ Wᵀ."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from baldur.core.networks import call, device_of
from baldur.core.trees import items_of, map_tree, place, take
from baldur.errors import UnsupportedNetwork
from baldur.likelihoods import Likelihood
from baldur.posteriors.dropout.sites import Dropouts

_BATCH = 256


@dataclass(frozen=True)
class LastLayer:
    """The last layer of a network, and its inputs for some items, in float64 on the processor.

    Args:
        path: The path of the layer in the network.
        shape: The shape of one item's outputs; their number is C.
        inputs: φ̃, the inputs of the layer, with a 1 as the last if it has a bias.
        counts: Weights of the items.
        likelihood: The meaning of the outputs.
    """

    path: str
    shape: tuple[int, ...]
    inputs: Float[Tensor, "n D"]
    counts: Float[Tensor, " n"]
    likelihood: Likelihood

    def outputs(self, weights: Float[Tensor, "C D"]) -> Tensor:
        """The outputs of the network with other weights in its last layer.

        Args:
            weights: W, the bias as its last column.

        Returns:
            (n, *shape).
        """
        return (self.inputs @ weights.T).reshape(-1, *self.shape)  # (n, C) to (n, *shape)

    def log_likelihood(self, weights: Float[Tensor, "C D"], y: Tensor) -> Tensor:
        """Σ_n w_n log p(y_n | W).

        Args:
            weights: W.
            y: The labels.

        Returns:
            Nats.
        """
        return -(self.likelihood.losses(self.outputs(weights), y) * self.counts).sum()

    @cached_property
    def second_moment(self) -> tuple[Float[Tensor, " D"], Float[Tensor, "D D"]]:
        """The eigenvalues and eigenvectors of the weighted mean of φ̃φ̃ᵀ."""
        return eigen(self.inputs.T @ (self.counts[:, None] * self.inputs) / self.counts.sum())  # (D,), (D, D)


def last_layer(network: nn.Module, x: Any, likelihood: Likelihood, counts: Tensor | None = None) -> LastLayer:
    """The linear layer whose outputs are the network's outputs, and its inputs for some items.

    Args:
        network: In evaluation mode.
        x: A batch.
        likelihood: The meaning of the outputs; a log-softmax or a new shape may follow the layer.
        counts: How often each item counts.

    Returns:
        The layer.

    Raises:
        UnsupportedNetwork: There is none.
    """
    n = items_of(x)
    path, shape = find(network, copied(network, take(x, slice(0, 4))), likelihood)
    last, seen = linear(network, path), []
    handle = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].cpu().double()))
    try:
        for start in range(0, n, _BATCH):
            with torch.inference_mode(), Dropouts():
                call(network, copied(network, take(x, slice(start, start + _BATCH))))
    finally:
        handle.remove()
    each = torch.ones(n, dtype=torch.float64) if counts is None else counts.detach().cpu().double()
    return LastLayer(path, shape, with_one(torch.cat(seen), last).clone(), each, likelihood)


def find(network: nn.Module, few: Any, likelihood: Likelihood) -> tuple[str, tuple[int, ...]]:
    """Find the linear layer whose outputs are the network's outputs.

    Args:
        network: In evaluation mode.
        few: A small batch, which may be changed.
        likelihood: The meaning of the outputs.

    Returns:
        Its path, and the shape of one item's outputs.

    Raises:
        UnsupportedNetwork: There is no such layer, or another module shares its weights.
    """
    seen: list[tuple[str, Tensor, Tensor]] = []

    def watch(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: seen.append((name, inputs[0], output))

    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    handles = [module.register_forward_hook(watch(name)) for name, module in layers]
    try:
        with torch.inference_mode(), Dropouts() as mode:
            outputs = call(network, few)
        mode.refuse_probabilities(outputs)
    finally:
        for handle in handles:
            handle.remove()
    values = likelihood.log_probs(outputs, 1)
    wanted = "Laplace's approximation needs an nn.Linear as the last layer, applied once to each item"
    if not seen:
        raise UnsupportedNetwork(f"{wanted}; this network runs none")
    if likelihood.kind == "categorical" and outputs.ndim != 2:
        raise UnsupportedNetwork(
            f"Laplace's approximation takes one class an item, logits (n, C), not {tuple(outputs.shape)}"
        )
    name, inputs, last = seen[-1]
    _refuse_shared(network, name)
    if inputs.ndim != 2 or last.numel() != outputs.numel() or sum(name == other for other, *_ in seen) > 1:
        raise UnsupportedNetwork(
            f"{wanted}; '{name}' maps {tuple(inputs.shape)} to {tuple(last.shape)} in a network that gives "
            f"{tuple(outputs.shape)} for {items_of(few)} items"
        )
    shaped = last.reshape(outputs.shape)  # (n, *shape)
    if not torch.allclose(likelihood.log_probs(shaped, 1), values, rtol=1e-4, atol=1e-4):
        raise UnsupportedNetwork(f"{wanted}; something that changes its outputs follows '{name}'")
    return name, tuple(outputs.shape[1:])


def _refuse_shared(network: nn.Module, path: str) -> None:
    """Raise an error if another module shares the weights of the last layer."""
    layer = linear(network, path)
    for name, module in network.named_modules():
        if module is not layer and any(
            own is shared for own in module._parameters.values() for shared in layer.parameters()
        ):
            raise UnsupportedNetwork(
                f"Laplace's approximation gives the last layer '{path}' other weights, and '{name}' shares them; "
                "give the last layer its own"
            )


def copied(network: nn.Module, x: Any) -> Any:
    """A copy of a batch on the device of the network, which may change it.

    Args:
        network: The network.
        x: A batch.

    Returns:
        A copy.
    """
    return map_tree(torch.clone, place(x, device_of(network)))


def linear(network: nn.Module, path: str) -> nn.Linear:
    """A linear layer of a network.

    Args:
        network: The network.
        path: The path of the layer.

    Returns:
        The layer.

    Raises:
        UnsupportedNetwork: There is no linear layer at that path.
    """
    layer = dict(network.named_modules()).get(path)
    if not isinstance(layer, nn.Linear):
        raise UnsupportedNetwork(f"the network has no nn.Linear called {path!r}")
    return layer


def _bias(layer: nn.Linear) -> Tensor | None:
    return layer.bias


def with_one(features: Tensor, layer: nn.Linear) -> Tensor:
    """φ̃: features, with a 1 appended if the layer has a bias.

    Args:
        features: (n, D).
        layer: The last layer.

    Returns:
        (n, D) or (n, D + 1).
    """
    ones = features.new_ones(len(features), 0 if _bias(layer) is None else 1)
    return torch.cat([features, ones], 1)


def weights_of(layer: nn.Linear) -> Float[Tensor, "C D"]:
    """W: the weights of a layer in float64, with any bias as the last column.

    Args:
        layer: The layer.

    Returns:
        A copy on the processor.
    """
    bias = _bias(layer)
    columns = [layer.weight] if bias is None else [layer.weight, bias[:, None]]  # (C, D) and (C, 1)
    return torch.cat(columns, 1).detach().cpu().double()


def eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of a positive semidefinite matrix.

    Args:
        matrix: (D, D).

    Returns:
        Values, none below 0, and vectors in columns.
    """
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return values.clamp(min=0), vectors.contiguous()  # as it is read back, so that sums are taken alike


def put(weights: Float[Tensor, "C D"], layer: nn.Linear) -> None:
    """Write weights into a layer.

    Args:
        weights: Weights in the form of `weights_of`.
        layer: The layer; it is changed in place.
    """
    bias = _bias(layer)
    with torch.no_grad():
        layer.weight.copy_(weights if bias is None else weights[:, :-1])
        if bias is not None:
            bias.copy_(weights[:, -1])


def information(outputs: Tensor, likelihood: Likelihood) -> Float[Tensor, "n C C"]:
    """The Fisher information Λ of the outputs: E[-∂² log p(y | f) / ∂f²] over y ~ p(y | f).

    diag(p) - ppᵀ for classes, diag(p(1 - p)) for labels. For numbers diag(1/σ²) in the means, and
    diag(½ (∂ log σ² / ∂r)²) in the raw noise r.

    Args:
        outputs: f, (n, ...).
        likelihood: The meaning of the outputs.

    Returns:
        One matrix an item.
    """
    if likelihood.kind == "categorical":
        p = outputs.softmax(1)
        return torch.diag_embed(p) - p[:, :, None] * p[:, None, :]  # (n, C, C)
    if likelihood.kind == "bernoulli":
        p = outputs.sigmoid()
        return torch.diag_embed(p * (1 - p))  # (n, K, K)
    n = len(outputs)
    variance = likelihood.log_probs(outputs, 1)[:, 1].reshape(n, -1)  # (n, K)
    slope = functional.sigmoid(outputs[:, 1].reshape(n, -1)) / variance  # (n, K): ∂ log σ² / ∂r
    return torch.diag_embed(torch.cat([1 / variance, slope**2 / 2], 1))  # (n, 2K, 2K)
