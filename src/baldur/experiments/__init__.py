"""Measurements behind docs/posteriors.md: `python -m baldur.experiments PART`, then `python docs/make_posteriors.py`.

Run them in the root of the repository: they write to docs/posteriors and build/studies.

The data sets are those of $BALDUR_DATA. A study that is cut off goes on where it was.
"""
