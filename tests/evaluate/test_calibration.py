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


def test_a_temperature_without_an_optimum_is_refused_or_drawn_towards_one():
    z, y = np.array([[4.0, 0.0], [0.0, 3.0]] * 6), np.array([0, 1] * 6)
    with pytest.raises(InvalidArgument, match="these 12 items is 0, so they cannot calibrate"):
        evaluate.temperature(z, y)
    with pytest.raises(InvalidArgument, match="these 12 items is infinity"):
        evaluate.temperature(z, 1 - y)
    assert 0.3 < evaluate.temperature(z, y, strength=1) < 1 < evaluate.temperature(z, 1 - y, strength=1) < 18
    assert evaluate.temperature(z, y, strength=1e6) == pytest.approx(1, abs=1e-3)


def test_few_items_calibrate_no_worse_than_none_at_all():
    """Predictions that are calibrated as they are: a temperature of 12 items without the prior made them far worse."""
    rng = np.random.default_rng(0)
    z = 2.5 * rng.normal(size=(3000, 3))
    y = np.array([rng.choice(3, p=np.exp(row) / np.exp(row).sum()) for row in z])

    def worse(strength):
        found = []
        for _ in range(40):
            some = rng.choice(3000, 12, replace=False)
            tau = evaluate.temperature(z[some], y[some], strength)
            found.append(evaluate.nll(from_logits(z / tau)[:, 0], y) - evaluate.nll(from_logits(z)[:, 0], y))
        return np.mean(found)

    assert worse(1.0) < 0.04
    assert worse(1e-6) > 0.1


def test_no_bins_are_refused(example):
    with pytest.raises(InvalidArgument, match="bins must be a whole number of at least 1, not 0"):
        evaluate.ece(*example, bins=0)


def test_classwise_error(example):
    """By hand: two classes, so each class's error is that of the other's mirrored bins."""
    p = np.array([[0.92, 0.08], [0.83, 0.17], [0.31, 0.69], [0.64, 0.36]])
    labels = np.array([0, 1, 1, 0])
    first = (0.08 + 0.83 + 0.31 + 0.36) / 4  # every item has a bin to itself, for either class
    assert evaluate.classwise_ece(np.log(p), labels, bins=10) == pytest.approx(first, abs=1e-12)
    log_probs, _ = example
    assert evaluate.classwise_ece(log_probs, np.zeros(8, np.int64)) > 0


def test_detection_counts_pairs():
    inside, outside = np.array([0.1, 0.4, 0.4, 0.9]), np.array([0.4, 0.8, 0.95])
    pairs = [(o > i) + 0.5 * (o == i) for i in inside for o in outside]
    assert evaluate.detection_auroc(inside, outside) == pytest.approx(np.mean(pairs))
    assert evaluate.detection_auroc(inside, inside) == 0.5
    with pytest.raises(InvalidArgument, match="NaN"):
        evaluate.detection_auroc(inside, np.array([np.nan]))
    with pytest.raises(InvalidArgument, match="at least one"):
        evaluate.detection_auroc(inside[:0], outside)


def distorted(seed, n=600, samples=2):
    """Predictions whose samples are W log p + b of calibrated ones, and labels drawn from those."""
    rng = np.random.default_rng(seed)
    truth = from_logits(1.5 * rng.normal(size=(n, 3)))[:, 0]
    labels = np.array([rng.choice(3, p=np.exp(row) / np.exp(row).sum()) for row in truth])
    w, b = np.array([[2.5, 0.3, 0.0], [0.0, 1.5, 0.4], [-0.3, 0.0, 2.0]]), np.array([0.8, -0.5, 0.0])
    logits = (truth @ w.T + b)[:, None] + 0.1 * rng.normal(size=(n, samples, 3))
    return from_logits(logits), labels


def mapped(log_probs, w, b):
    return evaluate.predictive(from_logits(log_probs @ w.T + b))


def test_dirichlet_undoes_a_linear_map_of_logs():
    log_probs, labels = distorted(0)
    test, test_labels = distorted(1)
    w, b = evaluate.dirichlet(log_probs, labels, 1e-3)
    tau = evaluate.temperature(log_probs, labels)
    plain, tempered, linear = (
        evaluate.nll(evaluate.predictive(test), test_labels),
        evaluate.nll(evaluate.predictive(from_logits(test / tau)), test_labels),
        evaluate.nll(mapped(test, w, b), test_labels),
    )
    assert linear < tempered - 0.02 < plain - 0.04


def test_dirichlet_is_at_an_optimum_and_strength_shrinks_it():
    log_probs, labels = distorted(2, n=60)

    def loss(w, b, strength):
        off = w[~np.eye(3, dtype=bool)]
        return evaluate.nll(mapped(log_probs, w, b), labels) + strength * (np.mean(off**2) + np.mean(b**2))

    w, b = evaluate.dirichlet(log_probs, labels, 0.1)
    rng = np.random.default_rng(0)
    for _ in range(20):
        dw, db = 0.05 * rng.normal(size=(3, 3)), 0.05 * rng.normal(size=3)
        assert loss(w, b, 0.1) < loss(w + dw, b + db, 0.1)
    strong, none = evaluate.dirichlet(log_probs, labels, 1e6)
    assert np.abs(strong - np.diag(np.diag(strong))).max() < 1e-3
    assert np.abs(none).max() < 1e-3


def test_dirichlet_takes_what_is_impossible():
    log_probs = np.array([[[0.0, -np.inf]], [[-np.inf, 0.0]], [[-np.log(2), -np.log(2)]]])
    w, b = evaluate.dirichlet(log_probs, np.array([1, 1, 0]), 0.1)
    assert np.isfinite(w).all()
    assert np.isfinite(b).all()
    with pytest.raises(InvalidArgument, match="strength"):
        evaluate.dirichlet(log_probs, np.array([1, 1, 0]), 0.0)
