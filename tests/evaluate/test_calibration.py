import numpy as np
import pytest

from baldur import evaluate
from baldur.acquire import from_logits
from baldur.errors import InvalidArgument

LOGITS = np.array([[4, 0, 0], [0, 3, 0], [5, 1, 0], [0, 4, 0], [3, 2.9, 0]])
LOGIT_LABELS = np.array([0, 1, 1, 1, 0])


def predictions(confidence, correct):
    """Predictions of ten classes with these confidences in class 0, which is right or not."""
    top = np.array(confidence)[:, None]
    probs = np.concatenate([top, (1 - top) / 9 * np.ones((1, 9))], axis=1)
    with np.errstate(divide="ignore"):
        return np.log(probs), 1 - np.array(correct)


@pytest.fixture
def example():
    return predictions([0.95, 0.85, 0.85, 0.75, 0.65, 0.55, 0.55, 0.35], [1, 1, 0, 1, 1, 0, 1, 0])


def test_worked_numbers(example):
    assert evaluate.ece(*example, bins=10) == pytest.approx(0.225, abs=1e-12)
    assert evaluate.mce(*example, bins=10) == pytest.approx(0.35, abs=1e-12)
    assert evaluate.ece(*example, bins=5) == pytest.approx(0.2125, abs=1e-12)


def test_fifteen_bins_by_default(example):
    assert evaluate.ece(*example) == evaluate.ece(*example, bins=15)
    assert len(evaluate.reliability(*example).count) == 15


def test_the_diagram_of_the_example(example):
    diagram = evaluate.reliability(*example, bins=10)
    assert diagram.count.tolist() == [0, 0, 0, 1, 0, 2, 1, 1, 2, 1]
    assert diagram.confidence[5] == pytest.approx(0.55)
    assert diagram.accuracy[[3, 5, 8, 9]].tolist() == [0, 0.5, 0.5, 1]
    assert np.isnan(diagram.accuracy[0])
    assert diagram.gaps[0] == 0


def test_an_edge_belongs_to_the_bin_below():
    """By the edges themselves: 0.3 * 10 and 0.7 * 10 round to either side of a whole number."""
    for tenths in range(2, 11):
        log_probs, labels = predictions([tenths / 10], [1])
        counts = evaluate.reliability(log_probs, labels, bins=10).count
        nearby = np.flatnonzero(counts)
        assert nearby.tolist() == [tenths - 1], (tenths, np.exp(log_probs[0, 0]))


def test_certainty_is_in_the_last_bin():
    assert evaluate.reliability(*predictions([1.0], [1])).count[-1] == 1


def test_equal_mass_bins():
    log_probs, labels = predictions([0.5, 0.6, 0.7, 0.8, 0.9, 0.95], [0, 1, 1, 0, 1, 1])
    gaps = [abs(0.5 - 0.55), abs(0.5 - 0.75), abs(1 - 0.925)]
    assert evaluate.adaptive_ece(log_probs, labels, bins=3) == pytest.approx(np.mean(gaps), abs=1e-12)


def test_temperature():
    temperature = evaluate.temperature(LOGITS, LOGIT_LABELS)
    assert temperature == pytest.approx(2.088275, abs=1e-5)
    before, after = (evaluate.nll(from_logits(LOGITS / t)[:, 0], LOGIT_LABELS) for t in (1, temperature))
    assert before == pytest.approx(0.97236371, abs=1e-8)
    assert after == pytest.approx(0.76380336, abs=1e-8)


def test_temperature_of_samples_divides_each_of_them():
    logits = np.stack([LOGITS, LOGITS / 2, LOGITS[:, [1, 0, 2]]], axis=1)
    labels = np.array([0, 1, 1, 0, 2])
    best = evaluate.temperature(logits, labels)

    def loss(t):
        return evaluate.nll(evaluate.predictive(from_logits(logits / t)), labels)

    assert 0.1 < best < 10
    assert loss(best) < min(loss(best * 1.01), loss(best / 1.01))
    assert evaluate.temperature(logits[:, :1], LOGIT_LABELS) == pytest.approx(2.088275, abs=1e-5)


def test_no_bins_are_refused(example):
    with pytest.raises(InvalidArgument, match="at least one bin"):
        evaluate.ece(*example, bins=0)
