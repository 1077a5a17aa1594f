"""Every public function of `evaluate`: what it refuses, NumPy and torch alike, and that the order never matters."""

from collections.abc import Callable
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch

from baldur import evaluate
from baldur.errors import InvalidArgument, InvalidLabel, InvalidPredictions

Predicted = Callable[[Any, Any], Any]

OF_PREDICTIONS: dict[str, Predicted] = {
    "accuracy": evaluate.accuracy,
    "nll": evaluate.nll,
    "brier": evaluate.brier,
    "auroc": evaluate.auroc,
    "f1": evaluate.f1,
    "ece": evaluate.ece,
    "mce": evaluate.mce,
    "adaptive_ece": evaluate.adaptive_ece,
    "classwise_ece": evaluate.classwise_ece,
    "reliability": evaluate.reliability,
    "measure": lambda p, y: evaluate.measure(p, y, ["a", "b", "c"]),
    "relabelling_proposals": lambda p, y: evaluate.relabelling_proposals(p, y, 5),
}
OF_SAMPLES: dict[str, Predicted] = {
    "temperature": evaluate.temperature,
    "dirichlet": lambda p, y: evaluate.dirichlet(p, y, 0.1),
}
REFUSED = (InvalidPredictions, InvalidArgument, InvalidLabel)


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    """The functions' own checks speak, not those of the tests' types."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def example(n=60, tied=False, seed=0):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet([0.7] * 3, size=n)
    if tied:  # few different predictions, so that confidences are equal
        probs = probs[rng.integers(4, size=n)]
    return np.log(probs), np.array([rng.choice(3, p=p) for p in probs])


def flat(value: Any) -> np.ndarray:
    """All numbers of a result, whatever it is."""
    if isinstance(value, evaluate.Reliability):
        value = (value.count, value.confidence, value.accuracy)
    if isinstance(value, evaluate.Proposals):
        value = (value.scores, value.labels)
    if isinstance(value, dict):
        value = tuple(value.values())
    parts = value if isinstance(value, tuple) else (value,)
    return np.concatenate([np.ravel(np.asarray(part, np.float64)) for part in parts])


LP, Y = example(4)
SAMPLES = np.repeat(LP[:, None], 2, axis=1)
BAD_PREDICTIONS = {
    "samples": SAMPLES,
    "four by three by four": np.full((4, 3, 4), -np.log(4)),
    "logits": np.array([[2.0, 1.0, -1.0]] * 4),
    "probabilities": np.exp(LP),
    "NaN": np.where(np.eye(4, 3) > 0, np.nan, LP),
    "one column": np.zeros((4, 1)),
    "one axis": LP[:, 0],
    "whole numbers": np.zeros((4, 3), np.int64),
    "a number": 2.5,
    "a text": "accuracy",
    "nothing": None,
}
BAD_LABELS = {
    "numbers": Y.astype(np.float64),
    "yes or no": Y > 1,
    "one-hot rows": np.eye(3, dtype=np.int64)[Y],
    "one too few": Y[:3],
    "one too many": np.append(Y, 0),
    "none": Y[:0],
    "a class that is not there": np.array([0, 1, 3, 0]),
    "unknown": np.array([0, 1, -1, 0]),
    "names": np.array(["a", "b", "c", "a"]),
    "one number": np.int64(0),
    "nothing": None,
}


def refuses(function: Callable[..., Any], *arguments: Any) -> bool:
    """Whether one of the documented errors is raised; any other one passes through."""
    try:
        function(*arguments)
    except REFUSED:
        return True
    return False


@pytest.mark.parametrize("name", OF_PREDICTIONS)
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_predictions_are_checked(name, kind):
    for what, p in BAD_PREDICTIONS.items():
        given = kind(p) if isinstance(p, np.ndarray) else p
        assert refuses(OF_PREDICTIONS[name], given, kind(Y)), what


@pytest.mark.parametrize("name", [*OF_PREDICTIONS, *OF_SAMPLES])
def test_labels_are_checked(name):
    function = (OF_PREDICTIONS | OF_SAMPLES)[name]
    for what, y in BAD_LABELS.items():
        assert refuses(function, SAMPLES if name in OF_SAMPLES else LP, y), what


@pytest.mark.parametrize("name", [*OF_PREDICTIONS, *OF_SAMPLES])
def test_nothing_to_measure_is_said(name):
    function = (OF_PREDICTIONS | OF_SAMPLES)[name]
    empty = np.zeros((0, 2, 3)) if name in OF_SAMPLES else np.zeros((0, 3))
    for labels in (np.zeros(0, np.int64), []):
        with pytest.raises(InvalidArgument, match="no items to measure on"):
            function(empty, labels)


def test_messages_say_what_to_do():
    with pytest.raises(InvalidPredictions, match=r"not the shape \(4, 2, 3\); evaluate.predictive averages"):
        evaluate.nll(SAMPLES, Y)
    with pytest.raises(InvalidPredictions, match=r"item 0, sample 0 is not normalised.*from_logits"):
        evaluate.nll(BAD_PREDICTIONS["logits"], Y)
    with pytest.raises(InvalidPredictions, match="from_sigmoid"):
        evaluate.ece(np.zeros((4, 1)), Y)
    with pytest.raises(InvalidArgument, match="argmax"):
        evaluate.ece(LP, np.eye(3, dtype=np.int64)[Y])
    with pytest.raises(InvalidLabel, match=r"float64; convert them with astype\(int\)"):
        evaluate.ece(LP, Y.astype(float))
    for bins in (0, -1, 2.5, True, "15"):
        for function in (evaluate.ece, evaluate.mce, evaluate.adaptive_ece, evaluate.classwise_ece):
            with pytest.raises(InvalidArgument, match="bins must be a whole number of at least 1"):
                function(LP, Y, bins=bins)


@pytest.mark.parametrize("name", [*OF_PREDICTIONS, *OF_SAMPLES])
@pytest.mark.parametrize("tied", [False, True])
def test_the_order_of_items_never_matters(name, tied):
    function = (OF_PREDICTIONS | OF_SAMPLES)[name]
    log_probs, labels = example(tied=tied and name not in OF_SAMPLES)
    if name in OF_SAMPLES:
        log_probs = np.stack([log_probs, np.roll(log_probs, 1, axis=1)], axis=1)
    first = flat(function(log_probs, labels))
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(labels))
        again = flat(function(log_probs[order], labels[order]))
        np.testing.assert_allclose(again, first, rtol=1e-6, atol=1e-6 if name == "dirichlet" else 1e-9)


def test_equal_confidences_are_exchangeable():
    """The same predictions had .467 with the right ones first, and .093 with them mixed."""
    log_probs = np.log(np.tile([0.6, 0.4], (30, 1)))
    labels = np.repeat([0, 1], [16, 14])
    values = {
        round(evaluate.adaptive_ece(log_probs, np.random.default_rng(s).permutation(labels)), 12)
        for s in range(20)
    }
    assert values == {round(abs(16 / 30 - 0.6), 12)}


@pytest.mark.parametrize("name", [*OF_PREDICTIONS, *OF_SAMPLES])
def test_torch_gives_what_numpy_gives(name):
    function = (OF_PREDICTIONS | OF_SAMPLES)[name]
    log_probs, labels = example()
    if name in OF_SAMPLES:
        log_probs = np.stack([log_probs, np.roll(log_probs, 1, axis=1)], axis=1)
    expected = function(log_probs, labels)
    tensor = torch.as_tensor(log_probs).requires_grad_()
    for p, y in ((tensor, torch.as_tensor(labels)), (tensor, labels), (log_probs, torch.as_tensor(labels))):
        found = function(p, y)
        assert type(found) is type(expected)
        np.testing.assert_array_equal(flat(found), flat(expected))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_is_measured_as_acquire_measures_it(dtype):
    log_probs, labels = example()
    half = torch.as_tensor(log_probs).to(dtype)
    assert evaluate.nll(half, labels) == pytest.approx(evaluate.nll(log_probs, labels), rel=0.02)


def test_the_mean_of_draws_is_measured():
    """`accuracy(predictive(draws(x)), y)` with tensors used to fail."""
    draws, y = (
        torch.log_softmax(torch.randn(6, 5, 3, generator=torch.manual_seed(0)), -1),
        torch.arange(6) % 3,
    )
    mean = evaluate.predictive(draws)
    assert evaluate.accuracy(mean, y) == float((mean.argmax(1) == y).double().mean())


VOTES = np.array([[0, 1, 1], [2, 2, -1], [1, 1, 1], [-1, 0, 0]])
OTHERS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "majority": (lambda v: evaluate.majority(v, 3), VOTES),
    "dawid_skene": (lambda v: evaluate.dawid_skene(v, 3).probs, VOTES),
    "fleiss_kappa": (lambda v: evaluate.fleiss_kappa(v, 3), VOTES),
    "decide": (lambda v: evaluate.decide(np.eye(4, 3), v), VOTES),
    "cohen_kappa": (lambda v: evaluate.cohen_kappa(v, np.array([0, 1, 1, 2])), np.array([0, 1, 2, 2])),
    "detection_auroc": (lambda x: evaluate.detection_auroc(x, np.array([0.3])), np.array([0.1, 0.2, 0.5])),
    "interval": (lambda x: evaluate.interval(x).high, np.array([0.1, 0.2, 0.5])),
    "quantile": (lambda x: evaluate.quantile(x, 0.5), np.array([0.1, 0.2, 0.5])),
    "paired": (lambda x: evaluate.paired(x, np.zeros(3)).p, np.array([0.1, 0.2, 0.5])),
    "friedman": (evaluate.friedman, np.array([[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]])),
    "penalty_matrix": (evaluate.penalty_matrix, np.random.default_rng(0).normal(size=(2, 3, 4))),
    "aulc": (lambda a: evaluate.aulc(np.array([1, 2, 4]), a), np.array([0.1, 0.2, 0.5])),
    "deficiency": (lambda a: evaluate.deficiency(a, np.array([0.1, 0.1, 0.6])), np.array([0.1, 0.2, 0.5])),
    "active_gain": (lambda a: evaluate.active_gain(a, np.zeros(3)), np.array([0.1, 0.2, 0.5])),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_functions_take_tensors_and_refuse_the_rest(name):
    function, good = OTHERS[name]
    tensor = torch.as_tensor(good)
    tensor = tensor.requires_grad_() if good.dtype == np.float64 else tensor
    np.testing.assert_array_equal(flat(function(tensor)), flat(function(good)))
    bad = ["nonsense", None, good[..., None, None], np.where(good == good, np.nan, good)]
    if good.dtype != np.float64:
        bad.append(good + 0.5)
    for given in bad:
        assert refuses(function, given), given
