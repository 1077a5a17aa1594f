"""Measurements behind docs/posteriors.md: `python -m studies PART`, then `python docs/make_posteriors.py`.

The data sets are those of $BALDUR_DATA. A study that is cut off goes on where it was.
"""
