"""Every criterion by its name: thresholds, nothing to look at, names and bounds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldur.errors import InvalidArgument
from baldur.protocols import Sampled
from baldur.stopping import (
    History,
    budget,
    classification_change,
    max_uncertainty,
    minimum_expected_error,
    named,
    overall_uncertainty,
    plateau,
    predicted_change_of_f,
    selected_accuracy,
    stabilising_predictions,
    successive_divergence,
    target,
    wilson,
)
from baldur.stopping.criterion import check_number, check_window
from baldur.stopping.naming import factories


def test_nothing_left_to_predict_is_no_reason():
    none = [np.empty((0, 3))] * 5
    for criterion in (
        *(stabilising_predictions(-1), classification_change(1.0), predicted_change_of_f(1.0)),
        *(successive_divergence(1.0), overall_uncertainty(1.0), minimum_expected_error(1.0)),
    ):
        assert criterion(History([9], [], none)) == ""
        assert criterion(History([9])) == ""


LEVELS = {
    stabilising_predictions: lambda x: {"kappa": 1 - x},
    classification_change: lambda x: {"level": x},
    predicted_change_of_f: lambda x: {"level": x},
    successive_divergence: lambda x: {"level": x},
    overall_uncertainty: lambda x: {"level": x},
    minimum_expected_error: lambda x: {"level": x},
    max_uncertainty: lambda x: {"level": x},
    selected_accuracy: lambda x: {"value": 1 - x},
    target: lambda x: {"value": 1 - x, "split": "validation"},  # an easier one on the reserve looked earlier
    plateau: lambda x: {"tolerance": x},
    budget: lambda x: {"labels": 1 + int(50 * (1 - x))},
}


@given(st.integers(0, 2**16), st.floats(0, 1), st.floats(0, 1))
def test_the_easier_threshold_never_stops_later(seed, x, y):
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(20, 3)) * 4
    logits = [base + rng.normal(size=base.shape) for _ in range(6)]
    log_probs = [z - np.logaddexp.reduce(z, axis=1, keepdims=True) for z in logits]
    metrics = [
        {
            (name, split): float(v)
            for split in ("validation", "query", "reserve")
            for name, v in (("accuracy", a), ("items", 40), ("guess", 1 - a), ("size", 90))
        }
        for a in np.round(rng.uniform(0.7, 1, 6), 2)
    ]
    tested = Sampled(rng.beta(0.3, 3, 90), (rng.random(40) < 0.1).astype(float))
    past = History([10] * 5 + [int(rng.integers(1, 60))], metrics, log_probs, [rng.random(4)] * 6, tested)
    for factory, options in LEVELS.items():
        hard, easy = (factory(**options(level)) for level in sorted((x, y)))
        assert bool(hard(past)) <= bool(easy(past)), factory.__name__


def test_every_criterion_is_named_and_reads_back():
    assert set(factories()) == {factory.__name__ for factory in LEVELS}
    for name, factory in factories().items():
        options = next(options for known, options in LEVELS.items() if known.__name__ == name)
        made = factory(**options(0.25))
        again = named(str(made))
        assert (again.name, again.rounds, again.splits, again.limit) == (
            made.name,
            made.rounds,
            made.splits,
            made.limit,
        )


@pytest.mark.parametrize(
    ("factory", "options"),
    [
        (budget, {"labels": True}),
        (target, {"value": 1.5}),
        (target, {"value": 0.9, "level": 1.0}),
        (target, {"value": 0.9, "metric": "ece"}),
        (target, {"value": 0.9, "metric": "nll", "split": "test"}),
        (target, {"value": 0.9, "split": "training"}),
        (target, {"value": 0.3, "metric": "nll"}),
        (target, {"value": 0.9, "labels": 0}),
        (target, {"value": 0.9, "labels": 50, "split": "validation"}),
        (plateau, {"metric": "nll"}),
        (plateau, {"window": 0}),
        (plateau, {"metric": "auroc"}),
        (stabilising_predictions, {"kappa": 1.5}),
        (check_number, {"name": "kappa", "value": "high", "low": 0}),
        (check_window, {"window": 2.0}),
        (overall_uncertainty, {"level": math.nan}),
        (predicted_change_of_f, {"positive": -1}),
        (wilson, {"share": 0.5, "n": 0}),
    ],
)
def test_what_is_out_of_bounds_is_refused(factory, options):
    with pytest.raises(InvalidArgument):
        factory(**options)
