"""The functions in a fitted scikit-learn estimator: its trees, its members, its weights, or itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import ARDRegression, BayesianRidge
from sklearn.pipeline import Pipeline

from baldur.core.seeds import generator
from baldur.errors import InvalidArgument, Unsupported

_FORESTS = (RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor)
_BAGS = (BaggingClassifier, BaggingRegressor)
_VOTES = (VotingClassifier, VotingRegressor)
_LINEAR = (BayesianRidge, ARDRegression)

Table = NDArray[Any]
"""Rows of features, (n, F)."""


@dataclass(frozen=True)
class Function:
    """One function of a table.

    Args:
        estimator: The fitted estimator.
        seen: The classes of its columns, or of each label of a multi-label estimator; None for a regressor.
        columns: The features that it uses; None for all.
        tree: Whether it is a tree of a forest.
    """

    estimator: Any
    seen: Any = None
    columns: NDArray[np.intp] | None = None
    tree: bool = False

    def probabilities(self, z: Table, classes: Sequence[Any]) -> NDArray[np.float64]:
        """p(y | x) over all classes, with 0 for classes that the estimator never saw.

        Args:
            z: The table.
            classes: All classes, in order.

        Returns:
            (n, C), or (n, 2, K) for K labels.
        """
        p = self._told(self.estimator.predict_proba, z)
        if not isinstance(p, list):
            return _spread(p, self.seen, classes)
        each = [_spread(*label, classes) for label in zip(p, self.seen, strict=True)]
        return np.stack(each, -1)  # (n, 2, K)

    def values(self, z: Table) -> NDArray[np.float64]:
        """The predicted numbers.

        Args:
            z: The table.

        Returns:
            (n,) or (n, K).
        """
        return np.asarray(self._told(self.estimator.predict, z), np.float64)

    def _told(self, predict: Callable[..., Any], z: Table) -> Any:
        try:
            return predict(self._own(z), **self._checked(z))
        except Exception as error:  # each estimator has its own, such as for too few neighbours
            raise InvalidArgument(
                f"{type(self.estimator).__name__} cannot predict these items: {error}. Give it other options, or "
                "more labels first (initial=, --initial)"
            ) from error

    def _own(self, z: Table) -> Table:
        return z if self.columns is None else z[:, self.columns]

    def _checked(self, z: Table) -> dict[str, bool]:
        """Looking at a table a hundred times, once for each tree, would take longer than the trees."""
        quick = self.tree and z.dtype == np.float32 and bool(np.isfinite(z).all())
        return {"check_input": False} if quick else {}


class CommitteeMember:
    """A fitted estimator: the first steps of its pipeline, and the functions after them.

    Args:
        estimator: A fitted classifier or regressor, perhaps at the end of a pipeline.
        regression: Whether it predicts numbers.

    Raises:
        Unsupported: Its functions are not the same for every item.
    """

    def __init__(self, estimator: Any, regression: bool) -> None:
        self.before: Any = None
        core = estimator
        if isinstance(core, Pipeline):
            self.before, core = (core[:-1] if len(core) > 1 else None), core[-1]
        self.linear = core if isinstance(core, _LINEAR) else None
        self.functions = [] if self.linear is not None else _functions(core, regression)

    def prepare(self, table: Table) -> Table:
        """Prepare a table for the functions.

        Args:
            table: The inputs.

        Returns:
            The table after all steps of the pipeline except the last.
        """
        if self.before is None:
            return table
        z = self.before.transform(table)
        return np.asarray(z.toarray() if hasattr(z, "toarray") else z)

    def linear_values(self, z: Table, seed: int) -> NDArray[np.float64]:
        """One exact sample of Bayesian linear regression: x·μ + b + (x - x̄)·(w - μ), w ~ N(μ, Σ).

        Args:
            z: The prepared table.
            seed: Seed of the samples.

        Returns:
            (n,).
        """
        model: Any = self.linear
        kept = slice(None) if isinstance(model, BayesianRidge) else model.lambda_ < model.threshold_lambda
        variances, axes = np.linalg.eigh(model.sigma_)
        step = np.zeros_like(model.coef_, np.float64)
        noise = generator(seed, "weights").standard_normal(len(variances))
        step[kept] = axes @ (np.sqrt(np.maximum(variances, 0)) * noise)
        return np.asarray(model.predict(z) + (z - model.X_offset_) @ step, np.float64)

    @property
    def linear_noise(self) -> float:
        """The variance of the noise of Bayesian linear regression."""
        model: Any = self.linear
        return 1 / float(model.alpha_)


def _functions(core: Any, regression: bool) -> list[Function]:
    name = type(core).__name__
    if isinstance(core, GaussianProcessRegressor):
        raise Unsupported(
            "a GaussianProcessRegressor's samples at an item depend on the other items asked about, so they are no "
            "functions; take make_pipeline(Nystroem(), BayesianRidge()), whose weights can be sampled"
        )
    if isinstance(core, _VOTES) and core.weights is not None:
        raise Unsupported(f"a {name} with weights is no equal mixture; leave them out")
    make = partial(_function, regression=regression)
    if isinstance(core, _FORESTS):
        return [make(tree, within=core) for tree in core.estimators_]
    if isinstance(core, _BAGS):
        parts = zip(core.estimators_, core.estimators_features_, strict=True)
        return [make(part, within=core, columns=columns) for part, columns in parts]
    if isinstance(core, _VOTES):
        return [make(part, within=core) for part in core.estimators_]
    return [make(core)]


def _function(
    estimator: Any, regression: bool, within: Any = None, columns: NDArray[np.intp] | None = None
) -> Function:
    name = type(estimator).__name__
    tree = isinstance(within, _FORESTS)
    if regression:
        if not hasattr(estimator, "predict"):
            raise Unsupported(f"a {name} does not predict")
        return Function(estimator, None, columns, tree)
    if not hasattr(estimator, "predict_proba"):
        raise Unsupported(f"{name} gives no probabilities (predict_proba); wrap it in CalibratedClassifierCV")
    if not hasattr(estimator, "classes_"):
        raise InvalidArgument(f"this {name} is not fitted, or does not say its classes_")
    return Function(estimator, _decoded(estimator.classes_, getattr(within, "classes_", None)), columns, tree)


def _decoded(own: Any, whole: Any) -> Any:
    """Members of an ensemble are fitted to positions in its classes."""
    if isinstance(own, list):
        return [_decoded(part, None if whole is None else whole[k]) for k, part in enumerate(own)]
    return np.asarray(own) if whole is None else np.asarray(whole)[np.asarray(own).astype(np.intp)]


def _spread(p: NDArray[Any], seen: Any, classes: Sequence[Any]) -> NDArray[np.float64]:
    out = np.zeros((len(p), len(classes)))
    out[:, positions_of(seen, classes)] = p
    return out


def positions_of(seen: Any, classes: Sequence[Any]) -> list[int]:
    """The positions of classes.

    Args:
        seen: Some classes.
        classes: All of them, in order.

    Returns:
        Their positions.

    Raises:
        InvalidArgument: One is not among them.
    """
    where = {value: place for place, value in enumerate(classes)}
    try:
        return [where[value] for value in np.asarray(seen).tolist()]
    except KeyError as error:
        raise InvalidArgument(
            f"an estimator knows the class {error}, which is not one of {list(classes)[:10]}"
        ) from None
