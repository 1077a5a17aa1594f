"""Items with equal content: they stay on one side of a split, and are named for the user."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from baldur.data.dataset import Quarantined, equal_content
from baldur.data.splitting import held_out

EARLIER = 1
"""The rules of earlier versions: a split ignores copies."""

_COARSE = 0.2  # with more contradictory rows than this share, equal rows are not copies
_NAMED = 3  # groups that a note names


@dataclass(frozen=True)
class Sides:
    """Which items are test items, and which were left out because of their copies.

    Args:
        test: True for test items, shape (N,).
        kept: False for items that were left out, or cannot be used, shape (N,).
        left_out: The id of each item that was left out, and the reason.
        duplicates: Groups of ids with equal content; at most 1,000.
        notes: What was found, in sentences.
    """

    test: NDArray[np.bool_]
    kept: NDArray[np.bool_]
    left_out: Quarantined = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()


def sides(
    ids: Sequence[str],
    labels: NDArray[np.int64],
    first: NDArray[np.int64],
    fraction: float,
    seed: int,
    *,
    classes: Sequence[str],
    named: NDArray[np.bool_] | None = None,
    usable: NDArray[np.bool_] | None = None,
    groups: Sequence[str] | None = None,
    rows: bool = False,
    reading: int = EARLIER + 1,
    old: Set[str] = frozenset(),
) -> Sides:
    """Split items so that no training item is equal to a test item.

    Copies with the same label stay together. If the data name the test items, or if there are groups, copies on the
    training side are left out. Copies with different labels are left out of training; a random split leaves them out
    of testing, too.

    Args:
        ids: The items.
        labels: The class of each, shape (N,); -1 if unknown.
        first: For each the position of the first equal item, shape (N,).
        fraction: The share of test items, if the data name none; 0 draws none.
        seed: Of the split.
        classes: Their names.
        named: True for items that the data name as test items, shape (N,). If none are drawn and none of these has a
            label, they are no test items.
        usable: True for readable items, shape (N,).
        groups: The group of each item, which is never divided.
        rows: Whether items are rows of a table. Many equal rows with different labels are then different items.
        reading: The rules; `EARLIER` ignores copies.
        old: The ids of an earlier reading. These items stay, and new items that are equal to one of them are left out.

    Returns:
        The two sides, and what was left out.

    Raises:
        InvalidData: The data cannot be split.
    """
    usable = np.ones(len(ids), np.bool_) if usable is None else usable
    named = np.zeros(len(ids), np.bool_) if named is None else named
    if not fraction and named.any() and not (labels[named] >= 0).any():
        told = sides(
            ids, labels, first, 0, seed, classes=classes, usable=usable, groups=groups, rows=rows,
            reading=reading, old=old,
        )  # fmt: skip
        return replace(told, notes=(*told.notes, _IDLE))
    if old:
        was = np.array([id in old for id in ids], np.bool_)
        late = np.flatnonzero(usable & ~was & np.isin(first, first[was & usable]))
        if was.any():
            kept = usable.copy()
            kept[late] = False
            labels = np.where(was, -1, labels)  # so that old items contradict nothing
            told = sides(
                ids, labels, first, fraction, seed, classes=classes, named=named & ~was, usable=kept, groups=groups,
                rows=rows, reading=reading,
            )  # fmt: skip
            return _without_late(told, ids, late, first, was & usable)
    found = _Copies(ids, labels, np.where(usable, first, np.arange(len(ids))), classes)
    if not found.groups or reading <= EARLIER:
        test = held_out(named, usable, labels, groups, fraction, seed)
        return Sides(test, usable, duplicates=found.duplicates())
    contradictory = found.contradictory()
    labelled = usable & (labels >= 0)
    if rows and len(contradictory) > _COARSE * labelled.sum():
        test = held_out(named, usable, labels, groups, fraction, seed)
        return Sides(test, usable, duplicates=found.duplicates(), notes=(_coarse(found, contradictory),))
    out: dict[int, str] = {}
    if not named.any():
        out |= found.reasons(contradictory, _LABEL)
        if groups is not None:
            out |= found.reasons(found.in_other_groups(groups, out), _GROUP)
    test, together = _drawn(named, found.without(out, usable), labels, groups, found.first, fraction, seed)
    if named.any() or together:
        out |= found.reasons(found.on_both_sides(test, out), _TEST)
    if named.any():
        out |= found.reasons([i for i in contradictory if not test[i] and i not in out], _LABEL)
    kept = found.without(out, usable)
    if not (kept & ~test).any():
        test = held_out(named, usable, labels, groups, fraction, seed)
        return Sides(test, usable, duplicates=found.duplicates(), notes=(_hopeless(found, out),))
    notes = [*found.said(contradictory, out, test), *([] if together else [_APART])]
    left_out = tuple((ids[i], out[i]) for i in sorted(out))
    return Sides(test, kept, left_out, found.duplicates(), tuple(notes))


def _without_late(
    told: Sides,
    ids: Sequence[str],
    late: NDArray[np.intp],
    first: NDArray[np.int64],
    was: NDArray[np.bool_],
) -> Sides:
    """Sides without the new items that are equal to old ones, which are named."""
    if not len(late):
        return told
    one = {int(first[i]): ids[i] for i in reversed(np.flatnonzero(was).tolist())}
    out = tuple((ids[i], f"is equal to {one[int(first[i])]}, which is there already") for i in late.tolist())
    pairs = [f"{ids[i]} = {one[int(first[i])]}" for i in late.tolist()]
    shown = "; ".join([*pairs[:_NAMED], "..."] if len(pairs) > _NAMED else pairs)
    note = f"{_items(late.tolist())} left out, equal to an item that is there already: {shown}"
    return replace(told, left_out=(*told.left_out, *out), notes=(*told.notes, note))


_IDLE = "the items that the data name as test items have no labels, so they are in the pool, too"
_TEST = "a test item"
_LABEL = "an item with another label"
_GROUP = "an item of another group"
_APART = (
    "there are too few different items to keep copies together, so some copies lie on both sides of the split. The"
    " test accuracy then says little about new items"
)


def _coarse(found: "_Copies", contradictory: Sequence[int]) -> str:
    return (
        f"{len(contradictory):,} of {len(found.ids):,} items are equal to an item with another label, so the inputs do"
        " not tell all items apart. Equal items were taken as different ones, and may lie on both sides of the split:"
        f" {found.shown(contradictory)}"
    )


def _hopeless(found: "_Copies", out: Iterable[int]) -> str:
    return (
        "each training item is equal to a test item, or to an item with another label, so none was left out. The test"
        f" accuracy then says nothing about new items: {found.shown(out)}"
    )


def _drawn(
    named: NDArray[np.bool_],
    usable: NDArray[np.bool_],
    labels: NDArray[np.int64],
    groups: Sequence[str] | None,
    first: NDArray[np.int64],
    fraction: float,
    seed: int,
) -> tuple[NDArray[np.bool_], bool]:
    """The test items, and whether copies could be kept together."""
    test = held_out(named, usable, labels, groups, fraction, seed, first)
    if test.any() or groups is not None:
        return test, True
    test = held_out(named, usable, labels, groups, fraction, seed)
    return test, not test.any()


class _Copies:
    """Items that have copies."""

    def __init__(
        self,
        ids: Sequence[str],
        labels: NDArray[np.int64],
        first: NDArray[np.int64],
        classes: Sequence[str],
    ) -> None:
        self.ids, self.labels, self.first, self.classes = ids, labels, first, classes
        self.groups: dict[int, list[int]] = {}  # by the first item: a pool may have millions without copies
        for i in np.flatnonzero(first != np.arange(len(first))).tolist():
            one = int(first[i])
            self.groups.setdefault(one, [one]).append(i)

    def duplicates(self) -> tuple[tuple[str, ...], ...]:
        members = [i for group in self.groups.values() for i in group]
        return equal_content([self.ids[i] for i in members], self.first[members].tolist())

    def contradictory(self) -> list[int]:
        """The labelled items with a copy that has another label."""
        found = []
        for group in self.groups.values():
            known = [i for i in group if self.labels[i] >= 0]
            if len({int(self.labels[i]) for i in known}) > 1:
                found += known
        return sorted(found)

    def in_other_groups(self, whose: Sequence[str], out: Mapping[int, str]) -> list[int]:
        """The items with a copy in another group of the user's; the first labelled one stays."""
        found = []
        for group in self.groups.values():
            inside = sorted((i for i in group if i not in out), key=lambda i: (self.labels[i] < 0, i))
            found += [i for i in inside if whose[i] != whose[inside[0]]]
        return found

    def on_both_sides(self, test: NDArray[np.bool_], out: Mapping[int, str]) -> list[int]:
        """The training items with a copy among the test items."""
        found = []
        for group in self.groups.values():
            inside = [i for i in group if i not in out]
            if any(test[i] for i in inside):
                found += [i for i in inside if not test[i]]
        return found

    def without(self, out: Iterable[int], usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
        kept = usable.copy()
        kept[list(out)] = False
        return kept

    def reasons(self, positions: Iterable[int], of: str) -> dict[int, str]:
        return dict.fromkeys(positions, f"is equal to {of}")

    def shown(self, positions: Iterable[int]) -> str:
        """The first groups of some items, with their labels where these differ."""
        firsts = list(dict.fromkeys(int(self.first[i]) for i in positions))
        texts = []
        for one in firsts[:_NAMED]:
            group = self.groups[one]
            differ = len({int(self.labels[i]) for i in group}) > 1
            parts = [f"{self.ids[i]}{f' ({self._label(i)})' if differ else ''}" for i in group[: _NAMED + 1]]
            texts.append(" = ".join([*parts, "..."] if len(group) > len(parts) else parts))
        return "; ".join([*texts, "..."] if len(firsts) > _NAMED else texts)

    def said(
        self, contradictory: Sequence[int], out: Mapping[int, str], test: NDArray[np.bool_]
    ) -> Iterable[str]:
        """What was found, in sentences."""
        for of in (_LABEL, _TEST, _GROUP):
            if positions := [i for i, why in out.items() if why.endswith(of)]:
                each = "each " if len(positions) > 1 else ""
                yield f"{_items(positions)} left out, {each}equal to {of}: {self.shown(positions)}"
        if positions := [i for i in contradictory if test[i]]:
            yield f"{_items(positions)} in the test set, though equal to {_LABEL}: {self.shown(positions)}"
        if positions := [
            i for group in self.groups.values() for i in group if i not in out and i not in contradictory
        ]:
            both = [i for i in positions if sum(j not in out for j in self.groups[int(self.first[i])]) > 1]
            if both:
                yield f"{_items(both)} kept, though equal to others: {self.shown(both)}"

    def _label(self, i: int) -> str:
        return "no label" if self.labels[i] < 0 else self.classes[self.labels[i]]


def _items(positions: Sequence[int]) -> str:
    return "1 item is" if len(positions) == 1 else f"{len(positions):,} items are"
