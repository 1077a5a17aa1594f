"""Baldur's own classifier for tables, as scikit-learn has them: for pipelines, searches and cross-validation."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from baldur.data.arrays import refuse_other_rows
from baldur.data.cells import is_frame
from baldur.errors import InvalidArgument
from baldur.protocols import Checkpoint, Labelled, Learner, Pool, Positions, Posterior, View

if TYPE_CHECKING:
    from torch import Tensor, nn

    from baldur.protocols import Draws

_ITEMS = 1024
"""Rows that are predicted at a time."""


class BayesianClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A network over the columns of a table with a posterior over its functions.

    p(y | x) = 1/T Σ_t p(y | x, w_t), w_t from the posterior. Columns are standardised by what is fitted. No global
    random generator is read or moved.

    Args:
        hidden: Units of the rectified hidden layers.
        dropout: Rate of the dropout behind each of them.
        network: Instead of these: a name of `baldur.networks`, or a function (shape, classes) that gives a module.
        posterior: A name such as "mc-dropout" or "ensemble(members=5)", or a posterior function.
        draws: Posterior samples T; where there are only so many functions, all of them are taken.
        epochs: Passes over the rows.
        epoch_size: Rows in an epoch at least; fewer rows are repeated.
        batch_size: Rows in a step.
        learning_rate: Step size of Adam.
        weight_decay: L2 penalty.
        random_state: A seed, or a generator of NumPy, from which one is drawn. None: another one at each fit.
        device: "cpu", "auto", "cuda", ...
    """

    def __init__(
        self,
        hidden: Sequence[int] = (128, 128),
        dropout: float = 0.5,
        *,
        network: "str | Callable[[tuple[int, ...], int], nn.Module] | None" = None,
        posterior: Any = "mc-dropout",
        draws: int = 20,
        epochs: int = 50,
        epoch_size: int = 512,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        random_state: Any = None,
        device: str = "cpu",
    ) -> None:
        self.hidden = hidden
        self.dropout = dropout
        self.network = network
        self.posterior = posterior
        self.draws = draws
        self.epochs = epochs
        self.epoch_size = epoch_size
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any) -> "BayesianClassifier":
        """Fit the posterior.

        Args:
            X: Rows, (n, features), finite numbers.
            y: Their classes, (n,), of any kind.

        Returns:
            Itself, with `classes_`, `n_features_in_`, `posterior_`, and what standardises: `mean_` and `scale_`.

        Raises:
            ValueError: The table or an argument is not as it should be, or there is one class only.
        """
        refuse_other_rows(X, y)
        _refuse_missing(y)
        _refuse_masked(X)
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InvalidArgument(
                f"two classes or more are needed to tell apart, not 1 class, {self.classes_[0]}"
            )
        self.mean_, spread = X.mean(0), X.std(0)
        self.scale_ = np.where(spread > 0, spread, 1.0)
        pool = _TablePool((X - self.mean_) / self.scale_)
        n = len(X)
        labelled = Labelled(
            pool, codes.astype(np.int64), np.zeros(n, np.int64), np.ones(n, np.float32), ("fit",) * n
        )
        nothing = View(pool, np.arange(0))
        seed = _seed(self.random_state)
        self.posterior_ = self._learner(X.shape[1], len(self.classes_)).fit(
            labelled, nothing, seed=seed, round=0
        )
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The mean of the draws' probabilities.

        Args:
            X: Rows, (n, features).

        Returns:
            (n, C), columns in the order of `classes_`.
        """
        import torch

        from baldur.core.arrays import predictive

        check_is_fitted(self)
        _refuse_masked(X)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        draws = self.draw()
        parts = [predictive(draws(torch.tensor(X[a : a + _ITEMS]))) for a in range(0, len(X), _ITEMS)]
        mean: NDArray[np.float64] = torch.cat(parts).exp().cpu().numpy()
        return mean

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable classes.

        Args:
            X: Rows, (n, features).

        Returns:
            (n,), of `classes_`.
        """
        p = self.predict_proba(X)
        chosen: NDArray[Any] = self.classes_[p.argmax(1)]
        return chosen

    def draw(self, T: int | None = None, seed: int = 0) -> "Draws":
        """T functions of rows as they came to `fit`: what acquisition functions and `score.predict` take.

        Args:
            T: How many; unset, `draws`, or all functions where there are only so many.
            seed: Which ones.

        Returns:
            The functions, which give log-probabilities (n, T, C) of tensors (n, features), or of a data frame, whose
            columns are found by name if `fit` got a data frame.
        """
        from baldur.posteriors.draws import WrappedDraws
        from baldur.score import draws_of

        check_is_fitted(self)
        draws = draws_of(self.posterior_, self.draws, seed) if T is None else self.posterior_.draw(T, seed)
        names = tuple(self.feature_names_in_) if "feature_names_in_" in vars(self) else ()
        return WrappedDraws(draws, before=partial(_prepared, self.mean_, self.scale_, names))

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copies: the posterior as the files that it saves."""
        state: dict[str, Any] = super().__getstate__()
        if "posterior_" not in state:
            return state
        with TemporaryDirectory() as name:
            folder = Path(name)
            self.posterior_.save(folder)
            files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
            return {**state, "posterior_": {str(f.relative_to(folder)): f.read_bytes() for f in files}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "posterior_" not in state:
            return
        with TemporaryDirectory() as name:
            for path, content in state["posterior_"].items():
                (Path(name) / path).parent.mkdir(parents=True, exist_ok=True)
                (Path(name) / path).write_bytes(content)
            self.posterior_ = self._learner(self.n_features_in_, len(self.classes_)).load(Path(name))

    def as_learner(self, shape: tuple[int, ...], classes: int) -> Learner:
        """A learner for `baldur.run`, with the network, posterior and training of this classifier.

        Args:
            shape: The shape of an item, which is flattened to a row.
            classes: Number of classes.

        Returns:
            The learner. Each fit standardises the columns by the labelled items.
        """
        return _TableLearner(self, math.prod(shape), classes)

    def _learner(self, features: int, classes: int, moments: "tuple[Tensor, Tensor] | None" = None) -> Any:
        """How the network is trained; in double precision, so that a row's prediction does not depend on the others."""
        from baldur.learners import Supervised
        from baldur.runs.names import as_factory, fitting_named, network_named
        from baldur.training import Recipe

        if self.network is None:
            factory: Any = partial(_mlp, hidden=tuple(self.hidden), dropout=self.dropout)
        else:
            given = self.network
            factory = network_named(given) if isinstance(given, str) else as_factory(given)
        recipe = Recipe(
            epochs=self.epochs,
            epoch_size=self.epoch_size,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            precision="float32",
            device=self.device,
        )
        posterior = fitting_named(self.posterior) if isinstance(self.posterior, str) else self.posterior
        made = partial(_double, factory, (features,), classes)
        network = made if moments is None else partial(_standardised, made, *moments)
        return Supervised(network, classes=classes, recipe=recipe, posterior=posterior)


class _TableLearner:
    """A `BayesianClassifier` as a learner; see `BayesianClassifier.as_learner`."""

    def __init__(self, classifier: BayesianClassifier, features: int, classes: int) -> None:
        self.classifier = classifier
        self.features = features
        self.classes = classes

    def predicts(self) -> str:
        return "categorical"

    def fit(
        self,
        labelled: Labelled,
        unlabelled: Pool,
        *,
        seed: int,
        round: int,
        previous: Posterior | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Posterior:
        from baldur.learners.supervised import gather

        x = gather(labelled.pool).flatten(1).double()  # (n, features)
        spread = x.std(0, correction=0)
        moments = x.mean(0), spread.where(spread > 0, 1.0)
        learner = self.classifier._learner(self.features, self.classes, moments)
        fitted: Posterior = learner.fit(
            labelled, unlabelled, seed=seed, round=round, previous=previous, checkpoint=checkpoint
        )
        return fitted

    def load(self, folder: Path) -> Posterior:
        import torch

        one = torch.ones(self.features, dtype=torch.float64)  # the saved moments take the place of these
        loaded: Posterior = self.classifier._learner(self.features, self.classes, (one, one)).load(folder)
        return loaded


class _TablePool:
    """A pool of rows in double precision."""

    groups = None

    def __init__(self, X: NDArray[np.float64]) -> None:
        self.X = X
        self.ids = [str(i) for i in range(len(X))]

    def __len__(self) -> int:
        return len(self.X)

    def batches(self, positions: Positions, size: int) -> "Iterator[tuple[Positions, Tensor]]":
        import torch

        for start in range(0, len(positions), size):
            chosen = positions[start : start + size]
            yield chosen, torch.from_numpy(self.X[chosen])


def _refuse_missing(y: Any) -> None:
    """Refuse labels that are None, NaN or masked."""
    if np.ma.is_masked(y):
        raise InvalidArgument("labels of y are masked, so they are missing; leave these rows out")
    labels = np.asarray(y, object) if y is not None else np.empty(0, object)
    lost = [i for i, value in enumerate(labels.reshape(-1)) if value is None or _is_nan(value)]
    if lost:
        raise InvalidArgument(
            f"Input y contains NaN or None: {len(lost)} of {labels.size} labels are missing, the first in row "
            f"{lost[0]}; leave these rows out"
        )


def _refuse_masked(X: Any) -> None:
    if np.ma.is_masked(X):
        raise InvalidArgument("X has masked values, whose mask would be lost; fill them, such as X.filled(0)")


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _prepared(
    mean: NDArray[np.float64], scale: NDArray[np.float64], names: Sequence[str], x: Any
) -> "Tensor":
    """Rows as the network takes them: standardised, in double precision."""
    import torch

    if names and is_frame(x):
        if lost := [name for name in names if name not in x.columns]:
            raise InvalidArgument(f"the table lacks the columns {', '.join(lost)}")
        x = x[list(names)]
    _refuse_masked(x)
    rows = x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)
    return torch.from_numpy((rows.astype(np.float64) - mean) / scale)


def _seed(random_state: Any) -> int:
    if random_state is None:
        return int(np.random.default_rng().integers(2**63))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    if not isinstance(random_state, int | np.integer):
        raise InvalidArgument(f"random_state is None, a number or a generator of NumPy, not {random_state!r}")
    return int(random_state)


def _mlp(
    shape: tuple[int, ...], classes: int, hidden: tuple[int, ...], dropout: float, width: float = 1.0
) -> "nn.Module":
    """A network for rows whose hidden layers have the share `width` of their units, and one at least."""
    from torch import nn

    layers: list[nn.Module] = []
    inputs = shape[0]
    for units in (max(1, round(width * units)) for units in hidden):
        layers += [nn.Linear(inputs, units), nn.ReLU(), nn.Dropout(dropout)]
        inputs = units
    return nn.Sequential(*layers, nn.Linear(inputs, classes))


def _double(
    factory: "Callable[[tuple[int, ...], int], nn.Module]",
    shape: tuple[int, ...],
    classes: int,
    **options: Any,
) -> "nn.Module":
    return factory(shape, classes, **options).double()


def _standardised(
    factory: "Callable[..., nn.Module]", mean: "Tensor", scale: "Tensor", **options: Any
) -> "nn.Module":
    """A network of raw items: its first layer flattens and standardises them."""
    from torch import nn

    from baldur.adapters._standardise import Standardise

    return nn.Sequential(Standardise(mean, scale), factory(**options))
