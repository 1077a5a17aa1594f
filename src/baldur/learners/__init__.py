"""How does it learn from few labels? A learner turns what is labelled into a posterior."""

from baldur.learners.calibration import calibrated
from baldur.learners.scikit_learn import (
    Estimator,
    committee,
    extra_trees,
    logistic_regression,
    random_forest,
)
from baldur.learners.supervised import Fit, Supervised
from baldur.learners.unlabelled.ceal import ceal
from baldur.learners.unlabelled.consistency import mean_teacher, pi_model
from baldur.learners.unlabelled.contrastive import contrastive
from baldur.learners.unlabelled.fixmatch import fixmatch
from baldur.learners.unlabelled.generative import bayesian_generative
from baldur.learners.unlabelled.propagation import label_propagation

__all__ = [
    "Estimator",
    "Fit",
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
