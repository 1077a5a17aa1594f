"""Which k items together? Scores, log-probabilities or features to Picks."""

from baldur.select.ranking import random, top

__all__ = ["random", "top"]
