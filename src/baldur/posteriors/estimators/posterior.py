"""Fitted scikit-learn estimators as a posterior: a forest's trees, a committee, or one classifier or regressor.

L. Breiman, "Random Forests", Machine Learning, 2001; H. S. Seung, M. Opper and H. Sompolinsky, "Query by
Committee", COLT 1992.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from sklearn.base import is_regressor
from torch import Tensor

from baldur.core.seeds import derive, generator
from baldur.errors import DamagedArtefact, InvalidArgument
from baldur.likelihoods import CATEGORICAL, GAUSSIAN, Likelihood
from baldur.posteriors._saving import read_facts, write_facts
from baldur.posteriors.draws import NumberedDraws, number_of_draws
from baldur.posteriors.estimators import skops as _skops
from baldur.posteriors.estimators.functions import CommitteeMember, Function, Table, positions_of
from baldur.protocols import Posterior

KIND = "scikit-learn"
_FILE = "estimators.skops"


class Estimators(Posterior):
    """The equal mixture of the functions in fitted estimators: p(y | x) = 1/M Σ_m p_m(y | x).

    The functions of a random forest, extra trees, bagging or voting are its trees or members. A pipeline or search has
    the functions of its last estimator. Any other estimator is one function. `BayesianRidge` and `ARDRegression` give
    any number of functions, whose weights are exact samples. The seed decides the order of the functions.

    Args:
        members: One fitted estimator, or several.
        classes: The classes in order, or their number if they are 0, 1, ...; ignored for regressors.
        smoothing: α of p' = (p + α/C)/(1 + α), so that no class has probability 0; 0 for no smoothing.
        noise: Variance of the noise around regressors, a number or one for each target, in units of the target squared;
            Bayesian linear models know their own.
        likelihood: The kind of prediction. By default, numbers for regressors and classes for all others; use
            `BERNOULLI` for a classifier of several labels.
        inputs: A fitted transformer from inputs to features. By default, the first steps of a pipeline, or the inputs
            themselves.
        trusted: Types outside scikit-learn that may be saved, as `package.module.Class`.

    Raises:
        InvalidArgument: There is no member, one knows other classes or predicts something else, or regressors come
            without their noise.
        Unsupported: A member has no functions that are the same for every item, or no probabilities.
    """

    def __init__(
        self,
        members: Any,
        classes: int | Sequence[Any] | NDArray[Any] = 2,
        *,
        smoothing: float = 0.0,
        noise: float | NDArray[np.float64] | None = None,
        likelihood: Likelihood | None = None,
        inputs: Any = None,
        trusted: Sequence[str] = (),
    ) -> None:
        given = list(members) if isinstance(members, list | tuple) else [members]
        self.members: list[Any] = [getattr(member, "best_estimator_", member) for member in given]
        if not self.members:
            raise InvalidArgument("at least one fitted estimator is needed")
        if not 0 <= smoothing < np.inf:
            raise InvalidArgument(f"smoothing is {smoothing}; it must be 0 or more, and finite")
        regressors = [is_regressor(member) for member in self.members]
        self.likelihood = likelihood or (GAUSSIAN if all(regressors) else CATEGORICAL)
        self.regression = self.likelihood.kind == "gaussian"
        if any(regressor != self.regression for regressor in regressors):
            raise InvalidArgument(
                f"regressors and classifiers do not mix, nor predict {self.likelihood.kind}"
            )
        if self.likelihood.kind == "bernoulli":
            self.classes: list[Any] = [0, 1]
        else:
            self.classes = (
                list(range(classes))
                if isinstance(classes, int | np.integer)
                else np.asarray(classes).tolist()
            )
        self.smoothing = smoothing
        self.noise = noise
        self.inputs = inputs
        self.trusted = tuple(trusted)
        self._parts = [CommitteeMember(member, self.regression) for member in self.members]
        self._linear = all(part.linear is not None for part in self._parts)
        self._check()
        # Members take turns, so that few samples are of many members.
        rounds = sorted((i, m) for m, part in enumerate(self._parts) for i in range(len(part.functions)))
        self._functions = [(m, self._parts[m].functions[i]) for i, m in rounds]

    @property
    def functions(self) -> int | None:
        """Number of functions; None for Bayesian linear models, which give any number."""
        return None if self._linear else len(self._functions)

    def draw(self, T: int | None = None, seed: int = 0) -> "EstimatorDraws":
        """Draw T different functions. `draw(T)` is a prefix of `draw(T + 1)` with the same seed.

        Args:
            T: Number of functions. By default, all if their number is fixed, otherwise 20.
            seed: Decides which functions, and their order.

        Returns:
            The functions.

        Raises:
            InvalidArgument: T < 1, or more than there are.
        """
        return EstimatorDraws(self, seed, range(number_of_draws(T, self.functions)))

    def save(self, folder: Path) -> None:
        """Write the estimators with skops and the rest as JSON.

        Args:
            folder: An existing folder.

        Raises:
            Unsupported: skops is not installed, or an estimator holds a type that is not known to be safe.
        """
        _skops.write(folder / _FILE, {"members": self.members, "inputs": self.inputs}, self.trusted)
        facts = {
            "classes": self.classes,
            "smoothing": self.smoothing,
            "noise": None if self.noise is None else np.asarray(self.noise).tolist(),
            "scikit-learn": sklearn.__version__,
        }
        write_facts(folder, KIND, self.likelihood, facts)

    def _check(self) -> None:
        if self.regression:
            if self.noise is None and not self._linear:
                raise InvalidArgument(
                    "regressors predict a mean; give the variance around it with noise=, from items that they were not "
                    "fitted to"
                )
            if self.noise is not None and not bool((np.asarray(self.noise) > 0).all()):
                raise InvalidArgument(f"noise is a variance and positive, not {self.noise}")
            if not self._linear and any(part.linear is not None for part in self._parts):
                raise InvalidArgument("Bayesian linear models do not mix with other regressors")
            return
        several = self.likelihood.kind == "bernoulli"
        for part in self._parts:
            for function in part.functions:
                if isinstance(function.seen, list) != several:
                    raise InvalidArgument(
                        "a classifier of several labels, whose predict_proba gives a list of one array for each "
                        "(MultiOutputClassifier, forests), is likelihood=BERNOULLI, and no other is"
                    )
                for seen in function.seen if several else [function.seen]:
                    positions_of(seen, self.classes)


class EstimatorDraws(NumberedDraws):
    """T functions of estimators; see `protocols.Draws`.

    Args:
        posterior: The posterior.
        seed: Seed of the order of the functions, or of the weights of Bayesian linear models.
        samples: The numbers of the samples.
    """

    def __init__(self, posterior: Estimators, seed: int, samples: range) -> None:
        super().__init__(posterior.likelihood.kind, samples)
        self.posterior = posterior
        self.seed = seed
        self._order = generator(seed, "functions").permutation(len(posterior._functions))

    def _at(self, samples: range) -> "EstimatorDraws":
        return EstimatorDraws(self.posterior, self.seed, samples)

    def __call__(self, x: Any) -> Tensor:
        table, parts = table_of(x), self.posterior._parts
        if not len(table):  # estimators refuse it
            return self(np.zeros((1, table.shape[1]), table.dtype))[:0]
        size, linear = len(parts), self.posterior._linear
        chosen = [] if linear else [self.posterior._functions[self._order[t]] for t in self.samples]
        members = [t % size for t in self.samples] if linear else [m for m, _ in chosen]
        prepared = {m: parts[m].prepare(table) for m in sorted(set(members))}
        values: list[NDArray[np.float64]] = []
        if linear:
            for t, m in zip(self.samples, members, strict=True):
                own = derive(self.seed, "member", m, t // size)
                values.append(self._gaussian(parts[m].linear_values(prepared[m], own), parts[m].linear_noise))
        else:
            values += [self._value(function, prepared[m]) for m, function in chosen]
        return torch.from_numpy(np.stack(values, 1).astype(np.float32))  # (n, T, C), or (n, T, 2) of numbers

    def features(self, x: Any) -> Tensor:
        """The inputs as the posterior's transformer or the first pipeline among the members makes them, (n, D).

        Args:
            x: A batch.

        Returns:
            Features, float32.
        """
        table, inputs, parts = table_of(x), self.posterior.inputs, self.posterior._parts
        if not len(table):
            return self.features(np.zeros((1, table.shape[1]), table.dtype))[:0]
        first = next((part for part in parts if part.before is not None), parts[0])
        z = first.prepare(table) if inputs is None else inputs.transform(table)
        return torch.from_numpy(np.array(z, np.float32))  # a copy: what comes back may be changed

    def _value(self, function: Function, z: Table) -> NDArray[np.float64]:
        if self.posterior.regression:
            return self._gaussian(function.values(z), self.posterior.noise)
        alpha, classes = self.posterior.smoothing, self.posterior.classes
        p = (function.probabilities(z, classes) + alpha / len(classes)) / (1 + alpha)
        with np.errstate(divide="ignore"):  # log 0 = -inf: a class that is held impossible
            return np.log(p)

    def _gaussian(self, mean: NDArray[np.float64], noise: Any) -> NDArray[np.float64]:
        given = noise if self.posterior.noise is None else self.posterior.noise
        return np.stack([mean, np.broadcast_to(given, mean.shape)], 1)  # (n, 2) or (n, 2, K)


def table_of(x: Any) -> Table:
    """The items of a batch as rows.

    Args:
        x: A tensor or array (n, ...).

    Returns:
        (n, features), of the type it had; half precision becomes float32.

    Raises:
        InvalidArgument: It is a tree of tensors.
    """
    if isinstance(x, Tensor):
        x = x.detach().cpu()
        x = (x.float() if x.dtype in (torch.bfloat16, torch.float16) else x).numpy()
    if not isinstance(x, np.ndarray):
        raise InvalidArgument(
            f"scikit-learn estimators take one tensor of numbers for each item, not a {type(x).__name__}"
        )
    return x.reshape(len(x), math.prod(x.shape[1:]))  # (n, F); -1 is undefined where there are no items


def load(folder: Path, trusted: Sequence[str] = ()) -> Estimators:
    """Load saved estimators.

    Args:
        folder: The folder of the saved posterior.
        trusted: Types beside scikit-learn's that may be made, as `package.module.Class`.

    Returns:
        The posterior. Its draws equal those of the saved one.

    Raises:
        DamagedArtefact: A file is missing, incomplete, altered, or of another release of scikit-learn.
        Unsupported: skops is not installed, or a type is not trusted.
    """
    about = read_facts(folder)
    facts = about["facts"]
    try:
        version, classes, smoothing, noise = (
            facts[name] for name in ("scikit-learn", "classes", "smoothing", "noise")
        )
        if about["kind"] != KIND:
            raise ValueError(f"it is of the kind {about['kind']!r}")
        if version.split(".")[:2] != sklearn.__version__.split(".")[:2]:
            raise ValueError(f"it was saved with scikit-learn {version}, and this is {sklearn.__version__}")
        saved = _skops.read(folder / _FILE, trusted)
        return Estimators(
            saved["members"],
            classes,
            smoothing=smoothing,
            noise=None if noise is None else np.asarray(noise),
            likelihood=about["likelihood"],
            inputs=saved["inputs"],
            trusted=trusted,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedArtefact(f"the saved posterior in {folder} cannot be read: {error}") from error
