"""Models that a run exported."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from baldur import posteriors
from baldur.errors import (
    DamagedArtefact,
)
from baldur.learners.building import build
from baldur.protocols import Posterior
from baldur.runs import settings as settings_
from baldur.runs.names import NetworkFactory, fitting_named, network_named
from baldur.runs.settings import Settings
from baldur.training.contract import options_of


@dataclass(frozen=True)
class Model:
    """A model that was exported: what it believes, and what its answers mean.

    Args:
        posterior: Gives functions from inputs to log-probabilities.
        classes: The names of its classes.
        preprocessing: How raw items become inputs.
        settings: The settings of its run.
    """

    posterior: Posterior
    classes: tuple[str, ...]
    preprocessing: dict[str, Any]
    settings: Settings


def load_model(folder: str | Path, network: NetworkFactory | nn.Module | None = None) -> Model:
    """Rebuild a model that `baldur export` wrote.

    Args:
        folder: One of the folders below `models`.
        network: Where the run was given a factory or a module in Python: the same one.

    Returns:
        The model.

    Raises:
        DamagedArtefact: A file of it is missing, cut short or of another network.
    """
    try:
        facts = json.loads((Path(folder) / "model.json").read_text())
    except (OSError, ValueError) as error:
        raise DamagedArtefact(f"{folder} holds no exported model: {error}") from None
    settings = settings_.from_toml(facts["settings"])
    shape, classes = tuple(facts["preprocessing"]["input_shape"]), tuple(facts["classes"])
    if not isinstance(network, nn.Module):
        network = partial(network or network_named(settings.network), shape, len(classes))
    options = options_of(fitting_named(settings.posterior, settings.members))
    made = build(network, 0, options)
    return Model(posteriors.load(Path(folder), made), classes, facts["preprocessing"], settings)
