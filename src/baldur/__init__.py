"""Bayesian deep active learning: which examples are worth labelling."""

__version__ = "0.1.0"
