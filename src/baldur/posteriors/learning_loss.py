"""A posterior with an additional module that predicts the loss of an item.

D. Yoo and I. S. Kweon, "Learning loss for active learning", CVPR 2019.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baldur.core.networks import call, device_of, tensors
from baldur.core.tensorfiles import read_tensors, write_tensors
from baldur.core.trees import map_tree, place
from baldur.errors import DamagedArtefact, Unsupported
from baldur.likelihoods import Likelihood
from baldur.posteriors._saving import likelihood_of, read_facts, write_facts
from baldur.posteriors.draws import WrappedDraws
from baldur.posteriors.dropout.sites import Dropouts
from baldur.posteriors.network import NetworkPosterior, frozen
from baldur.protocols import Posterior

KIND = "learning-loss"
_INNER = "inner"


class LossModule(nn.Module):
    """Predicts a loss from feature maps: l̂ = w · [relu(A_j mean(h_j)) ...]_j + b, with the mean over a map.

    Args:
        channels: Channels of each feature map.
        width: Units for each feature map.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(count, width) for count in channels)
        self.head = nn.Linear(width * len(channels), 1)

    def forward(self, taken: Sequence[Tensor]) -> Tensor:
        """Predict losses.

        Args:
            taken: Feature maps (n, C, ...), sequences (n, L, C), or vectors (n, C).

        Returns:
            (n,), float32. Only their order is meaningful.
        """
        hidden = [torch.relu(layer(pooled(h).float())) for layer, h in zip(self.layers, taken, strict=True)]
        predicted: Tensor = self.head(torch.cat(hidden, 1))
        return predicted[:, 0]  # (n,)


def pooled(h: Tensor) -> Tensor:
    """The mean of a feature map over its positions.

    Args:
        h: A map (n, C, H, W) or with more axes, a sequence (n, L, C), or vectors (n, C).

    Returns:
        (n, C).
    """
    if h.ndim == 2:
        return h
    return h.mean(1) if h.ndim == 3 else h.flatten(2).mean(2)  # (n, C)


@contextmanager
def tapped(network: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Record the outputs of some modules of a network. If a module runs several times, its last output counts.

    Args:
        network: Any network.
        layers: Names of modules, from `named_modules`.

    Yields:
        The outputs of the last pass by name, in the order in which the modules finished.

    Raises:
        Unsupported: There is no such module.
    """
    modules = dict(network.named_modules())
    unknown = [name for name in layers if name not in modules]
    if unknown:
        raise Unsupported(
            f"the network has no module {', '.join(map(repr, unknown))}; it has {', '.join(filter(None, modules))}"
        )
    taken: dict[str, Any] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            taken.pop(name, None)
            taken[name] = output

        return hook

    handles = [modules[name].register_forward_hook(keep(name)) for name in layers]
    try:
        yield taken
    finally:
        for handle in handles:
            handle.remove()


def maps_of(taken: Mapping[str, Any], layers: Sequence[str]) -> list[Tensor]:
    """The recorded feature maps, in the order of the layers.

    Args:
        taken: The outputs from `tapped`.
        layers: Names of the modules.

    Returns:
        Feature maps.

    Raises:
        Unsupported: A module did not run, or its output is not a tensor with the item as first axis.
    """
    for name in layers:
        if not isinstance(taken.get(name), Tensor) or taken[name].ndim < 2:
            given = type(taken[name]).__name__ if name in taken else "nothing: it does not run"
            raise Unsupported(f"a feature map of '{name}' is needed, (n, C, ...), but it gives {given}")
    return [taken[name] for name in layers]


class LearningLoss(NetworkPosterior):
    """Another posterior with a predicted loss for each item. Its draws have the additional output "loss".

    Args:
        posterior: A posterior over one network.
        module: Predicts the loss from feature maps of this network; it is copied.
        layers: Names of the modules with these maps as outputs.

    Raises:
        Unsupported: The posterior does not have exactly one network, or the network has no such modules.
    """

    def __init__(self, posterior: Posterior, module: LossModule, layers: Sequence[str]) -> None:
        if len(posterior.networks) != 1:
            raise Unsupported(
                f"a loss is predicted from the features of one network, and {type(posterior).__name__} has "
                f"{len(posterior.networks)}"
            )
        self.posterior = posterior
        self.network = posterior.networks[0]
        self.layers = tuple(layers)
        self.module = frozen(module).to(device_of(self.network))
        with tapped(self.network, self.layers):
            pass

    @property
    def likelihood(self) -> Likelihood:
        """See the inner posterior."""
        return likelihood_of(self.posterior)

    @property
    def functions(self) -> int | None:
        """See the inner posterior."""
        return self.posterior.functions

    def draw(self, T: int | None = None, seed: int = 0) -> WrappedDraws:
        """Draw T functions of the inner posterior.

        Args:
            T: Number of samples.
            seed: Seed of the samples.

        Returns:
            Draws that also predict losses.
        """
        return WrappedDraws(self.posterior.draw(T, seed), more={"loss": self.losses})

    @torch.inference_mode()
    def losses(self, x: Any) -> Tensor:
        """The predicted loss of each item under the mean network.

        Args:
            x: A batch.

        Returns:
            (n,), float32. Only their order means something.
        """
        given = map_tree(torch.clone, place(x, device_of(self.network)))
        with tapped(self.network, self.layers) as taken, Dropouts():
            call(self.network, given)
        losses: Tensor = self.module(maps_of(taken, self.layers))
        return losses

    def save(self, folder: Path) -> None:
        """Write the inner posterior to a subfolder, and the module as safetensors.

        Args:
            folder: An existing folder.
        """
        inner = folder / _INNER
        inner.mkdir(exist_ok=True)
        self.posterior.save(inner)
        write_tensors(folder / "posterior.safetensors", {"module": tensors(self.module)}, {})
        write_facts(folder, KIND, self.likelihood, {"layers": list(self.layers)})


def load(folder: Path, network: nn.Module) -> LearningLoss:
    """Load a saved posterior.

    Args:
        folder: The folder of the saved posterior.
        network: The architecture; its weights are overwritten.

    Returns:
        The posterior.

    Raises:
        DamagedArtefact: A file is missing, incomplete, or of another network.
    """
    from baldur import posteriors

    facts = read_facts(folder)["facts"]
    inner = posteriors.load(folder / _INNER, network)
    try:
        groups, _ = read_tensors(folder / "posterior.safetensors")
        values, layers = groups["module"], [str(name) for name in facts["layers"]]
        weights = [values[f"layers.{i}.weight"] for i in range(len(layers))]
        module = LossModule([weight.shape[1] for weight in weights], weights[0].shape[0])
        module.load_state_dict(values)
        return LearningLoss(inner, module, layers)
    except (ValueError, KeyError, TypeError, IndexError, RuntimeError, Unsupported) as error:
        raise DamagedArtefact(f"the saved posterior in {folder} cannot be read: {error}") from error
