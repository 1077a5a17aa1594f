"""Fitted scikit-learn estimators on disk by skops: a zip of JSON and arrays, never pickle."""

import importlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.tree._tree import Tree

from baldur.errors import DamagedArtefact, Unsupported

# What skops leaves to its user and is plain data here. Trees are checked after reading: their nodes are indices.
_TRUSTED = (
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
)
_TRUSTED_BELOW = "sklearn.gaussian_process.kernels."


def write(path: Path, value: Any, trusted: Sequence[str] = ()) -> None:
    """Write estimators, in lists and dicts, so that `read` with the same trust gives equal ones.

    Args:
        path: The file.
        value: The estimators.
        trusted: Types that are trusted beside scikit-learn's, as `package.module.Class`.

    Raises:
        Unsupported: skops is not installed, or a type is not trusted.
    """
    data: bytes = _skops().dumps(value)
    _refuse(_skops().get_untrusted_types(data=data), trusted, str(path))
    path.write_bytes(data)


def read(path: Path, trusted: Sequence[str] = ()) -> Any:
    """Read a file that `write` made; only trusted types are made.

    Args:
        path: The file.
        trusted: As in `write`.

    Returns:
        The value.

    Raises:
        DamagedArtefact: The file is missing, incomplete or altered.
        Unsupported: skops is not installed, or a type is not trusted.
    """
    skops = _skops()
    try:
        data = path.read_bytes()
        unknown = skops.get_untrusted_types(data=data)
        _refuse(unknown, trusted, str(path))
        value = skops.loads(data, trusted=unknown)
        for tree in _trees(value):
            _check_tree(tree)
    except Unsupported:
        raise
    except Exception as error:  # skops reports a damaged file by whatever went wrong in reading it
        raise DamagedArtefact(f"{path} cannot be read: {error}") from error
    return value


def _skops() -> Any:
    try:
        return importlib.import_module("skops.io")
    except ImportError:
        raise Unsupported(
            "scikit-learn estimators are saved with skops, which is not installed: pip install 'baldur[sklearn]'"
        ) from None


def _refuse(types: Iterable[str], trusted: Sequence[str], path: str) -> None:
    unknown = [
        name for name in types if name not in (*_TRUSTED, *trusted) and not name.startswith(_TRUSTED_BELOW)
    ]
    if unknown:
        raise Unsupported(
            f"{path}: of types that are not known to be safe: {', '.join(unknown)}; name them in trusted= if they are"
        )


def _trees(value: Any) -> Iterator[Any]:
    if isinstance(value, Tree):
        yield value
    elif isinstance(value, BaseEstimator | dict):
        for part in (value if isinstance(value, dict) else vars(value)).values():
            yield from _trees(part)
    elif isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        for part in value:
            yield from _trees(part)


def _check_tree(tree: Any) -> None:
    """Compiled code follows these indices unchecked: children stand behind their parent and inside the tree."""
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    nodes = np.flatnonzero(left != -1)
    for children in (left[nodes], right[nodes]):
        if (children <= nodes).any() or (children >= tree.node_count).any():
            raise ValueError("a tree's nodes do not form a tree")
    if (feature[nodes] < 0).any() or (feature[nodes] >= tree.n_features).any():
        raise ValueError("a tree splits by a feature that it does not have")
