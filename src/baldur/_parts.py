"""What settings name: strategies, networks, learners, oracles, and how a run measures and pictures things."""

import ast
import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from baldur import evaluate, learners, loop, networks, oracles, strategies
from baldur._modules import bits, map_tree
from baldur._seeds import generator
from baldur.data import Dataset
from baldur.data.pictures import contact_sheet
from baldur.errors import InvalidData, InvalidSettings
from baldur.protocols import Labelled, Learner, Oracle, Pool, Posterior, Strategy, View
from baldur.score import PoolScorer
from baldur.settings import Settings
from baldur.training import Recipe

NetworkFactory = Callable[[tuple[int, ...], int], nn.Module]
"""(shape of one item, number of classes) to a network that returns logits."""


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


def look_here() -> None:
    """Let one's own modules be found in the working directory, as `python -m` would have it."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def resolve(name: str) -> Any:
    """The object that `package.module:attribute` names.

    Args:
        name: Where it is; the working directory counts as a place for packages.

    Returns:
        The object.

    Raises:
        InvalidSettings: There is no such module or attribute.
    """
    module, _, attribute = name.partition(":")
    if not attribute:
        raise InvalidSettings(f"{name!r} is not known here; one's own is named as package.module:function")
    look_here()
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError, TypeError, SyntaxError) as error:
        raise InvalidSettings(
            f"{name!r}: {error}; it is looked for in {Path.cwd()} and where Python looks"
        ) from None
    except AttributeError:
        raise InvalidSettings(f"{name!r}: the module {module} has no {attribute!r}") from None


def functions_of(module: ModuleType) -> dict[str, Any]:
    """What a module offers by name: its public functions.

    Args:
        module: `baldur.strategies`, say.

    Returns:
        Functions by name, in the order in which they are written.
    """
    return {
        name: thing
        for name, thing in vars(module).items()
        if isinstance(thing, FunctionType)
        and not name.startswith("_")
        and thing.__module__.startswith(module.__name__)
    }


def strategy_named(name: str) -> Strategy:
    """The recipe of that name in `baldur.strategies`, or one's own by `package.module:function`.

    Args:
        name: Which; options may follow in brackets, as in "power_bald(beta=8)".

    Returns:
        The strategy, with its options bound.

    Raises:
        InvalidSettings: There is none, or it has no such option.
    """
    plain, brackets, written = name.partition("(")
    if ":" in plain:
        found = _callable(resolve(plain), plain)
    else:
        named = functions_of(strategies)
        if plain not in named:
            meant = "".join(f" (did you mean {n}?)" for n in get_close_matches(plain, named, 1))
            raise InvalidSettings(
                f"there is no strategy {plain!r}{meant}; there are {', '.join(named)}, or package.module:function"
            )
        found = named[plain]
    if not brackets:
        strategy: Strategy = found
        return strategy
    try:
        call = ast.parse(f"f({written}", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError
        options = {str(option.arg): ast.literal_eval(option.value) for option in call.keywords}
    except (SyntaxError, ValueError):
        raise InvalidSettings(
            f"{name!r}: options of a strategy are written as name(option=value, ...)"
        ) from None
    try:
        inspect.signature(found).bind_partial(**options)
    except TypeError as error:
        raise InvalidSettings(f"{name!r}: {error}; it is {plain}{inspect.signature(found)}") from None
    return partial(found, **options)


def network_named(name: str) -> NetworkFactory:
    """The factory of that name in `baldur.networks`, or one's own by `package.module:factory`.

    Args:
        name: Which; "auto" chooses by the shape of an item.

    Returns:
        (shape, classes) to a network.

    Raises:
        InvalidSettings: There is none.
    """
    if ":" in name:
        theirs: NetworkFactory = _callable(resolve(name), name)
        return theirs
    named = functions_of(networks)
    if name not in named:
        raise InvalidSettings(
            f"there is no network {name!r}; there are {', '.join(named)}, or package.module:factory"
        )
    factory: NetworkFactory = named[name]
    return factory


def _callable(found: Any, name: str) -> Any:
    if not callable(found):
        raise InvalidSettings(f"{name!r} is a {type(found).__name__}, not something that can be called")
    return found


def item_shape(pool: Pool) -> tuple[int, ...]:
    _, x = next(iter(pool.batches(np.arange(1), 1)))
    return tuple(x.shape[1:]) if isinstance(x, torch.Tensor) else ()


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


def fingerprint(dataset: Dataset) -> str:
    """A digest of what a run is about: ids, classes, labels, splits, and the contents of 64 items of each part.

    Args:
        dataset: The data.

    Returns:
        Hexadecimal SHA-256.
    """
    digest = hashlib.sha256(repr(dataset.classes).encode())
    for pool, labels in ((dataset.train, dataset.labels), (dataset.test, dataset.test_labels)):
        digest.update("\0".join(pool.ids).encode())
        digest.update(np.ascontiguousarray(labels).tobytes())
        some = np.unique(np.linspace(0, max(len(pool) - 1, 0), 64).astype(np.intp))
        for _, x in pool.batches(some, 64) if len(pool) else ():
            map_tree(lambda leaf: digest.update(bits(leaf)), x)
    return digest.hexdigest()


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
    held = np.sort(generator(0, "validation").choice(known, n, replace=False))
    rest = np.setdiff1d(np.arange(len(dataset.train)), held)
    free = Labelled(
        View(dataset.train, held),
        labels=dataset.labels[held],
        rounds=np.zeros(n, np.int64),
        weights=np.ones(n, np.float32),
        sources=("free validation",) * n,
    )
    return View(dataset.train, rest), dataset.labels[rest], free


def make_learner(
    settings: Settings, dataset: Dataset, own: Own, validation: Labelled | None, observer: Observer
) -> Learner:
    shape, classes = item_shape(dataset.train), len(dataset.classes)
    network: Callable[[], nn.Module] | nn.Module
    if isinstance(own.network, nn.Module):
        network = own.network
    else:
        network = partial(own.network or network_named(settings.network), shape, classes)
    if settings.learner != "supervised":
        made: Learner = _callable(resolve(settings.learner), settings.learner)(network, classes, settings)
        return made
    return learners.Supervised(
        network,
        classes=classes,
        recipe=_recipe(settings),
        posterior={
            "mc-dropout": learners.mc_dropout,
            "deterministic": learners.deterministic,
            "ensemble": learners.ensemble(settings.members),
            "dropout-ensemble": learners.ensemble(settings.members, each=learners.mc_dropout),
        }[settings.posterior],
        validation=0 if settings.validation_free else settings.validation,
        validation_set=validation,
        warm_start=settings.warm_start,
        interval=settings.checkpoint_seconds,
        progress=observer.detail,
    )


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
        augment=None if settings.augment is None else _callable(resolve(settings.augment), settings.augment),
        patience=settings.patience,
        precision=settings.precision,
        device=settings.device,
    )


def make_oracle(
    settings: Settings, folder: Path, dataset: Dataset, pool: Pool, labels: NDArray[np.int64]
) -> Oracle:
    if settings.oracle == "file":
        paths = {record.id: record.path for record in dataset.records}
        return oracles.FileOracle(folder, dataset.classes, lambda i: paths.get(i, ""))
    unknown = int((labels < 0).sum())
    if unknown:
        raise InvalidData(
            f"{unknown} of {len(labels)} items have no label, so the simulated oracle cannot answer for them; "
            "take them out, or answer through a file: --oracle file"
        )
    return oracles.Simulated(pool.ids, labels, dataset.classes)


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


def scorer(settings: Settings, observer: Observer, seed: int) -> PoolScorer:
    return PoolScorer(
        draws={"deterministic": 1, "ensemble": settings.members}.get(settings.posterior, settings.draws),
        seed=seed,
        memory=settings.memory,
        batch_size=settings.score_batch,
        progress=lambda done, total: observer.detail("scoring", done, total),
    )


def measure(
    settings: Settings, dataset: Dataset, observer: Observer, posterior: Posterior, seed: int
) -> loop.Measured:
    """The mean prediction on the test items against their labels; items without a label do not count."""
    told = replace(
        scorer(settings, observer, seed),
        progress=lambda done, total: observer.detail("testing", done, total),
    )
    log_probs = told.predict(posterior, dataset.test, evaluate.predictive)
    known = dataset.test_labels >= 0
    log_probs, labels = log_probs[known], dataset.test_labels[known]
    values = evaluate.measure(log_probs, labels, dataset.classes)
    bins = evaluate.reliability(log_probs, labels)
    return loop.Measured(
        {(name, "test"): value for name, value in values.items()},
        {"count": bins.count, "confidence": bins.confidence, "accuracy": bins.accuracy},
    )


def picture(dataset: Dataset, pool: Pool, ids: Sequence[str]) -> bytes | None:
    """What was picked, as one row of small pictures."""
    paths = {record.id: record.path for record in dataset.records}
    if paths:
        return contact_sheet([paths[i] for i in ids if i in paths])
    where = {i: position for position, i in enumerate(pool.ids)}
    positions = np.array([where[i] for i in ids], np.intp)
    (_, x), *_ = pool.batches(positions, len(positions))
    return contact_sheet(list(x.numpy())) if isinstance(x, torch.Tensor) and x.ndim == 4 else None
