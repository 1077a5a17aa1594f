"""A Gaussian for each weight: Bayes by Backprop.

Blundell, Cornebise, Kavukcuoglu & Wierstra, "Weight uncertainty in neural networks", ICML 2015.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from baldur.errors import DamagedArtefact, InvalidArgument
from baldur.likelihoods import CATEGORICAL, Likelihood
from baldur.posteriors._saving import read, save
from baldur.posteriors._weights import WeightDraws, Weights, generator
from baldur.posteriors.draws import number_of_draws
from baldur.posteriors.network import NetworkPosterior, frozen

KIND = "bayes-by-backprop"


class BayesByBackprop(NetworkPosterior):
    """q(w) = Πᵢ N(wᵢ; μᵢ, σᵢ²) with σ = log(1 + e^ρ).

    A sample is w = μ + σ ⊙ ε with ε ~ N(0, I), and all items share one ε. Dropout is off. Batch normalisation keeps the
    running statistics of the training, which are averages over q. Memory is that of two networks and of the sampled
    weights. T samples cost T passes.

    Args:
        network: Holds μ; it is copied and never changed.
        rho: ρ by the names of the weights. Other weights do not vary.
        likelihood: The meaning of the network's outputs.

    Raises:
        InvalidArgument: The names or shapes of ρ are not those of weights.
    """

    def __init__(
        self, network: nn.Module, rho: Mapping[str, Tensor], *, likelihood: Likelihood = CATEGORICAL
    ) -> None:
        shapes = {name: p.shape for name, p in network.named_parameters()}
        if not rho or any(shapes.get(name) != r.shape for name, r in rho.items()):
            raise InvalidArgument("rho does not have the names and shapes of the network's weights")
        self.network = frozen(network)
        ordered = [name for name in shapes if name in rho]  # samples depend on the order
        # contiguous, as it is read back: the order of memory is the order in which noise is added up
        self.rho = {name: rho[name].detach().cpu().contiguous() for name in ordered}
        self.likelihood = likelihood

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
        means = dict(self.network.named_parameters())

        def weights(t: int) -> Weights:
            random = generator(seed, t)
            noise = {n: deviation(r) * torch.randn(r.shape, generator=random) for n, r in self.rho.items()}
            return {name: means[name] + change.to(means[name]) for name, change in noise.items()}

        return WeightDraws(self.network, weights, range(number_of_draws(T)), likelihood=self.likelihood)

    def save(self, folder: Path) -> None:
        """Write μ and ρ as safetensors, the rest as JSON.

        Args:
            folder: An existing folder.
        """
        save(folder, self.network, KIND, likelihood=self.likelihood, tensors={"rho": self.rho})


def load(folder: Path, network: nn.Module) -> BayesByBackprop:
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
    try:
        return BayesByBackprop(network, saved.tensors.get("rho", {}), likelihood=saved.likelihood)
    except InvalidArgument as error:
        raise DamagedArtefact(f"the saved posterior in {folder} cannot be read: {error}") from error


def deviation(rho: Tensor) -> Tensor:
    """σ = log(1 + e^ρ).

    Args:
        rho: ρ, of any shape.

    Returns:
        Standard deviations; for large ρ, ρ itself.
    """
    return functional.softplus(rho)
