import inspect
import math

import numpy as np
import pytest
from sklearn import metrics as reference

from baldur import acquire, evaluate
from baldur.errors import InvalidArgument, InvalidLabel, InvalidPredictions

PROBS = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6], [0.5, 0.4, 0.1]])
LABELS = np.array([0, 1, 1, 0])


def random_predictions(count, classes, seed=0):
    rng = np.random.default_rng(seed)
    return np.log(rng.dirichlet([0.7] * classes, size=count)), rng.integers(classes, size=count)


def test_worked_numbers():
    log_probs = np.log(PROBS)
    assert evaluate.nll(log_probs, LABELS) == pytest.approx(0.79252142, abs=1e-8)
    assert evaluate.brier(log_probs, LABELS) == pytest.approx(0.465, abs=1e-12)
    assert evaluate.accuracy(log_probs, LABELS) == 0.75


def test_the_mean_prediction_is_of_probabilities():
    """Three samples: NLL of the log-mean-exp, and what the softmax of mean logits would have given."""
    one = np.array([[4, 0, 0], [0, 3, 0], [5, 1, 0], [0, 4, 0], [3, 2.9, 0]])
    logits = np.stack([one, one / 2, one[:, [1, 0, 2]]], axis=1)
    labels = np.array([0, 1, 1, 1, 0])
    log_probs = evaluate.predictive(acquire.from_logits(logits))
    assert evaluate.nll(log_probs, labels) == pytest.approx(0.67863630, abs=1e-8)
    averaged = acquire.from_logits(logits.mean(axis=1))[:, 0]
    assert evaluate.nll(averaged, labels) == pytest.approx(0.69001561, abs=1e-8)


def test_a_label_that_was_held_impossible_costs_without_end():
    log_probs = np.array([[[0.0, -1000.0], [0.0, -1000.0]], [[0.0, -np.inf], [0.0, -np.inf]]])
    assert evaluate.nll(evaluate.predictive(log_probs)[:1], np.array([1])) == pytest.approx(1000)
    assert evaluate.nll(evaluate.predictive(log_probs), np.array([1, 1])) == math.inf


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_as_scikit_learn_has_them(classes):
    log_probs, labels = random_predictions(200, classes)
    predicted, probs = log_probs.argmax(1), np.exp(log_probs)
    expected = reference.roc_auc_score(labels, probs[:, 1] if classes == 2 else probs, multi_class="ovr")
    assert evaluate.auroc(log_probs, labels) == pytest.approx(expected, abs=1e-12)
    assert evaluate.f1(log_probs, labels) == pytest.approx(
        reference.f1_score(labels, predicted, average=None)
    )
    assert evaluate.nll(log_probs, labels) == pytest.approx(reference.log_loss(labels, probs))


def test_measure_names_everything():
    log_probs, labels = random_predictions(60, 3)
    values = evaluate.measure(log_probs, labels, ["cat", "dog", "eel"])
    names = ["accuracy", "nll", "ece", "adaptive_ece", "brier", "auroc", "f1_macro"]
    assert list(values) == [*names, "f1_cat", "f1_dog", "f1_eel"]
    assert values["f1_macro"] == pytest.approx(np.mean([values[f"f1_{c}"] for c in ("cat", "dog", "eel")]))


def test_measure_leaves_out_what_is_undefined():
    """No item of the third class and none predicted: no F1 of it and no AUROC, as scikit-learn's macro F1."""
    log_probs, labels = np.log([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]]), np.array([0, 1, 1])
    values = evaluate.measure(log_probs, labels, ["a", "b", "c"])
    assert set(values) == {"accuracy", "nll", "ece", "adaptive_ece", "brier", "f1_macro", "f1_a", "f1_b"}
    expected = reference.f1_score(labels, log_probs.argmax(1), average="macro")
    assert values["f1_macro"] == pytest.approx(expected)
    assert evaluate.auroc(log_probs, labels) is None


def test_a_class_called_macro_does_not_replace_the_mean():
    log_probs, labels = np.log([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.3, 0.7]]), np.array([0, 1, 1, 1])
    f1_macro = evaluate.measure(log_probs, labels, ("a", "b"))["f1_macro"]
    assert f1_macro == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert evaluate.measure(log_probs, labels, ("macro", "b"))["f1_macro"] == f1_macro


def test_certainty_does_no_harm():
    """Zeros in the predictions: finite metrics where no label was held impossible."""
    with np.errstate(divide="ignore"):
        log_probs = np.log([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5], [0.5, 0.0, 0.5]])
    values = evaluate.measure(log_probs, np.array([0, 1, 2, 2]), ["a", "b", "c"])
    assert all(math.isfinite(value) for value in values.values())
    assert values["auroc"] == 1.0


def test_what_is_no_prediction_is_not_measured():
    for value in (math.nan, 0.0):
        log_probs = np.log(PROBS)
        log_probs[2, 1] = value
        with pytest.raises(InvalidPredictions, match="item 2"):
            evaluate.measure(log_probs, LABELS, ["a", "b", "c"])


def test_a_predicted_class_without_items_has_f1_zero():
    assert evaluate.f1(np.log([[0.2, 0.8], [0.9, 0.1]]), np.array([0, 0])).tolist() == [2 / 3, 0]


@pytest.mark.parametrize("name", ["accuracy", "nll", "brier", "auroc", "f1", "ece", "mce", "adaptive_ece"])
def test_labels_must_fit(name):
    function = getattr(evaluate, name)
    for label in (-1, 3):
        with pytest.raises(InvalidLabel, match=f"item 2 is {label}; expected 0 to 2"):
            function(np.log(PROBS), np.array([0, 1, label, 0]))
    with pytest.raises(InvalidArgument, match="no items"):
        function(np.zeros((0, 3)), np.zeros(0, np.int64))


def test_every_item_has_a_label_and_every_class_a_name():
    with pytest.raises(InvalidArgument, match="4 labels"):
        inspect.unwrap(evaluate.accuracy)(np.log(PROBS), np.array([0, 1]))
    with pytest.raises(InvalidArgument, match="3 class names were expected, not 2"):
        evaluate.measure(np.log(PROBS), LABELS, ["a", "b"])
