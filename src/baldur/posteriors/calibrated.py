"""A posterior with calibrated probabilities."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from baldur.errors import DamagedArtefact, InvalidArgument
from baldur.evaluate.calibration import LEAST
from baldur.likelihoods import Likelihood
from baldur.posteriors._saving import likelihood_of, read_facts, write_facts
from baldur.posteriors.draws import WrappedDraws
from baldur.protocols import Posterior

KIND = "calibrated"

Method = Literal["temperature", "dirichlet"]


class Calibrated(Posterior):
    """Another posterior with calibrated samples: one map changes the confidence of each sample.

    "temperature": p_t -> softmax(log p_t / τ), each sample before their mean is taken (C. Guo, G. Pleiss, Y. Sun and
    K. Q. Weinberger, ICML 2017). "dirichlet": p_t -> softmax(W log p_t + b) (M. Kull et al., NeurIPS 2019).

    Args:
        posterior: The posterior to calibrate. It predicts classes; for a temperature, it may predict several labels.
        method: The kind of map.
        parameters: "temperature", a number; or "weights" (C, C) and "intercept" (C,), as lists of rows.

    Raises:
        InvalidArgument: The parameters do not match the method.
    """

    def __init__(self, posterior: Posterior, method: Method, parameters: Mapping[str, Any]) -> None:
        self.posterior = posterior
        self.method = method
        self.parameters = dict(parameters)
        self._map = mapping(method, parameters)

    @property
    def likelihood(self) -> Likelihood:
        """See the inner posterior."""
        return likelihood_of(self.posterior)

    @property
    def functions(self) -> int | None:
        """See the inner posterior."""
        return self.posterior.functions

    @property
    def networks(self) -> Sequence[nn.Module]:
        """The networks of the inner posterior."""
        return self.posterior.networks

    def draw(self, T: int | None = None, seed: int = 0) -> WrappedDraws:
        """Draw T functions with calibrated probabilities.

        Args:
            T: Number of samples.
            seed: Seed of the samples.

        Returns:
            The functions.

        Raises:
            InvalidArgument: The posterior predicts numbers.
        """
        draws = self.posterior.draw(T, seed)
        if draws.kind not in ("categorical", "bernoulli"):
            raise InvalidArgument(f"draws of classes or labels can be calibrated, not {draws.kind} ones")
        return WrappedDraws(draws, after=self._corrected)

    def save(self, folder: Path) -> None:
        """Write the posterior to a subfolder, and the map as JSON.

        Args:
            folder: An existing folder.
        """
        inner(folder).mkdir(exist_ok=True)
        self.posterior.save(inner(folder))
        write_facts(folder, KIND, self.likelihood, {"method": self.method, "parameters": self.parameters})

    @torch.inference_mode()
    def _corrected(self, log_probs: Any) -> Tensor:
        return self._map(torch.as_tensor(log_probs))


def inner(folder: Path) -> Path:
    """The subfolder of the inner posterior.

    Args:
        folder: The folder of the calibrated posterior.

    Returns:
        The subfolder.
    """
    return folder / "posterior"


def read(folder: Path) -> tuple[Method, dict[str, Any]]:
    """The map of a saved calibrated posterior.

    Args:
        folder: The folder of the saved posterior.

    Returns:
        Its method and parameters.

    Raises:
        DamagedArtefact: The file is missing, incomplete, or of another posterior.
    """
    about = read_facts(folder)
    if about["kind"] != KIND:
        raise DamagedArtefact(f"{folder} holds a posterior of the kind {about['kind']!r}, not {KIND!r}")
    try:
        method, parameters = about["facts"]["method"], dict(about["facts"]["parameters"])
        mapping(method, parameters)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedArtefact(f"the saved posterior in {folder} cannot be read: {error}") from error
    return method, parameters


def load(folder: Path, network: nn.Module) -> Calibrated:
    """Load a saved calibrated posterior.

    Args:
        folder: The folder of the saved posterior.
        network: A network of the same architecture; its weights are overwritten.

    Returns:
        The posterior.

    Raises:
        DamagedArtefact: A file is missing, incomplete or of another network.
    """
    from baldur import posteriors  # it imports this module

    method, parameters = read(folder)
    return Calibrated(posteriors.load(inner(folder), network), method, parameters)


def mapping(method: str, parameters: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
    """The map of a method.

    Args:
        method: The kind of map.
        parameters: Its parameters.

    Returns:
        A function of log-probabilities (n, T, C, ...) that returns calibrated ones.

    Raises:
        InvalidArgument: There is no such method, or the parameters do not match it.
    """
    if method not in get_args(Method):
        raise InvalidArgument(f"method must be 'temperature' or 'dirichlet', not {method!r}")
    return _tempered(parameters) if method == "temperature" else _linear(parameters)


def _tempered(parameters: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
    temperature = float(parameters.get("temperature", 0))
    if not 0 < temperature < float("inf"):
        raise InvalidArgument(f"a temperature must be positive and finite, not {temperature}")
    return lambda log_probs: torch.log_softmax(log_probs / temperature, 2)


def _linear(parameters: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
    weights, intercept = (
        torch.tensor(parameters.get(name, ()), dtype=torch.float64) for name in ("weights", "intercept")
    )
    if weights.ndim != 2 or weights.shape != (len(intercept), len(intercept)):
        raise InvalidArgument(
            f"weights (C, C) and intercept (C,) were expected, not {tuple(weights.shape)} and {tuple(intercept.shape)}"
        )

    def correct(log_probs: Tensor) -> Tensor:
        if log_probs.shape[2] != len(intercept):
            raise InvalidArgument(f"the map is of {len(intercept)} classes, not of {log_probs.shape[2]}")
        w, b = weights.to(log_probs), intercept.to(log_probs)
        last = log_probs.clamp(min=LEAST).movedim(2, -1)  # (n, T, ..., C)
        return torch.log_softmax(last @ w.T + b, -1).movedim(-1, 2)  # (n, T, C, ...)

    return correct
