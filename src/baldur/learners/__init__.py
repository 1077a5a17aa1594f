"""How does it learn from few labels? A learner turns what is labelled into a posterior."""

from baldur.learners.ensembles import ensemble
from baldur.learners.supervised import Fit, Supervised, deterministic, mc_dropout
from baldur.learners.train import Fitting, Train

__all__ = ["Fit", "Fitting", "Supervised", "Train", "deterministic", "ensemble", "mc_dropout"]
