"""The parts of a run that settings decide: learner, oracle, scorer, and how it measures and pictures things."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from torch import nn

from baldur import learners
from baldur.data import Dataset
from baldur.protocols import Labelled, Learner, Strategy
from baldur.runs.items import item_shape
from baldur.runs.names import (
    NetworkFactory,
    augment_named,
    fitting_named,
    learner_named,
    loss_named,
    network_named,
    schedule_named,
)
from baldur.runs.observer import Observer
from baldur.runs.settings import Settings
from baldur.training import Recipe
from baldur.training.contract import Fitting


@dataclass(frozen=True)
class Own:
    """What a person handed over in Python instead of a name.

    Args:
        dataset: Instead of `settings.data`.
        network: Instead of `settings.network`.
        learner: Instead of `settings.learner`.
        strategies: By the names that the settings have.
    """

    dataset: Dataset | None = None
    network: NetworkFactory | nn.Module | None = None
    learner: Learner | None = None
    strategies: Mapping[str, Strategy] = field(default_factory=dict)


def make_learner(
    settings: Settings,
    dataset: Dataset,
    own: Own,
    validation: Labelled | None,
    observer: Observer,
    cache: Path,
    spread: Callable[[Fitting], Fitting] = lambda fitting: fitting,
) -> Learner:
    shape, classes = item_shape(dataset.train), len(dataset.classes)
    network: Callable[[], nn.Module] | nn.Module
    if isinstance(own.network, nn.Module):
        network = own.network
    else:
        network = partial(own.network or network_named(settings.network), shape, classes)
    supervised = partial(
        learners.Supervised,
        network,
        classes=classes,
        recipe=_recipe(settings),
        posterior=spread(fitting_named(settings.posterior, settings.members)),
        validation=0 if settings.validation_free else settings.validation,
        validation_set=validation,
        warm_start=settings.warm_start,
        interval=settings.checkpoint_seconds,
        progress=observer.detail,
    )
    return learner_named(settings.learner, supervised, classes, cache, (network, classes, settings))


def _recipe(settings: Settings) -> Recipe:
    return Recipe(
        epochs=settings.epochs,
        epoch_size=settings.epoch_size,
        batch_size=settings.batch_size,
        optimizer=settings.optimizer,
        learning_rate=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        class_weights=settings.class_weights,
        label_smoothing=settings.label_smoothing,
        loss=None if settings.loss is None else loss_named(settings.loss),
        schedule=None if settings.schedule is None else schedule_named(settings.schedule),
        augment=None if settings.augment is None else augment_named(settings.augment),
        patience=settings.patience,
        precision=settings.precision,
        device=settings.device,
    )
