"""Posteriors over scikit-learn estimators."""
