"""How uncertain is the model? A posterior over fitted networks gives functions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from baldur.errors import DamagedArtefact
from baldur.posteriors import (
    calibrated,
    deterministic,
    dropconnect,
    ensemble,
    learning_loss,
    swag,
    variational,
)
from baldur.posteriors._saving import read_facts
from baldur.posteriors.calibrated import Calibrated as Calibrated
from baldur.posteriors.deterministic import Deterministic as Deterministic
from baldur.posteriors.dropconnect import DropConnect as DropConnect
from baldur.posteriors.dropout import posterior as mc_dropout
from baldur.posteriors.dropout.insertion import insert_dropout as insert_dropout
from baldur.posteriors.dropout.posterior import MCDropout as MCDropout
from baldur.posteriors.ensemble import Ensemble as Ensemble
from baldur.posteriors.laplace import posterior as laplace
from baldur.posteriors.laplace.posterior import Laplace as Laplace
from baldur.posteriors.learning_loss import LearningLoss as LearningLoss
from baldur.posteriors.swag import SWAG as SWAG
from baldur.posteriors.variational import BayesByBackprop as BayesByBackprop
from baldur.protocols import Posterior

_LOADERS: dict[str, Callable[[Path, nn.Module], Posterior]] = {
    module.KIND: module.load
    for module in (
        mc_dropout,
        deterministic,
        ensemble,
        dropconnect,
        swag,
        variational,
        laplace,
        learning_loss,
        calibrated,
    )
}


def _load_estimators(folder: Path, network: nn.Module) -> Posterior:
    from baldur.posteriors.estimators import posterior as scikit_learn

    return scikit_learn.load(folder)


_LOADERS["scikit-learn"] = _load_estimators


def __getattr__(name: str) -> Any:
    if name == "Estimators":
        from baldur.posteriors.estimators.posterior import Estimators

        return Estimators
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(folder: Path, network: nn.Module) -> Posterior:
    """Load a saved posterior.

    Args:
        folder: The folder of the saved posterior.
        network: A network of the same architecture; its weights are overwritten.

    Returns:
        The posterior. Its draws equal those of the saved one.

    Raises:
        DamagedArtefact: A file is missing, incomplete or of another network.
    """
    kind = read_facts(folder)["kind"]
    if kind not in _LOADERS:
        raise DamagedArtefact(
            f"{folder} has a posterior of the kind {kind!r}, which this version of Baldur does not know; upgrade Baldur"
        )
    return _LOADERS[kind](folder, network)
