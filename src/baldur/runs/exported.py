"""Fitted models of a run: the newest model of a trial, or an exported model."""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from baldur import evaluate, posteriors, score
from baldur.core.devices import pick_device
from baldur.core.seeds import derive
from baldur.data.applying import Applying
from baldur.data.download import Progress
from baldur.errors import DamagedArtefact, InvalidArgument, InvalidData, ItemsLeftOut
from baldur.learners.building import build
from baldur.protocols import Posterior
from baldur.report.export import about, newest_posterior
from baldur.runs import settings as settings_
from baldur.runs.names import NetworkFactory, as_factory, fitting_named, network_named
from baldur.runs.settings import Settings
from baldur.store import Store, Trial
from baldur.training.contract import options_of

if TYPE_CHECKING:
    import pandas as pd

_NAMED = 3  # unreadable items that a warning names

FACTS = ("id", "path", "prediction", "probability")
"""The columns of predictions, before those of the classes."""


class Predicted(NamedTuple):
    """The predictions for a part of the items.

    Args:
        ids: Of the items.
        paths: The file of each; None if it is in no file of its own.
        probabilities: Shape (n, C); NaN for an item that could not be read.
        unreadable: These items by position, each with the reason.
    """

    ids: tuple[str, ...]
    paths: tuple[str | None, ...]
    probabilities: NDArray[np.float64]
    unreadable: Mapping[int, str]


@dataclass(frozen=True)
class Model:
    """A fitted model with its classes and preprocessing.

    Args:
        posterior: The fitted posterior.
        classes: The names of the classes.
        preprocessing: The conversion of raw items to inputs.
        settings: The settings of the run.
        seed: Seed of the posterior samples with which the run measured the model.
    """

    posterior: Posterior
    classes: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    settings: Settings
    seed: int = 0

    def predict_proba(self, x: Any, *, seed: int | None = None) -> NDArray[np.float64]:
        """The mean of the posterior samples' probabilities: p(y | x) = 1/T Σ_t p(y | x, w_t).

        Args:
            x: Raw items, which are prepared as those of the run were. For images: a folder of any depth, files, images
                of Pillow, or arrays (n, *shape), for example integers from 0 to 255. For a table: a file, a data frame,
                or a dict of columns, which are found by their names. For texts: a list. For arrays: a file or an
                array. Or a list of paths, a PyTorch data set, or a pool, as the data set of the run has it.
            seed: Seed of the posterior samples; by default, the one with which the run measured the model.

        Returns:
            Probabilities, (n, C); columns are in the order of `classes`. The items of a folder are in the order of
            their paths; `predictions` names them. The rows of unreadable files are NaN, and a warning names the files.

        Raises:
            InvalidArgument: The items have another shape than those of the run, or a column is missing.
            InvalidData: The data have another form than those of the run, or no file can be read.
            DataNotFound: There is nothing at a path.
        """
        parts = list(predicted(self, x, seed=seed))
        _warn({part.ids[i]: why for part in parts for i, why in part.unreadable.items()})
        return np.concatenate([part.probabilities for part in parts])

    def predict(self, x: Any, *, seed: int | None = None) -> NDArray[Any]:
        """The most probable classes.

        Args:
            x: Raw items; see `predict_proba`.
            seed: See `predict_proba`.

        Returns:
            Class names, (n,); "" for a file that cannot be read.
        """
        names: NDArray[Any] = np.array([*self.classes, ""])[_best(self.predict_proba(x, seed=seed))]
        return names

    def predictions(self, x: Any, *, seed: int | None = None) -> "pd.DataFrame":
        """The predictions as a table.

        Args:
            x: Raw items; see `predict_proba`.
            seed: See `predict_proba`.

        Returns:
            One row for each item that could be read: id, path (of items in files), prediction, probability, and the
            probability of each class.
        """
        import pandas as pd

        parts = list(predicted(self, x, seed=seed))
        _warn({part.ids[i]: why for part in parts for i, why in part.unreadable.items()})
        made = [columns(self.classes, part) for part in parts]
        table = {name: [value for part in made for value in part[name]] for name in made[0]}
        if not any(table["path"]):
            del table["path"]
        return pd.DataFrame(table)


def columns(classes: Sequence[str], part: Predicted) -> dict[str, list[Any]]:
    """The predictions for some items by column. A class that is called as another column gets `class `before it.

    Args:
        classes: The names of the classes.
        part: The predictions.

    Returns:
        A value for each item that could be read: id, path, prediction, probability, and a column for each class.
    """
    there = [i for i in range(len(part.ids)) if i not in part.unreadable]
    p = part.probabilities[there]
    best = p.argmax(1) if len(p) else np.zeros(0, np.intp)
    told: dict[str, list[Any]] = {
        "id": [part.ids[i] for i in there],
        "path": [part.paths[i] for i in there],
        "prediction": [classes[i] for i in best],
        "probability": p[np.arange(len(p)), best].tolist(),
    }
    return told | {
        f"class {name}" if name in FACTS else name: p[:, i].tolist() for i, name in enumerate(classes)
    }


def predicted(
    model: Model, x: Any, *, seed: int | None = None, progress: Progress | None = None
) -> Iterator[Predicted]:
    """The predictions, a part of the items at a time. So the data may exceed the memory.

    Args:
        model: The model.
        x: Raw items; see `Model.predict_proba`.
        seed: See `Model.predict_proba`.
        progress: Called with what is done, and the numbers of finished items and of all items.

    Yields:
        Predictions in the order of the data.

    Raises:
        InvalidData: No item can be read.
    """
    told = model.settings
    scorer = score.PoolScorer(
        draws=told.score.draws,
        seed=model.seed if seed is None else seed,
        memory=told.score.memory,
        batch_size=told.score.score_batch,
    )
    device = str(pick_device(told.engine.device))
    reading = Applying(model.preprocessing, device, told.data.data_dir, progress)
    done, first = 0, ""
    for part in reading.parts(x):
        found = np.full((len(part.ids), len(model.classes)), np.nan)
        if part.pool is not None:
            log_probs = scorer.predict(model.posterior, part.pool, evaluate.predictive)
            found[part.read] = np.exp(np.asarray(log_probs, np.float64))
            done += len(part.read)
        for i, why in part.unreadable.items():
            first = first or f"{part.ids[i]}: {why}"
        yield Predicted(part.ids, part.paths, found, part.unreadable)
    if not done:
        if first:
            raise InvalidData(f"no item can be read; the first is {first}")
        raise InvalidArgument("there are no items to predict; give at least one")


def _best(p: NDArray[np.float64]) -> NDArray[np.intp]:
    """The most probable class of each item; -1 for unreadable ones."""
    best: NDArray[np.intp] = np.where(np.isnan(p[:, 0]), -1, np.nan_to_num(p).argmax(1))
    return best


def _warn(unreadable: Mapping[str, str]) -> None:
    if not unreadable:
        return
    named = "; ".join(f"{id}: {why}" for id, why in list(unreadable.items())[:_NAMED])
    more = "; ..." if len(unreadable) > _NAMED else ""
    what = "1 item" if len(unreadable) == 1 else f"{len(unreadable):,} items"
    warnings.warn(f"{what} could not be read: {named}{more}", ItemsLeftOut, stacklevel=3)


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


def model_of(store: Store, trial: Trial, network: NetworkFactory | nn.Module | None = None) -> Model:
    """The newest model of a trial.

    Args:
        store: The run.
        trial: The trial.
        network: See `load_model`.

    Returns:
        The model.

    Raises:
        InvalidArgument: The trial has no model yet.
        DamagedArtefact: The file of the model is missing or was changed.
    """
    round, folder = newest_posterior(store, trial)
    if folder is None:
        raise InvalidArgument(
            f"the trial {trial.strategy}, seed {trial.seed} has no model yet; its first fit is not finished"
        )
    return rebuilt(folder, about(store, trial, round), network)


def rebuilt(folder: Path, facts: Mapping[str, Any], network: NetworkFactory | nn.Module | None) -> Model:
    """Make a model from its saved posterior and the recorded facts of its run.

    Args:
        folder: The folder of the posterior.
        facts: "classes", "preprocessing", "settings", and "seed" and "round" of the trial; see `report.about`.
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
    seed = derive(facts["seed"], "draws", facts["round"])
    return Model(posteriors.load(folder, made), classes, facts["preprocessing"], settings, seed)
