"""A learner that calibrates its posterior on held-out items."""

import math
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
    strength: float = 1.0,
) -> Learner:
    """A learner that trains on a part of the labelled items, and calibrates on the rest.

    The map minimises the negative log-likelihood of the mean prediction on the held-out items (`evaluate.temperature`,
    `evaluate.dirichlet`). Cross-validation chooses the strength of the Dirichlet map. The model is not fitted again
    with the held-out items, because a map belongs to one fitted model. The held-out items mostly stay the same from
    round to round, and count as labels. They never include pseudo-labels. If each class cannot keep an item to train
    on, the learner trains on all items without calibration, and warns.

    With a few dozen items, the map is mostly noise and can make predictions worse. So `strength` draws a temperature
    towards 1, like a normal prior of log τ with a standard deviation of .7. A temperature needs a hundred items or
    more; the Dirichlet map needs several items for each parameter. Calibrate either all compared strategies or
    none, because a temperature changes the picks.

    Args:
        learner: The learner to wrap. It predicts classes; for a temperature, it may predict several labels.
        method: "temperature", one parameter; or "dirichlet", C² + C parameters.
        share: Share of the labelled items that is held out.
        items: Number of held-out items, instead of the share.
        split_seed: Seed of the choice of held-out items.
        strength: How much a temperature is drawn towards 1; see `evaluate.temperature`. 0 is not at all.

    Returns:
        The learner.

    Raises:
        InvalidArgument: An argument is not valid.
        Unsupported: The learner predicts something that the method cannot calibrate.
    """
    if method not in get_args(Method):
        raise InvalidArgument(f"method must be 'temperature' or 'dirichlet', not {method!r}")
    if not 0 < share < 1 or (items is not None and items < 1):
        raise InvalidArgument(f"share must be between 0 and 1, or items at least 1; not {share} and {items}")
    if not 0 <= strength < math.inf:
        raise InvalidArgument(f"strength must be a number of at least 0, not {strength}")
    _check_kind(kind_of(learner), method)
    return _Calibrated(learner, method, share, items, split_seed, strength)


@dataclass(frozen=True)
class _Calibrated(WrappingLearner):
    learner: Learner
    method: Method
    share: float
    items: int | None
    split_seed: int
    strength: float

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
            warnings.warn(f"no items are held out, so nothing is calibrated: {error}", stacklevel=2)
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
            best = evaluate.temperature(log_probs, labels, self.strength)
            return Calibrated(posterior, self.method, {"temperature": best})
        strength = _strength(log_probs, labels, derive(seed, "calibration", "folds"))
        weights, intercept = evaluate.dirichlet(log_probs, labels, strength)
        parameters = {"weights": weights.tolist(), "intercept": intercept.tolist()}
        return Calibrated(posterior, self.method, parameters)

    def load(self, folder: Path) -> Posterior:
        return Calibrated(self.learner.load(inner(folder)), *read(folder))

    def _split(self, labelled: Labelled) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        if not len(labelled):
            raise EmptyLabelledSet("there are no labelled items; label at least two items of each class")
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
        raise Unsupported(f"Dirichlet calibration needs classes, not {kind} draws; use method='temperature'")


def _rows(
    draws: Draws, labelled: Labelled, held: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Log-probabilities (R, T, C) and classes (R,) of the held-out items: one row for each item, pixel or label."""
    told: list[Any] = [torch.as_tensor(draws(x)).cpu().numpy() for _, x in labelled.pool.batches(held, _READ)]
    log_probs = np.concatenate(told).astype(np.float64)  # (H, T, C, ...)
    samples, classes = log_probs.shape[1:3]
    rows = np.moveaxis(log_probs, (1, 2), (-2, -1)).reshape(-1, samples, classes)  # (R, T, C)
    labels = labelled.labels[held].astype(np.int64).reshape(-1)  # (R,)
    known = labels != IGNORED
    return np.maximum(rows[known], LEAST), labels[known]


def _strength(log_probs: NDArray[np.float64], labels: NDArray[np.int64], seed: int) -> float:
    """The strength of regularisation with the least loss in three-fold cross-validation."""
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
