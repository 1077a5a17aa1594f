import numpy as np
from tests.stopping.histories import FIRST, SECOND, surely

from baldur.stopping import (
    History,
    classification_change,
    predicted_change_of_f,
    stabilising_predictions,
    successive_divergence,
)


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
