"""Learners that also use the unlabelled items."""
