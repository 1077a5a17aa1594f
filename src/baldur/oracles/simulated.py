"""An oracle that knows the truth and answers at once."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from baldur.errors import InvalidArgument


class Simulated:
    """Answers every question with the ground truth.

    Args:
        ids: The ids of the pool, in order.
        labels: The class index of each, shape (N,); -1 where it is unknown.
        classes: The names of the classes.
    """

    annotator = "ground truth"

    def __init__(self, ids: Sequence[str], labels: NDArray[np.int64], classes: Sequence[str]) -> None:
        if len(ids) != len(labels):
            raise InvalidArgument(f"{len(ids)} ids but {len(labels)} labels")
        self._truth = dict(zip(ids, labels.tolist(), strict=True))
        self._classes = tuple(classes)

    def ask(self, ids: Sequence[str]) -> Mapping[str, str]:
        """The true class of each item; an item without a known truth stays unanswered.

        Args:
            ids: Items of the pool.

        Returns:
            Class names by id.
        """
        return {i: self._classes[self._truth[i]] for i in ids if self._truth[i] >= 0}
