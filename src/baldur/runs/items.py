"""The items of a run: reading them, their shape, the validation items, the initial labels, and pictures."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import numpy as np
import torch
from numpy.typing import NDArray

from baldur.core.seeds import derive, generator
from baldur.data import Dataset, load
from baldur.data.dataset import KnownRecord
from baldur.data.download import Progress
from baldur.data.encoders.exported import Encoder
from baldur.data.origins import records_of
from baldur.data.pictures import contact_sheet
from baldur.errors import InvalidData, InvalidSettings, UnreadableItems
from baldur.learners.held_out import hold_out
from baldur.protocols import Labelled, Pool, View
from baldur.runs.settings import CompareSettings, DataSettings, LearnSettings
from baldur.store import ItemRecord, Store

_MOST_RESERVED = 5000


def item_shape(pool: Pool) -> tuple[int, ...]:
    """The shape of the first readable item; unreadable items before it may have been left out."""
    for position in range(len(pool)):
        with suppress(UnreadableItems):
            _, x = next(iter(pool.batches(np.array([position]), 1)))
            return tuple(x.shape[1:]) if isinstance(x, torch.Tensor) else ()
    raise InvalidData("no item of the pool can be read; check that its disk is available")


def read_data(
    settings: DataSettings,
    encoder: Encoder | str | None = None,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    known: Mapping[str, KnownRecord] | None = None,
) -> Dataset:
    """Load the data that the settings name.

    Args:
        settings: The settings of the data.
        encoder: Turns images into features; its file or factory, or the encoder itself.
        device: The device of the encoder.
        progress: Called with what is done, and the numbers of finished items and of all items.
        known: Recorded files, to detect changes.

    Returns:
        The data, as they were read: vectors are not scaled yet.

    Raises:
        InvalidData: The data cannot be used.
        DataNotFound: There are no such data.
    """
    return load(
        settings.data,
        data_dir=settings.data_dir,
        image_size=settings.image_size,
        test_fraction=settings.test_fraction,
        layout=settings.layout,
        reading=settings.reading,
        encoder=encoder,
        device=device,
        progress=progress,
        known=known,
        missing=settings.missing,
        task=settings.task,
        standardise=settings.scaling == "standardise",
        **settings.by_name()._asdict(),
    )


def item_records(dataset: Dataset) -> Iterator[ItemRecord]:
    """The records of all items of a data set for the store, including unreadable ones.

    Args:
        dataset: The data set.

    Yields:
        One record for each item: the pool in its order, the test items, which have no position, and unusable items.
    """
    for i, r in enumerate(records_of(dataset)):
        position = i if r.split == "train" else None
        yield ItemRecord(
            r.id, position, r.path, r.group, r.split, r.sha256, r.size, r.mtime_ns, part=r.part, shown=r.shown
        )
    for id, reason in dataset.quarantined:
        yield ItemRecord(id, state="quarantined", reason=reason)


def record_items(store: Store, dataset: Dataset) -> None:
    """Record the items of a data set. If all of them are recorded, only those with another name are recorded again.

    What a run has recorded of items that it left out stays.

    Args:
        store: The run.
        dataset: The data set.
    """
    records = item_records(dataset)
    first = next(records)
    total = len(dataset.train) + len(dataset.test) + len(dataset.quarantined)
    was = store.item(first.id)
    whole = was is not None and was.path == first.path and store.count_items() == total
    if whole and not dataset.moved:
        return
    gone, moved = store.items("quarantined"), set(dataset.moved)
    store.record_items(
        record
        for record in itertools.chain([first], records)
        if record.id not in gone and (not whole or record.id in moved)
    )


def check_data(compare: CompareSettings, dataset: Dataset) -> None:
    """Raise an error for data with which a run would fail later.

    Args:
        compare: The settings of the comparison.
        dataset: The data.

    Raises:
        InvalidData: There are fewer than two classes, or no labelled test items.
        InvalidSettings: The pool has fewer items than initial labels are requested.
    """
    if len(dataset.classes) < 2:
        raise InvalidData(f"at least two classes are needed, but the data have only {list(dataset.classes)}")
    if not (dataset.test_labels >= 0).any():
        raise InvalidData(
            "no test item has a label, so accuracy cannot be measured; label some of them, or name another test split"
        )
    if compare.initial > len(dataset.train):
        raise InvalidSettings(
            f"--initial asks for {compare.initial} labels, but the pool has only {len(dataset.train)} items"
        )


def validation_part(
    learn: LearnSettings, dataset: Dataset
) -> tuple[Pool, NDArray[np.int64], Labelled | None]:
    """The pool and labels without the free validation items, and these items."""
    n = learn.validation
    if not (n and learn.validation_free):
        return dataset.train, dataset.labels, None
    known = np.flatnonzero(dataset.labels >= 0)
    if n >= len(known):
        raise InvalidSettings(
            f"--validation asks for {n} free items, but only {len(known)} items have a known label; ask for fewer"
        )
    groups, left = dataset.train.groups, np.ones(len(dataset.train), bool)
    if groups is None:
        held = np.sort(generator(0, "validation").choice(known, n, replace=False))
        left[held] = False
    else:  # whole groups, including their unlabelled items
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


def reserve_part(share: float, pool: Pool, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Divide a pool into candidates and a reserve for test labels.

    The reserve is the end of a random order that only the seed and the ids decide. So the first n items of the reserve
    are a uniform sample of it, whatever a strategy does. Groups stay whole.

    Args:
        share: The share of the items in the reserve. It has at most 5,000 items.
        pool: The items that may be requested.
        seed: Seed of the trial.

    Returns:
        Positions of the candidates, ascending, and of the reserve, in random order.
    """
    ids, groups = pool.ids, pool.groups
    size = min(int(share * len(ids)), _MOST_RESERVED)
    order = np.array([derive(seed, "order", i) for i in ids], np.int64)
    out = np.zeros(len(ids), bool)
    if groups is None:
        out[np.argsort(-order, kind="stable")[:size]] = True
    else:
        whose = np.asarray(groups)
        for group in sorted(set(groups), key=lambda group: derive(seed, "order", group), reverse=True):
            own = whose == group
            if out.sum() + own.sum() <= size:
                out |= own
    reserve = np.flatnonzero(out)
    return np.flatnonzero(~out), reserve[np.argsort(-order[reserve], kind="stable")]


def check_reserve(compare: CompareSettings, pool: Pool) -> None:
    """Raise an error for a reserve that leaves too little, or is empty.

    Args:
        compare: The settings of the comparison.
        pool: The items that may be requested.

    Raises:
        InvalidSettings: There are no items in the reserve, or fewer candidates than initial labels.
    """
    kept, reserve = reserve_part(compare.reserve, pool, compare.first_seed)
    if not len(reserve):
        raise InvalidSettings(
            f"--reserve {compare.reserve:g} of {len(pool)} items is no item, so there are no test labels to stop on; "
            "give a larger --reserve, or more data"
        )
    if compare.initial > len(kept):
        raise InvalidSettings(
            f"--initial asks for {compare.initial} labels, but beside the reserve of {len(reserve)} items for test "
            f"labels the pool has only {len(kept)}; give a smaller --initial or --reserve"
        )


def initial(
    compare: CompareSettings, pool: Pool, labels: NDArray[np.int64], rng: np.random.Generator
) -> Sequence[str]:
    """The initial items: drawn uniformly, or evenly from the classes."""
    ids, order = pool.ids, rng.permutation(len(pool))
    if not compare.initial_balanced:
        return [ids[i] for i in order[: compare.initial]]
    classes = np.unique(labels[labels >= 0])
    turns = np.empty(len(pool), np.int64)  # each item's place among those of its class, in random order
    for c in classes:
        members = order[labels[order] == c]
        turns[members] = np.arange(len(members))
    turns[labels < 0] = len(pool)
    even = order[np.argsort(turns[order], kind="stable")]
    return [ids[i] for i in even[: compare.initial]]


def picture(dataset: Dataset, pool: Pool, ids: Sequence[str]) -> bytes | None:
    """The picked items as one row of small pictures."""
    paths = {record.id: record.path for record in dataset.records if record.path}
    if paths:
        try:
            return contact_sheet([paths[i] for i in ids if i in paths])
        except (OSError, ValueError, SyntaxError):  # missing or damaged now: use the decoded picture
            pass
    where = {i: position for position, i in enumerate(pool.ids)}
    positions = np.array([where[i] for i in ids], np.intp)
    (_, x), *_ = pool.batches(positions, len(positions))
    return contact_sheet(list(x.numpy())) if isinstance(x, torch.Tensor) and x.ndim == 4 else None
