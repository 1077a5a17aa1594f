"""Resolves all names in the settings once, before any data are read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from baldur.core.devices import pick_device
from baldur.core.written import look_here
from baldur.data import Dataset
from baldur.data.encoders.exported import Encoder, load_encoder
from baldur.errors import InvalidSettings
from baldur.learners import Supervised
from baldur.posteriors.fit.dropout import OneMaskASequence
from baldur.protocols import Labelled, Learner, Strategy
from baldur.runs.items import item_shape
from baldur.runs.meant import as_learner
from baldur.runs.names import (
    AUTO,
    LearnerChain,
    NetworkFactory,
    as_factory,
    augment_named,
    canonical,
    criterion_named,
    fitting_named,
    learner_named,
    loss_named,
    network_named,
    schedule_named,
    strategy_named,
)
from baldur.runs.observer import Observer
from baldur.runs.settings import LearnSettings, Settings
from baldur.stopping import Criterion
from baldur.training import Recipe
from baldur.training.contract import Fitting

IN_MEMORY = "in memory"
"""The value of `data` in the settings if the data were passed in Python."""


@dataclass(frozen=True)
class Given:
    """Objects that were passed in Python instead of names.

    Args:
        dataset: Replaces `settings.data.data`.
        network: Replaces `settings.learn.network`.
        learner: Replaces `settings.learn.learner`; a learner, or what `as_learner` takes.
        strategies: Strategies by their canonical names in the settings.
    """

    dataset: Dataset | None = None
    network: Any = None
    learner: Any = None
    strategies: Mapping[str, Strategy] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """A run with all names resolved. It contains data only if they were passed in Python.

    Args:
        settings: The settings of the run.
        strategies: Strategies by the names of their trials.
        network: A factory (shape, classes) -> module, or a module whose weights every fit starts from.
        posterior: The posterior function, (train, labelled, seed) -> Posterior.
        learner: A learner, or a chain of learners or an estimator, which become one when the data are known.
        recipe: The recipe of the training.
        criterion: The stopping criterion; None if only the number of rounds ends a trial.
        encoder: Turns images into features; None if networks get the images.
        dataset: The data, if they were passed in Python.
    """

    settings: Settings
    strategies: Mapping[str, Strategy]
    network: NetworkFactory | nn.Module
    posterior: Fitting
    learner: Any
    recipe: Recipe
    criterion: Criterion | None
    encoder: Encoder | None
    dataset: Dataset | None


def make_plan(settings: Settings, given: Given | None = None) -> Plan:
    """Resolve all names in the settings.

    Args:
        settings: The settings of the run.
        given: Objects that were passed in Python instead of names.

    Returns:
        The plan.

    Raises:
        InvalidSettings: A name or an option is unknown. The message names the nearest right one.
        DataNotFound: The file of the encoder does not exist.
    """
    given = given or Given()
    learn = settings.learn
    people = settings.compare.oracle == "people"  # their data are read when they are needed
    if given.dataset is None and settings.data.data == IN_MEMORY and not people:
        raise InvalidSettings(
            "the data of this run were passed in Python; to resume it, call baldur.run with the same data"
        )
    look_here()
    strategies = {
        name: given.strategies.get(canonical(name)) or strategy_named(name)
        for name in settings.compare.strategies
    }
    reserve = settings.compare.reserve
    criterion = criterion_named(settings.compare.stop, "reserve" if reserve else "validation")
    if criterion is not None and "reserve" in criterion.splits and not reserve:
        raise InvalidSettings(
            f"--stop {criterion.name} draws its test labels from a reserve; give a --reserve greater than 0"
        )
    initial = settings.compare.initial
    if criterion is not None and criterion.limit is not None and criterion.limit < initial:
        raise InvalidSettings(
            f"--stop {criterion.name} allows {criterion.limit} labels, but --initial asks for {initial}; allow more "
            "labels, or give a smaller --initial"
        )
    encoder = settings.data.encoder
    return Plan(
        settings=settings,
        strategies=strategies,
        network=_network(given.network, learn.network),
        posterior=fitting_named(learn.posterior, learn.members),
        learner=learner_named(learn.learner) if given.learner is None else given.learner,
        recipe=_recipe(learn, settings.engine.device),
        criterion=criterion,
        encoder=None if encoder is None else load_encoder(encoder, str(pick_device(settings.engine.device))),
        dataset=given.dataset,
    )


USUAL: Mapping[str, str] = {
    "table": "extra-trees",
    "text": "committee(C=0.05, standardise=False)",
}
"""The learner of each kind of data that is learned best without a network; see docs/posteriors.md."""


def for_data(plan: Plan, dataset: Dataset) -> Plan:
    """A plan with the usual learner for the data, if its settings leave the choice.

    Args:
        plan: The plan of the run.
        dataset: The data.

    Returns:
        The plan.
    """
    kind = _kind(plan, dataset)
    return plan if kind is None else replace(plan, learner=learner_named(USUAL[kind]))


def chosen_learner(plan: Plan, dataset: Dataset) -> str:
    """The learner that `for_data` chose, in words.

    Args:
        plan: The plan of the run.
        dataset: The data.

    Returns:
        A sentence; empty if it chose none.
    """
    kind = _kind(plan, dataset)
    if kind is None:
        return ""
    return f"learner: {USUAL[kind]}, the default for {kind}s; --learner supervised trains a network instead"


def _kind(plan: Plan, dataset: Dataset) -> str | None:
    """The kind of data that has a usual learner, if the choice is left."""
    told = dataset.preprocessing
    if plan.settings.learn.learner != AUTO or not isinstance(plan.learner, LearnerChain):
        return None
    if told.get("kind") != "table":
        return None
    return "text" if told["columns"].get("texts") else "table"


def _network(given: Any, name: str) -> NetworkFactory | nn.Module:
    if given is None:
        return network_named(name)
    return given if isinstance(given, nn.Module) else as_factory(given)


def make_learner(
    plan: Plan,
    dataset: Dataset,
    validation: Labelled | None,
    observer: Observer,
    cache: Path,
    spread: Callable[[Fitting], Fitting] = lambda fitting: fitting,
) -> Learner:
    """Make the learner of a plan for the data.

    Args:
        plan: The plan of the run.
        dataset: The data.
        validation: Items for early stopping that do not count as labels.
        observer: Receives the progress of the training.
        cache: Folder for a network that is trained once for all rounds.
        spread: Changes how the members of an ensemble are fitted.

    Returns:
        The learner.

    Raises:
        InvalidSettings: A value is not valid, or a learner cannot wrap the next one.
    """
    if not isinstance(plan.learner, LearnerChain):
        return as_learner(plan.learner, item_shape(dataset.train), len(dataset.classes))
    learn, classes = plan.settings.learn, len(dataset.classes)
    network: Callable[[], nn.Module] | nn.Module
    if isinstance(plan.network, nn.Module):
        network = plan.network
    else:
        network = partial(plan.network, item_shape(dataset.train), classes)
    fitting = spread(plan.posterior)
    if learn.recurrent_masks == "sequence":
        fitting = OneMaskASequence(fitting)
    supervised = partial(
        Supervised,
        network,
        classes=classes,
        recipe=plan.recipe,
        posterior=fitting,
        validation=0 if learn.validation_free else learn.validation,
        validation_set=validation,
        warm_start=learn.warm_start,
        interval=learn.checkpoint_seconds,
        progress=observer.detail,
    )
    return plan.learner.make(supervised, classes, (network, classes, learn), cache)


def _recipe(learn: LearnSettings, device: str) -> Recipe:
    return Recipe(
        epochs=learn.epochs,
        epoch_size=learn.epoch_size,
        batch_size=learn.batch_size,
        optimizer=learn.optimizer,
        learning_rate=learn.learning_rate,
        momentum=learn.momentum,
        weight_decay=learn.weight_decay,
        class_weights=learn.class_weights,
        label_smoothing=learn.label_smoothing,
        loss=None if learn.loss is None else loss_named(learn.loss),
        schedule=None if learn.schedule is None else schedule_named(learn.schedule),
        augment=None if learn.augment is None else augment_named(learn.augment),
        patience=learn.patience,
        precision=learn.precision,
        device=device,
    )
