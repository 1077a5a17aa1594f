"""A posterior on disk: weights and other tensors as safetensors, everything else as JSON; never pickle."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_model
from torch import Tensor, nn

from baldur.core.networks import in_full, is_lazy
from baldur.core.tensorfiles import read_tensors, write_tensors
from baldur.core.trees import bits
from baldur.errors import DamagedArtefact, InvalidArgument
from baldur.likelihoods import CATEGORICAL, Likelihood, named
from baldur.protocols import Posterior

_FORMAT = 1


@dataclass(frozen=True)
class Saved:
    """The saved parts of a posterior beside its network.

    Args:
        kind: The kind of posterior.
        likelihood: The meaning of its outputs.
        facts: Further JSON values.
        tensors: Further tensors, by group and name.
    """

    kind: str
    likelihood: Likelihood
    facts: Mapping[str, Any]
    tensors: Mapping[str, Mapping[str, Tensor]]


def save(
    folder: Path,
    network: nn.Module,
    kind: str,
    *,
    likelihood: Likelihood = CATEGORICAL,
    facts: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> None:
    """Write `network.safetensors`, `posterior.json`, and, if there are tensors, `posterior.safetensors`.

    Args:
        folder: An existing folder.
        network: The network.
        kind: The kind of posterior.
        likelihood: The meaning of its outputs.
        facts: Further JSON values.
        tensors: Further tensors, by group and name. The name of a group has no "/".
    """
    save_model(network, str(folder / "network.safetensors"))
    if tensors is not None:
        write_tensors(folder / "posterior.safetensors", tensors, {})
    write_facts(folder, kind, likelihood, facts or {}, outside=_outside(network), tensors=tensors is not None)


def write_facts(
    folder: Path, kind: str, likelihood: Likelihood, facts: Mapping[str, Any], **other: Any
) -> None:
    """Write `posterior.json` alone, for a posterior made of other posteriors.

    Args:
        folder: An existing folder.
        kind: Which posterior it is.
        likelihood: The meaning of its outputs.
        facts: Further JSON values.
        other: Further entries.
    """
    about = {"format": _FORMAT, "kind": kind, "likelihood": likelihood.name, "facts": dict(facts), **other}
    (folder / "posterior.json").write_text(json.dumps(about) + "\n")


def read_facts(folder: Path) -> dict[str, Any]:
    """Read `posterior.json`.

    Args:
        folder: The folder of the saved posterior.

    Returns:
        At least "kind", "likelihood" (an object) and "facts".

    Raises:
        DamagedArtefact: It is missing, incomplete or of another format.
    """
    try:
        about = json.loads((folder / "posterior.json").read_text())
        if about["format"] != _FORMAT:
            raise DamagedArtefact(
                f"{folder}: format {about['format']} is not format {_FORMAT}, which this version reads"
            )
        likelihood = named(about.get("likelihood", CATEGORICAL.name))
        return {
            **about,
            "kind": str(about["kind"]),
            "likelihood": likelihood,
            "facts": about.get("facts", {}),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidArgument) as error:
        raise DamagedArtefact(f"the saved posterior in {folder} cannot be read: {error}") from error


def likelihood_of(posterior: Posterior) -> Likelihood:
    """The likelihood of an inner posterior, from the kind of its draws.

    Args:
        posterior: The posterior.

    Returns:
        The likelihood of that kind.
    """
    return named(posterior.draw(1).kind)


def read(folder: Path, network: nn.Module) -> Saved:
    """Load the result of `save` into a network of the same architecture.

    Args:
        folder: The folder of the saved posterior.
        network: The architecture; its weights are overwritten.

    Returns:
        The other saved parts.

    Raises:
        DamagedArtefact: A file is missing, incomplete, of another format, or of another architecture.
    """
    about = read_facts(folder)
    in_full(network)
    try:
        if is_lazy(network):  # the saved weights have the shapes
            network.load_state_dict(load_file(folder / "network.safetensors"), strict=False)
        load_model(network, str(folder / "network.safetensors"))
        tensors, _ = read_tensors(folder / "posterior.safetensors") if about.get("tensors") else ({}, {})
        outside = about["outside"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise DamagedArtefact(f"the saved posterior in {folder} cannot be read: {error}") from error
    except RuntimeError as error:  # the weights of another network
        raise DamagedArtefact(f"the saved posterior in {folder} is of another network: {error}") from error
    if outside != _outside(network):
        raise DamagedArtefact(
            f"the network in {folder} had tensors that are not parameters or persistent buffers, and this network has "
            "others; register such tensors as buffers, so that they are saved"
        )
    return Saved(about["kind"], about["likelihood"], about["facts"], tensors)


def _outside(network: nn.Module) -> str:
    """A digest of the tensors outside the state dict of a network, which are not saved."""
    digest = hashlib.sha256()
    for path, module in network.named_modules():
        kept = {*module._parameters, *(set(module._buffers) - module._non_persistent_buffers_set)}
        for name, value in {**vars(module), **module._buffers}.items():
            if isinstance(value, Tensor) and name not in kept:
                digest.update(f"{path}.{name}".encode())
                digest.update(bits(value))
    return digest.hexdigest()
