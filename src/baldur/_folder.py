"""A run's folder: a new run, the same one going on, or one that shall become longer."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from baldur import settings as settings_
from baldur._parts import Observer, fingerprint, item_shape
from baldur.data import Dataset
from baldur.errors import ItemChanged, RunNotFound, SettingsChanged
from baldur.settings import Settings
from baldur.store import Store
from baldur.store.database import FILE

GROWING = frozenset({"rounds", "seeds", "strategies"})
"""Settings that may become larger: the longer run's curve is the one that its new settings give from the beginning."""

ELSEWHERE = frozenset({"engine", "address", "workers"})
"""Settings that may differ: they say where a run is computed, and change nothing of what comes out."""


def known_files(settings: Settings, out: Path) -> dict[str, tuple[str | None, int, int]]:
    """What the run in the folder, if there is one, has recorded of its files; its settings must be these."""
    try:
        with Store.open(out) as store:
            items = store.items().items() if _same_settings(store, settings) else ()
    except RunNotFound:
        return {}
    return {
        i: (r.sha256, r.size, r.mtime_ns) for i, r in items if r.size is not None and r.mtime_ns is not None
    }


def _same_settings(store: Store, settings: Settings) -> bool:
    """Going on with other settings would make a curve that no settings file reproduces; a new beginning would not."""
    before = settings_.from_toml(store.settings)
    changed = _changed(before, settings)
    refused = changed.keys() - GROWING - ELSEWHERE | {
        name for name in changed.keys() & GROWING if not _more(*changed[name])
    }
    if refused and not _empty(store, before):
        told = "; ".join(
            f"{name} was {old!r} and is {new!r}" for name, (old, new) in changed.items() if name in refused
        )
        raise SettingsChanged(
            f"{store.folder} holds a run with other settings: {told}. "
            f"To go on with it, name only the folder (baldur run --out {store.folder}), "
            "with more rounds, seeds or strategies if you like; else take another folder"
        )
    return not refused


def _changed(before: Settings, after: Settings) -> dict[str, tuple[Any, Any]]:
    old, new = before.model_dump(), after.model_dump()
    return {name: (old[name], new[name]) for name in old if old[name] != new[name]}


def _more(old: Any, new: Any) -> bool:
    return set(old) < set(new) if isinstance(old, Collection) else bool(old < new)


def grow(store: Store, settings: Settings) -> None:
    """Take over settings that make the run longer; trials that only ran out of rounds are opened again.

    Args:
        store: The run, locked.
        settings: Of the longer run.
    """
    before = settings_.from_toml(store.settings)
    if not _changed(before, settings):
        return
    store.change_settings(settings_.to_toml(settings))
    for trial in store.trials():
        if (
            trial.state == "done"
            and trial.reason == f"{before.rounds} rounds"
            and settings.rounds > before.rounds
        ):
            trial.reopen()


def _empty(store: Store, settings: Settings) -> bool:
    """Whether nothing is lost with a run: nothing is fitted or kept, and only the simulated oracle has answered."""
    rounds = [trial.latest() for trial in store.trials()]
    fitted = any(r and (r.round or r.state not in ("requested", "labelled")) for r in rounds)
    return not (fitted or store.artefacts() or (settings.oracle != "simulated" and store.ledger()))


def _discard(store: Store, settings: Settings) -> None:
    """Delete the record of a run in which there is nothing; what a person has put into the folder stays."""
    with store, store.lock("trainer"):
        if not _same_settings(store, settings):  # again, for by now nobody else can work on it
            store.close()
            for suffix in ("", "-wal", "-shm", "-journal"):
                (store.folder / (FILE + suffix)).unlink(missing_ok=True)


def open_run(out: Path, settings: Settings, dataset: Dataset, observer: Observer) -> Store:
    print_ = fingerprint(dataset)
    try:
        store = Store.open(out)
    except RunNotFound:
        pass
    else:
        if not _same_settings(store, settings):
            _discard(store, settings)
            observer.message(f"nothing was learned in {out} yet, so it begins anew with these settings")
        elif store.preprocessing["facts"]["fingerprint"] == print_:
            return store
        else:
            store.close()
            raise ItemChanged(
                f"the data are not those that the run in {out} was begun with (items, labels, splits or contents "
                "differ); put them back, or take another folder for a new run"
            )
    shape = list(item_shape(dataset.train))
    counts = np.bincount(dataset.labels[dataset.labels >= 0], minlength=len(dataset.classes))
    facts: dict[str, Any] = {"duplicates": len(dataset.duplicates), "pool": len(dataset.train)}
    facts |= {"test": len(dataset.test), "fingerprint": print_, "class counts": counts.tolist()}
    return Store.create(
        out,
        settings=settings_.to_toml(settings),
        classes=dataset.classes,
        preprocessing={**dataset.preprocessing, "input_shape": shape, "facts": facts},
    )
