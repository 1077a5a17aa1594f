"""The items of a run: their shape, the validation part, the initial labels, their pictures."""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import torch
from numpy.typing import NDArray

from baldur.core.seeds import generator
from baldur.data import Dataset
from baldur.data.pictures import contact_sheet
from baldur.errors import InvalidData, InvalidSettings, UnreadableItems
from baldur.learners.held_out import hold_out
from baldur.protocols import Labelled, Pool, View
from baldur.runs.settings import CompareSettings, LearnSettings


def item_shape(pool: Pool) -> tuple[int, ...]:
    """Of the first item that can be read: one before it may have been left out."""
    for position in range(len(pool)):
        with suppress(UnreadableItems):
            _, x = next(iter(pool.batches(np.array([position]), 1)))
            return tuple(x.shape[1:]) if isinstance(x, torch.Tensor) else ()
    raise InvalidData("not one item of the pool can be read: is its disk there?")


def check_data(compare: CompareSettings, dataset: Dataset) -> None:
    """Refuse data that a run would fail on later.

    Args:
        compare: What is compared.
        dataset: The data.

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
    if compare.initial > len(dataset.train):
        raise InvalidSettings(
            f"{compare.initial} initial labels were asked for, but the pool holds {len(dataset.train)} items"
        )


def validation_part(
    learn: LearnSettings, dataset: Dataset
) -> tuple[Pool, NDArray[np.int64], Labelled | None]:
    """The pool without the validation items that are declared free, and those."""
    n = learn.validation
    if not (n and learn.validation_free):
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


def initial(
    compare: CompareSettings, pool: Pool, labels: NDArray[np.int64], rng: np.random.Generator
) -> Sequence[str]:
    """The first items: uniform, or drawn evenly over the classes."""
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
