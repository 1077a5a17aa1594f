"""The items of a run in which people label: their random order, the test items, and the first questions."""

from dataclasses import replace
from itertools import islice
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from baldur import loop
from baldur.core.seeds import derive
from baldur.data import Dataset
from baldur.protocols import Pool
from baldur.runs.items import item_records
from baldur.store import Event, ItemRecord, Request, Store, Trial
from baldur.store.events import RESERVE

BROUGHT = "data"
"""The annotator and the source of the labels that the data had when the run began."""

_MOST_RESERVED = 5000
_CHUNK = 10_000
_EVENTS = UUID("1d7b7b58-6f0b-5b0c-9b73-0f4f3f0c6c55")


def key_of(seed: int, item: str) -> int:
    """The place of an item in the random order of a run: 63 bits that only the seed and the id decide.

    Args:
        seed: The seed of the run.
        item: The id of the item, or of its group.

    Returns:
        The key; the order is ascending.
    """
    return derive(seed, "order", item)


def frontier_of(seed: int, pool: Pool, share: float) -> int | None:
    """The key from which on items are test items: those at the end of the random order. Groups stay whole.

    Args:
        seed: The seed of the run.
        pool: All items.
        share: The largest share of the pool that is kept for testing.

    Returns:
        The key; None if there is no room for a test item.
    """
    size = min(int(share * len(pool)), _MOST_RESERVED)
    names = pool.ids if pool.groups is None else pool.groups
    keys: dict[int, int] = {}
    for name in names:
        key = key_of(seed, name)
        keys[key] = keys.get(key, 0) + 1
    frontier, room = None, size
    for key in sorted(keys, reverse=True):
        room -= keys[key]
        if room < 0:
            break
        frontier = key
    return frontier


def placed(record: ItemRecord, seed: int, frontier: int | None) -> ItemRecord:
    """A record with its place in the random order of a run, and the split that follows from it.

    Args:
        record: The record.
        seed: The seed of the run.
        frontier: Items or groups whose key is at least this number are test items; None for no test items.

    Returns:
        The record.
    """
    own = key_of(seed, record.id)
    if record.split == "test":  # the data name it as a test item
        return record
    unit = own if record.group is None else key_of(seed, record.group)
    test = frontier is not None and unit >= frontier
    return replace(record, key=own, split=RESERVE if test else "train")


def register(store: Store, trial: Trial, dataset: Dataset) -> None:
    """Record the items of a new run with their places in the random order, and the labels that the data have.

    It may be called again after an interruption.

    Args:
        store: The run.
        trial: Its trial.
        dataset: The data.
    """
    records = item_records(dataset)
    while some := list(islice(records, _CHUNK)):
        store.record_items(placed(record, store.seed or 0, store.frontier) for record in some)
    bring(trial, dataset, np.flatnonzero(dataset.labels >= 0))


def bring(trial: Trial, dataset: Dataset, positions: NDArray[np.intp]) -> None:
    """Store the labels that the data have, under the present names of their classes. None is stored twice.

    Args:
        trial: The trial.
        dataset: The data.
        positions: Positions of labelled items.
    """
    ids, classes = dataset.train.ids, trial.classes()
    for start in range(0, len(positions), _CHUNK):
        events = []
        for i in positions[start : start + _CHUNK].tolist():
            value = dataset.classes[dataset.labels[i]]
            name = str(uuid5(_EVENTS, f"{ids[i]}\0{value}"))
            value = value if value in classes.names else classes.now(value, 0)
            events.append(Event(name, "label", ids[i], BROUGHT, value, source=BROUGHT))
        trial.tell(events)


def first_requests(store: Store, trial: Trial, initial: int) -> list[Request]:
    """The first items that people are asked for: the first ones of the random order, and some test items in between.

    Args:
        store: The run.
        trial: Its trial, with the labels that the data had.
        initial: How many labels for training the first model gets, those of the data included.

    Returns:
        The requests; none if the data have enough labels.
    """
    records = store.places()
    labelled = {row.item for row in trial.labels()}
    train = [r for r in records if r.split == "train" and r.key is not None]
    missing = initial - sum(r.id in labelled for r in train)
    if missing <= 0:
        return []
    free = sorted((r.key, r.id) for r in train if r.id not in labelled and r.key is not None)[:missing]
    tests = sorted((-r.key, r.id) for r in records if r.split == RESERVE and r.key is not None)
    wanted = [i for _, i in tests if i not in labelled][: missing // 4]
    return loop.mixed([Request(i, rank) for rank, (_, i) in enumerate(free)], wanted)


def include(store: Store, trial: Trial, dataset: Dataset, by: str) -> list[str]:
    """Record what changed in the data: new items with their labels, and new places of the files.

    Args:
        store: The run.
        trial: Its trial.
        dataset: The data, as they are now.
        by: Who adds the items.

    Returns:
        The ids of the new items.
    """
    new = _record_new(store, dataset, by)
    later = np.flatnonzero(dataset.labels >= 0)
    bring(trial, dataset, later[later >= store.preprocessing["facts"]["pool"]])  # also after an interruption
    return new


def _record_new(store: Store, dataset: Dataset, by: str) -> list[str]:
    there = set(store.pool_ids())
    first, named = next(item_records(dataset)), set(dataset.moved)
    was = store.item(first.id)
    elsewhere = was is not None and was.path != first.path  # the whole folder was moved
    if not elsewhere and not named and there.issuperset(dataset.train.ids):
        return []
    gone = store.items("quarantined")
    fresh, moved = [], []
    for record in item_records(dataset):
        if record.id in there:
            if elsewhere or record.id in named:
                moved.append(record)
        elif record.id not in gone and record.state == "ok" and record.split == "train":
            fresh.append(placed(record, store.seed or 0, store.frontier))
    store.move_items(moved)
    return store.add_items(fresh, by)
