"""Which items are held out for testing."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from baldur.core.seeds import generator
from baldur.errors import InvalidArgument, InvalidData


def split(
    labels: NDArray[np.int64], fraction: float, seed: int, groups: Sequence[str] | None = None
) -> NDArray[np.bool_]:
    """Which items to hold out: each class in proportion, or, where there are groups, whole groups.

    Items whose label is unknown are never held out, nor is the last group that has a class.

    Args:
        labels: The class of each item, shape (N,); -1 where it is unknown.
        fraction: The share of the labelled items to hold out, between 0 and 1.
        seed: Of the draw.
        groups: For each item what may not be divided (a patient, a track).

    Returns:
        True for the items held out, shape (N,).

    Raises:
        InvalidArgument: The fraction is not between 0 and 1, or lengths differ.
        InvalidData: No group can be held out.
    """
    if not 0 < fraction < 1:
        raise InvalidArgument(f"the share held out for testing lies between 0 and 1, not {fraction}")
    if groups is not None and len(groups) != len(labels):
        raise InvalidArgument(f"{len(labels)} labels, but {len(groups)} groups; give one for each item")
    rng = generator(seed, "split")
    return _by_class(labels, fraction, rng) if groups is None else _by_group(labels, fraction, rng, groups)


def held_out(
    named: NDArray[np.bool_],
    usable: NDArray[np.bool_],
    labels: NDArray[np.int64],
    groups: Sequence[str] | None,
    fraction: float,
    seed: int,
) -> NDArray[np.bool_]:
    """Which items are for testing: those that say so, or else a share of them.

    Args:
        named: Which say so, shape (N,).
        usable: Which can be read, shape (N,).
        labels: The class of each, shape (N,); -1 where it is unknown.
        groups: For each item what may not be divided.
        fraction: The share, where none says so.
        seed: Of the draw.

    Returns:
        True for the items held out, shape (N,).

    Raises:
        InvalidData: All say so, or a group is in both splits.
    """
    if not named.any():
        return split(np.where(usable, labels, -1), fraction, seed, groups)
    if named.all():
        raise InvalidData("every item is in the test split; some must be in train")
    if groups is not None:
        both = {g for g, t in zip(groups, named, strict=True) if t} & {
            g for g, t in zip(groups, named, strict=True) if not t
        }
        if both:
            raise InvalidData(
                f"the group {min(both)!r} has items in both splits; a group belongs to one of them"
            )
    return named


def _by_class(labels: NDArray[np.int64], fraction: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    test = np.zeros(len(labels), np.bool_)
    classes, counts = np.unique(labels[labels >= 0], return_counts=True)
    wanted = fraction * counts
    quota = np.minimum(np.floor(wanted), counts - 1).astype(np.int64)
    # what rounding down left over goes to the classes that lost most by it
    for i in np.argsort(-(wanted - quota), kind="stable")[: round(wanted.sum()) - quota.sum()]:
        quota[i] = min(quota[i] + 1, counts[i] - 1)
    for c, k in zip(classes, quota, strict=True):
        test[rng.permutation(np.flatnonzero(labels == c))[:k]] = True
    return test


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
            f"none of the {len(members)} groups can be held out for testing without taking more than"
            f" {2 * fraction:.0%} of the items, or a whole class; name the split of each item yourself"
        )
    return test
