"""How each posterior is fitted: functions `(train, labelled, seed, *, options) -> Posterior`."""

from baldur.posteriors.fit.dropout import deterministic, inserted_dropout, mc_dropout
from baldur.posteriors.fit.dropped_weights import dropconnect
from baldur.posteriors.fit.ensembles import ensemble
from baldur.posteriors.fit.laplace_approximation import laplace
from baldur.posteriors.fit.loss_prediction import learning_loss
from baldur.posteriors.fit.variational import bayes_by_backprop
from baldur.posteriors.fit.weight_averaging import multi_swag, swag

__all__ = [
    "bayes_by_backprop",
    "deterministic",
    "dropconnect",
    "ensemble",
    "inserted_dropout",
    "laplace",
    "learning_loss",
    "mc_dropout",
    "multi_swag",
    "swag",
]
