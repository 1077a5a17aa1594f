"""Learners that also use the items without labels."""
