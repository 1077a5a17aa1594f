"""How does it learn from few labels? A learner turns what is labelled into a posterior."""

from collections.abc import Callable, Mapping

from baldur.learners.calibration import calibrated
from baldur.learners.scikit_learn import Estimator
from baldur.learners.supervised import FitRecord, Supervised
from baldur.learners.tables import committee, extra_trees, logistic_regression, random_forest
from baldur.learners.unlabelled.ceal import ceal
from baldur.learners.unlabelled.consistency import mean_teacher, pi_model
from baldur.learners.unlabelled.contrastive import contrastive
from baldur.learners.unlabelled.fixmatch import fixmatch
from baldur.learners.unlabelled.generative import bayesian_generative
from baldur.learners.unlabelled.propagation import label_propagation
from baldur.protocols import Learner

CHANGE_TRAINING: Mapping[str, Callable[..., Supervised]] = {
    "bayesian_generative": bayesian_generative,
    "contrastive": contrastive,
    "fixmatch": fixmatch,
    "mean_teacher": mean_teacher,
    "pi_model": pi_model,
}
"""By name, functions `(supervised, *, options)` that change how a `Supervised` trains its networks."""

WRAPPERS: Mapping[str, Callable[..., Learner]] = {
    "calibrated": calibrated,
    "ceal": ceal,
    "label_propagation": label_propagation,
    **CHANGE_TRAINING,
}
"""By name, functions `(learner, *, options)` that put a learner around another."""

ALONE: Mapping[str, Callable[..., Learner]] = {
    "committee": committee,
    "extra_trees": extra_trees,
    "logistic_regression": logistic_regression,
    "random_forest": random_forest,
}
"""By name, functions `(classes, *, options)` that make a learner which needs no network."""

__all__ = [
    "ALONE",
    "CHANGE_TRAINING",
    "WRAPPERS",
    "Estimator",
    "FitRecord",
    "Supervised",
    "bayesian_generative",
    "calibrated",
    "ceal",
    "committee",
    "contrastive",
    "extra_trees",
    "fixmatch",
    "label_propagation",
    "logistic_regression",
    "mean_teacher",
    "pi_model",
    "random_forest",
]
