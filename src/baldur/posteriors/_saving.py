"""A posterior on disk: weights as safetensors, everything else as JSON; never pickle."""

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from baldur._modules import bits
from baldur.errors import DamagedArtefact

_FORMAT = 1


def save(folder: Path, network: nn.Module, kind: str) -> None:
    """Write `network.safetensors` and `posterior.json`.

    Args:
        folder: An existing folder.
        network: What to save.
        kind: Which posterior it belongs to.
    """
    save_model(network, str(folder / "network.safetensors"))
    about = {"format": _FORMAT, "kind": kind, "outside": _outside(network)}
    (folder / "posterior.json").write_text(json.dumps(about) + "\n")


def _outside(network: nn.Module) -> str:
    """A digest of the tensors that a network holds outside its state dict, and that are thus not saved."""
    digest = hashlib.sha256()
    for path, module in network.named_modules():
        kept = {*module._parameters, *(set(module._buffers) - module._non_persistent_buffers_set)}
        for name, value in {**vars(module), **module._buffers}.items():
            if isinstance(value, Tensor) and name not in kept:
                digest.update(f"{path}.{name}".encode())
                digest.update(bits(value))
    return digest.hexdigest()


def read(folder: Path, network: nn.Module) -> str:
    """Fill a network of the same architecture with what `save` wrote.

    Args:
        folder: Where it was saved.
        network: The architecture; its weights are overwritten.

    Returns:
        The kind of the posterior.

    Raises:
        DamagedArtefact: A file is missing, cut short, of another format, or of another architecture.
    """
    try:
        about = json.loads((folder / "posterior.json").read_text())
        if about["format"] != _FORMAT:
            raise DamagedArtefact(
                f"{folder}: format {about['format']} is not format {_FORMAT}, which this version reads"
            )
        load_model(network, str(folder / "network.safetensors"))
        if about["outside"] != _outside(network):
            raise DamagedArtefact(
                f"the network in {folder} held tensors that are no parameters or persistent buffers, and the one given "
                "here holds others: register them as buffers, so that they are saved"
            )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise DamagedArtefact(f"the saved posterior in {folder} cannot be read: {error}") from error
    except RuntimeError as error:  # the weights of another network
        raise DamagedArtefact(f"the saved posterior in {folder} is of another network: {error}") from error
    return str(about["kind"])
