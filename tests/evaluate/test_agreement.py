"""Votes, their consensus and their agreement."""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from baldur.errors import InvalidArgument, InvalidLabel
from baldur.evaluate.agreement import Consensus, cohen_kappa, dawid_skene, decide, fleiss_kappa, majority


def crowd(seed, count, matrices, missing=0.0):
    """True classes, and the votes of annotators with these confusion matrices."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(len(matrices[0]), size=count)
    votes = np.stack([[rng.choice(len(m), p=m[c]) for c in truth] for m in matrices], axis=1)
    votes[rng.random(votes.shape) < missing] = -1
    return truth, votes


def careful(rate, classes=4):
    return np.full((classes, classes), rate / (classes - 1)) + np.eye(classes) * (
        1 - rate * classes / (classes - 1)
    )


def brute_force(votes, classes, turns):
    """Maximum likelihood by expectation maximisation, one number at a time."""
    N, A = votes.shape
    p = [[np.mean([v == c for v in row if v >= 0]) for c in range(classes)] for row in votes]
    for _ in range(turns):
        prior = [sum(p[n][c] for n in range(N)) / N for c in range(classes)]
        confusion = np.zeros((A, classes, classes))
        for a in range(A):
            for c in range(classes):
                row = [sum(p[n][c] for n in range(N) if votes[n, a] == k) for k in range(classes)]
                confusion[a, c] = np.array(row) / sum(row)
        p = []
        for row in votes:
            w = [
                prior[c] * np.prod([confusion[a, c, v] for a, v in enumerate(row) if v >= 0])
                for c in range(classes)
            ]
            p.append([x / sum(w) for x in w])
    return np.array(p), confusion, np.array(prior)


def test_majority():
    votes = np.array([[2, 1, 1], [0, 1, 2], [-1, 2, 0], [-1, -1, -1], [1, -1, -1]])
    assert majority(votes, 3).tolist() == [1, 0, 2, -1, 1]
    assert decide(np.array([[0.2, 0.4, 0.4]]), np.array([[0, 2, 1]])).tolist() == [2]
    assert decide(np.array([[0.2, 0.7, 0.1]]), np.array([[0, 2, 2]])).tolist() == [1]  # nobody named it


@given(st.integers(0, 2**32), st.permutations(range(3)))
def test_majority_has_no_favourite_class(seed, order):
    votes = np.random.default_rng(seed).integers(-1, 3, size=(8, 4))
    renamed = np.array([*order, -1])  # -1 stays -1
    assert majority(renamed[votes], 3).tolist() == renamed[majority(votes, 3)].tolist()


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_consensus_of_maximum_likelihood(missing):
    _, votes = crowd(0, 60, [careful(0.1), careful(0.3), careful(0.4)], missing)
    votes = votes[(votes >= 0).any(axis=1)]
    ours = dawid_skene(votes, 4, shrinkage=0, iterations=7, tolerance=0)
    probs, confusion, prior = brute_force(votes, 4, 7)
    assert ours.probs == pytest.approx(probs, abs=1e-12)
    assert ours.confusion == pytest.approx(confusion, abs=1e-12)
    assert ours.prior == pytest.approx(prior, abs=1e-12)


def test_the_likelihood_never_falls():
    _, votes = crowd(1, 80, [careful(0.2), careful(0.4), careful(0.5)])

    def likelihood(turns):
        found = dawid_skene(votes, 4, shrinkage=0, iterations=turns, tolerance=0)
        return np.log(np.exp(found.log_likelihood(votes)) @ found.prior).sum()

    values = [likelihood(turns) for turns in range(1, 12)]
    assert (np.diff(values) >= -1e-9).all()
    assert values[-1] > values[0]


def test_annotators_who_differ_are_told_apart():
    """One is good, one guesses, and one confuses systematically, which says as much as being right."""
    swapped = careful(0.05)[:, [1, 0, 3, 2]]
    matrices = [careful(0.05), careful(0.75), swapped, careful(0.3)]
    truth, votes = crowd(2, 1500, matrices)
    found = dawid_skene(votes, 4)
    right = np.mean(found.probs.argmax(1) == truth)
    assert right > 0.96 > 0.85 > np.mean(majority(votes, 4) == truth)
    assert found.confusion == pytest.approx(np.array(matrices), abs=0.08)
    assert found.probs == pytest.approx(found.infer(votes), abs=1e-5)


def test_few_votes_on_many_classes():
    """Maximum likelihood takes its 300 free numbers from 60 votes; what is known of annotators as a whole helps."""
    right = {0.0: [], 10.0: []}
    for seed in range(10):
        truth, votes = crowd(seed, 100, [careful(0.05, 10), careful(0.5, 10), careful(0.5, 10)])
        for s, shares in right.items():
            shares.append(np.mean(dawid_skene(votes, 10, shrinkage=s).probs.argmax(1) == truth))
    assert np.mean(right[10.0]) > np.mean(right[0.0]) + 0.03


def test_one_number_an_annotator_in_the_limit():
    _, votes = crowd(3, 50, [careful(0.1), careful(0.4)])
    confusion = dawid_skene(votes, 4, shrinkage=1e12).confusion
    off = confusion[:, ~np.eye(4, dtype=bool)]
    assert off == pytest.approx(off[:, :1] * np.ones(12), abs=1e-9)


def test_where_nothing_is_known():
    votes = np.array([[0, 0], [0, -1], [-1, -1]])
    found = dawid_skene(votes, 3)
    assert found.probs[2] == pytest.approx(found.prior)
    assert found.prior[0] > found.prior[1] > 0
    empty = dawid_skene(np.zeros((0, 2), np.int64), 3)
    assert empty.prior == pytest.approx(np.full(3, 1 / 3))
    said = empty.infer(np.array([[2, -1], [1, 1], [-1, -1]]))
    assert said.argmax(1).tolist()[:2] == [2, 1]  # one who is not known is better than chance
    assert said[2] == pytest.approx(np.full(3, 1 / 3))
    unanimous = dawid_skene(np.array([[0, 0], [1, 1]]), 2, shrinkage=0)
    assert unanimous.probs.tolist() == [[1, 0], [0, 1]]


def test_fleiss_worked_example():
    """The table of Fleiss (1971) as it is usually printed: ten subjects, fourteen raters, κ = 0.210."""
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    votes = np.array([np.repeat(np.arange(5), row) for row in table])
    assert fleiss_kappa(votes, 5) == pytest.approx(0.210, abs=5e-4)
    gaps = np.concatenate([votes, np.full((10, 1), -1)], axis=1)
    alone = np.concatenate([gaps, np.array([[2, *[-1] * 14]])])
    assert fleiss_kappa(alone, 5) == pytest.approx(fleiss_kappa(votes, 5))
    assert fleiss_kappa(np.zeros((3, 2), np.int64), 2) == 1


def test_cohen():
    a = np.array([0, 1, 2, 1, 0, 2, 1, 0, 0, 1])
    b = a.copy()
    b[8] = 1
    assert cohen_kappa(a, b) == pytest.approx(0.84375)
    assert cohen_kappa(np.ones(4, int), np.ones(4, int)) == 1
    assert cohen_kappa(np.array([0, 1]), np.array([1, 0])) == -1
    rng = np.random.default_rng(0)
    x, y = rng.integers(5, size=(2, 60))
    assert cohen_kappa(x, y) == pytest.approx(cohen_kappa_score(x, y))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: majority(np.array([[0, 3]]), 3), InvalidLabel, "annotator 1 answers 3 for item 0"),
        (lambda: dawid_skene(np.array([[0], [-2]]), 3), InvalidLabel, "annotator 0 answers -2 for item 1"),
        (lambda: majority(np.array([[0]]), 1), InvalidArgument, "at least 2 classes"),
        (lambda: dawid_skene(np.array([[0]]), 2, shrinkage=-1), InvalidArgument, "at least 0, not -1"),
        (lambda: fleiss_kappa(np.array([[0, -1]]), 2), InvalidArgument, "no item has two votes"),
        (
            lambda: inspect.unwrap(cohen_kappa)(np.array([0]), np.array([0, 1])),
            InvalidArgument,
            "not 1 and 2",
        ),
        (
            lambda: Consensus(np.ones((1, 2)), np.ones((1, 2, 2)), np.ones(2)).infer(np.array([[0, 1]])),
            InvalidArgument,
            "1 columns were expected",
        ),
    ],
)
def test_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
