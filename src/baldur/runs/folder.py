"""The folder of a run: creates, resumes or extends the run."""

import hashlib
import warnings
from collections.abc import Collection, Mapping, Sequence, Sized
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.core.devices import pick_device
from baldur.core.trees import bits, map_tree
from baldur.data import Dataset
from baldur.data.copies import EARLIER
from baldur.errors import InvalidSettings, ItemChanged, RunNotFound, SettingsChanged
from baldur.protocols import Pool
from baldur.runs import settings as settings_
from baldur.runs.items import item_shape
from baldur.runs.meanings import as_before
from baldur.runs.names import (
    AUTO,
    canonical,
    epochs_factor,
    fitting_named,
    learner_named,
    network_named,
    strategy_named,
)
from baldur.runs.observer import Observer
from baldur.runs.settings import Settings
from baldur.store import Store
from baldur.store.backup import SETTINGS

GROWING = frozenset({"rounds", "seeds", "strategies"})
"""Settings that may grow. The extended run gives the same curve as a new run with the larger settings."""

ELSEWHERE = frozenset({"engine", "address", "workers", "jobs"})
"""Settings that may change at any time: they decide where a run is computed, and change no result."""

WHERE = frozenset({"data", "data_dir", "encoder"})
"""Settings that say where the data are. They may change if the content is the same, since data may be moved."""

_PEOPLE = (
    "people label in the run in {0}, so nothing is compared; go on with baldur.open in Python, or give another "
    "folder"
)

ON_PROCESSOR = 32
"""The side in pixels of photographs if there is no GPU; with it, a small network is chosen."""

_NAMES = ("network", "learner", "posterior")
"""Settings that may name a function by the path of an earlier version."""


@dataclass(frozen=True)
class Settled:
    """The settings of a run.

    Args:
        settings: The settings, with the names that its trials have.
        stored: The settings of the run in the folder; None for a new run.
        threads: Number of threads of the run; 0 for a new run without such a setting.
        known: Recorded files, by id: sha256, size, time of modification.
        scaling: The scaling of the inputs in the stored run; None for a new run.
        db: The URL of the run's database, as it was given. It is no setting: it may hold a password.
    """

    settings: Settings
    stored: Settings | None = None
    threads: int = 0
    known: Mapping[str, tuple[str | None, int, int]] = field(default_factory=dict)
    scaling: Mapping[str, Any] | None = None
    db: str | None = field(default=None, repr=False)


def settle(told: Mapping[str, Any], out: Path, db: str | None = None) -> Settled:
    """The settings of a new run, or of the run in the folder. Options that are not given keep their stored values.

    Args:
        told: The given options, by flat name.
        out: The run's folder.
        db: The URL of the run's database; None for the recorded one, or for a file in the folder.

    Returns:
        The settings.

    Raises:
        InvalidSettings: An option is unknown or not valid, or the run is kept elsewhere.
        SettingsChanged: The run was started with other settings.
    """
    told = settings_.canonical_names(told)
    if told.get("oracle") == "people":
        raise InvalidSettings(_PEOPLE.format(out))
    try:
        with Store.open(out, url=db) as store:
            return replace(_settled(store, told), db=db)
    except RunNotFound:
        settings = _new(told)
        if db is not None:
            Store.try_out(out, db)
        return Settled(settings, threads=settings.engine.threads, db=db)


def _new(told: Mapping[str, Any]) -> Settings:
    """The settings of a new run. A learner that converges late trains for longer, unless the user says how long."""
    return adapted(settings_.create(**told), told)


def adapted(settings: Settings, told: Collection[str]) -> Settings:
    """Settings of a new run, with the defaults that depend on other settings and on the machine.

    Args:
        settings: Settings with the usual defaults.
        told: The names of the settings that the user gave.

    Returns:
        The settings. On a processor, photographs are smaller, so that the first model is there within minutes. The
        data choose the learner, unless the user says anything about learning.
    """
    if not set(told) & set(settings_.LearnSettings.model_fields):
        settings = settings.but(learner=AUTO)
    slow = pick_device(settings.engine.device).type == "cpu"
    if slow and not {"image_size", "network", "encoder"} & set(told):
        settings = settings.but(image_size=ON_PROCESSOR)
    return settings if "epochs" in told else long_enough(settings)


def long_enough(settings: Settings) -> Settings:
    """Settings with the default number of epochs of their learner. Some learners converge late.

    Args:
        settings: Settings with the usual number of epochs.

    Returns:
        The settings.
    """
    factor = epochs_factor(settings.learn.learner, settings.learn.augment)
    return settings if factor == 1 else settings.but(epochs=factor * settings.learn.epochs)


def _settled(store: Store, told: Mapping[str, Any]) -> Settled:
    stored = settings_.from_toml(store.settings)
    if stored.compare.oracle == "people":
        raise InvalidSettings(_PEOPLE.format(store.folder))
    _warn_of_edits(store)
    starts = store.starts()
    if not stored.engine.threads and starts:  # older versions recorded the number, but did not store it
        stored = stored.but(threads=int(starts[0].get("threads", 0)))
    fresh = settings_.create(**told).flat()  # checked, and in the form in which values are kept
    now = as_stored({name: fresh[name] for name in told}, stored)
    settings = stored.but(**now)
    refused = _refused(stored, settings)
    if (refused or _moved(stored, settings)) and _empty(store, stored):
        anew = _new(told)
        return Settled(anew, threads=anew.engine.threads)
    if refused:
        _check_names(now)
        changes = "; ".join(f"{name} was {old!r} and is now {new!r}" for name, (old, new) in refused.items())
        raise SettingsChanged(
            f"{store.folder} holds a run with other settings: {changes}. "
            f"To resume that run, give only its folder (baldur run --out {store.folder}) and, if you like, more "
            "rounds, seeds or strategies. For a new run, give another folder (--out)"
        )
    return Settled(
        settings, stored, settings.engine.threads, store.files(), store.preprocessing.get("scaling", {})
    )


def _warn_of_edits(store: Store) -> None:
    """Warn if somebody edited the file of settings, which a run writes but does not read."""
    path = store.folder / SETTINGS
    if path.exists() and path.read_bytes().split() != store.settings.encode().split():
        warnings.warn(
            f"{path} was edited, but a run keeps the settings that it began with. For other settings, begin a new run: "
            f"baldur run --settings {path} --out NEW",
            stacklevel=4,
        )


def _check_names(told: Mapping[str, Any]) -> None:
    """Raise an error for a misspelt name, which would otherwise look like another setting."""
    for name in told.get("strategies", ()):
        if ":" not in name:
            strategy_named(name)
    for option, named in (("learner", learner_named), ("network", network_named)):
        if option in told and ":" not in told[option]:
            named(told[option])
    if "posterior" in told and ":" not in told["posterior"]:
        fitting_named(told["posterior"])


def as_stored(told: Mapping[str, Any], stored: Settings) -> dict[str, Any]:
    """Write each name as the stored run does, if both names mean the same function.

    A function may have another path or other defaults in another version, but a trial keeps its first name.

    Args:
        told: The given options, by flat name.
        stored: The settings of the run in the folder.

    Returns:
        The options.
    """
    before, now = stored.flat(), dict(told)
    if "strategies" in now:
        names = {canonical(name): name for name in before["strategies"]}
        now["strategies"] = [names.get(canonical(name), name) for name in now["strategies"]]
    for option in _NAMES:
        told_as = {canonical(now[option]), canonical(as_before(option, now[option]))} if option in now else ()
        if canonical(before[option]) in told_as:
            now[option] = before[option]
    return now


def _refused(before: Settings, after: Settings) -> dict[str, tuple[Any, Any]]:
    """Forbidden changes: old and new value by name. After such a change, no settings file would reproduce the run."""
    old, new = before.flat(), after.flat()
    changed = {name: (old[name], new[name]) for name in old if old[name] != new[name]}
    return {
        name: values
        for name, values in changed.items()
        if name not in ELSEWHERE | WHERE
        and not (name == "threads" and not values[0])
        and not (name in GROWING and _more(*values))
    }


def _moved(before: Settings, after: Settings) -> bool:
    """Whether the data are said to be elsewhere."""
    old, new = before.flat(), after.flat()
    return any(old[name] != new[name] for name in WHERE)


def _more(old: Any, new: Any) -> bool:
    return set(old) < set(new) if isinstance(old, Collection) else bool(old < new)


def grow(store: Store, settings: Settings) -> None:
    """Extend a run to larger settings. Trials that ended because of the number of rounds are reopened.

    Args:
        store: The locked run.
        settings: The settings of the extended run.
    """
    before = settings_.from_toml(store.settings)
    if before == settings:
        return
    rounds = before.compare.rounds
    for (
        trial
    ) in store.trials():  # settings are stored last, so that a new start after a kill reopens the rest
        if trial.state == "done" and trial.reason == f"{rounds} rounds" and settings.compare.rounds > rounds:
            trial.reopen()
    store.change_settings(settings_.to_toml(settings))


def _empty(store: Store, settings: Settings) -> bool:
    """Whether a run may be discarded: nothing was fitted or stored, and only the simulated oracle has answered."""
    rounds = [trial.latest() for trial in store.trials()]
    fitted = any(r and (r.round or r.state not in ("requested", "labelled")) for r in rounds)
    answered = settings.compare.oracle != "simulated" and store.ledger()
    return not (fitted or store.artefacts() or answered)


def _discard(store: Store, settings: Settings) -> None:
    """Delete the record of an empty run. Other files in the folder are kept."""
    with store, store.lock("trainer"):
        stored = settings_.from_toml(store.settings)
        changed = _refused(stored, settings) or _moved(stored, settings)
        if changed and _empty(store, stored):  # checked again under the lock
            store.discard()


def fingerprint(dataset: Dataset, gone: Collection[str] = ()) -> list[str]:
    """Digests that identify the data: one of ids, classes, labels and splits, and one of each of 64 items of each part.

    Args:
        dataset: The data.
        gone: Items of the pool that were left out. They are not read, and their digests are empty.

    Returns:
        Hexadecimal SHA-256; for single items, only the first 32 bits.
    """
    whole = hashlib.sha256(repr(dataset.classes).encode())
    contents = []
    for pool, labels, left_out in (
        (dataset.train, dataset.labels, gone),
        (dataset.test, dataset.test_labels, ()),
    ):
        ids = pool.ids
        whole.update(_facts(ids, labels))
        contents += ["" if ids[i] in left_out else _content(pool, i) for i in _some(pool)]
    return [whole.hexdigest(), *contents]


def pool_fingerprint(pool: Pool) -> str:
    """Digests that identify a pool that may grow: one of its ids, and one of each of 64 items.

    Labels do not count, since people give them while the run goes on.

    Args:
        pool: The items.

    Returns:
        Hexadecimal digests with spaces in between.
    """
    return " ".join([_named(pool.ids), *(_content(pool, i) for i in _some(pool.ids))])


def same_items(fingerprint: str, ids: Sequence[str], pool: Pool, gone: Collection[str]) -> bool:
    """Whether a pool still has the items that it had when a run began.

    Args:
        fingerprint: Of the pool at the beginning, see `pool_fingerprint`.
        ids: Its ids at the beginning, in order.
        pool: The items now, in any order; new ones may be among them.
        gone: Items that were left out since; they are not read.

    Returns:
        True if no item is missing, and none of the 64 has another content.
    """
    whole, *contents = fingerprint.split()
    where = {id: position for position, id in enumerate(pool.ids)}
    if whole != _named(ids) or any(id not in where and id not in gone for id in ids):
        return False
    sample = zip((ids[i] for i in _some(ids)), contents, strict=True)
    return all(id in gone or _content(pool, where[id]) == content for id, content in sample)


def _named(ids: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(ids).encode()).hexdigest()


def _content(pool: Pool, position: np.intp | int) -> str:
    digest = hashlib.sha256()
    for _, x in pool.batches(np.array([position]), 1):
        map_tree(lambda leaf: digest.update(bits(leaf)), x)
    return digest.hexdigest()[:8]


def _one_digest(dataset: Dataset) -> str:
    """The fingerprint of older versions: one digest of everything, so no item may be missing."""
    digest = hashlib.sha256(repr(dataset.classes).encode())
    for pool, labels in ((dataset.train, dataset.labels), (dataset.test, dataset.test_labels)):
        digest.update(_facts(pool.ids, labels))
        for _, x in pool.batches(_some(pool), 64):
            map_tree(lambda leaf: digest.update(bits(leaf)), x)
    return digest.hexdigest()


def _facts(ids: Sequence[str], labels: NDArray[np.int64]) -> bytes:
    return "\0".join(ids).encode() + labels.tobytes()


def _some(items: Sized) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, max(len(items) - 1, 0), 64).astype(np.intp))[: len(items)]


def _same_data(store: Store, dataset: Dataset) -> bool:
    before = store.preprocessing["facts"]["fingerprint"].split()
    if len(before) == 1:
        return bool(before == [_one_digest(dataset)])
    now = fingerprint(dataset, store.items("quarantined").keys())
    return len(before) == len(now) and all(new in ("", old) for old, new in zip(before, now, strict=True))


def open_run(
    out: Path, settings: Settings, dataset: Dataset, observer: Observer, db: str | None = None
) -> Store:
    try:
        store = Store.open(out, url=db)
    except RunNotFound:
        pass
    else:
        with ExitStack() as stack:
            stack.enter_context(store)
            stored = settings_.from_toml(store.settings)
            anew = bool(_refused(stored, settings))
            if not anew and not _same_data(store, dataset):
                anew = _moved(stored, settings) and _empty(store, stored)
                if not anew:
                    early = " An early version began it, so make the data set with reading=1."
                    raise ItemChanged(
                        f"the run in {out} was started with other data (items, labels, splits or contents differ); "
                        "give the same data as before, wherever they are. For a new run, give another folder (--out)."
                        + early
                        * (settings.data.reading <= EARLIER)
                    )
            stack.pop_all()
        if not anew:
            return store
        db = store.url  # the new run is kept where the old one was
        _discard(store, settings)
        observer.message(f"the run in {out} had not trained yet, so it starts anew with these settings")
    shape = list(item_shape(dataset.train))
    counts = np.bincount(dataset.labels[dataset.labels >= 0], minlength=len(dataset.classes))
    facts: dict[str, Any] = {"duplicates": len(dataset.duplicates), "pool": len(dataset.train)}
    print_ = " ".join(fingerprint(dataset))
    facts |= {"test": len(dataset.test), "fingerprint": print_, "class counts": counts.tolist()}
    return Store.create(
        out,
        settings=settings_.to_toml(settings),
        classes=dataset.classes,
        preprocessing={**dataset.preprocessing, "input_shape": shape, "facts": facts},
        url=db,
    )
