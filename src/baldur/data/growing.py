"""Items that are added later: two data sets as one, whose first items keep their ids and places."""

import hashlib
import itertools
import json
from collections.abc import Hashable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from baldur.data.cells import is_number
from baldur.data.dataset import Dataset, Origin, Origins
from baldur.data.origins import of_files, records_of
from baldur.data.scaling import ScaledPool, step_of
from baldur.errors import InvalidArgument, InvalidData, ItemChanged
from baldur.protocols import Batch, Pool, Positions, View

_BATCH, _BYTES = 4096, 1 << 25
_NAMED = 3  # copies that a note names


@dataclass(frozen=True)
class Joined:
    """Two pools as one: the items of the second follow those of the first.

    Args:
        first: A pool.
        second: A pool whose items have the same form.
        ids: Unique.
        groups: The group of each item; a split never divides a group.
    """

    first: Pool
    second: Pool
    ids: tuple[str, ...]
    groups: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def batches(self, positions: Positions, size: int) -> Iterator[tuple[Positions, Batch]]:
        """Read the items at `positions`, in that order, at most `size` at a time.

        Args:
            positions: Positions in this pool, shape (n,).
            size: The number of items in a batch.

        Yields:
            The positions of a batch, and their inputs.

        Raises:
            InvalidArgument: `size` is not positive.
        """
        if size < 1:
            raise InvalidArgument(f"a batch holds at least 1 item, not {size}")
        n = len(self.first)
        for start in range(0, len(positions), size):
            part = positions[start : start + size]
            later = part >= n
            if later.all() or not later.any():
                yield part, _whole(self.second, part - n) if later[0] else _whole(self.first, part)
            else:
                yield part, self._mixed(part, later)

    def _mixed(self, part: Positions, later: NDArray[np.bool_]) -> Batch:
        import torch

        from baldur.core.trees import join, take

        both = [_whole(self.first, part[~later]), _whole(self.second, part[later] - len(self.first))]
        where = np.concatenate([np.flatnonzero(~later), np.flatnonzero(later)])
        return take(join(both), torch.from_numpy(np.argsort(where)))


def _whole(pool: Pool, positions: Positions) -> Batch:
    """Some items as one batch."""
    from baldur.core.trees import join

    batches = [x for _, x in pool.batches(positions, len(positions))]
    return batches[0] if len(batches) == 1 else join(batches)


def joined(first: Dataset, second: Dataset, prefix: str, old: Set[str] = frozenset()) -> Dataset:
    """A data set of the items of two. Items of the second that are in the first by their content are left out.

    Args:
        first: The data set whose classes and preprocessing stay.
        second: A data set that was read with this preprocessing, before its numbers were scaled.
        prefix: Put before the ids of the second.
        old: The ids of items that stay in any case. New items of both that are equal to one of them are left out.

    Returns:
        The data set; in both pools, the items of the second follow.

    Raises:
        InvalidData: An item of the first has such an id.
    """
    if taken := [id for id in (*first.train.ids, *first.test.ids) if id.startswith(prefix)]:
        raise InvalidData(
            f"the id {taken[0]} begins like those of added items ({prefix}); give its folder another name"
        )
    step = step_of(first.preprocessing.get("scaling", {}))
    if step is not None:
        second = replace(second, train=ScaledPool(second.train, step), test=ScaledPool(second.test, step))
    _refuse_other_form(first, second)
    contents = [*contents_of(first), *contents_of(second)]
    renamed = tuple(prefix + id for id in (*second.train.ids, *second.test.ids))
    n, m = len(first.train), len(first.test)
    sizes = (n, m, len(second.train), len(second.test))
    ids = (*first.train.ids, *first.test.ids, *renamed)
    equal = _there_already(ids, contents, n + m, old)
    train = _joined(first.train, second.train, renamed[: sizes[2]])
    test = _joined(first.test, second.test, renamed[sizes[2] :]) if sizes[3] else first.test
    a, b, c = np.cumsum(sizes)[:3]
    where = np.arange(len(ids))
    in_train, in_test = np.concatenate([where[:a], where[b:c]]), np.concatenate([where[a:b], where[c:]])
    kept_train = np.array([i not in equal for i in in_train.tolist()], np.bool_)
    kept_test = np.array([i not in equal for i in in_test.tolist()], np.bool_)
    rows = np.concatenate([in_train[kept_train], in_test[kept_test]])
    reasons = tuple((ids[i], f"is equal to {ids[j]}, which is there already") for i, j in equal.items())
    records = (*first.records, *(replace(r, id=prefix + r.id) for r in second.records))
    gone = {id for id, _ in reasons}
    notes = [f"{second.name}: {note}" for note in second.notes]
    return replace(
        first,
        train=View(train, np.flatnonzero(kept_train)),
        labels=np.concatenate([first.labels, second.labels])[kept_train],
        test=View(test, np.flatnonzero(kept_test)) if sizes[3] or not kept_test.all() else first.test,
        test_labels=np.concatenate([first.test_labels, second.test_labels])[kept_test],
        records=tuple(r for r in records if r.id not in gone),
        quarantined=(*first.quarantined, *((prefix + id, why) for id, why in second.quarantined), *reasons),
        duplicates=(*first.duplicates, *(tuple(prefix + id for id in group) for group in second.duplicates)),
        notes=(*first.notes, *notes, *_said(ids, equal)),
        origins=Origins(rows, partial(_read, (_origins(first), _origins(second)), n + m), contents),
        moved=(*first.moved, *(prefix + id for id in second.moved)),
    )


def _refuse_other_form(first: Dataset, second: Dataset) -> None:
    """Raise an error if the items differ in shape or type."""
    from baldur.core.trees import leaves

    forms = []
    for dataset in (first, second):
        pool = dataset.train if len(dataset.train) else dataset.test
        if len(pool):
            x = _whole(pool, np.zeros(1, np.intp))
            forms.append([(str(leaf.dtype).removeprefix("torch."), *leaf.shape[1:]) for leaf in leaves(x)])
    if len(forms) == 2 and forms[0] != forms[1]:
        was, now = (", ".join(f"{kind} of shape {tuple(shape)}" for kind, *shape in form) for form in forms)
        raise InvalidData(f"{second.name} has items of the form {now}, and the run items of the form {was}")


def _joined(first: Pool, second: Pool, renamed: tuple[str, ...]) -> Joined:
    ids = (*first.ids, *renamed)
    groups = None
    if first.groups is not None or second.groups is not None:
        groups = (*(first.groups or first.ids), *(second.groups or renamed))
    return Joined(first, second, ids, groups)


def _there_already(ids: Sequence[str], contents: Sequence[Hashable], n: int, old: Set[str]) -> dict[int, int]:
    """For each item that is left out, the equal item that stays."""
    stays: dict[Hashable, int] = {}
    for i, content in enumerate(contents):  # old items before items of the first
        if content is not None and ids[i] in old:
            stays.setdefault(content, i)
    for i, content in enumerate(contents[:n]):
        if content is not None:
            stays.setdefault(content, i)
    equal = {}
    for i, content in enumerate(contents):
        one = stays.get(content, i)
        if ids[i] not in old and one != i and (i >= n or (one >= n and ids[one] in old)):
            equal[i] = one
    return equal


def _said(ids: Sequence[str], equal: dict[int, int]) -> list[str]:
    if not equal:
        return []
    pairs = [f"{ids[i]} = {ids[j]}" for i, j in itertools.islice(equal.items(), _NAMED)]
    shown = "; ".join([*pairs, "..."] if len(equal) > _NAMED else pairs)
    what = "1 item is" if len(equal) == 1 else f"{len(equal):,} items are"
    return [f"{what} left out, equal to an item that is there already: {shown}"]


def _origins(dataset: Dataset) -> Origins:
    n = len(dataset.train) + len(dataset.test)
    return dataset.origins or Origins(np.arange(n), partial(of_files, tuple(records_of(dataset))))


def _read(parts: tuple[Origins, Origins], n: int, rows: NDArray[np.intp]) -> Iterator[Origin]:
    """The origins of rows of two data sets, a stretch of one of them at a time."""
    for stretch in np.split(rows, np.flatnonzero(np.diff(rows >= n)) + 1):
        if len(stretch):
            later = bool(stretch[0] >= n)
            yield from parts[later](stretch - n * later)


def contents_of(dataset: Dataset) -> list[Hashable]:
    """A digest of each item of the pool and then of the test items, to find equal ones.

    Args:
        dataset: The data set.

    Returns:
        Digests. Those of images in files are of their pixels, and those of others of their inputs and texts.
    """
    origins = dataset.origins
    if origins is not None and origins.content is not None:
        return [origins.content[i] for i in origins.rows.tolist()]
    from baldur.core.trees import bytes_in

    found: list[Hashable] = []
    for pool in (dataset.train, dataset.test):
        if not len(pool):
            continue
        size = max(1, min(_BATCH, _BYTES // max(1, bytes_in(_whole(pool, np.zeros(1, np.intp))))))
        for _, x in pool.batches(np.arange(len(pool)), size):
            found += _digests(x)
    if dataset.preprocessing.get("kind") != "table" or origins is None:
        return found
    texts = (_texts(origin) for origin in origins(np.arange(len(found))))
    return [(digest, said) for digest, said in zip(found, texts, strict=True)]


def _digests(x: Batch) -> list[bytes]:
    from baldur.core.trees import leaves

    arrays = [leaf.detach().cpu().float().numpy() for leaf in leaves(x)]
    arrays = [np.ascontiguousarray(array).reshape(len(array), -1) for array in arrays]
    return [
        hashlib.blake2b(b"".join(array[i].tobytes() for array in arrays), digest_size=16).digest()
        for i in range(len(arrays[0]))
    ]


def _texts(origin: Origin) -> bytes:
    """A digest of the texts of a row, which may be no inputs."""
    shown = origin.shown or {}
    texts = {
        name: v for name, v in shown.get("row", {}).items() if isinstance(v, str) and v and not is_number(v)
    }
    texts |= {"": shown["text"]} if "text" in shown else {}
    return hashlib.blake2b(json.dumps(texts, sort_keys=True).encode(), digest_size=16).digest()


def in_order(dataset: Dataset, order: Sequence[str]) -> Dataset:
    """The data set with its pool in the order of a run; new items follow in their own order.

    Args:
        dataset: The data set.
        order: The ids of the pool of the run.

    Returns:
        The same items.

    Raises:
        ItemChanged: An item of the run is missing.
    """
    if not order:
        return dataset
    where = {id: i for i, id in enumerate(dataset.train.ids)}
    if lost := [id for id in order if id not in where]:
        reasons = dict(dataset.quarantined)
        why = f" ({reasons[lost[0]]})" if lost[0] in reasons else ""
        more = f" and {len(lost) - 1:,} more items" if len(lost) > 1 else ""
        raise ItemChanged(
            f"the run has the item {lost[0]}{why}{more}, which the data no longer have; restore them, or give the"
            " place where they are now"
        )
    old = set(order)
    new = [i for id, i in where.items() if id not in old]
    positions = np.array([*(where[id] for id in order), *new], np.intp)
    if (positions == np.arange(len(positions))).all():
        return dataset
    origins = dataset.origins
    if origins is not None:
        n = len(positions)
        origins = replace(origins, rows=np.concatenate([origins.rows[positions], origins.rows[n:]]))
    train = View(dataset.train, positions)
    return replace(dataset, train=train, labels=dataset.labels[positions], origins=origins)
