"""Checks of the arguments of every metric."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Integer

from baldur.errors import InvalidArgument, InvalidLabel

LogProbs: TypeAlias = Float[np.ndarray, "N C"]
Labels: TypeAlias = Integer[np.ndarray, " N"]


def check_labels(shape: tuple[int, ...], labels: Labels) -> None:
    """Refuse labels that do not fit the predictions.

    Args:
        shape: The shape of the predictions, (N, ..., C).
        labels: Class indices, shape (N,).

    Raises:
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, or not one label for each.
    """
    count, classes = shape[0], shape[-1]
    if count == 0:
        raise InvalidArgument("there are no items to measure on")
    if len(labels) != count:
        raise InvalidArgument(f"{count} labels were expected, one for each prediction, not {len(labels)}")
    bad = (labels < 0) | (labels >= classes)
    if bad.any():
        first = int(np.argmax(bad))
        raise InvalidLabel(f"the label of item {first} is {labels[first]}; expected 0 to {classes - 1}")
