"""How does it learn from few labels? A learner turns what is labelled into a posterior."""

from baldur.learners.supervised import Fit, Supervised, Train, deterministic, mc_dropout

__all__ = ["Fit", "Supervised", "Train", "deterministic", "mc_dropout"]
