"""Which labelled items are held out, and a part of what is labelled."""

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
    """Split labelled items by class, whole groups on one side, at least one item of each class to train on.

    The order in which groups are taken depends on their names and the seed only; so, as labels come in from
    round to round, what is held out mostly stays so.

    Args:
        labels: Class indices, shape (n,).
        groups: The group of each item; where there are none, its id.
        count: How many items to hold out. Fewer are, where groups are too large to give just as many.
        seed: Seed of the choice.

    Returns:
        Positions to train on and positions held out, both ascending.

    Raises:
        InvalidArgument: So many items, or so large groups, cannot be held out.
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
    """Some of the labelled items.

    Args:
        labelled: All.
        positions: Which.

    Returns:
        These.
    """
    return Labelled(
        View(labelled.pool, positions),
        labelled.labels[positions],
        labelled.rounds[positions],
        labelled.weights[positions],
        tuple(labelled.sources[i] for i in positions),
    )


def _quota(total: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """`count` shared over the classes in proportion, leaving one of each; less where there are too few."""
    quota = np.zeros_like(total)
    for _ in range(min(count, int((total - 1).sum()))):
        behind = np.where(quota < total - 1, count * total / total.sum() - quota, -np.inf)
        quota[np.argmax(behind)] += 1
    return quota
