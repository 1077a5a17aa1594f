"""Evaluates draws on a whole pool, in one pass and in bounded memory."""

from baldur.score.passes import Precision, Progress, features, outputs, predict
from baldur.score.scorer import PoolScorer, draws_of

__all__ = ["PoolScorer", "Precision", "Progress", "draws_of", "features", "outputs", "predict"]
