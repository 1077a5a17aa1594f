"""The parts of a run that settings decide: learner, oracle, scorer, and how it measures and pictures things."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from baldur import evaluate, learners, loop, oracles
from baldur._ending import Stopping
from baldur._modules import pick_device
from baldur._names import (
    NetworkFactory,
    augment_named,
    fitting_named,
    learner_named,
    loss_named,
    network_named,
    schedule_named,
)
from baldur._seeds import derive, generator
from baldur._trunks import Trunks
from baldur.data import Dataset
from baldur.data.official import cache_folder
from baldur.data.people import cifar10n
from baldur.data.pictures import contact_sheet
from baldur.errors import InvalidArgument, InvalidData, InvalidSettings, UnreadableItems
from baldur.learners import Fitting
from baldur.learners._held_out import hold_out
from baldur.protocols import Labelled, Learner, Oracle, Pool, Posterior, Scorer, Strategy, View
from baldur.score import PoolScorer, Precision
from baldur.settings import Settings, bytes_of
from baldur.stopping import Criterion, held_out_metrics
from baldur.training import Recipe


@dataclass(frozen=True)
class Observer:
    """Told what a run is doing; the command line shows it.

    Args:
        event: A phase begins, or a round was measured.
        detail: (what, done, in all) of something that may take long.
        message: A sentence that a person should see.
    """

    event: Callable[[loop.Event], None] = lambda event: None
    detail: Callable[[str, int, int], None] = lambda what, done, total: None
    message: Callable[[str], None] = lambda text: None


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


def item_shape(pool: Pool) -> tuple[int, ...]:
    """Of the first item that can be read: one before it may have been left out."""
    for position in range(len(pool)):
        with suppress(UnreadableItems):
            _, x = next(iter(pool.batches(np.array([position]), 1)))
            return tuple(x.shape[1:]) if isinstance(x, torch.Tensor) else ()
    raise InvalidData("not one item of the pool can be read: is its disk there?")


def check_data(settings: Settings, dataset: Dataset) -> None:
    """Refuse data that a run would fail on later.

    Args:
        settings: What the run is told.
        dataset: Its data.

    Raises:
        InvalidData: There are not two classes, or no labelled test items.
        InvalidSettings: More initial labels are asked for than there are items.
    """
    if len(dataset.classes) < 2:
        raise InvalidData(f"there must be two classes or more to tell apart, not {list(dataset.classes)}")
    if not (dataset.test_labels >= 0).any():
        raise InvalidData(
            "no test item has a label, so nothing could be measured; label some, or name a test split"
        )
    if settings.initial > len(dataset.train):
        raise InvalidSettings(
            f"{settings.initial} initial labels were asked for, but the pool holds {len(dataset.train)} items"
        )


def validation_part(settings: Settings, dataset: Dataset) -> tuple[Pool, NDArray[np.int64], Labelled | None]:
    """The pool without the validation items that are declared free, and those."""
    n = settings.validation
    if not (n and settings.validation_free):
        return dataset.train, dataset.labels, None
    known = np.flatnonzero(dataset.labels >= 0)
    if n >= len(known):
        raise InvalidSettings(
            f"{n} free validation items were asked for, but only {len(known)} items have a known label"
        )
    groups, left = dataset.train.groups, np.ones(len(dataset.train), bool)
    if groups is None:
        held = np.sort(generator(0, "validation").choice(known, n, replace=False))
        left[held] = False
    else:  # whole groups, what is not labelled of them too
        whose = np.asarray(groups)
        held = known[hold_out(dataset.labels[known], whose[known].tolist(), n, 0)[1]]
        left = ~np.isin(whose, whose[held])
    rest = np.flatnonzero(left)
    free = Labelled(
        View(dataset.train, held),
        labels=dataset.labels[held],
        rounds=np.zeros(len(held), np.int64),
        weights=np.ones(len(held), np.float32),
        sources=("free validation",) * len(held),
    )
    return View(dataset.train, rest), dataset.labels[rest], free


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


def make_oracle(
    settings: Settings, folder: Path, dataset: Dataset, pool: Pool, labels: NDArray[np.int64]
) -> Callable[[int], Oracle]:
    """Who answers in the trials of a seed: strategies of one seed meet the same errors, other seeds others."""
    if settings.oracle == "file":
        if settings.noise is not None or settings.annotators > 1:
            raise InvalidSettings(
                "--noise and --annotators are for simulated answers; what comes through a file is taken as it is"
            )
        paths = {record.id: record.path for record in dataset.records}
        ids = (*dataset.train.ids, *dataset.test.ids, *(i for i, _ in dataset.quarantined))
        file = oracles.FileOracle(folder, dataset.classes, lambda i: paths.get(i, ""), ids)
        return lambda seed: file  # one for all, for it writes one list of questions
    unknown = int((labels < 0).sum())
    if unknown:
        raise InvalidData(
            f"{unknown} of {len(labels)} items have no label, so the simulated oracle cannot answer for them; "
            "take them out, or answer through a file: --oracle file"
        )
    if settings.noise is None and settings.annotators == 1:
        simulated = oracles.Simulated(pool.ids, labels, dataset.classes)
        return lambda seed: simulated
    return partial(_crowd, _annotators(settings, dataset, pool, labels), dataset.classes)


def _crowd(annotators: Callable[[int], Sequence[Oracle]], classes: Sequence[str], seed: int) -> Oracle:
    own = derive(seed, "oracle")
    several = annotators(own)
    return oracles.Crowd(several, classes, votes=len(several), seed=own) if several[1:] else several[0]


def _annotators(
    settings: Settings, dataset: Dataset, pool: Pool, labels: NDArray[np.int64]
) -> Callable[[int], Sequence[Oracle]]:
    """Those who answer, given a seed, and err as the settings say."""
    noise, classes = settings.noise or "0", dataset.classes
    if noise.partition(":")[0] == "people":
        people = _people(settings, noise.partition(":")[2], pool, labels, classes)
        return lambda seed: people
    try:
        transition = oracles.uniform(float(noise), len(classes))
    except (ValueError, InvalidArgument):
        raise InvalidSettings(
            "noise is a share of wrong answers, as 0.2, or people:NAME with first, second, third, majority or worst, "
            f"or people with several annotators; not {noise!r}"
        ) from None
    truth = oracles.Simulated(pool.ids, labels, classes)
    names = [f"annotator {number + 1}" for number in range(settings.annotators)]
    return lambda seed: [oracles.Noisy(truth, classes, transition, seed=seed, annotator=n) for n in names]


_PEOPLE = ("first", "second", "third")


def _people(
    settings: Settings, who: str, pool: Pool, labels: NDArray[np.int64], classes: Sequence[str]
) -> Sequence[Oracle]:
    """The answers of CIFAR-10N: one that is named, or the first so many of three."""
    n = settings.annotators
    if n > len(_PEOPLE):
        raise InvalidSettings(f"each image of CIFAR-10N has three answers, so {n} annotators are too many")
    if n > 1 and who:
        raise InvalidSettings(
            f"{n} annotators give the {', '.join(_PEOPLE[:n])} answers, so {who!r} cannot be meant: "
            "say --noise people, or leave --annotators out"
        )
    if n == 1 and not who:
        raise InvalidSettings(
            "say whose answers: --noise people:NAME with first, second, third, majority or worst; or --annotators 3"
        )
    people = cifar10n(settings.data_dir)
    return [
        oracles.from_people(people, name, pool.ids, labels, classes)
        for name in ([who] if who else _PEOPLE[:n])
    ]


def initial(
    settings: Settings, pool: Pool, labels: NDArray[np.int64], rng: np.random.Generator
) -> Sequence[str]:
    """The first items: uniform, or drawn evenly over the classes."""
    ids, order = pool.ids, rng.permutation(len(pool))
    if not settings.initial_balanced:
        return [ids[i] for i in order[: settings.initial]]
    classes = np.unique(labels[labels >= 0])
    turns = np.empty(len(pool), np.int64)  # each item's place among those of its class, in random order
    for c in classes:
        members = order[labels[order] == c]
        turns[members] = np.arange(len(members))
    turns[labels < 0] = len(pool)
    even = order[np.argsort(turns[order], kind="stable")]
    return [ids[i] for i in even[: settings.initial]]


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
    held_out: Callable[[Labelled], Labelled | None] | None = getattr(learner, "held_out", None)
    if "validation" in criterion.splits and free is None and not (settings.validation and held_out):
        raise InvalidSettings(
            f"--stop {criterion.name} needs labelled items that are not trained on: hold some out with --validation N, "
            "or, in a study, name split='test'"
        )
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
            held = free if free is not None or held_out is None else held_out(labelled)
            assert held is not None  # or it was refused above
            values |= held_out_metrics(predict(posterior, held.pool, seed), held.labels)
        return values

    return Stopping(criterion, predict, validate)


def picture(dataset: Dataset, pool: Pool, ids: Sequence[str]) -> bytes | None:
    """What was picked, as one row of small pictures."""
    paths = {record.id: record.path for record in dataset.records}
    if paths:
        try:
            return contact_sheet([paths[i] for i in ids if i in paths])
        except (OSError, ValueError, SyntaxError):  # gone or damaged by now: as it was when it was decoded
            pass
    where = {i: position for position, i in enumerate(pool.ids)}
    positions = np.array([where[i] for i in ids], np.intp)
    (_, x), *_ = pool.batches(positions, len(positions))
    return contact_sheet(list(x.numpy())) if isinstance(x, torch.Tensor) and x.ndim == 4 else None
