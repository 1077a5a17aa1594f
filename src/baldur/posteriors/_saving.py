"""A posterior on disk: weights as safetensors, everything else as JSON; never pickle."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

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
    (folder / "posterior.json").write_text(json.dumps({"format": _FORMAT, "kind": kind}) + "\n")


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
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise DamagedArtefact(f"the saved posterior in {folder} cannot be read: {error}") from error
    except RuntimeError as error:  # the weights of another network
        raise DamagedArtefact(f"the saved posterior in {folder} is of another network: {error}") from error
    return str(about["kind"])
