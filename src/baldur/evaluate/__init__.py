"""How good is it, and is the difference real? Metrics, calibration, curves, comparisons over seeds."""

from baldur.evaluate.calibration import Reliability, adaptive_ece, ece, mce, reliability, temperature
from baldur.evaluate.comparison import (
    Interval,
    Paired,
    accuracy_half_width,
    friedman,
    interval,
    paired,
    penalty_matrix,
    quantile,
)
from baldur.evaluate.curves import (
    active_gain,
    aulc,
    challenge_score,
    data_utilisation_rate,
    deficiency,
    labels_to_target,
)
from baldur.evaluate.metrics import accuracy, auroc, brier, f1, measure, nll, predictive

__all__ = [
    "Interval",
    "Paired",
    "Reliability",
    "accuracy",
    "accuracy_half_width",
    "active_gain",
    "adaptive_ece",
    "aulc",
    "auroc",
    "brier",
    "challenge_score",
    "data_utilisation_rate",
    "deficiency",
    "ece",
    "f1",
    "friedman",
    "interval",
    "labels_to_target",
    "mce",
    "measure",
    "nll",
    "paired",
    "penalty_matrix",
    "predictive",
    "quantile",
    "reliability",
    "temperature",
]
