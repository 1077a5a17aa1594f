"""Named learners for tables: forests, logistic regression and committees from scikit-learn."""

from collections.abc import Callable, Mapping
from typing import Any

from baldur.core.ranges import Count, NotNegative, Positive
from baldur.errors import InvalidArgument
from baldur.learners.scikit_learn import Estimator


def random_forest(
    classes: int, *, trees: Count = 100, min_samples_leaf: Count = 1, smoothing: NotNegative = 0.01
) -> Estimator:
    """A random forest; its trees are the samples (Breiman, Machine Learning, 2001).

    If each leaf has one item, each tree predicts with certainty. BALD is then the entropy of the votes.

    Args:
        classes: Number of classes.
        trees: How many trees.
        min_samples_leaf: Items in a leaf at least.
        smoothing: See `Estimator`.

    Returns:
        The learner.
    """
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(trees, min_samples_leaf=min_samples_leaf)
    return Estimator(forest, classes=classes, smoothing=smoothing)


def extra_trees(
    classes: int, *, trees: Count = 100, min_samples_leaf: Count = 1, smoothing: NotNegative = 0.01
) -> Estimator:
    """Extremely randomised trees; each is a sample (Geurts, Ernst and Wehenkel, Machine Learning, 2006).

    Args:
        classes: Number of classes.
        trees: How many trees.
        min_samples_leaf: Items in a leaf at least.
        smoothing: See `Estimator`.

    Returns:
        The learner.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    forest = ExtraTreesClassifier(trees, min_samples_leaf=min_samples_leaf)
    return Estimator(forest, classes=classes, smoothing=smoothing)


def logistic_regression(classes: int, *, C: Positive = 1.0, smoothing: NotNegative = 0.0) -> Estimator:
    """Logistic regression on standardised inputs, with a single sample.

    Args:
        classes: Number of classes.
        C: Inverse strength of the L2 penalty.
        smoothing: See `Estimator`.

    Returns:
        The learner.
    """
    return Estimator(_logistic(C), classes=classes, smoothing=smoothing)


def committee(
    classes: int,
    *,
    members: Count = 10,
    of: str = "logistic-regression",
    smoothing: NotNegative = 0.01,
    C: Positive = 1.0,
    standardise: bool = True,
) -> Estimator:
    """Classifiers of one kind, each fitted to a bootstrap sample (Abe and Mamitsuka, ICML 1998).

    Args:
        classes: Number of classes.
        members: Number of classifiers.
        of: "logistic-regression", or naive-bayes, decision-tree or nearest-neighbours.
        smoothing: See `Estimator`.
        C: Inverse strength of the L2 penalty of logistic regressions.
        standardise: Whether logistic regressions standardise their inputs. Texts are better left as they are.

    Returns:
        The learner.

    Raises:
        InvalidArgument: There is no such kind.
    """
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    kinds: Mapping[str, Callable[[], Any]] = {
        "logistic-regression": lambda: _logistic(C, standardise),
        "naive-bayes": GaussianNB,
        "decision-tree": DecisionTreeClassifier,
        "nearest-neighbours": lambda: make_pipeline(StandardScaler(), KNeighborsClassifier(1)),
    }
    kind = kinds.get(of.replace("_", "-"))
    if kind is None:
        raise InvalidArgument(
            f"of must be one of {', '.join(kinds)}, not {of!r}; for another classifier, use learners.Estimator"
        )
    return Estimator(kind(), classes=classes, members=members, bootstrap=True, smoothing=smoothing)


def _logistic(C: float, standardise: bool = True) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = LogisticRegression(C=C, max_iter=1000)
    return make_pipeline(StandardScaler(), regression) if standardise else regression
