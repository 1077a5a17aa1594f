import os

import pytest
from tests.data.test_folders import touch

from baldur.data.labels import Labelling, Rules
from baldur.data.listing import from_folder
from baldur.data.unsorted import without_label
from baldur.errors import InvalidData


def seen(root, classes=None, layout=None):
    listing = from_folder(root, layout, rules=Rules(labelling=Labelling(classes)))
    assert not listing.quarantined
    return {item.id: item.label + (f" ({item.split})" if item.split else "") for item in listing.items}


BOTH = ("owl", "tit")
FOLDERS = [
    (("a.png", "new/2023/b.png"), BOTH, {"a.png": "", "new/2023/b.png": ""}),
    (("owl/a.png", "tit/deep/b.png", "c.png"), None, {"owl/a.png": "owl", "tit/deep/b.png": "tit", "c.png": ""}),
    (("owl/a.png", "tit/b.png", "unlabeled/c.png"), None,
     {"owl/a.png": "owl", "tit/b.png": "tit", "unlabeled/c.png": ""}),
    (("owl/a.png", "To do/x/c.png"), BOTH, {"owl/a.png": "owl", "To do/x/c.png": ""}),
    (("unlabeled/owl/a.png", "tit/b.png"), BOTH, {"unlabeled/owl/a.png": "", "tit/b.png": "tit"}),
    (("2023/owl/a.png", "2024/b.png", "2024/tit/c.png"), BOTH, {"2023/owl/a.png": "owl", "2024/tit/c.png": "tit"}),
    (("train/owl/a.png", "train/b.png", "test/tit/c.png"), None,
     {"train/owl/a.png": "owl (train)", "train/b.png": " (train)", "test/tit/c.png": "tit (test)"}),
    (("train/owl/a.png", "test/tit/c.png", "unlabeled/d.png", "e.png"), BOTH,
     {"train/owl/a.png": "owl (train)", "test/tit/c.png": "tit (test)", "unlabeled/d.png": "", "e.png": ""}),
    (("owl/train/a.png", "owl/test/b.png", "tit/train/c.png", "d.png"), None,
     {"owl/train/a.png": "owl (train)", "owl/test/b.png": "owl (test)", "tit/train/c.png": "tit (train)", "d.png": ""}),
    (("owl/train/a.png", "owl/test/b.png", "owl/unlabeled/u.png", "tit/c.png"), BOTH,
     {"owl/train/a.png": "owl (train)", "owl/test/b.png": "owl (test)", "owl/unlabeled/u.png": " (train)",
      "tit/c.png": "tit"}),
    (("owl/train/a.png", "owl/b.png", "tit/c.png"), BOTH,
     {"owl/train/a.png": "owl", "owl/b.png": "owl", "tit/c.png": "tit"}),
    (("test/a.png", "train/b.png"), ("test", "train"), {"test/a.png": "test", "train/b.png": "train"}),
    (("test/a.png", "owl/b.png"), ("test", "owl"), {"test/a.png": "test", "owl/b.png": "owl"}),
    (("images/a.png", "images/sub/b.png"), BOTH, {"images/a.png": "", "images/sub/b.png": ""}),
    (("owl/a.png", "notes/readme.txt"), BOTH, {"owl/a.png": "owl"}),
]  # fmt: skip


@pytest.mark.parametrize(("names", "classes", "labels"), FOLDERS)
def test_labels_of_a_folder(tmp_path, names, classes, labels):
    found = seen(touch(tmp_path, *names), classes)
    assert labels.items() <= found.items()
    assert found.keys() == {name for name in names if name.endswith(".png")}


@pytest.mark.parametrize(
    ("names", "classes", "layout", "says"),
    [
        (
            ("owl/a.png", "cat/b.png"),
            BOTH,
            None,
            "cat is a folder of images, but is not among the classes owl and tit",
        ),
        (("cat/b.png", "dog/c.png"), BOTH, "classes", "cat and dog are folders of images, but are not among"),
        (("Owl/b.png",), BOTH, None, "the folder Owl is not called as the class 'owl'"),
        (
            ("train/owl/a.png", "birds/tit/b.png"),
            ("dog", "cat"),
            None,
            "train is a split .* but birds is neither",
        ),
        (("cat/b.png",), BOTH, "splits", "no subfolder is a split"),
        (("images/a.png", "images/b.png", "labels/c.png"), None, None, "do not look like classes"),
        (
            ("all/owl/a.png", "all/tit/b.png"),
            None,
            None,
            "one subfolder, all, with the subfolders owl and tit",
        ),
        ((), BOTH, None, "has no image; give a folder with images"),
    ],
)
def test_folders_that_are_not_plain(tmp_path, names, classes, layout, says):
    with pytest.raises(InvalidData, match=says):
        seen(touch(tmp_path, *names), classes, layout)


def test_what_was_understood_is_said(tmp_path):
    touch(tmp_path, "cam 1/a.png", "cam 2/b.png", "c.txt")
    notes = from_folder(tmp_path, rules=Rules(labelling=Labelling(BOTH))).notes
    assert notes == (
        "cam 1 and cam 2 are no classes, so the images there have no label",
        "1 file is no image of a known kind, and left out: 1 .txt",
    )


def test_links_that_lead_back_are_not_followed(tmp_path):
    touch(tmp_path, "owl/a.png", "b.png")
    os.symlink(tmp_path, tmp_path / "owl" / "back")
    assert seen(tmp_path, BOTH) == {"owl/a.png": "owl", "b.png": ""}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("unlabeled", True), ("Unlabelled images", True), ("to-do", True), ("No labels", True), ("unsorted", True),
     ("unknown", False), ("train", False), ("owl", False)],
)  # fmt: skip
def test_names_without_a_label(name, expected):
    assert without_label(name) is expected
