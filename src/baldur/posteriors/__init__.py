"""How uncertain is the model? A posterior over fitted networks gives functions."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from baldur.posteriors.calibrated import Calibrated
from baldur.posteriors.deterministic import Deterministic
from baldur.posteriors.dropconnect import DropConnect
from baldur.posteriors.dropout import posterior as _dropout
from baldur.posteriors.dropout.insertion import insert_dropout
from baldur.posteriors.dropout.posterior import MCDropout
from baldur.posteriors.ensemble import Ensemble
from baldur.posteriors.laplace import posterior as _laplace
from baldur.posteriors.laplace.posterior import Laplace
from baldur.posteriors.learning_loss import LearningLoss
from baldur.posteriors.swag import SWAG
from baldur.posteriors.variational import BayesByBackprop
from baldur.protocols import Posterior

if TYPE_CHECKING:
    from baldur.posteriors.estimators.posterior import Estimators

__all__ = [
    "SWAG",
    "BayesByBackprop",
    "Calibrated",
    "Deterministic",
    "DropConnect",
    "Ensemble",
    "Estimators",
    "Laplace",
    "LearningLoss",
    "MCDropout",
    "insert_dropout",
    "load",
]

_LOADERS: dict[str, Callable[[Path, nn.Module], Posterior]] = {
    module.KIND: module.load
    for module in (
        _dropout,
        deterministic,
        ensemble,
        dropconnect,
        swag,
        variational,
        _laplace,
        learning_loss,
        calibrated,
    )
}


def _load_estimators(folder: Path, network: nn.Module) -> Posterior:
    from baldur.posteriors.estimators import posterior as scikit_learn

    return scikit_learn.load(folder)


_LOADERS["scikit-learn"] = _load_estimators


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import `Estimators` when it is asked for: it needs scikit-learn."""
        if name == "Estimators":
            from baldur.posteriors.estimators.posterior import Estimators

            return Estimators
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


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
