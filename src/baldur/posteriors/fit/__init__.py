"""Posterior functions: each `(train, labelled, seed, *, options) -> Posterior` fits one kind of posterior."""

from collections.abc import Callable, Mapping

from baldur.posteriors.fit.dropout import deterministic, inserted_dropout, mc_dropout
from baldur.posteriors.fit.dropped_weights import dropconnect
from baldur.posteriors.fit.ensembles import dropout_ensemble, ensemble
from baldur.posteriors.fit.laplace_approximation import laplace
from baldur.posteriors.fit.loss_prediction import learning_loss
from baldur.posteriors.fit.variational import bayes_by_backprop
from baldur.posteriors.fit.weight_averaging import multi_swag, swag
from baldur.protocols import Posterior
from baldur.training.contract import Fitting

FUNCTIONS: Mapping[str, Callable[..., Posterior]] = {
    "bayes_by_backprop": bayes_by_backprop,
    "deterministic": deterministic,
    "dropconnect": dropconnect,
    "inserted_dropout": inserted_dropout,
    "laplace": laplace,
    "learning_loss": learning_loss,
    "mc_dropout": mc_dropout,
    "multi_swag": multi_swag,
    "swag": swag,
}
"""Posterior functions by name; their options are bound with `functools.partial`."""

MAKERS: Mapping[str, Callable[..., Fitting]] = {
    "dropout_ensemble": dropout_ensemble,
    "ensemble": ensemble,
}
"""By name, functions that make a posterior function of options: it has `options` of its own for the networks."""

__all__ = [
    "FUNCTIONS",
    "MAKERS",
    "bayes_by_backprop",
    "deterministic",
    "dropconnect",
    "dropout_ensemble",
    "ensemble",
    "inserted_dropout",
    "laplace",
    "learning_loss",
    "mc_dropout",
    "multi_swag",
    "swag",
]
