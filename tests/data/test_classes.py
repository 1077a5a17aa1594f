import numpy as np
import pytest
import torch

from baldur.data.classes import class_names, classified, coded, none_known, recoded
from baldur.data.labels import Labelling, Rules
from baldur.errors import InvalidArgument, InvalidData, InvalidLabel


def given(*classes):
    return Rules(labelling=Labelling(classes or None))


@pytest.mark.parametrize("make", [np.array, torch.tensor, list])
def test_one_hot_rows_are_classes(make):
    (codes,), classes, _ = coded([make([[0, 1, 0], [1, 0, 0], [0, 0, 1]])], "d", Rules())
    assert (codes.tolist(), classes) == ([1, 0, 2], ("0", "1", "2"))
    (codes,), _, _ = coded([make([[3], [5]])], "d", Rules())
    assert codes.tolist() == [0, 1]
    with pytest.raises(InvalidLabel, match=r"position 1 is not one-hot"):
        coded([make([[0, 1], [1, 1]])], "d", Rules())


def test_given_classes_are_positions_or_names():
    assert coded([[0, -1, 1]], "d", Rules(), ("a", "b")).codes[0].tolist() == [0, -1, 1]
    assert coded([["b", "", "a"]], "d", Rules(), ("a", "b")).codes[0].tolist() == [1, -1, 0]
    with pytest.raises(InvalidLabel, match="'c', which is not one of its classes"):
        coded([["c"]], "d", Rules(), ("a", "b"))


def test_the_parts_share_their_classes():
    codes, classes, _ = coded([np.array([2, 5]), np.array([5.0, np.nan])], "d", Rules())
    assert ([c.tolist() for c in codes], classes) == ([[0, 1], [1, -1]], ("2", "5"))


@pytest.mark.parametrize(
    ("told", "names"),
    [
        (["owl", "tit"], ("owl", "tit")),
        ("owl, tit", ("owl", "tit")),
        ((3, 8), ("3", "8")),
        ([1.0, 2.5], ("1", "2.5")),
        ([True, False], ("True", "False")),
        (np.array(["b", "a"]), ("b", "a")),
    ],
)
def test_classes_as_a_user_gives_them(told, names):
    assert class_names(told) == names


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (["owl"], "at least two classes"),
        ([], "at least two classes"),
        ("owl", "at least two classes"),
        (["owl", "owl "], "'owl' is given twice"),
        ([1, 1.0], "'1' is given twice"),
        (["owl", ""], "'' means a missing label"),
        ("owl,", "'' means a missing label"),
        (["yes", "NA"], "'NA' means a missing label"),
        (["yes", None], "None means a missing label"),
        (2, r"classes must be a list of names, such as \['owl', 'tit'\], not 2"),
    ],
)
def test_classes_that_cannot_be(told, says):
    with pytest.raises(InvalidArgument, match=says):
        class_names(told)
    assert class_names(["yes", "NA"], missing="?") == ("yes", "NA")


@pytest.mark.parametrize(
    ("labels", "classes", "codes"),
    [
        ([0, -1, 1], ("a", "b"), [0, -1, 1]),
        (np.array([0, np.nan, 1.0]), ("a", "b"), [0, -1, 1]),
        ([1, None, 0], ("a", "b"), [1, -1, 0]),
        (["b", None, "a"], ("a", "b"), [1, -1, 0]),
        (["b", np.nan, ""], ("a", "b"), [1, -1, -1]),
        (torch.tensor([1, -1]), ("a", "b"), [1, -1]),
        ([3, 8, -1], ("3", "8"), [0, 1, -1]),
        ([1, 0, -1], ("1", "0"), [0, 1, -1]),
        (none_known(2), ("a", "b"), [-1, -1]),
        ([[0, 1], [1, 0]], ("a", "b"), [1, 0]),
        ([-1, 1], ("-1", "1"), [0, 1]),
        (np.arange(40), tuple(f"class {i}" for i in range(40)), list(range(40))),
    ],
)
def test_labels_beside_given_classes(labels, classes, codes):
    (found,), names, _ = coded([labels], "d", given(*classes))
    assert (found.tolist(), names) == (codes, classes)


@pytest.mark.parametrize(
    ("labels", "classes", "says"),
    [
        (["a", "c", "x"], ("a", "b"), "the labels c, x, which are not among the classes a, b"),
        (
            [0, 2],
            ("a", "b"),
            "the label 2 at position 1, but there are 2 classes: give their positions, 0 to 1",
        ),
        ([0, -2], ("a", "b"), "the label -2 at position 1"),
        ([3, 9], ("3", "8"), "the labels 9, which are not among"),
    ],
)
def test_strangers_are_named(labels, classes, says):
    with pytest.raises(InvalidLabel, match=says):
        coded([labels], "d", given(*classes))


def test_without_classes_those_that_occur_are_taken_or_asked_for():
    (found,), names, _ = coded([["b", None, "a"]], "d", given())
    assert (found.tolist(), names) == ([1, -1, 0], ("a", "b"))
    for labels, says in ((none_known(3), "there is no label"), (["a", None], "the only label is a")):
        with pytest.raises(InvalidData, match=f"d: {says}, and at least two .* name all classes"):
            coded([labels], "d", given())
    with pytest.raises(InvalidLabel, match="Is -1 a class, or a missing label"):
        coded([[0, 1, -1]], "d", given())


def test_labels_of_unusable_items_make_no_class():
    codes, classes = classified(["a", "b", "c"], "d", Rules(), np.array([True, False, True]))
    assert (codes.tolist(), classes) == ([0, -1, 1], ("a", "c"))


def test_positions_in_other_classes():
    y = np.array([0, 1, -1, 0])
    codes, classes = recoded(y, ("u", "v"), "d", given("v", "u", "w"))
    assert (codes.tolist(), classes) == ([1, 0, -1, 1], ("v", "u", "w"))
    assert recoded(y, ("u", "v"), "d", given())[0] is y
    assert recoded(np.array([-1, 1]), ("u", "v"), "d", given("v", "w"))[0].tolist() == [-1, 0]
    with pytest.raises(InvalidLabel, match="the labels u"):
        recoded(y, ("u", "v"), "d", given("v", "w"))
