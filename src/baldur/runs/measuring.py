"""Passes over pools during a run: to score items, to measure a posterior, and to decide whether to stop."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from baldur import evaluate, loop
from baldur.core.devices import pick_device
from baldur.core.sizes import bytes_of
from baldur.data import Dataset
from baldur.data.official import cache_folder
from baldur.errors import InvalidSettings, SamplesMissTraining, TieBreakWarning
from baldur.loop.stopping import Stopping
from baldur.protocols import HoldsOut, Labelled, Learner, Pool, Posterior, Scorer, View, held_out_of
from baldur.runs.observer import Observer
from baldur.runs.settings import ScoreSettings
from baldur.score import PoolScorer, Precision
from baldur.score.trunks import Trunks
from baldur.stopping import Criterion, held_out_metrics

_TRAINING, _FEWEST = 1000, 20  # most training items that samples are looked at on, and fewest for a warning
_LEARNED, _FAR_BELOW = 0.8, 0.6  # accuracy of a model that has learned; share of it that is far below
_MISSES = (
    "a sample of this posterior gets far fewer of its training labels right than the mean prediction does, so the "
    "disagreement of the samples says little. The metrics accuracy and accuracy_of_samples of the split training have "
    "both. Try another posterior, or other options of this one"
)

Place = Callable[[PoolScorer], Scorer]
"""Chooses where a pass over a pool is computed."""


def here(plain: PoolScorer) -> Scorer:
    """Compute passes in this process."""
    return plain


@dataclass(frozen=True)
class Passes:
    """Passes over the pools of a run, with its settings.

    Args:
        score: The settings of scoring.
        device: The name of the device.
        dataset: The data.
        observer: Receives the progress of a pass.
        trunks: The cache of trunk outputs; None without a cache.
        place: Chooses where a pass is computed.
    """

    score: ScoreSettings
    device: str
    dataset: Dataset
    observer: Observer
    trunks: Trunks | None = None
    place: Place = here

    def scorer(self, seed: int) -> Scorer:
        """The scorer of a round.

        Args:
            seed: Seed of the posterior samples.

        Returns:
            The scorer.
        """
        return self.place(self._plain(seed, "scoring", precision_of(self.score, self.device)))

    def measure(self, posterior: Posterior, labelled: Labelled, seed: int) -> loop.Measured:
        """Compare the mean prediction of the test items with their labels. Items without a label are ignored.

        Args:
            posterior: The posterior.
            labelled: The items that it was trained on.
            seed: Seed of the posterior samples.

        Returns:
            Metrics of the test split, the accuracies of the training split, and the reliability diagram. Without test
            labels, only those of the training split.
        """
        known = self.dataset.test_labels >= 0
        training = replace(self, trunks=None)._on_training(posterior, labelled, seed)
        if not known.any():
            return loop.Measured(training, {})
        # Measured in float32, so that a metric does not depend on how the pool was scored.
        scorer = self.place(self._plain(seed, "testing", "float32"))
        log_probs = scorer.predict(posterior, self.dataset.test, evaluate.predictive)
        log_probs, labels = log_probs[known], self.dataset.test_labels[known]
        values = evaluate.measure(log_probs, labels, self.dataset.classes)
        bins = evaluate.reliability(log_probs, labels)
        return loop.Measured(
            {(name, "test"): value for name, value in values.items()} | training,
            {"count": bins.count, "confidence": bins.confidence, "accuracy": bins.accuracy},
        )

    def _on_training(
        self, posterior: Posterior, labelled: Labelled, seed: int
    ) -> dict[tuple[str, str], float]:
        """The accuracies of the mean prediction and of a sample on the training labels; warns if they differ much.

        A sample that misses the labels that it was trained on is no function that the data leave possible. Its
        disagreement with other samples is then noise.
        """
        some = np.unique(np.linspace(0, len(labelled) - 1, min(len(labelled), _TRAINING)).astype(np.intp))
        labels = labelled.labels[some]
        if labels.ndim != 1 or not len(labels):
            return {}
        scorer = self.place(self._plain(seed, "testing", "float32"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TieBreakWarning)  # samples may agree on what they were trained on
            log_probs = scorer.predict(posterior, View(labelled.pool, some))  # (n, T, C)
        of_samples = float((log_probs.argmax(2) == labels[:, None]).mean())
        of_mean = float((np.asarray(evaluate.predictive(log_probs)).argmax(1) == labels).mean())
        if len(labels) >= _FEWEST and of_mean >= _LEARNED and of_samples < _FAR_BELOW * of_mean:
            warnings.warn(_MISSES, SamplesMissTraining, stacklevel=2)
        return {("accuracy", "training"): of_mean, ("accuracy_of_samples", "training"): of_samples}

    def stopping(
        self,
        criterion: Criterion | None,
        learner: Learner,
        free: Labelled | None,
        holds_out: bool,
        reserve: Pool | None = None,
        intervals: bool = False,
    ) -> Stopping | None:
        """The stopping criterion, with the predictions and metrics that it needs.

        Args:
            criterion: The criterion, or None.
            learner: The learner, which knows its held-out items.
            free: Validation items that do not count as labels.
            holds_out: Whether labelled items are held out for validation.
            reserve: The items for test labels, in random order; None without a reserve.
            intervals: Whether the accuracy on test labels gets an interval.

        Returns:
            The criterion with its inputs; None if there is no criterion.

        Raises:
            InvalidSettings: The criterion needs validation items, but there are none.
        """
        if criterion is None:
            return None
        unmeasurable = (
            f"--stop {criterion.name} needs labelled items that are held out from training; add --validation N, or, "
            "in a study, use the option split='test'"
        )
        holds_out = holds_out and isinstance(learner, HoldsOut)
        if "validation" in criterion.splits and free is None and not holds_out:
            raise InvalidSettings(unmeasurable)

        def predict(posterior: Posterior, pool: Pool, seed: int) -> NDArray[np.floating]:
            # without the cache of trunks, so that the metrics do not depend on it
            return replace(self, trunks=None).scorer(seed).predict(posterior, pool, evaluate.predictive)

        def validate(posterior: Posterior, labelled: Labelled, seed: int) -> dict[tuple[str, str], float]:
            values = {}
            if "test" in criterion.splits:
                values["items", "test"] = float((self.dataset.test_labels >= 0).sum())
            if "validation" in criterion.splits:
                held = free if free is not None else held_out_of(learner, labelled)
                if held is None:  # the wrapped learner trains on all items
                    raise InvalidSettings(unmeasurable)
                values |= held_out_metrics(predict(posterior, held.pool, seed), held.labels)
            return values

        return Stopping(
            criterion, predict, validate, reserve=reserve, interval=_interval if intervals else None
        )

    def _plain(self, seed: int, what: str, precision: Precision) -> PoolScorer:
        return PoolScorer(
            draws=self.score.draws,
            seed=seed,
            memory=self.score.memory,
            batch_size=self.score.score_batch,
            precision=precision,
            trunks=self.trunks,
            progress=lambda done, total: self.observer.detail(what, done, total),
        )


def _interval(wrong: NDArray[np.float64], guess: NDArray[np.float64], level: float) -> tuple[float, float]:
    shown = evaluate.audited_mean(wrong, guess, np.arange(len(wrong)), level)
    return shown.low, shown.high


def make_passes(score: ScoreSettings, device: str, dataset: Dataset, observer: Observer) -> Passes:
    """Make passes in this process, with a cache of trunks if the settings ask for one.

    Args:
        score: The settings of scoring.
        device: The name of the device.
        dataset: The data.
        observer: Receives the progress of a pass.

    Returns:
        The passes.
    """
    trunks = None
    if score.trunk_cache is not None:
        folder, limit = cache_folder() / "trunks", bytes_of(score.trunk_cache)
        trunks = Trunks(folder, limit, observer.message, fixed=(dataset.test,))
    return Passes(score, device, dataset, observer, trunks)


def precision_of(score: ScoreSettings, device: str) -> Precision:
    """The precision of scoring. "auto" means bfloat16 on a GPU that supports it, and float32 otherwise.

    Args:
        score: The settings of scoring.
        device: The name of the device.

    Returns:
        "float32" or "bfloat16".
    """
    if score.score_precision != "auto":
        return score.score_precision
    on_gpu = pick_device(device).type == "cuda"
    return "bfloat16" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
