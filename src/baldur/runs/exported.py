"""Fitted models of a run: the newest model of a trial, or an exported model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from baldur import evaluate, posteriors, score
from baldur.data import Normalise, as_pool, from_arrays
from baldur.data.arrays import Divide, is_pool
from baldur.data.columns import from_json
from baldur.data.scaling import ScaledPool, step_of
from baldur.errors import DamagedArtefact, InvalidArgument
from baldur.learners.building import build
from baldur.protocols import Pool, Posterior
from baldur.runs import settings as settings_
from baldur.runs.names import NetworkFactory, as_factory, fitting_named, network_named
from baldur.runs.settings import Settings
from baldur.training.contract import options_of


@dataclass(frozen=True)
class Model:
    """A fitted model with its classes and preprocessing.

    Args:
        posterior: The fitted posterior.
        classes: The names of the classes.
        preprocessing: The conversion of raw items to inputs.
        settings: The settings of the run.
    """

    posterior: Posterior
    classes: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    settings: Settings

    def predict_proba(self, x: Any, *, seed: int = 0) -> NDArray[np.float64]:
        """The mean of the posterior samples' probabilities: p(y | x) = 1/T Σ_t p(y | x, w_t).

        Args:
            x: Raw items, (n, *shape), in the form of the run's data: for example images with integers from 0 to 255.
                For a table: a data frame, or a dict of columns, which are found by their names. Or a pool, as the
                data set of the run has it.
            seed: Seed of the posterior samples.

        Returns:
            Probabilities, (n, C); columns are in the order of `classes`.

        Raises:
            InvalidArgument: The items have another shape than those of the run, or a column is missing.
        """
        told = self.settings.score
        scorer = score.PoolScorer(
            draws=told.draws, seed=seed, memory=told.memory, batch_size=told.score_batch
        )
        pool = self._pool(x)
        if not len(pool):
            raise InvalidArgument("there are no items to predict; give at least one")
        log_probs = scorer.predict(self.posterior, pool, evaluate.predictive)
        return np.exp(np.asarray(log_probs, np.float64))

    def predict(self, x: Any, *, seed: int = 0) -> NDArray[Any]:
        """The most probable classes.

        Args:
            x: Raw items, (n, *shape); see `predict_proba`.
            seed: Seed of the posterior samples.

        Returns:
            Class names, (n,).
        """
        names: NDArray[Any] = np.array(self.classes)[self.predict_proba(x, seed=seed).argmax(1)]
        return names

    def _pool(self, x: Any) -> Pool:
        told = self.preprocessing
        kind, scaling = told.get("kind"), step_of(told.get("scaling", {}))
        if kind == "table" and not is_pool(x):
            return from_arrays(from_json(told["columns"]).rows(x))
        if is_pool(x) or kind == "tree":
            pool = as_pool(x)
            return pool if scaling is None else ScaledPool(pool, scaling)
        rows = np.asarray(x.cpu() if hasattr(x, "cpu") else x)
        shape = tuple(told.get("shape", told["input_shape"]))
        if kind == "image" and rows.shape[1:] != shape:  # channels may be last, or not there, as in the data
            if rows.shape[1:] == (*shape[1:], shape[0]):
                rows = np.moveaxis(rows, -1, 1)
            elif shape[0] == 1 and rows.shape[1:] == shape[1:]:
                rows = rows[:, None]
        if rows.shape[1:] != shape:
            what = "images" if kind == "image" else "items"
            raise InvalidArgument(f"{what} of shape {shape} were expected, not {rows.shape[1:]}")
        if kind == "image":
            if told["scale"] > 1 and _are_fractions(rows):
                raise InvalidArgument(
                    f"pixels from 0 to {told['scale']:g} were expected, as the run had them, not fractions up to 1; "
                    f"multiply by {told['scale']:g}"
                )
            return from_arrays(
                rows, transform=Normalise(tuple(told["mean"]), tuple(told["std"]), told["scale"])
            )
        return from_arrays(rows, transform=Divide(told["scale"]) if "scale" in told else scaling)


def _are_fractions(pixels: NDArray[Any]) -> bool:
    """Whether pixels lie between 0 and 1, and not all of them are 0 or 1."""
    if pixels.dtype.kind != "f" or not pixels.size:
        return False
    return bool(pixels.min() >= 0 and pixels.max() <= 1 and ((pixels > 0) & (pixels < 1)).any())


def load_model(folder: str | Path, network: NetworkFactory | nn.Module | None = None) -> Model:
    """Load a model that `baldur export` wrote.

    Args:
        folder: One of the folders in `models`.
        network: The factory or module of the run, if it was passed in Python.

    Returns:
        The model.

    Raises:
        DamagedArtefact: A file is missing, incomplete or of another network.
    """
    try:
        facts = json.loads((Path(folder) / "model.json").read_text())
    except (OSError, ValueError) as error:
        raise DamagedArtefact(f"{folder} holds no exported model: {error}") from None
    return rebuilt(Path(folder), facts, network)


def rebuilt(folder: Path, facts: Mapping[str, Any], network: NetworkFactory | nn.Module | None) -> Model:
    """Make a model from its saved posterior and the recorded facts of its run.

    Args:
        folder: The folder of the posterior.
        facts: "classes", "preprocessing" and "settings"; see `report.about`.
        network: See `load_model`.

    Returns:
        The model.

    Raises:
        DamagedArtefact: A file of the posterior is missing, incomplete or of another network.
    """
    settings = settings_.from_toml(facts["settings"])
    shape, classes = tuple(facts["preprocessing"]["input_shape"]), tuple(facts["classes"])
    if not isinstance(network, nn.Module):
        factory = network_named(settings.learn.network) if network is None else as_factory(network)
        network = partial(factory, shape, len(classes))
    options = options_of(fitting_named(settings.learn.posterior, settings.learn.members))
    made = build(network, 0, options)
    return Model(posteriors.load(folder, made), classes, facts["preprocessing"], settings)
