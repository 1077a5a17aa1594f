"""Objects that are taken as what they plainly mean: an estimator as a learner, a score function as a strategy."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np

from baldur import learners, select
from baldur.core.written import takes
from baldur.errors import InvalidArgument
from baldur.protocols import Choice, Labelled, Learner, OffersLearner, Pool, Posterior, Scorer, Strategy
from baldur.strategies.recipe import QueryRound, as_choice


@runtime_checkable
class AnEstimator(Protocol):
    """An estimator of scikit-learn, or a class of them."""

    def fit(self, X: Any, y: Any) -> Any: ...
    def get_params(self, deep: bool = True) -> dict[str, Any]: ...


def as_learner(given: Any, shape: tuple[int, ...], classes: int) -> Learner:
    """A learner, from a learner or from a classifier of scikit-learn.

    Args:
        given: A learner; or an unfitted classifier, a pipeline that ends in one, or a `BayesianClassifier`.
        shape: The shape of an item.
        classes: Number of classes.

    Returns:
        The learner.

    Raises:
        InvalidArgument: It is something else.
    """
    if isinstance(given, Learner):
        return given
    if isinstance(given, OffersLearner):
        return given.as_learner(shape, classes)
    if not isinstance(given, AnEstimator):
        raise InvalidArgument(
            f"a learner must be a name, an object with the methods fit and load, or a classifier of scikit-learn, not "
            f"a {type(given).__name__}"
        )
    from sklearn.base import is_classifier
    from sklearn.pipeline import Pipeline

    last = given
    while isinstance(last, Pipeline):
        last = last.steps[-1][1]
    if isinstance(last, OffersLearner):
        raise InvalidArgument(
            f"give the {type(last).__name__} itself as the learner, without a pipeline: it standardises its inputs"
        )
    if not is_classifier(given):
        raise InvalidArgument(
            f"a run is about classes, but {type(last).__name__} is no classifier; give a classifier"
        )
    return learners.Estimator(given, classes=classes)


def of_estimator(
    kind: Callable[..., Any], network: Any, classes: int, settings: Any, **options: Any
) -> Learner:
    """A learner from a class of estimators; see `LearnerChain`.

    Args:
        kind: The class.
        network: Gives the shape of an item to estimators that need it: `partial(factory, shape, classes)`.
        classes: Number of classes.
        settings: Ignored.
        options: Options of the class.

    Returns:
        The learner.
    """
    shape = network.args[0] if isinstance(network, partial) else ()
    return as_learner(kind(**options), shape, classes)


@dataclass(frozen=True)
class ByScore:
    """The strategy that takes the k items of the largest score; see `protocols.Strategy`.

    Args:
        score: Log-probabilities (n, T, C, ...) to the score of each prediction, (n, ...).
    """

    score: Callable[[Any], Any]

    def __call__(
        self,
        posterior: Posterior,
        labelled: Labelled,
        unlabelled: Pool,
        k: int,
        rng: np.random.Generator,
        scorer: Scorer,
    ) -> Choice:
        """Choose k unlabelled items; the arguments are those of `protocols.Strategy`."""
        at = QueryRound(posterior, labelled, unlabelled, k, rng, scorer)
        scores = at.scores(self._checked)
        return as_choice((select.top(scores, k), scores), unlabelled)

    def _checked(self, log_probs: Any) -> Any:
        scores = self.score(log_probs)
        shape, wanted = tuple(np.shape(scores)), (len(log_probs), *log_probs.shape[3:])
        if shape != wanted:
            raise InvalidArgument(
                f"a score function must return one score for each prediction, an array {wanted} for log-probabilities "
                f"{tuple(log_probs.shape)}, not {shape}"
            )
        return scores


def as_strategy(given: Any, name: str) -> Strategy:
    """A strategy, from a strategy or from a score function such as `acquire.bald`.

    Args:
        given: A function of six arguments, see `protocols.Strategy`; or of log-probabilities alone.
        name: What it is called in the message.

    Returns:
        The strategy.

    Raises:
        InvalidArgument: It takes other arguments.
    """
    if takes(given, 6):
        strategy: Strategy = given
        return strategy
    if takes(given, 1):
        return ByScore(given)
    raise InvalidArgument(
        f"{name} takes {inspect.signature(given)}. A strategy takes (posterior, labelled, unlabelled, k, rng, scorer), "
        "and a score function takes log-probabilities (n, T, C) alone; functools.partial binds further arguments"
    )
