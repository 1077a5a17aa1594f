"""Annotators that err."""

import numpy as np
import pytest

from baldur.data.people import People, cifar10n
from baldur.errors import DataNotFound, InvalidArgument, InvalidData
from baldur.oracles import Simulated
from baldur.oracles.noisy import Noisy, Recorded, confused, from_people, uniform
from baldur.testing import verify_oracle

CLASSES = ("cat", "dog", "emu", "fox")
IDS = [f"item-{i}" for i in range(4000)]
LABELS = np.arange(4000) % 4
TRUTH = Simulated(IDS, LABELS, CLASSES)


def noisy(transition, **kwargs):
    return Noisy(TRUTH, CLASSES, transition, **{"seed": 0} | kwargs)


def rates(oracle):
    """How often each class is answered for each true class, (C, C)."""
    answers = oracle.ask(IDS)
    counts = np.zeros((4, 4))
    for i, y in zip(IDS, LABELS, strict=True):
        counts[y, CLASSES.index(answers[i])] += 1
    return counts / counts.sum(1, keepdims=True)


def test_matrices():
    assert uniform(0.3, 4).tolist() == pytest.approx(np.full((4, 4), 0.1) + 0.6 * np.eye(4))
    assert confused(0.25, 3).tolist() == [[0.75, 0.25, 0], [0, 0.75, 0.25], [0.25, 0, 0.75]]
    assert confused(0.4, 3, {2: 0}).tolist() == [[1, 0, 0], [0, 1, 0], [0.4, 0, 0.6]]
    for matrix in (uniform(1.0, 4), confused(0.1, 4)):
        assert matrix.sum(1) == pytest.approx(np.ones(4))


@pytest.mark.parametrize("matrix", [uniform(0.2, 4), confused(0.4, 4), uniform(1.0, 4)])
def test_answers_are_as_frequent_as_the_matrix_says(matrix):
    """1,000 items a class: a share of p has the standard error √(p (1 - p) / 1000), at most 0.016."""
    assert rates(noisy(matrix)) == pytest.approx(matrix, abs=0.06)
    assert (rates(noisy(matrix))[matrix == 0] == 0).all()


def test_without_errors_it_is_the_truth():
    assert noisy(np.eye(4)).ask(IDS) == TRUTH.ask(IDS)


def test_an_answer_follows_from_seed_annotator_and_item_alone():
    first = noisy(uniform(0.5, 4), annotator="ann").ask(IDS)
    backwards = noisy(uniform(0.5, 4), annotator="ann")
    assert {i: a for part in (IDS[3000:], IDS[:3000]) for i, a in backwards.ask(part[::-1]).items()} == first
    said = [
        first,
        *(
            noisy(uniform(0.5, 4), **k).ask(IDS)
            for k in ({"annotator": "bob"}, {"annotator": "ann", "seed": 1})
        ),
    ]
    wrong = np.array([[a[i] != CLASSES[y] for i, y in zip(IDS, LABELS, strict=True)] for a in said])
    assert np.corrcoef(wrong) == pytest.approx(np.eye(3), abs=0.06)  # errors are independent


def test_people():
    people = People(
        tuple(IDS), LABELS, {"worst": (LABELS + 1) % 4, "first": np.where(LABELS == 2, 0, LABELS)}
    )
    oracle = from_people(people, "worst", IDS[5:2:-1], LABELS[5:2:-1], CLASSES)
    assert oracle.annotator == "people (worst)"
    assert oracle.ask(["item-3", "item-5"]) == {"item-3": "cat", "item-5": "emu"}
    with pytest.raises(InvalidArgument, match="no answers called 'best'; there are worst, first"):
        from_people(people, "best", IDS, LABELS, CLASSES)
    with pytest.raises(InvalidData, match=r"'item-1' is of class 0 in the pool and of class 1 .*\(1 such"):
        from_people(people, "worst", IDS[:2], np.array([0, 0]), CLASSES)
    with pytest.raises(InvalidData, match="no people's answers for 'x'"):
        from_people(people, "worst", ["x"], np.array([0]), CLASSES)


def stored(folder, **changes):
    truth = np.arange(50_000, dtype=np.uint8) % 10
    names = ("random_label1", "random_label2", "random_label3", "aggre_label", "worse_label")
    arrays = {"clean_label": truth} | {name: (truth + i) % 10 for i, name in enumerate(names)}
    np.savez(folder / "cifar10n.npz", **{k: v for k, v in (arrays | changes).items() if v is not None})


def test_people_of_cifar10(tmp_path):
    (tmp_path / "cifar10").mkdir()
    with pytest.raises(DataNotFound, match=r"cifar10n\.npz is in none of"):
        cifar10n(str(tmp_path), tmp_path / "cache")
    stored(tmp_path / "cifar10")
    people = cifar10n(str(tmp_path), tmp_path / "cache")
    assert (people.ids[0], people.ids[-1]) == ("train/00000", "train/49999")
    assert list(people.answers) == ["first", "second", "third", "majority", "worst"]
    assert people.answers["worst"][:3].tolist() == [4, 5, 6]
    assert people.truth.dtype == people.answers["first"].dtype == np.int64


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"worse_label": None}, "worse_label"),
        ({"worse_label": np.zeros(10, np.uint8)}, r"uint8 \(10,\), not 50000"),
        ({"clean_label": np.full(50_000, 10, np.uint8)}, "no class index below 10"),
        ({"clean_label": np.zeros(50_000)}, "float64"),
        ({"clean_label": np.array([None] * 50_000)}, "allow_pickle"),
    ],
)
def test_a_file_of_something_else(tmp_path, changes, words):
    stored(tmp_path, **changes)
    with pytest.raises(InvalidData, match=words):
        cifar10n(str(tmp_path), tmp_path / "cache")
    (tmp_path / "cifar10n.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(InvalidData, match="cannot be read"):
        cifar10n(str(tmp_path), tmp_path / "cache")


def test_the_contract_holds():
    verify_oracle(noisy(uniform(0.5, 4)), IDS[:20], CLASSES)
    verify_oracle(Recorded(IDS[:3], np.array([1, -1, 2]), CLASSES, "ann"), IDS[:3], CLASSES)
    partly = Noisy(Simulated(IDS[:3], np.array([1, -1, 2]), CLASSES), CLASSES, uniform(0.5, 4), seed=0)
    verify_oracle(partly, IDS[:3], CLASSES)
    assert set(partly.ask(IDS[:3])) == {"item-0", "item-2"}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: uniform(1.5, 4), "not 1.5 and 4"),
        (lambda: confused(0.5, 1), "two classes"),
        (lambda: confused(0.5, 3, {1: 1}), "class 1 cannot be taken for 1"),
        (lambda: confused(0.5, 3, {1: 3}), "class 1 cannot be taken for 3"),
        (lambda: noisy(np.eye(3)), r"4 classes was expected, not \(3, 3\)"),
        (lambda: noisy(np.eye(4) * 0.9), "must be a distribution"),
        (lambda: noisy(np.eye(4) * 2 - np.eye(4)[[1, 0, 3, 2]]), "must be a distribution"),
        (lambda: noisy(np.full((4, 4), np.nan)), "must be a distribution"),
    ],
)
def test_refused(call, words):
    with pytest.raises(InvalidArgument, match=words):
        call()
