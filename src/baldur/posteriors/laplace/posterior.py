"""Laplace's approximation in the last layer: a Gaussian around the trained weights.

E. Daxberger, A. Kristiadi, A. Immer, R. Eschenhagen, M. Bauer and P. Hennig, Laplace Redux: effortless Bayesian deep
learning, NeurIPS 2021; D. J. C. MacKay, A practical Bayesian framework for backpropagation networks, 1992.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from baldur.core.arrays import predictive
from baldur.errors import DamagedArtefact, InvalidArgument, Unsupported
from baldur.likelihoods import CATEGORICAL, Likelihood
from baldur.posteriors._saving import read, save
from baldur.posteriors._weights import generator
from baldur.posteriors.draws import NumberedDraws, number_of_draws
from baldur.posteriors.dropout.sites import Dropouts
from baldur.posteriors.laplace.curvature import Curvature, Structure, curvature, evidence, mode, most_likely
from baldur.posteriors.laplace.last_layer import copied, last_layer, linear, put, weights_of, with_one
from baldur.posteriors.laplace.links import bridge, probit
from baldur.posteriors.laplace.shifting import best_factor
from baldur.posteriors.network import NetworkPosterior, frozen, penultimate

KIND = "laplace"

Link = Literal["probit", "bridge", "samples"]

# Weights of the samples that are kept between batches, and that are made at a time; bytes.
_KEPT = 2**28
_BLOCK = 2**25


def approximate(
    network: nn.Module,
    x: Any,
    y: Tensor,
    *,
    structure: Structure = "kronecker",
    prior_precision: float | None = None,
    temperature: float = 1.0,
    likelihood: Likelihood = CATEGORICAL,
    counts: Tensor | None = None,
    refit: bool = True,
    mean_factor: float | None = None,
) -> "Laplace":
    """Laplace's approximation for the last layer of a trained network.

    W_MAP = argmax_W Σ_n log p(y_n | W)/τ - ½δ‖W‖², and δ maximises the marginal likelihood. A network that was trained
    on a few items is far from this mode, because its loss is flat. If its weights were used as the mode, δ would be so
    small that samples hardly reflect the training. (If the training itself should end in W_MAP, use the weight decay
    δ/n for a loss that is a mean over n items.)

    Args:
        network: A trained network whose last layer is an `nn.Linear`; it is not changed.
        x: The training inputs.
        y: The labels.
        structure: The structure of the curvature: "full", "kronecker" or "diagonal".
        prior_precision: δ; None maximises the marginal likelihood.
        temperature: τ; below 1, the data have more weight.
        likelihood: The meaning of the outputs.
        counts: Weights of the items.
        refit: Whether to move the last layer to the mode; otherwise its weights are used as the mode.
        mean_factor: α, the mean of the posterior divided by the mode; 1 is Laplace's approximation. None chooses the α
            with the largest evidence lower bound (`shifting.best_factor`); without `refit`, it means 1.

    Returns:
        The posterior.

    Raises:
        InvalidArgument: An argument is not valid, or the full structure is too large.
        UnsupportedNetwork: The outputs are not those of a linear layer.
    """
    _check(prior_precision, temperature, mean_factor)
    twin = frozen(network)
    last = last_layer(twin, x, likelihood, counts)
    layer, labels = linear(twin, last.path), y.cpu()
    trained = weights_of(layer)
    weights, given = trained, None if refit else curvature(last, trained, structure)

    def moved(delta: float) -> Tensor:
        """The mode, searched from the previous one."""
        return trained if given is not None else mode(last, weights, labels, delta, temperature)

    def explains(delta: float) -> float:
        nonlocal weights
        weights = moved(delta)
        return evidence(last, labels, weights, given or structure, delta, temperature)

    delta = most_likely(explains) if prior_precision is None else prior_precision
    weights = moved(delta)
    h = curvature(last, weights, structure) if given is None else given
    factor = mean_factor
    if factor is None:
        factor = best_factor(last, labels, weights, h, delta, temperature) if refit else 1.0
    put(factor * weights, layer)
    return Laplace(
        twin,
        h,
        layer=last.path,
        shape=last.shape,
        prior_precision=delta,
        temperature=temperature,
        likelihood=likelihood,
        mean_factor=factor,
    )


class Laplace(NetworkPosterior):
    """A Gaussian over the weights of the last layer. All earlier layers are fixed.

    p(W | D) ≈ N(αW_MAP, (H/τ + δI)⁻¹) with the curvature H of the loss, the temperature τ and the prior precision δ.
    The bias is a column of W. Laplace's approximation has α = 1. Sample t is one W_t for all items, so joint scores are
    those of functions. (Daxberger et al., NeurIPS 2021.) `approximate` makes one of a trained network.

    Args:
        network: A network with αW_MAP in its last layer; it is copied and never changed.
        curvature: H.
        layer: The path of the last layer, an `nn.Linear`.
        shape: The shape of one item's outputs.
        prior_precision: δ.
        temperature: τ; below 1 the data count for more.
        likelihood: The meaning of the network's outputs.
        mean_factor: α.

    Raises:
        InvalidArgument: δ, τ or α is not positive.
        UnsupportedNetwork: There is no such layer.
    """

    def __init__(
        self,
        network: nn.Module,
        curvature: Curvature,
        *,
        layer: str,
        shape: Sequence[int],
        prior_precision: float = 1.0,
        temperature: float = 1.0,
        likelihood: Likelihood = CATEGORICAL,
        mean_factor: float = 1.0,
    ) -> None:
        _check(prior_precision, temperature, mean_factor)
        self.network = frozen(network)
        self.curvature = curvature
        self.path = layer
        self.layer = linear(self.network, layer)
        self.shape = tuple(shape)
        self.mean = weights_of(self.layer)
        self.prior_precision = prior_precision
        self.temperature = temperature
        self.likelihood = likelihood
        self.mean_factor = mean_factor

    @property
    def precision(self) -> Float[Tensor, "C D"]:
        """The eigenvalues h/τ + δ of the posterior's precision."""
        return self.curvature.values / self.temperature + self.prior_precision

    def draw(self, T: int | None = None, seed: int = 0) -> "LaplaceDraws":
        """T functions. `draw(T)` is a prefix of `draw(T + 1)` with the same seed.

        Args:
            T: Number of samples; 20 by default.
            seed: Seed of the samples.

        Returns:
            The functions.

        Raises:
            InvalidArgument: T < 1.
        """
        return LaplaceDraws(self, seed, range(number_of_draws(T)))

    def weights(self, samples: Sequence[int], seed: int) -> Float[Tensor, "T C D"]:
        """The last layer's weights in some samples.

        W_t = αW_MAP + (H/τ + δI)^(-1/2) E_t. The symmetric root does not depend on the choice of eigenvectors for equal
        eigenvalues, and so not on the processor.

        Args:
            samples: The absolute numbers t.
            seed: Seed of the draws.

        Returns:
            Weights, float64, with the bias as their last column.
        """
        shape = self.mean.shape
        noise = [torch.randn(shape, dtype=torch.float64, generator=generator(seed, t)) for t in samples]
        return self.mean + self.curvature.scaled(self.precision.rsqrt(), torch.stack(noise))  # (T, C, D)

    def log_marginal_likelihood(self, x: Any, y: Tensor, counts: Tensor | None = None) -> float:
        """The logarithm of the marginal likelihood of the training data, over all weights of the last layer.

        log p(D) ≈ log p(D | W_MAP)/τ - ½ (log det(H/τ + δI) - CD log δ + δ‖W_MAP‖²).

        Args:
            x: The training inputs.
            y: The labels.
            counts: Weights of the items.

        Returns:
            Nats.
        """
        last = last_layer(self.network, x, self.likelihood, counts)
        mode = self.mean / self.mean_factor
        return evidence(last, y.cpu(), mode, self.curvature, self.prior_precision, self.temperature)

    def predictive(
        self, x: Any, link: Link = "probit", *, T: int = 20, seed: int = 0
    ) -> Float[Tensor, "n C *K"]:
        """The mean prediction of one batch, by a formula or from samples.

        Args:
            x: A batch.
            link: "probit" or "bridge", formulas of the covariance of the outputs; or "samples", the mean over T draws.
            T: Number of samples.
            seed: Seed of the samples.

        Returns:
            Log-probabilities, float64: (n, C) for classes, (n, 2, K) for labels.

        Raises:
            InvalidArgument: There is no such link.
            Unsupported: The link does not support this likelihood.
        """
        if link not in ("probit", "bridge", "samples"):
            raise InvalidArgument(f"the link is probit, bridge or samples, not {link!r}")
        kind = self.likelihood.kind
        if kind == "gaussian" or (link == "bridge" and kind != "categorical"):
            raise Unsupported(f"a mean prediction by {link!r} is not defined for {kind} outputs; use draws")
        if link == "samples":
            mean: Tensor = predictive(self.draw(T, seed)(x)).cpu()
            return mean
        with torch.inference_mode():
            inputs = with_one(self.trunk(x).cpu().double(), self.layer)
            f, covariance = inputs @ self.mean.T, self.outputs_covariance(inputs)  # (n, C) and (n, C, C)
            return bridge(f, covariance) if link == "bridge" else probit(f, covariance, self.likelihood)

    def outputs_covariance(self, inputs: Float[Tensor, "n D"]) -> Float[Tensor, "n C C"]:
        """The covariance of the outputs of some items.

        Args:
            inputs: Inputs of the last layer, float64, with a 1 for the bias.

        Returns:
            Σ_f of each item.
        """
        return self.curvature.outputs_covariance(inputs, 1 / self.precision)

    def trunk(self, x: Any) -> Float[Tensor, "n D"]:
        """The inputs of the last layer.

        Args:
            x: A batch.

        Returns:
            Features.
        """
        with torch.inference_mode(), Dropouts():
            return penultimate(self.network, copied(self.network, x))

    def save(self, folder: Path) -> None:
        """Write weights and curvature as safetensors, and the rest as JSON.

        Args:
            folder: An existing folder.
        """
        h = self.curvature
        facts = {
            "structure": h.structure,
            "layer": self.path,
            "shape": list(self.shape),
            "prior_precision": self.prior_precision,
            "temperature": self.temperature,
            "mean_factor": self.mean_factor,
        }
        vectors = {str(i): v for i, v in enumerate(h.vectors)}
        tensors = {"values": {"0": h.values}, "vectors": vectors}
        save(folder, self.network, KIND, likelihood=self.likelihood, facts=facts, tensors=tensors)


class LaplaceDraws(NumberedDraws):
    """T functions that share all but the last layer; see `protocols.Draws`.

    Args:
        posterior: The posterior.
        seed: Seed of the samples.
        samples: The absolute numbers of the samples.
    """

    def __init__(self, posterior: Laplace, seed: int, samples: range) -> None:
        super().__init__(posterior.likelihood.kind, samples)
        self.posterior = posterior
        self.seed = seed
        self._kept: dict[range, Tensor] = {}

    def _at(self, samples: range) -> "LaplaceDraws":
        return LaplaceDraws(self.posterior, self.seed, samples)

    def __call__(self, x: Any) -> Tensor:
        return self._rest(self.posterior.trunk(x))

    def features(self, x: Any) -> Tensor:
        """The inputs of the last layer, (n, D).

        Args:
            x: A batch.

        Returns:
            Features.
        """
        return self.posterior.trunk(x)

    def outputs(self, x: Any, names: Sequence[str]) -> dict[str, Tensor]:
        """Several outputs of one batch, from one pass.

        Args:
            x: A batch.
            names: Some of "log_probs" and "features".

        Returns:
            The outputs by name.
        """
        h = self.posterior.trunk(x)
        functions: dict[str, Callable[[Tensor], Tensor]] = {"log_probs": self._rest, "features": lambda h: h}
        return {name: functions[name](h) for name in names}

    def split(self) -> tuple[Callable[[Any], Tensor], Callable[[Tensor], Tensor]]:
        """The network up to its last layer, and the samples of that layer.

        Returns:
            Two functions with rest(trunk(x)) equal to self(x).
        """
        return self.posterior.trunk, self._rest

    @torch.inference_mode()
    def _rest(self, h: Tensor) -> Tensor:
        """Features (n, D) to (n, T, C)."""
        posterior = self.posterior
        size = max(1, _BLOCK // posterior.mean.nbytes)
        blocks = [self.samples[start : start + size] for start in range(0, len(self), size)]
        phi = with_one(h, posterior.layer)
        outputs = len(posterior.mean)
        # One product for all samples of a block: (n, D) and (D, tC) to (n, tC), then (n, t, C).
        parts = [(phi @ self._weights(block).T).view(len(h), len(block), outputs) for block in blocks]
        logits = torch.cat(parts, 1) if len(parts) > 1 else parts[0]  # (n, T, C)
        shaped = logits.reshape(*logits.shape[:2], *posterior.shape)  # (n, T, *shape of one item's outputs)
        return posterior.likelihood.log_probs(shaped, 2)

    def _weights(self, block: range) -> Tensor:
        """The weights of some samples one below the other, (TC, D), in the type of the network."""
        if block in self._kept:
            return self._kept[block]
        posterior = self.posterior
        made = posterior.weights(block, self.seed).flatten(0, 1).to(posterior.layer.weight)  # (tC, D)
        if len(self) * posterior.mean.numel() * made.itemsize <= _KEPT:
            self._kept[block] = made
        return made


def load(folder: Path, network: nn.Module) -> Laplace:
    """Load a saved Laplace approximation.

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
        facts, vectors = saved.facts, saved.tensors.get("vectors", {})
        every = tuple(vectors[str(i)] for i in range(len(vectors)))
        return Laplace(
            network,
            Curvature(facts["structure"], saved.tensors["values"]["0"], every),
            layer=facts["layer"],
            shape=facts["shape"],
            prior_precision=float(facts["prior_precision"]),
            temperature=float(facts["temperature"]),
            likelihood=saved.likelihood,
            mean_factor=float(facts.get("mean_factor", 1.0)),  # the first version had none
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DamagedArtefact(f"the saved posterior in {folder} cannot be read: {error}") from error


def _check(prior_precision: float | None, temperature: float, mean_factor: float | None) -> None:
    given = {"prior_precision": prior_precision, "temperature": temperature, "mean_factor": mean_factor}
    for name, value in given.items():
        if value is not None and not 0 < value < math.inf:
            raise InvalidArgument(f"{name} is {value}; it must be positive and finite")
