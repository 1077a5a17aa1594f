"""How does it learn from few labels? A learner turns what is labelled into a posterior."""

from baldur.learners.calibrated import calibrated
from baldur.learners.ceal import ceal
from baldur.learners.consistency import mean_teacher, pi_model
from baldur.learners.contrastive import contrastive
from baldur.learners.dropconnect import dropconnect
from baldur.learners.ensembles import ensemble
from baldur.learners.fixmatch import fixmatch
from baldur.learners.generative import bayesian_generative
from baldur.learners.inserted_dropout import inserted_dropout
from baldur.learners.laplace import laplace
from baldur.learners.learning_loss import learning_loss
from baldur.learners.propagation import label_propagation
from baldur.learners.scikit_learn import (
    Estimator,
    committee,
    extra_trees,
    logistic_regression,
    random_forest,
)
from baldur.learners.supervised import Fit, Supervised, deterministic, mc_dropout
from baldur.learners.swag import multi_swag, swag
from baldur.learners.train import Fitting, Train
from baldur.learners.variational import bayes_by_backprop

__all__ = [
    "Estimator",
    "Fit",
    "Fitting",
    "Supervised",
    "Train",
    "bayes_by_backprop",
    "bayesian_generative",
    "calibrated",
    "ceal",
    "committee",
    "contrastive",
    "deterministic",
    "dropconnect",
    "ensemble",
    "extra_trees",
    "fixmatch",
    "inserted_dropout",
    "label_propagation",
    "laplace",
    "learning_loss",
    "logistic_regression",
    "mc_dropout",
    "mean_teacher",
    "multi_swag",
    "pi_model",
    "random_forest",
    "swag",
]
