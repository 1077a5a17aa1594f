"""Fitted scikit-learn estimators on disk by skops: a zip of JSON and arrays, never pickle."""

import importlib
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import numpy as np
from scipy.interpolate import BSpline
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
from sklearn.ensemble._hist_gradient_boosting.gradient_boosting import BaseHistGradientBoosting
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.metrics import DistanceMetric
from sklearn.neighbors import BallTree, KDTree
from sklearn.neighbors._base import NeighborsBase
from sklearn.tree._tree import Tree

from baldur.errors import DamagedArtefact, Unsupported

# Functions are trusted by name: whoever holds one may call it. These only compute.
_COMPUTES = (
    "sklearn.feature_selection._univariate_selection.",
    "sklearn.metrics._classification.",
    "sklearn.cluster._kmeans._kmeans_single_lloyd",
    "sklearn.cluster._kmeans._kmeans_single_elkan",
    "sklearn.utils.validation.check_array",
)
_PLAIN = (
    "functools.partial",
    "numpy.dtype",
    *(f"numpy.{name}" for name in ("max", "mean", "median", "min")),
    "scipy._lib.array_api_compat.numpy._aliases.asarray",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
)
# Compiled code follows the indices inside these, so they are checked or built again after reading.
_CHECKED = (
    "scipy.interpolate._bsplines.BSpline",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.tree._tree.Tree",
)
_DISTANCES = "sklearn.metrics._dist_metrics."
_OTHER_PARTS = {"callback", "conftest", "datasets", "experimental", "externals", "tests", "utils"}
_INTERPRETED = (
    1 << 9
)  # CPython's Py_TPFLAGS_HEAPTYPE: made by a class statement, so its attributes are Python values


def write(path: Path, value: Any, trusted: Sequence[str] = ()) -> None:
    """Write estimators, in lists and dicts, so that `read` with the same trust gives equal ones.

    Args:
        path: The file.
        value: The estimators.
        trusted: Types that are trusted beside scikit-learn's, as `package.module.Class`.

    Raises:
        Unsupported: skops is not installed, or a type is not trusted.
    """
    try:
        data: bytes = _skops().dumps(value)
    except Exception as error:  # skops names the type that it cannot write in errors of several kinds
        raise Unsupported(f"skops cannot write these estimators: {error}; take other ones") from error
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
        _check(value)
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
    unknown = [name for name in types if name not in trusted and not _known(name)]
    if unknown:
        raise Unsupported(
            f"{path}: of types that are not known to be safe: {', '.join(unknown)}; name them in trusted= if they are"
        )


def _known(name: str) -> bool:
    """Whether a name is trusted without being named by the user: it holds plain data, or is checked after reading."""
    return name in (*_PLAIN, *_CHECKED) or name.startswith((*_COMPUTES, _DISTANCES)) or _is_sklearn(name)


def _is_sklearn(name: str) -> bool:
    """Whether a name is a class of scikit-learn that is not compiled, such as the inner parts of its estimators."""
    module, _, own = name.rpartition(".")
    first, *rest = module.split(".")
    if first != "sklearn" or not _OTHER_PARTS.isdisjoint(rest):
        return False
    try:
        found = vars(importlib.import_module(module)).get(own)
    except ImportError:
        return False
    return (
        isinstance(found, type)
        and found.__module__ == module
        and all(kind.__flags__ & _INTERPRETED or kind.__module__ == "builtins" for kind in found.__mro__)
    )


def _check(value: Any) -> None:
    """Check what compiled code follows without looking, and build search trees again from their items."""
    owned: set[int] = set()
    parts = list(_parts(value, set()))
    for part in parts:
        if isinstance(part, BaseHistGradientBoosting) and "_predictors" in vars(part):
            owned.update(map(id, _check_boosting(part)))
        elif isinstance(part, Tree):
            _check_tree(part)
        elif isinstance(part, BSpline):
            _check_spline(part)
        elif isinstance(part, NeighborsBase) and vars(part).get("_tree") is not None:
            part._tree = type(part._tree)(
                part._fit_X, part.leaf_size, metric=part.effective_metric_, **part.effective_metric_params_
            )
            owned.add(id(part._tree))
    for part in _parts(value, set()):
        if isinstance(part, KDTree | BallTree | TreePredictor) and id(part) not in owned:
            raise ValueError(f"a {type(part).__name__} is outside of its estimator")
        if isinstance(part, DistanceMetric):
            raise ValueError("a distance is outside of its estimator")


def _parts(value: Any, seen: set[int]) -> Iterator[Any]:
    """A value and everything inside it, each once."""
    if isinstance(value, str | bytes | int | float | None) or id(value) in seen:
        return
    seen.add(id(value))
    yield value
    inside: list[Any] = []
    if isinstance(value, dict):
        inside += value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        inside += value
    elif isinstance(value, np.ndarray):
        inside += value.ravel().tolist() if value.dtype == object else []
    elif isinstance(value, partial):
        inside += (value.func, value.args, value.keywords)
    elif isinstance(value, MethodType):
        inside.append(value.__self__)
    if not isinstance(value, type | FunctionType):
        inside += getattr(value, "__dict__", {}).values()  # compiled values have none
    for part in inside:
        yield from _parts(part, seen)


def _check_tree(tree: Any) -> None:
    """Children stand behind their parent and inside the tree, and features are those of the tree."""
    inner = np.flatnonzero(tree.children_left != -1)
    _check_nodes(inner, (tree.children_left, tree.children_right), tree.node_count)
    _check_features(tree.feature[inner], tree.n_features)


def _check_boosting(model: Any) -> list[Any]:
    """The trees of gradient boosting by histograms, checked like other trees."""
    trees = [tree for several in model._predictors for tree in several]
    width = int(model.n_features_in_)
    if len(model._bin_mapper.is_categorical_) != width:
        raise ValueError("gradient boosting has bins of other features")
    for tree in trees:
        nodes = tree.nodes
        if type(tree) is not TreePredictor or nodes.dtype != PREDICTOR_RECORD_DTYPE or not nodes.size:
            raise ValueError("the nodes of a tree are not what they should be")
        inner = nodes["is_leaf"] == 0
        _check_nodes(np.flatnonzero(inner), (nodes["left"], nodes["right"]), len(nodes))
        _check_features(nodes["feature_idx"][inner], width)
        by_category = inner & (nodes["is_categorical"] != 0)
        if (nodes["bitset_idx"][by_category] >= len(tree.raw_left_cat_bitsets)).any():
            raise ValueError("a tree splits by categories that it does not have")
    return trees


def _check_spline(spline: Any) -> None:
    """Knots are in order, and each basis function has a coefficient."""
    knots, functions = spline.t, spline.t.size - spline.k - 1
    if knots.ndim != 1 or spline.k < 0 or functions <= spline.k or len(spline.c) < functions:
        raise ValueError("the knots and coefficients of a spline do not fit together")
    if not np.isfinite(knots).all() or (np.diff(knots) < 0).any():
        raise ValueError("the knots of a spline are not in order")


def _check_nodes(inner: Any, children: Sequence[Any], count: int) -> None:
    for child in children:
        behind = child[inner].astype(np.int64)  # a node behind the last would wrap around in unsigned numbers
        if (behind <= inner).any() or (behind >= count).any():
            raise ValueError("a tree's nodes do not form a tree")


def _check_features(features: Any, width: int) -> None:
    if (features < 0).any() or (features >= width).any():
        raise ValueError("a tree splits by a feature that it does not have")
