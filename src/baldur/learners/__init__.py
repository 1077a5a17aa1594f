"""How is the model trained with few labels? A learner fits a posterior to the labelled items."""

from collections.abc import Callable, Mapping

from baldur.learners import doubts as doubts
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
"""Functions `(supervised, *, options)` that change how a `Supervised` trains its networks, by name."""

WRAPPERS: Mapping[str, Callable[..., Learner]] = {
    "calibrated": calibrated,
    "ceal": ceal,
    "label_propagation": label_propagation,
    **CHANGE_TRAINING,
}
"""Functions `(learner, *, options)` that wrap another learner, by name."""

EPOCHS: Mapping[str, int] = {"fixmatch": 4, "mean_teacher": 4, "pi_model": 4}
"""How many times the epochs of the plain learner one needs, by name: with noisy inputs, training converges later."""

ALONE: Mapping[str, Callable[..., Learner]] = {
    "committee": committee,
    "extra_trees": extra_trees,
    "logistic_regression": logistic_regression,
    "random_forest": random_forest,
}
"""Functions `(classes, *, options)` that make a learner without a network, by name."""

__all__ = [
    "ALONE",
    "CHANGE_TRAINING",
    "EPOCHS",
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
