"""Learners from scikit-learn, for tables and embeddings."""

import hashlib
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from baldur.core.seeds import derive, generator
from baldur.errors import (
    EmptyLabelledSet,
    InvalidArgument,
    InvalidCheckpoint,
    InvalidLabel,
    OneClassOnly,
    Unsupported,
)
from baldur.learners.supervised import gather
from baldur.likelihoods import CATEGORICAL, GAUSSIAN, Likelihood
from baldur.protocols import Checkpoint, Labelled, Pool, Posterior

if TYPE_CHECKING:  # scikit-learn takes a second to import, and those who train networks do not need it
    from baldur.posteriors.estimators.posterior import Estimators

_FOLDS = 5
_LEAST_NOISE = 1e-6


@runtime_checkable
class _HasParameters(Protocol):
    """Any object with the method `get_params` of scikit-learn."""

    def get_params(self) -> dict[str, Any]: ...


@runtime_checkable
class _Unfitted(_HasParameters, Protocol):
    """An estimator of scikit-learn."""

    def fit(self, X: Any, y: Any) -> Any: ...


class Estimator:
    """A learner that fits scikit-learn classifiers or regressors. Each item is flattened to a row.

    The seed decides every `random_state` in an estimator. If all labels have the same class, the posterior is a
    constant prediction. The noise of regressors is the mean squared residual in 5-fold cross-validation, so it includes
    the errors of the regressors. Bayesian linear models estimate their own noise.

    Args:
        estimator: An unfitted estimator, which is cloned for each fit, or a function that makes one.
        classes: Number of classes; ignored for regressors.
        members: Number of fitted estimators, which differ only in their seeds.
        bootstrap: Fit each member to a bootstrap sample of the items (Breiman, Machine Learning, 1996).
        smoothing: α of p' = (p + α/C)/(1 + α); 0 for no smoothing.
        likelihood: The kind of prediction; by default, numbers for regressors and classes for all others.
        trusted: Types outside scikit-learn that may be saved and loaded, as `package.module.Class`.
        interval: Minimum seconds between two checkpoints. Each member has at most one.

    Raises:
        InvalidArgument: A number is not valid, or `estimator` is not an estimator.
    """

    def __init__(
        self,
        estimator: Any,
        *,
        classes: int,
        members: int = 1,
        bootstrap: bool = False,
        smoothing: float = 0.0,
        likelihood: Likelihood | None = None,
        trusted: Sequence[str] = (),
        interval: float = 10.0,
    ) -> None:
        from sklearn.base import is_regressor

        a_maker = isinstance(estimator, type) or (
            callable(estimator) and not isinstance(estimator, _Unfitted)
        )
        made = estimator() if a_maker else estimator
        if not isinstance(made, _Unfitted):
            raise InvalidArgument(f"a scikit-learn estimator was expected, not a {type(made).__name__}")
        if members < 1 or smoothing < 0:
            raise InvalidArgument(
                f"at least one member and smoothing >= 0 are needed, not {members}, {smoothing}"
            )
        self.estimator = made
        try:
            regressor = is_regressor(made)
        except AttributeError as error:  # one that holds no estimator where it needs one
            raise InvalidArgument(f"{type(made).__name__} is not complete: {error}") from error
        self.likelihood = likelihood or (GAUSSIAN if regressor else CATEGORICAL)
        if classes < 2 and self.likelihood.kind == "categorical":
            raise InvalidArgument(f"classes must be at least 2, not {classes}")
        self.classes = classes
        self.members = members
        self.bootstrap = bootstrap
        self.smoothing = smoothing
        self.trusted = tuple(trusted)
        self.interval = interval

    def predicts(self) -> str:
        """The kind of draws of its posteriors.

        Returns:
            "categorical", "bernoulli" or "gaussian".
        """
        return self.likelihood.kind

    def fit(
        self,
        labelled: Labelled,
        unlabelled: Pool,
        *,
        seed: int,
        round: int,
        previous: Posterior | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> "Estimators":
        """Fit a posterior to the labelled items.

        Args:
            labelled: The labelled items.
            unlabelled: Ignored.
            seed: Seed of every `random_state`, of the bootstrap and of the folds.
            round: Ignored.
            previous: Ignored.
            checkpoint: Stores the finished members of a long fit, from which an interrupted fit continues.

        Returns:
            The posterior. Its features are the standardised inputs, or the output of a pipeline's first steps.

        Raises:
            EmptyLabelledSet: There are no labelled items.
            InvalidLabel: A label is not one of the classes.
            InvalidArgument: A regressor has only one item, so its noise cannot be estimated.
            Unsupported: Items have different weights, but the estimator accepts no weights.
        """
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import StandardScaler

        from baldur.posteriors.estimators.posterior import Estimators

        x, y, weights = self._read(labelled)
        if self.likelihood.kind == "categorical" and bool((y == y[0]).all()):
            warnings.warn(f"all {len(y)} labels are of class {int(y[0])}", OneClassOnly, stacklevel=2)
            fitted, noise, inputs = [_constant(x, y)], None, StandardScaler().fit(x)
        else:
            fitted = self._members(x, y, weights, seed, checkpoint)
            noise = self._noise(x, y, weights, seed, fitted)
            inputs = None if isinstance(self.estimator, Pipeline) else StandardScaler().fit(x)
        return Estimators(
            fitted,
            self.classes,
            smoothing=self.smoothing,
            noise=noise,
            likelihood=self.likelihood,
            inputs=inputs,
            trusted=self.trusted,
        )

    def load(self, folder: Path) -> "Estimators":
        """Load a saved posterior of this learner.

        Args:
            folder: The folder of the saved posterior.

        Returns:
            The posterior. Its draws equal those of the saved one.

        Raises:
            DamagedArtefact: A file of it is missing, incomplete, altered, or of another release of scikit-learn.
        """
        from baldur.posteriors.estimators.posterior import load

        return load(folder, self.trusted)

    def _read(self, labelled: Labelled) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[np.float64]]:
        from baldur.posteriors.estimators.posterior import table_of

        if len(labelled) == 0:
            raise EmptyLabelledSet("nothing is labelled yet; label at least one item of each of two classes")
        y = np.asarray(labelled.labels)
        low, high = y.min(), y.max()
        if self.likelihood.kind == "categorical" and (low < 0 or high >= self.classes):
            raise InvalidLabel(f"labels run from {low} to {high}, not from 0 to {self.classes - 1}")
        return table_of(gather(labelled.pool)).astype(np.float64), y, labelled.weights.astype(np.float64)

    def _members(
        self,
        x: NDArray[np.float64],
        y: NDArray[Any],
        weights: NDArray[np.float64],
        seed: int,
        checkpoint: Checkpoint | None,
    ) -> list[Any]:
        """The fitted members, beginning with those of an interrupted fit."""
        about = self._about(seed, x, y, weights)
        fitted = [] if checkpoint is None else self._kept(checkpoint, about)
        saved = monotonic()
        while len(fitted) < self.members:
            m = len(fitted)
            chosen: NDArray[np.intp] | slice = slice(None)
            if self.bootstrap:
                chosen = generator(seed, "bootstrap", m).integers(len(y), size=len(y))
            own = derive(seed, "estimator", m)
            fitted.append(self._fitted(x[chosen], y[chosen], weights[chosen], own))
            if checkpoint is not None and monotonic() - saved >= self.interval:
                self._keep(checkpoint, about, fitted)
                saved = monotonic()
        return fitted

    def _about(self, seed: int, *arrays: NDArray[Any]) -> str:
        """A SHA-256 that identifies this fit; its checkpoints contain the same value."""
        kind, options = type(self.estimator), self.estimator.get_params()
        said = [seed, self.members, self.bootstrap, kind.__module__, kind.__qualname__]
        said += [f"{name}={_said(options[name])}" for name in sorted(options)]
        return hashlib.sha256(" ".join(map(str, [*said, *map(_said, arrays)])).encode()).hexdigest()

    def _fitted(
        self, x: NDArray[np.float64], y: NDArray[Any], weights: NDArray[np.float64], seed: int
    ) -> Any:
        from sklearn.base import clone

        if self.likelihood.kind == "categorical" and bool((y == y[0]).all()):  # many classifiers refuse this
            return _constant(x, y)
        estimator = clone(self.estimator)
        states = [name for name in sorted(estimator.get_params()) if name.split("__")[-1] == "random_state"]
        estimator.set_params(**{name: derive(seed, name) % 2**32 for name in states})
        given = _weighted(estimator, weights)
        try:
            return estimator.fit(x, y, **given)
        except Exception as error:  # scikit-learn refuses in errors of several kinds
            same = np.flatnonzero((y == y[0]).all(0)).tolist() if y.ndim > 1 else []
            if self.likelihood.kind != "bernoulli" or not same:
                raise InvalidArgument(
                    f"{type(estimator).__name__} cannot be fitted to {len(y)} labelled items: {error}. Give it other "
                    "options, or more labels first (initial=, --initial)"
                ) from error
            raise InvalidLabel(
                f"all {len(y)} items agree on label {', '.join(map(str, same))}, and {type(estimator).__name__} cannot "
                f"learn one that all or none have ({error}); label more, or take a forest"
            ) from error

    def _noise(
        self,
        x: NDArray[np.float64],
        y: NDArray[Any],
        weights: NDArray[np.float64],
        seed: int,
        fitted: Sequence[Any],
    ) -> NDArray[np.float64] | None:
        """The mean squared residual in cross-validation, for each target."""
        from sklearn.model_selection import KFold

        from baldur.posteriors.estimators.posterior import Estimators

        if self.likelihood.kind != "gaussian" or Estimators(fitted, noise=1.0).functions is None:
            return None
        if len(y) < 2:
            raise InvalidArgument("the noise around a regressor takes two labelled items or more to know")
        residuals = np.empty(y.shape)
        folds = KFold(min(_FOLDS, len(y)), shuffle=True, random_state=derive(seed, "folds") % 2**32)
        for number, (rest, fold) in enumerate(folds.split(x)):
            model = self._fitted(x[rest], y[rest], weights[rest], derive(seed, "fold", number))
            residuals[fold] = y[fold] - model.predict(x[fold])
        least = _LEAST_NOISE * max(float(np.var(y)), _LEAST_NOISE)
        return np.asarray(np.maximum(np.mean(residuals**2, 0), least))

    def _keep(self, checkpoint: Checkpoint, about: str, fitted: list[Any]) -> None:
        from baldur.posteriors.estimators import skops as _skops

        checkpoint.save(lambda path: _skops.write(path, {"about": about, "members": fitted}, self.trusted))

    def _kept(self, checkpoint: Checkpoint, about: str) -> list[Any]:
        from baldur.posteriors.estimators import skops as _skops

        path = checkpoint.latest()
        if path is None:
            return []
        kept = _skops.read(path, self.trusted)
        if not isinstance(kept, dict) or kept.get("about") != about:
            raise InvalidCheckpoint(f"{path} is a checkpoint of another fit")
        return list(kept["members"])


def _said(value: Any) -> str:
    """An option as text that is the same in every process, with whole arrays and no addresses."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, _HasParameters):  # its options are told by themselves
        return type(value).__qualname__
    return str(getattr(value, "__qualname__", re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))))


def _constant(x: NDArray[np.float64], y: NDArray[Any]) -> Any:
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="prior").fit(x, y)


def _weighted(estimator: Any, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The argument of `fit` for the weights; none if all weights are one."""
    from sklearn.pipeline import Pipeline
    from sklearn.utils.validation import has_fit_parameter

    if bool((weights == 1).all()):
        return {}
    steps, last = "", estimator
    while isinstance(last, Pipeline):
        step, last = last.steps[-1]
        steps += f"{step}__"
    if not has_fit_parameter(last, "sample_weight"):
        raise Unsupported(
            f"items have different weights, and {type(last).__name__}.fit takes no sample_weight; take another"
        )
    return {f"{steps}sample_weight": weights}
