"""Stopping criteria against worked numbers; windows, monotony, composition and names."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldur.errors import InvalidArgument, InvalidSettings
from baldur.evaluate import cohen_kappa
from baldur.stopping import (
    Criterion,
    History,
    Rule,
    all_of,
    any_of,
    budget,
    classification_change,
    delta_f,
    divergence,
    held_out_metrics,
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

FIRST = np.array([0, 1, 2, 1, 0, 2, 1, 0, 0, 1])
SECOND = np.array([0, 1, 2, 1, 0, 2, 1, 0, 1, 1])
ROWS = np.log([[0.98, 0.01, 0.01], [0.9, 0.05, 0.05], [0.6, 0.3, 0.1]])


def surely(labels, classes=3, p=0.9):
    """Log-probabilities that say so."""
    probs = np.full((len(labels), classes), (1 - p) / (classes - 1))
    probs[np.arange(len(labels)), labels] = p
    return np.log(probs)


def validated(*accuracies, items=200, split="validation", **more):
    """A history of measured accuracies."""
    metrics = [{("accuracy", split): a, ("items", split): float(items), **more} for a in accuracies]
    return History([10 * (r + 1) for r in range(len(accuracies))], metrics)


def test_worked_numbers():
    assert cohen_kappa(FIRST, SECOND) == pytest.approx(0.84375)
    assert cohen_kappa(np.zeros(4, int), np.zeros(4, int)) == 1
    both = [np.repeat(v, (40, 3, 2, 55)) for v in ([1, 1, 0, 0], [1, 0, 1, 0])]
    assert delta_f(*both, positive=1) == pytest.approx(0.05882353, abs=1e-8)
    assert f"mean normalised entropy {0.42606644:.4f}" in overall_uncertainty(0.43)(History([9], [], [ROWS]))
    assert f"expected error {0.17333333:.4f}" in minimum_expected_error(0.18)(History([9], [], [ROWS]))
    assert wilson(0.9, 100) == pytest.approx((0.8256343, 0.9447709), abs=1e-6)
    assert wilson(0.0, 5)[0] == pytest.approx(0, abs=1e-12)
    assert wilson(1.0, 5)[1] == pytest.approx(1)


def test_agreement_against_its_definition():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, (2, 50))
    from sklearn.metrics import cohen_kappa_score, f1_score

    assert cohen_kappa(a, b) == pytest.approx(cohen_kappa_score(a, b))
    assert delta_f(a, b) == pytest.approx(1 - f1_score(a, b, average="macro"))
    assert delta_f(a, b, positive=9) == 0
    p, q = rng.dirichlet(np.ones(3), (2, 7))
    m = (p + q) / 2
    kl = [np.sum(x * np.log(x / m), axis=1) for x in (p, q)]
    assert divergence(np.log(p), np.log(q)) == pytest.approx(np.mean(kl) / math.log(2))
    with np.errstate(divide="ignore"):
        certain = np.log(np.eye(2))
    assert divergence(certain, certain[::-1].copy()) == pytest.approx(1)
    assert divergence(certain, certain) == 0
    with pytest.raises(InvalidArgument, match=r"\(0,\) and \(0,\)"):
        delta_f(FIRST[:0], SECOND[:0])


def test_held_out_metrics():
    said = held_out_metrics(np.log([[0.8, 0.2], [0.4, 0.6], [0.7, 0.3]]), np.array([0, 0, 0]))
    losses = -np.log([0.8, 0.4, 0.7])
    assert said["accuracy", "validation"] == pytest.approx(2 / 3)
    assert said["items", "validation"] == 3
    assert said["nll", "validation"] == pytest.approx(losses.mean())
    assert said["nll_se", "validation"] == pytest.approx(losses.std(ddof=1) / math.sqrt(3))
    assert said["brier", "validation"] == pytest.approx(np.mean([0.08, 0.72, 0.18]))
    with np.errstate(divide="ignore"):
        impossible = held_out_metrics(np.log([[1.0, 0.0], [1.0, 0.0]]), np.array([1, 0]))
    assert impossible["nll_se", "validation"] == math.inf


def test_stabilising_predictions_waits_for_its_window_and_takes_the_mean():
    same, other = surely(FIRST), surely(SECOND)  # kappa .84375 between them
    kappa = (1 + 1 + 0.84375) / 3
    past = [other, same, same, same]
    assert stabilising_predictions(kappa=kappa - 1e-6)(History([0], [], past)) != ""
    assert stabilising_predictions(kappa=kappa + 1e-6)(History([0], [], past)) == ""
    assert stabilising_predictions(kappa=-1)(History([0], [], past[1:])) == ""
    assert "0.9479 of 3 comparisons" in stabilising_predictions(kappa=0.9)(History([0], [], past))
    assert stabilising_predictions().rounds == 4


def test_every_comparison_of_the_window_must_be_small_enough():
    same, other = surely(FIRST), surely(SECOND)
    for criterion in (predicted_change_of_f(0.08), successive_divergence(0.05)):
        assert criterion(History([0], [], [same, other, other, other])) == ""
        assert criterion(History([0], [], [same] * 3)) == ""
        assert criterion(History([0], [], [other, same, same, same, same])) != ""
    assert "0.1111 at most" in predicted_change_of_f(0.2, 1, positive=1)(History([0], [], [same, other]))
    faint = surely(FIRST, p=0.4)
    assert predicted_change_of_f(1e-9, 1)(History([0], [], [same, faint])) != ""
    assert successive_divergence(0.1, 1)(History([0], [], [same, faint])) == "", "it sees more than classes"


def test_a_class_that_nobody_predicts_is_no_reason():
    never, once = surely(np.zeros(4, int)), surely(np.array([0, 0, 0, 2]))
    assert predicted_change_of_f(window=1, positive=2)(History([0], [], [never, never])) == ""
    assert predicted_change_of_f(window=2, positive=2)(History([0], [], [never, never, once])) == ""
    assert predicted_change_of_f(window=1, positive=2)(History([0], [], [once, once])) != ""


def test_classification_change():
    past = History([0], [], [surely(FIRST), surely(SECOND)])
    assert classification_change()(past) == ""
    assert classification_change(0.1)(past) == "10.00% of the predicted classes changed, at most 0.1"
    assert classification_change()(History([0], [], [surely(FIRST), surely(FIRST, p=0.5)])) != ""
    assert classification_change(1.0)(History([0], [], [surely(FIRST)])) == ""


def test_nothing_left_to_predict_is_no_reason():
    none = [np.empty((0, 3))] * 5
    for criterion in (
        *(stabilising_predictions(-1), classification_change(1.0), predicted_change_of_f(1.0)),
        *(successive_divergence(1.0), overall_uncertainty(1.0), minimum_expected_error(1.0)),
    ):
        assert criterion(History([9], [], none)) == ""
        assert criterion(History([9])) == ""


def test_max_uncertainty_reads_the_last_batch():
    past = [np.empty(0), np.array([0.9, 0.5]), np.array([0.4, 0.1])]
    assert max_uncertainty(0.5)(History([1, 2, 3], [], [], past)).startswith("the highest score of the last")
    assert max_uncertainty(0.4)(History([1, 2, 3], [], [], past)) == ""
    assert max_uncertainty(9)(History([1], [], [], past[:1])) == ""
    assert max_uncertainty(9)(History([1, 2], [], [], [np.empty(0), np.zeros(3)])) == "", (
        "random scores nothing"
    )


def test_budget():
    assert budget(30)(History([20, 29])) == ""
    assert budget(30)(History([20, 30])) == "the budget of 30 labels is spent"
    assert budget(30).limit == 30


def test_a_target_counts_when_its_interval_is_above_it():
    low = wilson(0.95, 200)[0]
    assert target(low - 1e-9)(validated(0.95)).startswith("accuracy 0.9500 over 200 validation items")
    assert target(low + 1e-9)(validated(0.95)) == ""
    assert target(low + 1e-9, level=0.5)(validated(0.95)) != ""
    assert target(0.94)(validated(0.95, items=100_000)) != ""
    assert target(0.9, split="test")(validated(0.95, items=10_000, split="test")) != ""
    loss = History([9], [{("nll", "validation"): 0.3, ("nll_se", "validation"): 0.05}])
    end = 0.3 + 1.959963985 * 0.05
    assert "95% interval up to 0.3980" in target(end + 1e-6, "nll")(loss)
    assert target(end - 1e-6, "nll")(loss) == ""
    with pytest.raises(InvalidArgument, match="no accuracy was measured on 'validation'"):
        target(0.9)(History([9], [{("accuracy", "test"): 0.99}]))


def test_plateau_needs_twice_its_window():
    flat = (0.5, 0.8, 0.9, 0.9, 0.91, 0.9)
    assert plateau(window=2, tolerance=0.015)(validated(*flat)) != ""
    assert plateau(window=2, tolerance=0.0099)(validated(*flat)) == ""
    assert plateau(window=3, tolerance=0.1)(validated(*flat)) == "", "0.5 is three rounds before 0.9"
    assert plateau(window=3, tolerance=1)(validated(*flat[1:])) == ""
    assert plateau(window=1, tolerance=0.02)(validated(math.nan, 0.9)) == ""


def test_selected_accuracy():
    assert selected_accuracy(0.9)(validated(0.5, 0.92, split="query")) != ""
    assert selected_accuracy(0.92)(validated(0.5, 0.92, split="query")) == ""
    assert selected_accuracy(0.0)(History([9], [{}])) == "", "the first round chose nothing before"
    pooled = History(
        [1, 2, 3], [{}] + [{("accuracy", "query"): a, ("items", "query"): n} for a, n in ((1, 30), (0.5, 10))]
    )
    assert "0.8750 on the last 40 items" in selected_accuracy(0.8, window=2)(pooled)
    assert selected_accuracy(0.0, window=3)(pooled) == ""


def saying(reason, **facts):
    return Rule(reason or "nothing", lambda history: reason, **facts)


class Patience:
    """A criterion of one's own, which is no `Rule`."""

    name, rounds, splits, limit = "patience", 0, frozenset(), 70

    def __call__(self, history):
        return "enough rounds" if len(history.labels) > 2 else ""


def test_composition():
    yes, also, no = (
        saying("a", rounds=4, limit=90),
        saying("b", splits=frozenset({"test"}), limit=50),
        saying(""),
    )
    past = History([9])
    assert [(yes | no)(past), (yes | also)(past), (no | no)(past)] == ["a", "a; b", ""]
    assert [(yes & no)(past), (yes & also)(past)] == ["", "a and b"]
    assert ((yes | also).rounds, (yes | also).splits, (yes | also).limit) == (4, {"test"}, 50)
    assert (yes & also).limit == 90, "what the smaller budget allows, the other may still need"
    assert (yes & no).limit is None
    assert (yes | no).limit == 90
    assert (yes | also & no).name == "(a | (b & nothing))"
    assert any_of(yes) is yes
    with pytest.raises(InvalidArgument):
        all_of()


def test_a_criterion_is_whatever_keeps_the_protocol():
    own = Patience()
    assert isinstance(own, Criterion)
    assert isinstance(saying("a"), Criterion)
    both = saying("a", limit=90) & own
    assert (both.name, both.limit) == ("(a & patience)", 90)
    assert [both(History([1])), both(History([1, 2, 3]))] == ["", "a and enough rounds"]
    assert (any_of(own).name, any_of(own)(History([1, 2, 3]))) == ("patience", "enough rounds")


LEVELS = {
    stabilising_predictions: lambda x: {"kappa": 1 - x},
    classification_change: lambda x: {"level": x},
    predicted_change_of_f: lambda x: {"level": x},
    successive_divergence: lambda x: {"level": x},
    overall_uncertainty: lambda x: {"level": x},
    minimum_expected_error: lambda x: {"level": x},
    max_uncertainty: lambda x: {"level": x},
    selected_accuracy: lambda x: {"value": 1 - x},
    target: lambda x: {"value": 1 - x},
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
            for split in ("validation", "query")
            for name, v in (("accuracy", a), ("items", 40))
        }
        for a in np.round(rng.uniform(0.7, 1, 6), 2)
    ]
    past = History([10] * 5 + [int(rng.integers(1, 60))], metrics, log_probs, [rng.random(4)] * 6)
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


def test_names_are_composed_and_mistakes_are_said():
    made = named("budget(500) | stabilising_predictions(kappa=0.98) & overall_uncertainty")
    assert made.name == (
        "(budget(labels=500) | (stabilising_predictions(kappa=0.98, window=3) & overall_uncertainty(level=0.05)))"
    )
    assert named(made.name).name == made.name
    assert named("overall-uncertainty(level=0.1)").name == "overall_uncertainty(level=0.1)"
    own = named("mine:ready(2)", lambda name: lambda n: saying(f"{name} {n}"))
    assert own.name == "mine:ready 2"
    mixed = named("(mine:ready(n=2) | budget(9)) & budget(7)", lambda name: lambda n: saying(name))
    assert mixed.name == "((mine:ready | budget(labels=9)) & budget(labels=7))"
    assert named("budget(5) | budget(6) | budget(7)").name == (
        "((budget(labels=5) | budget(labels=6)) | budget(labels=7))"
    )
    assert named("plateau(metric='f1_a|b', split='test') | budget(5)").rounds == 0
    for text, words in (
        ("budgit(5)", "did you mean budget"),
        ("budget(5", "joined by | or &"),
        ("budget(5) + budget(6)", "joined by | or &"),
        ("budget(5) |", "there is no stopping criterion ''"),
        ("mine:ready", "there is no stopping criterion 'mine:ready'"),
        ("overall-uncertainty(level='low')", "level is a number, not 'low'"),
        ("budget(open('x'))", "joined by | or &"),
        ("budget()", "missing a required argument: 'labels'"),
        ("overall-uncertainty(level=2)", "level is a number from 0 to 1, not 2"),
        ("budget(size=5)", "it is budget(labels: int)"),
        ("not.here(5)", "joined by"),
        ("budget({[]:1})", "joined by"),
        ("target(0.9, metric='not-here')", "'not-here' has none here"),
    ):
        with pytest.raises(InvalidSettings, match=re.escape(words)):
            named(text)
    with pytest.raises(InvalidSettings, match="made a int"):
        named("mine:ready", lambda name: lambda: 3)


@pytest.mark.parametrize(
    ("factory", "options"),
    [
        (budget, {"labels": True}),
        (target, {"value": 1.5}),
        (target, {"value": 0.9, "level": 1.0}),
        (target, {"value": 0.9, "metric": "ece"}),
        (target, {"value": 0.9, "metric": "nll", "split": "test"}),
        (target, {"value": 0.9, "split": "training"}),
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
