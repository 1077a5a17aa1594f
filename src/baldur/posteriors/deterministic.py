"""One network as a posterior with a single sample, so without uncertainty about the function."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baldur.core.networks import call, device_of
from baldur.core.trees import differ, items_of, map_tree, place, shapes, take, versions
from baldur.likelihoods import CATEGORICAL, Likelihood
from baldur.posteriors._saving import read, save
from baldur.posteriors.draws import NumberedDraws, number_of_draws
from baldur.posteriors.dropout.lowered import Lowered
from baldur.posteriors.dropout.sites import Dropouts
from baldur.posteriors.network import NetworkPosterior, frozen, penultimate

KIND = "deterministic"


class Deterministic(NetworkPosterior):
    """The trained network itself: T = 1, p(y | x, w) at one w.

    Scores that measure disagreement (BALD, mean STD, votes) are 0 everywhere.

    Args:
        network: A trained network that returns logits; it is copied and never changed.
        likelihood: The meaning of its outputs.
    """

    functions = 1

    def __init__(self, network: nn.Module, *, likelihood: Likelihood = CATEGORICAL) -> None:
        self.network = frozen(network)
        self.likelihood = likelihood
        self._lowered = Lowered(self.network)

    def draw(self, T: int | None = None, seed: int = 0) -> "DeterministicDraws":
        """Draw the only function.

        Args:
            T: 1 or None.
            seed: Ignored.

        Returns:
            Draws of length 1.

        Raises:
            InvalidArgument: T is not 1.
        """
        number_of_draws(T, 1)
        return DeterministicDraws(self._lowered, self.likelihood)

    def save(self, folder: Path) -> None:
        """Write the weights as safetensors and the kind as JSON.

        Args:
            folder: An existing folder.
        """
        save(folder, self.network, KIND, likelihood=self.likelihood)


class DeterministicDraws(NumberedDraws):
    """One function; see `protocols.Draws`.

    Args:
        lowered: A network in evaluation mode.
        likelihood: The meaning of its outputs.
    """

    def __init__(self, lowered: Lowered, likelihood: Likelihood = CATEGORICAL) -> None:
        super().__init__(likelihood.kind, range(1))
        self.lowered = lowered
        self.device = device_of(lowered.network)
        self.likelihood = likelihood
        self._in_place: dict[Any, bool] = {}

    def _at(self, samples: range) -> "DeterministicDraws":
        return self

    @torch.inference_mode()
    def __call__(self, x: Any) -> Tensor:
        mode = Dropouts()  # also what is always on is off
        with mode:
            outputs = call(self.lowered.now(self.device), self._placed(x))
        mode.refuse_probabilities(outputs)
        return self.likelihood.log_probs(outputs, 1).unsqueeze(1)  # (n, 1, C, ...)

    @torch.inference_mode()
    def features(self, x: Any) -> Tensor:
        """The input of the last linear layer, (n, D).

        Args:
            x: A batch.

        Returns:
            Features.
        """
        with Dropouts():
            return penultimate(self.lowered.now(self.device), self._placed(x))

    def _placed(self, x: Any) -> Any:
        """The batch on the device of the network; a copy if a test with two items shows that the network changes it."""
        x = place(x, self.device)
        key = shapes(x)
        if key not in self._in_place and items_of(x):
            two = torch.arange(2) % items_of(x)
            with torch.inference_mode(False):  # so that it has versions, which change in place with any value
                tried = take(x, two)
            before = versions(tried)
            call(self.lowered.network, tried)
            self._in_place[key] = differ(tried, take(x, two)) or before != versions(tried)
        return map_tree(torch.clone, x) if self._in_place.get(key) else x


def load(folder: Path, network: nn.Module) -> Deterministic:
    """Load a saved posterior.

    Args:
        folder: The folder of the saved posterior.
        network: The architecture; its weights are overwritten.

    Returns:
        The posterior.

    Raises:
        DamagedArtefact: A file is missing, incomplete or of another network.
    """
    return Deterministic(network, likelihood=read(folder, network).likelihood)
