"""How a run scores its pool, measures a posterior and decides to stop."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from baldur import evaluate, loop
from baldur.core.devices import pick_device
from baldur.core.sizes import bytes_of
from baldur.data import Dataset
from baldur.data.official import cache_folder
from baldur.errors import InvalidSettings
from baldur.loop.stopping import Stopping
from baldur.protocols import HoldsOut, Labelled, Learner, Pool, Posterior, Scorer, held_out_of
from baldur.runs.observer import Observer
from baldur.runs.settings import Settings
from baldur.score.passes import Precision
from baldur.score.scorer import PoolScorer
from baldur.score.trunks import Trunks
from baldur.stopping import Criterion, held_out_metrics


def make_trunks(settings: Settings, dataset: Dataset, observer: Observer) -> Trunks | None:
    """Where outputs of unchanged trunks are kept, if the settings ask for it."""
    if settings.trunk_cache is None:
        return None
    limit = bytes_of(settings.trunk_cache)
    return Trunks(cache_folder() / "trunks", limit, observer.message, fixed=(dataset.test,))


def scorer(settings: Settings, observer: Observer, seed: int, trunks: Trunks | None = None) -> PoolScorer:
    return PoolScorer(
        draws=settings.draws,
        seed=seed,
        memory=settings.memory,
        batch_size=settings.score_batch,
        precision=_precision(settings),
        trunks=trunks,
        progress=lambda done, total: observer.detail("scoring", done, total),
    )


def _precision(settings: Settings) -> Precision:
    if settings.score_precision != "auto":
        return settings.score_precision
    on_gpu = pick_device(settings.device).type == "cuda"
    return "bfloat16" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


def here(plain: PoolScorer) -> Scorer:
    """A pass is computed in this process."""
    return plain


def measure(
    settings: Settings,
    dataset: Dataset,
    observer: Observer,
    posterior: Posterior,
    seed: int,
    trunks: Trunks | None = None,
    place: Callable[[PoolScorer], Scorer] = here,
) -> loop.Measured:
    """The mean prediction on the test items against their labels; items without a label do not count."""
    told = replace(
        scorer(settings, observer, seed, trunks),
        precision="float32",  # what is reported of a model is not about how its pool was scored
        progress=lambda done, total: observer.detail("testing", done, total),
    )
    log_probs = place(told).predict(posterior, dataset.test, evaluate.predictive)
    known = dataset.test_labels >= 0
    log_probs, labels = log_probs[known], dataset.test_labels[known]
    values = evaluate.measure(log_probs, labels, dataset.classes)
    bins = evaluate.reliability(log_probs, labels)
    return loop.Measured(
        {(name, "test"): value for name, value in values.items()},
        {"count": bins.count, "confidence": bins.confidence, "accuracy": bins.accuracy},
    )


def make_stopping(
    settings: Settings,
    criterion: Criterion | None,
    learner: Learner,
    dataset: Dataset,
    free: Labelled | None,
    observer: Observer,
    place: Callable[[PoolScorer], Scorer] = here,
) -> Stopping | None:
    """The criterion with the means to see what it looks at; validation items are those that training holds out."""
    if criterion is None:
        return None
    unmeasurable = (
        f"--stop {criterion.name} needs labelled items that are not trained on: hold some out with --validation N, "
        "or, in a study, name split='test'"
    )
    holds_out = bool(settings.validation) and isinstance(learner, HoldsOut)
    if "validation" in criterion.splits and free is None and not holds_out:
        raise InvalidSettings(unmeasurable)
    if criterion.limit is not None and criterion.limit < settings.initial:
        raise InvalidSettings(
            f"--stop {criterion.name} allows {criterion.limit} labels, and --initial asks for {settings.initial} "
            "before the first question: lower that, or allow more"
        )

    def predict(posterior: Posterior, pool: Pool, seed: int) -> NDArray[np.floating]:
        return place(scorer(settings, observer, seed)).predict(posterior, pool, evaluate.predictive)

    def validate(posterior: Posterior, labelled: Labelled, seed: int) -> dict[tuple[str, str], float]:
        values = {}
        if "test" in criterion.splits:
            values["items", "test"] = float((dataset.test_labels >= 0).sum())
        if "validation" in criterion.splits:
            held = free if free is not None else held_out_of(learner, labelled)
            if held is None:  # a learner around one that trains on all
                raise InvalidSettings(unmeasurable)
            values |= held_out_metrics(predict(posterior, held.pool, seed), held.labels)
        return values

    return Stopping(criterion, predict, validate)
