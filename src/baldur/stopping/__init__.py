"""Is it enough? A criterion reads the past of a trial and gives a reason to stop, or an empty text to go on.

A criterion is a value. `a | b` stops as soon as one of both does, and `a & b` when both do. A criterion reads the test
split only if an option names it. To add one, write a function that returns a `Rule` and name it here.
"""

from baldur.protocols import Criterion, History
from baldur.stopping.agreement import delta_f, divergence
from baldur.stopping.criterion import Rule, all_of, any_of
from baldur.stopping.held_out import held_out_metrics, wilson
from baldur.stopping.naming import named
from baldur.stopping.performance import budget, plateau, selected_accuracy, target
from baldur.stopping.predictions import (
    classification_change,
    predicted_change_of_f,
    stabilising_predictions,
    successive_divergence,
)
from baldur.stopping.uncertainty import max_uncertainty, minimum_expected_error, overall_uncertainty

__all__ = [
    "Criterion",
    "History",
    "Rule",
    "all_of",
    "any_of",
    "budget",
    "classification_change",
    "delta_f",
    "divergence",
    "held_out_metrics",
    "max_uncertainty",
    "minimum_expected_error",
    "named",
    "overall_uncertainty",
    "plateau",
    "predicted_change_of_f",
    "selected_accuracy",
    "stabilising_predictions",
    "successive_divergence",
    "target",
    "wilson",
]
