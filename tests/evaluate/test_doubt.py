"""Which labels are proposed for another look."""

import inspect

import numpy as np
import pytest

from baldur.errors import InvalidArgument, InvalidLabel
from baldur.evaluate.doubt import relabelling_proposals

PROBS = np.array(
    [
        [0.9, 0.1, 0.0],  # class 0, as labelled
        [0.3, 0.6, 0.1],  # labelled 0; sure enough of 1, whose threshold is 0.55
        [0.2, 0.1, 0.7],  # labelled 1; not sure enough of 2, whose threshold is 0.9
        [0.0, 1.0, 0.0],
        [0.05, 0.05, 0.9],
        [0.4, 0.5, 0.1],  # labelled 0; not sure enough of 1
    ]
)
LABELS = np.array([0, 0, 1, 1, 2, 0])


def test_worked_by_hand():
    """Thresholds are the means of 0.9, 0.3, 0.4; of 0.1, 1.0; and 0.9."""
    with np.errstate(divide="ignore"):
        found = relabelling_proposals(np.log(PROBS), LABELS, 5)
    assert found.positions.tolist() == [1]
    assert found.labels.tolist() == [1]
    assert found.scores == pytest.approx([0.3])


def made(seed, wrong=0.2, count=400, classes=4):
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=count)
    logits = 2.5 * np.eye(classes)[truth] + rng.normal(size=(count, classes))
    labels = np.where(rng.random(count) < wrong, (truth + 1) % classes, truth)
    return truth, logits - np.log(np.exp(logits).sum(1, keepdims=True)), labels


def test_the_wrong_ones_come_first():
    truth, log_probs, labels = made(0)
    found = relabelling_proposals(log_probs, labels, 40)
    assert len(found) == 40
    assert (np.diff(found.scores) <= 0).all()
    assert np.mean(labels[found.positions] != truth[found.positions]) > 0.85
    assert np.mean(found.labels == truth[found.positions]) > 0.85
    assert (found.labels != labels[found.positions]).all()
    more = relabelling_proposals(log_probs, labels, 400)
    assert more.positions[:40].tolist() == found.positions.tolist()
    assert len(more) < 150


def test_votes_and_model_together():
    """Each alone finds fewer of the wrong labels among its first proposals than both."""
    truth, log_probs, _ = made(1)
    rng = np.random.default_rng(1)
    votes = np.where(
        rng.random((400, 3)) < 0.35, (truth[:, None] + rng.integers(1, 4, (400, 3))) % 4, truth[:, None]
    )
    labels = votes[:, 0]
    wrong = labels != truth

    def hits(log_probs, votes):
        return wrong[relabelling_proposals(log_probs, labels, 100, votes=votes).positions].sum()

    both = hits(log_probs, votes)
    assert both >= 97
    assert both > hits(log_probs, None)
    assert both > hits(np.full((400, 4), np.log(0.25)), votes)


def test_no_votes_change_nothing():
    _, log_probs, labels = made(2)
    without = relabelling_proposals(log_probs, labels, 30)
    silent = relabelling_proposals(log_probs, labels, 30, votes=np.full((400, 3), -1))
    assert silent.positions.tolist() == without.positions.tolist()


def test_a_class_without_labels_is_not_proposed():
    log_probs = np.log(np.array([[0.1, 0.1, 0.8], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]))
    assert len(relabelling_proposals(log_probs, np.array([0, 0, 1]), 3)) == 0


def test_refused():
    _, log_probs, labels = made(3)
    with pytest.raises(InvalidArgument, match="k must be a whole number of at least 1, not 0"):
        relabelling_proposals(log_probs, labels, 0)
    with pytest.raises(InvalidLabel, match="label of item 0 is 4"):
        relabelling_proposals(log_probs, np.full(400, 4), 1)
    with pytest.raises(InvalidArgument, match="400 rows of votes"):
        inspect.unwrap(relabelling_proposals)(log_probs, labels, 1, votes=np.zeros((3, 2), np.int64))
