"""Recorded answers of people for items of a named data set."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from baldur.data.official import Official, data_roots, find
from baldur.errors import DataNotFound, InvalidData

_FILE = "cifar10n.npz"
_CIFAR10N = Official(
    addresses=(),
    sums={_FILE: ""},
    folders=("cifar10n", "cifar10", "cifar-10", "cifar-10-batches-bin"),
    alternatives={},
)
_ARRAYS = {
    "first": "random_label1",
    "second": "random_label2",
    "third": "random_label3",
    "majority": "aggre_label",
    "worst": "worse_label",
}
_TRUTH = "clean_label"
_ITEMS, _CLASSES = 50_000, 10


@dataclass(frozen=True)
class People:
    """Answers of people for the N items of a data set.

    Args:
        ids: The ids of the items in the named data set.
        truth: The true class of each, shape (N,).
        answers: Class indices by the name of the answer, each of shape (N,).
    """

    ids: tuple[str, ...]
    truth: NDArray[np.int64]
    answers: Mapping[str, NDArray[np.int64]]


def cifar10n(data_dir: str | None = None, cache: Path | None = None) -> People:
    """CIFAR-10N: answers of people for the 50,000 training images of CIFAR-10, three for each image.

    "first", "second" and "third" are the three answers; each set comes from many people. "majority" is the majority
    of the three. "worst" is a wrong answer if one of the three is wrong.

    J. Wei, Z. Zhu, H. Cheng, T. Liu, G. Niu and Y. Liu, Learning with Noisy Labels Revisited: A Study Using Real-World
    Human Annotations, ICLR 2022.

    Args:
        data_dir: The folder with "cifar10n.npz"; by default $BALDUR_DATA. The file has the arrays random_label1,
            random_label2, random_label3, aggre_label, worse_label and clean_label in the order of CIFAR-10.
        cache: The user's own cache folder.

    Returns:
        The answers; ids are those of the named set "cifar10".

    Raises:
        DataNotFound: The file is missing.
        InvalidData: The file is damaged, or has other arrays.
    """
    roots = data_roots(data_dir, cache)
    files = find(_CIFAR10N, roots)
    if files is None:
        raise DataNotFound(
            f"{_FILE} is in none of {', '.join(map(str, roots))}; save the label arrays of CIFAR-10N there"
        )
    arrays = _read(files[_FILE])
    ids = tuple(f"train/{i:05d}" for i in range(_ITEMS))
    return People(ids, arrays[_TRUTH], {name: arrays[stored] for name, stored in _ARRAYS.items()})


def _read(path: Path) -> dict[str, NDArray[np.int64]]:
    wanted = (_TRUTH, *_ARRAYS.values())
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in wanted}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidData(f"{path} cannot be read as the labels of CIFAR-10N: {error}") from None
    for name, values in arrays.items():
        if values.shape != (_ITEMS,) or not np.issubdtype(values.dtype, np.integer):
            raise InvalidData(
                f"{name} in {path} is {values.dtype} {values.shape}, not {_ITEMS} class indices"
            )
        if values.min() < 0 or values.max() >= _CLASSES:
            raise InvalidData(f"{name} in {path} holds values that are no class index below {_CLASSES}")
    return {name: values.astype(np.int64) for name, values in arrays.items()}
