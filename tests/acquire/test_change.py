import inspect
import math

import numpy as np
import pytest
import torch

from baldur import acquire
from baldur.errors import InvalidArgument, InvalidPredictions, NonFiniteScore

ONE = acquire.from_probs(np.array([[0.7, 0.2, 0.1]]))
PHI = np.array([[3.0, 4.0]])
REFERENCES = np.array([[1.0, 0.0], [0.0, 2.0]])


def linear_head(seed=0, items=5, width=4, classes=3):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, width, generator=generator, dtype=torch.float64)
    features = torch.randn(items, width, generator=generator, dtype=torch.float64)
    return weight, features, acquire.from_logits((features @ weight.T).numpy())


def gradient(weight, phi, y):
    w = weight.clone().requires_grad_()
    torch.nn.functional.cross_entropy((w @ phi)[None], torch.tensor([y])).backward()
    return w.grad


def test_worked_numbers():
    assert acquire.expected_gradient_length(ONE, PHI) == pytest.approx([2.956079756], abs=1e-9)
    assert acquire.expected_gradient_length(ONE, PHI, squared=True) == pytest.approx([11.5], abs=1e-12)
    assert acquire.emoc(ONE, PHI, REFERENCES, step=0.1) == pytest.approx([0.506], abs=1e-12)


def test_closed_forms_are_what_gradients_give():
    weight, features, log_probs = linear_head()
    references = torch.randn(7, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    probs = np.exp(log_probs[:, 0])
    grads = [[gradient(weight, phi, y) for y in range(3)] for phi in features]
    lengths = np.array([[float(g.norm()) for g in row] for row in grads])
    x = features.numpy()
    assert acquire.expected_gradient_length(log_probs, x) == pytest.approx(
        (probs * lengths).sum(1), abs=1e-12
    )
    squared = acquire.expected_gradient_length(log_probs, x, squared=True)
    assert squared == pytest.approx((probs * lengths**2).sum(1), abs=1e-12)

    def change(n, y):
        return references @ (-0.1 * grads[n][y]).T

    exact = acquire.emoc(log_probs, x, references.numpy(), step=0.1)
    assert acquire.emoc_of_network(log_probs, change) == pytest.approx(exact, abs=1e-12)


def test_the_square_is_another_ranking():
    """Pitfall: a squared norm sold as the norm chooses the other item."""
    log_probs = acquire.from_probs(np.array([[0.9, 0.1], [0.6, 0.4]]))
    features = np.array([[1.0], [0.55]])
    length = acquire.expected_gradient_length(log_probs, features)
    squared = acquire.expected_gradient_length(log_probs, np.array([[1.9], [1.0]]), squared=True)
    assert length == pytest.approx([math.sqrt(2) * 0.18, math.sqrt(2) * 0.48 * 0.55])
    assert squared == pytest.approx([2 * 0.09 * 1.9**2, 2 * 0.24])
    same = acquire.expected_gradient_length(log_probs, np.array([[1.9], [1.0]]))
    assert [int(np.argmax(same)), int(np.argmax(squared))] == [1, 0]


def test_each_has_its_own_favourite():
    """Entropy wants item 0, gradient length 1, EMOC 2: uncertain, far from the origin, and like the references."""
    log_probs = acquire.from_probs(np.array([[0.5, 0.5], [0.6, 0.4], [0.7, 0.3], [0.8, 0.2]]))
    features = np.array([[0.1, 0.1], [0.0, 9.0], [3.0, 0.0], [0.2, 0.2]])
    scores = (
        acquire.entropy(log_probs),
        acquire.expected_gradient_length(log_probs, features),
        acquire.emoc(log_probs, features, np.array([[1.0, 0.0], [2.0, 0.01]])),
    )
    assert [int(np.argmax(s)) for s in scores] == [0, 1, 2]


def test_emoc_of_a_logistic_model():
    w, data, step = np.array([0.5, -0.25]), np.array([[1.0, 2.0], [-1.0, 1.0], [2.0, 0.0]]), 0.1
    f = 1 / (1 + np.exp(-data @ w))

    def change(n, y):
        return (f * (1 - f) * (data @ (-step * (f[n] - y) * data[n])))[:, None]

    scores = acquire.emoc_of_network(acquire.from_sigmoid(f), change)
    assert scores == pytest.approx([0.03101865, 0.01567411, 0.02257417], abs=1e-8)


def test_the_norm_is_taken_for_each_reference():
    """Pitfall: the norm of the mean change, in which changes of the references cancel."""
    scores = acquire.emoc_of_network(ONE, lambda n, y: np.array([[1.0, -2.0], [-1.0, 2.0]]))
    assert scores == pytest.approx([3.0])


def test_few_classes_are_renormalised():
    change = np.array([1.0, 10.0, 100.0])
    scores = [acquire.emoc_of_network(ONE, lambda n, y: change[[[y]]], classes=r)[0] for r in (1, 2, 3, 9)]
    assert scores == pytest.approx([1, 2.7 / 0.9, 12.7, 12.7])


def test_what_is_certain_is_never_asked_of_the_network():
    asked = []

    def change(n, y):
        asked.append((n, y))
        return np.ones((2, 1))

    sure = acquire.from_probs(np.array([[1.0, 0.0, 0.0], [0.5, 0.0, 0.5]]))
    acquire.emoc_of_network(sure, change)
    assert (0, 0) in asked
    assert (1, 1) not in asked


def test_scores_of_sure_predictions_keep_their_digits():
    """1 - Σp² and ‖p - e_y‖ by differences would be noise of 1e-8 here."""
    for tiny in (1e-6, 1e-9, 1e-13):
        log_probs = acquire.from_probs(np.array([[1 - tiny, tiny, 0.0]]))
        impurity = acquire.expected_gradient_length(log_probs, np.ones((1, 1)), squared=True)
        assert impurity == pytest.approx([2 * tiny * (1 - tiny)], rel=1e-9)
        length = acquire.expected_gradient_length(log_probs, np.ones((1, 1)))
        assert length == pytest.approx([2 * math.sqrt(2) * tiny * (1 - tiny)], rel=1e-9)
    sure = acquire.from_probs(np.array([[1.0, 0.0, 0.0]]))
    assert acquire.emoc(sure, PHI, REFERENCES)[0] == pytest.approx(0, abs=1e-200)


@pytest.mark.parametrize(
    "make", [acquire.expected_gradient_length, lambda p, f: acquire.emoc(p, f, f[:3, :])]
)
def test_invariances_and_kinds_of_array(make):
    rng = np.random.default_rng(0)
    log_probs, features = acquire.from_logits(rng.normal(size=(40, 6, 5)) * 2), rng.normal(size=(40, 8))
    scores = make(log_probs, features)
    assert scores.dtype == np.float64
    assert np.all(scores > 0)
    assert make(log_probs[:, ::-1, ::-1], features) == pytest.approx(scores, abs=1e-12)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        there = make(torch.tensor(log_probs, dtype=dtype), torch.tensor(features, dtype=dtype))
        assert there.dtype == torch.float64
        assert there.numpy() == pytest.approx(scores, abs=tolerance)
    assert make(log_probs[:3], features[:3]) == pytest.approx(scores[:3], abs=1e-12)


def test_bounds_and_scale():
    _, features, log_probs = linear_head(items=50)
    x = features.numpy()
    length = np.linalg.norm(x, axis=1)
    assert np.all(acquire.expected_gradient_length(log_probs, x) <= math.sqrt(2) * length + 1e-12)
    once, thrice = (acquire.emoc(log_probs, x, x, step=s) for s in (0.5, 1.5))
    assert thrice == pytest.approx(3 * once, rel=1e-12)
    assert acquire.emoc(log_probs, x * 0, x).tolist() == [0] * 50


def test_blocks_do_not_matter(monkeypatch):
    _, features, log_probs = linear_head(items=50)
    x = features.numpy()
    expected = acquire.emoc(log_probs, x, x)
    monkeypatch.setattr("baldur.acquire.change._CPU_BLOCK", 150)
    assert acquire.emoc(log_probs, x, x) == pytest.approx(expected, abs=1e-13)
    assert acquire.emoc(log_probs[:0], x[:0], x).shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: acquire.expected_gradient_length(ONE, np.array([[np.nan, 1.0]])), "row 0 of the features"),
        (lambda: inspect.unwrap(acquire.expected_gradient_length)(ONE, np.ones((2, 2))), r"\(1, D\)"),
        (lambda: inspect.unwrap(acquire.expected_gradient_length)(ONE, np.ones((1, 2), int)), "floating"),
        (lambda: acquire.expected_gradient_length(ONE, torch.ones(1, 2)), "different libraries"),
        (lambda: inspect.unwrap(acquire.emoc)(ONE, PHI, np.ones((2, 3))), r"\(M, 2\)"),
        (lambda: acquire.emoc(ONE, PHI, REFERENCES[:0]), "at least 1"),
        (lambda: acquire.emoc(ONE, PHI, np.full((2, 2), np.inf)), "row 0 of the reference features"),
        (lambda: acquire.emoc(ONE, PHI, REFERENCES, step=0.0), "positive"),
        (lambda: acquire.emoc_of_network(ONE, lambda n, y: np.ones((2, 2)), classes=0), "at least one class"),
        (lambda: inspect.unwrap(acquire.emoc_of_network)(ONE, lambda n, y: np.ones(2)), r"\(M, outputs\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(InvalidArgument, match=message):
        call()


def test_a_change_that_is_no_number_is_refused():
    with pytest.raises(NonFiniteScore, match="item 0 is nan"):
        acquire.emoc_of_network(ONE, lambda n, y: np.array([[np.nan]]))


def test_bad_rows_are_named():
    with pytest.raises(InvalidPredictions, match="item 0, sample 0"):
        acquire.emoc_of_network(ONE * np.nan, lambda n, y: np.ones((1, 1)))
    with pytest.raises(InvalidPredictions, match="item 0, sample 0"):
        acquire.expected_gradient_length(ONE + 1, PHI)
