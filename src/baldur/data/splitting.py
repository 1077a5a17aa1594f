"""The split into training and test items."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from baldur.core.seeds import generator
from baldur.errors import InvalidArgument, InvalidData


def split(
    labels: NDArray[np.int64],
    fraction: float,
    seed: int,
    groups: Sequence[str] | None = None,
    first: NDArray[np.int64] | None = None,
) -> NDArray[np.bool_]:
    """Draw the test items: the same share of each class, or whole groups if there are groups.

    An item with an unknown label is never a test item. The training items keep at least one item of each class.
    Without copies, the draw is the same with `first` as without.

    Args:
        labels: The class of each item, shape (N,); -1 if unknown.
        fraction: The share of the labelled items to hold out, between 0 and 1.
        seed: Of the draw.
        groups: The group of each item (a patient, a track), which is never divided.
        first: For each item the position of the first one with equal content, shape (N,). If there are no groups,
            the copies of a class are not divided.

    Returns:
        True for the items held out, shape (N,).

    Raises:
        InvalidArgument: The fraction is not between 0 and 1, or lengths differ.
        InvalidData: No group can be held out.
    """
    if not 0 < fraction < 1:
        raise InvalidArgument(f"the test fraction must lie between 0 and 1, not {fraction}")
    if groups is not None and len(groups) != len(labels):
        raise InvalidArgument(
            f"there are {len(labels)} labels, but {len(groups)} groups; give one for each item"
        )
    rng = generator(seed, "split")
    if groups is not None:
        return _by_group(labels, fraction, rng, groups)
    return _by_class(labels, fraction, rng, np.arange(len(labels)) if first is None else first)


def held_out(
    named: NDArray[np.bool_],
    usable: NDArray[np.bool_],
    labels: NDArray[np.int64],
    groups: Sequence[str] | None,
    fraction: float,
    seed: int,
    first: NDArray[np.int64] | None = None,
) -> NDArray[np.bool_]:
    """The test items: those that the data name, or else a random share.

    Args:
        named: True for items that the data name as test items, shape (N,).
        usable: True for readable items, shape (N,).
        labels: The class of each, shape (N,); -1 if unknown.
        groups: The group of each item, which is never divided.
        fraction: The share, if the data name no test items; 0 draws none.
        seed: Of the draw.
        first: As in `split`.

    Returns:
        True for the items held out, shape (N,).

    Raises:
        InvalidData: All items are test items, or a group is in both splits.
    """
    if not named.any():
        if not fraction:
            return named
        return split(np.where(usable, labels, -1), fraction, seed, groups, first)
    if named.all():
        raise InvalidData("every item is in the test split; some must be in train")
    if groups is not None:
        both = {g for g, t in zip(groups, named, strict=True) if t} & {
            g for g, t in zip(groups, named, strict=True) if not t
        }
        if both:
            raise InvalidData(
                f"the group {min(both)!r} has items in both splits; put all its items into one of them"
            )
    return named


def _by_class(
    labels: NDArray[np.int64], fraction: float, rng: np.random.Generator, first: NDArray[np.int64]
) -> NDArray[np.bool_]:
    test = np.zeros(len(labels), np.bool_)
    copied = first != np.arange(len(labels))
    copied[first[copied]] = True
    classes, counts = np.unique(labels[labels >= 0], return_counts=True)
    wanted = fraction * counts
    quota = np.minimum(np.floor(wanted), counts - 1).astype(np.int64)
    # the remainder from rounding down goes to the classes that lost most
    for i in np.argsort(-(wanted - quota), kind="stable")[: round(wanted.sum()) - quota.sum()]:
        quota[i] = min(quota[i] + 1, counts[i] - 1)
    for c, k in zip(classes, quota, strict=True):
        order = rng.permutation(np.flatnonzero(labels == c))
        test[_whole(order, first[order], int(k)) if copied[order].any() else order[:k]] = True
    return test


def _whole(order: NDArray[np.intp], first: NDArray[np.int64], k: int) -> NDArray[np.intp]:
    """About k items of a class, in a random order, without dividing copies; one content at least is left."""
    contents, where = np.unique(first, return_inverse=True)
    sizes = np.bincount(where)
    taken, chosen = 0, np.zeros(len(contents), np.bool_)
    for content in where[np.sort(np.unique(where, return_index=True)[1])]:  # as they come in the order
        size = int(sizes[content])
        if abs(taken + size - k) < abs(taken - k) and taken + size < len(order):
            chosen[content] = True
            taken += size
    return order[chosen[where]]


def _by_group(
    labels: NDArray[np.int64], fraction: float, rng: np.random.Generator, groups: Sequence[str]
) -> NDArray[np.bool_]:
    _, member = np.unique(np.array(groups), return_inverse=True)
    order = np.argsort(member, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(member))[:-1])
    known = labels[labels >= 0]
    target, taken = fraction * len(known), 0
    left = np.bincount(known)  # of each class, in training
    test = np.zeros(len(labels), np.bool_)
    for g in rng.permutation(len(members)):
        inside = labels[members[g]]
        if inside.min() < 0:
            continue
        after = left - np.bincount(inside, minlength=len(left))
        nearer = abs(taken + len(inside) - target) < abs(taken - target)
        if nearer and (after[inside] > 0).all():
            test[members[g]] = True
            taken, left = taken + len(inside), after
    if known.size and not taken:
        raise InvalidData(
            f"none of the {len(members)} groups can be held out for testing. Each has too many items (twice the"
            f" test fraction of {fraction:.0%}, or more), all items of a class, or an item without a label."
            " Name the split of each item yourself"
        )
    return test
