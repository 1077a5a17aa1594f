"""Chooses held-out labelled items, and takes parts of the labelled items."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from numpy.typing import NDArray

from baldur.core.seeds import derive
from baldur.errors import InvalidArgument
from baldur.protocols import Labelled, View


def hold_out(
    labels: Int[ndarray, " n"], groups: Sequence[str], count: int, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split labelled items by class. Groups stay whole, and at least one item of each class remains for training.

    The order of the groups depends only on their names and the seed. So the held-out items mostly stay the same from
    round to round.

    Args:
        labels: Class indices, shape (n,).
        groups: The group of each item; without groups, its id.
        count: Number of items to hold out. With large groups, it may be fewer.
        seed: Seed of the choice.

    Returns:
        Positions for training and held-out positions, both ascending.

    Raises:
        InvalidArgument: There are too few items, or the groups are too large.
    """
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    _, classes = np.unique(labels, return_inverse=True)
    total = np.bincount(classes)
    quota = _quota(total, count)
    if quota.sum() < count:
        raise InvalidArgument(
            f"{count} of {len(labels)} labelled items cannot be held out: one of each class must be left to "
            f"train on; hold out at most {quota.sum()}, or take the validation items beside the budget"
        )
    order = sorted(members, key=lambda group: derive(seed, "validation", group))
    counts = {group: np.bincount(classes[members[group]], minlength=len(total)) for group in order}
    held = np.zeros_like(total)
    chosen: set[str] = set()
    for limit in (quota, total - 1):  # by class as far as groups allow, then whatever fits
        for group in order:
            after = held + counts[group]
            if group not in chosen and (after <= limit).all() and after.sum() <= count:
                chosen.add(group)
                held = after
    if not chosen:
        raise InvalidArgument(
            f"no group of the {len(labels)} labelled items has at most {count} items and leaves one of each "
            "class to train on; hold out more, or take the validation items beside the budget"
        )
    out = np.array([group in chosen for group in groups])
    return np.flatnonzero(~out), np.flatnonzero(out)


def part(labelled: Labelled, positions: NDArray[np.intp]) -> Labelled:
    """A part of the labelled items.

    Args:
        labelled: All labelled items.
        positions: The positions of the part.

    Returns:
        The labelled items at these positions.
    """
    return Labelled(
        View(labelled.pool, positions),
        labelled.labels[positions],
        labelled.rounds[positions],
        labelled.weights[positions],
        tuple(labelled.sources[i] for i in positions),
    )


def _quota(total: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Divide `count` over the classes in proportion. One item of each class stays; small classes give fewer."""
    quota = np.zeros_like(total)
    for _ in range(min(count, int((total - 1).sum()))):
        behind = np.where(quota < total - 1, count * total / total.sum() - quota, -np.inf)
        quota[np.argmax(behind)] += 1
    return quota
