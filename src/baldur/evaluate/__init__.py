"""How good is it, and is the difference real? Metrics, calibration, curves, comparisons over seeds."""

from baldur.core.arrays import predictive
from baldur.evaluate.agreement import (
    Consensus,
    cohen_kappa,
    dawid_skene,
    decide,
    fleiss_kappa,
    majority,
)
from baldur.evaluate.calibration import (
    Reliability,
    adaptive_ece,
    classwise_ece,
    detection_auroc,
    dirichlet,
    ece,
    mce,
    reliability,
    temperature,
)
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
from baldur.evaluate.doubt import Proposals, relabelling_proposals
from baldur.evaluate.metrics import accuracy, auroc, brier, f1, measure, nll

__all__ = [
    "Consensus",
    "Interval",
    "Paired",
    "Proposals",
    "Reliability",
    "accuracy",
    "accuracy_half_width",
    "active_gain",
    "adaptive_ece",
    "aulc",
    "auroc",
    "brier",
    "challenge_score",
    "classwise_ece",
    "cohen_kappa",
    "data_utilisation_rate",
    "dawid_skene",
    "decide",
    "deficiency",
    "detection_auroc",
    "dirichlet",
    "ece",
    "f1",
    "fleiss_kappa",
    "friedman",
    "interval",
    "labels_to_target",
    "majority",
    "mce",
    "measure",
    "nll",
    "paired",
    "penalty_matrix",
    "predictive",
    "quantile",
    "relabelling_proposals",
    "reliability",
    "temperature",
]
