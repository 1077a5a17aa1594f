"""A learner whose posterior is calibrated on items that it does not train on."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from baldur import evaluate
from baldur.core.seeds import derive
from baldur.errors import EmptyLabelledSet, InvalidArgument, Unsupported
from baldur.evaluate.calibration import LEAST
from baldur.learners.held_out import hold_out, part
from baldur.likelihoods import IGNORED
from baldur.posteriors.calibrated import Calibrated, Method, inner, mapping, read
from baldur.protocols import (
    Checkpoint,
    Draws,
    Labelled,
    Learner,
    Pool,
    Posterior,
    WrappingLearner,
    kind_of,
)

_READ = 256
_STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
_FOLDS = 3


def calibrated(
    learner: Learner,
    *,
    method: Method = "temperature",
    share: float = 0.2,
    items: int | None = None,
    split_seed: int = 0,
) -> Learner:
    """A learner that trains on a part of what is labelled, and calibrates on the rest.

    The map is that of the least negative log-likelihood of the mean prediction on the rest (`evaluate.temperature`,
    `evaluate.dirichlet`, the latter's strength by cross-validation). The model is not fitted again with the rest: a map
    belongs to the model that it was found for. What is held out mostly stays so from round to round, counts as labels,
    and is of what was asked for alone, not of labels that a learner gave itself. Where so much cannot be held out
    with one item of each class left to train on, all are trained on and nothing is corrected, with a warning.

    A map found on a few dozen items is mostly noise, and can make predictions worse: a temperature wants a hundred
    items or more, the Dirichlet map some for each of its parameters. Calibrate all strategies that are compared, or
    none: a temperature changes what is chosen.

    Args:
        learner: What learns; of classes, or of labels with a temperature.
        method: "temperature", one number; or "dirichlet", C² + C of them.
        share: The part of the labelled items that is held out.
        items: How many are held out, instead.
        split_seed: Of the choice.

    Returns:
        The learner.

    Raises:
        InvalidArgument: An argument is not valid.
        Unsupported: The learner is known not to predict classes, or labels for a temperature.
    """
    if method not in get_args(Method):
        raise InvalidArgument(f"the method is temperature or dirichlet, not {method!r}")
    if not 0 < share < 1 or (items is not None and items < 1):
        raise InvalidArgument("hold out a share between 0 and 1, or at least one item")
    _check_kind(kind_of(learner), method)
    return _Calibrated(learner, method, share, items, split_seed)


@dataclass(frozen=True)
class _Calibrated(WrappingLearner):
    learner: Learner
    method: Method
    share: float
    items: int | None
    split_seed: int

    def fit(
        self,
        labelled: Labelled,
        unlabelled: Pool,
        *,
        seed: int,
        round: int,
        previous: Posterior | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Posterior:
        try:
            kept, held = self._split(labelled)
        except InvalidArgument as error:
            warnings.warn(f"nothing is held out, so nothing is calibrated: {error}", stacklevel=2)
            kept, held = np.arange(len(labelled)), np.empty(0, np.intp)
        if isinstance(previous, Calibrated):
            previous = previous.posterior
        posterior = self.learner.fit(
            part(labelled, kept), unlabelled, seed=seed, round=round, previous=previous, checkpoint=checkpoint
        )
        if not len(held):
            return Calibrated(posterior, "temperature", {"temperature": 1.0})
        draws = posterior.draw(None, derive(seed, "calibration"))
        _check_kind(draws.kind, self.method)
        log_probs, labels = _rows(draws, labelled, held)
        if self.method == "temperature":
            return Calibrated(
                posterior, self.method, {"temperature": evaluate.temperature(log_probs, labels)}
            )
        strength = _strength(log_probs, labels, derive(seed, "calibration", "folds"))
        weights, intercept = evaluate.dirichlet(log_probs, labels, strength)
        parameters = {"weights": weights.tolist(), "intercept": intercept.tolist()}
        return Calibrated(posterior, self.method, parameters)

    def load(self, folder: Path) -> Posterior:
        return Calibrated(self.learner.load(inner(folder)), *read(folder))

    def _split(self, labelled: Labelled) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        if not len(labelled):
            raise EmptyLabelledSet("nothing is labelled yet; label at least two items of each class")
        if np.issubdtype(labelled.labels.dtype, np.floating):
            raise Unsupported("classes or labels can be calibrated, not numbers")
        asked = np.flatnonzero(np.array(labelled.sources) == "oracle")
        count = self.items or round(self.share * len(asked)) or 1
        names = labelled.pool.groups or labelled.pool.ids
        # Only classes are strata: of several labels an item, or of a map, there is no one class.
        classes = labelled.labels[asked] if labelled.labels.ndim == 1 else np.zeros(len(asked), np.int64)
        _, held = hold_out(classes, [names[int(i)] for i in asked], count, self.split_seed)
        apart = {names[int(i)] for i in asked[held]}
        out = np.array([name in apart for name in names])
        return np.flatnonzero(~out), asked[held]


def _check_kind(kind: str | None, method: Method) -> None:
    if kind == "gaussian":
        raise Unsupported("classes or labels can be calibrated, not numbers")
    if method == "dirichlet" and kind not in (None, "categorical"):
        raise Unsupported(f"Dirichlet calibration is of classes, not of {kind} draws; use a temperature")


def _rows(
    draws: Draws, labelled: Labelled, held: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Log-probabilities (R, T, C) and classes (R,) of the held-out items; of each place of a map, of each label."""
    told: list[Any] = [torch.as_tensor(draws(x)).cpu().numpy() for _, x in labelled.pool.batches(held, _READ)]
    log_probs = np.concatenate(told).astype(np.float64)  # (H, T, C, ...)
    samples, classes = log_probs.shape[1:3]
    rows = np.moveaxis(log_probs, (1, 2), (-2, -1)).reshape(-1, samples, classes)  # (R, T, C)
    labels = labelled.labels[held].astype(np.int64).reshape(-1)  # (R,)
    known = labels != IGNORED
    return np.maximum(rows[known], LEAST), labels[known]


def _strength(log_probs: NDArray[np.float64], labels: NDArray[np.int64], seed: int) -> float:
    """The strength of regularisation whose maps are best on the third of the items that they were not found on."""
    if len(labels) < _FOLDS:
        return _STRENGTHS[-1]
    fold = np.random.default_rng(seed).permutation(len(labels)) % _FOLDS  # (R,)

    def loss(strength: float) -> float:
        total = 0.0
        for k in range(_FOLDS):
            weights, intercept = evaluate.dirichlet(log_probs[fold != k], labels[fold != k], strength)
            correct = mapping("dirichlet", {"weights": weights, "intercept": intercept})
            mean = correct(torch.from_numpy(log_probs[fold == k])).logsumexp(1).numpy()  # (r, C)
            total -= float(mean[np.arange(len(mean)), labels[fold == k]].sum())
        return total

    return min(_STRENGTHS, key=loss)
