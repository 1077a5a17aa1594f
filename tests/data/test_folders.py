import os

import numpy as np
import pytest
from PIL import Image

from baldur.data import folders, load
from baldur.data.folders import split_named
from baldur.data.listing import from_folder
from baldur.errors import InvalidData


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def seen(listing):
    return {item.id: (item.label, item.split) for item in listing.items}


def two(*names):
    """Two classes below each folder."""
    return [f"{name}/{label}/a.png" for name in names for label in ("cat", "dog")]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("train_set", "train"),
        ("training-data", "train"),
        ("trainset", "train"),
        ("TEST", "test"),
        ("test images", "test"),
        ("holdout", "test"),
        ("hold-out", "test"),
        ("eval", "test"),
        ("val", "val"),
        ("dev", "val"),
        ("Validation", "val"),
        ("unlabeled", "unlabelled"),
        ("unlabelled_images", "unlabelled"),
        ("trainers", ""),
        ("cat", ""),
        ("device", ""),
        ("annotations", ""),
        ("testudo", ""),
        ("7", ""),
        ("données", ""),
    ],
)
def test_names_of_splits(name, split):
    assert split_named(name) == split


def test_unlabeled_items_have_no_class(tmp_path):
    touch(tmp_path, *two("train", "test"), "unlabeled/1.png", "unlabeled/new/2.png")
    listing = from_folder(tmp_path)
    assert seen(listing) == {
        "train/cat/a.png": ("cat", "train"),
        "train/dog/a.png": ("dog", "train"),
        "test/cat/a.png": ("cat", "test"),
        "test/dog/a.png": ("dog", "test"),
        "unlabeled/1.png": ("", "train"),
        "unlabeled/new/2.png": ("", "train"),
    }
    assert listing.notes == ("the subfolders are splits: test, train, unlabeled (items without a class)",)


@pytest.mark.parametrize(
    ("parts", "splits"),
    [
        (("training", "testing"), ("train", "test")),
        (("train", "holdout"), ("train", "test")),
        (("train", "dev"), ("train", "test")),
        (("train", "dev", "eval"), ("train", "train", "test")),
    ],
)
def test_other_names_of_splits_are_understood(tmp_path, parts, splits):
    touch(tmp_path, *two(*parts))
    listing = from_folder(tmp_path)
    assert {id: split for id, (_, split) in seen(listing).items()} == {
        f"{part}/{label}/a.png": split
        for part, split in zip(parts, splits, strict=True)
        for label in ("cat", "dog")
    }
    assert "the subfolders are splits" in listing.notes[0]
    if "dev" in parts:
        assert "validation items" in listing.notes[1]


MIXED = [
    ("train", "test", "annotations"),
    ("train", "test", "extra"),
    ("cat", "dog", "unlabeled"),
    ("eval", "cat"),
]


@pytest.mark.parametrize("names", MIXED)
def test_where_some_names_are_of_splits_it_asks(tmp_path, names):
    touch(tmp_path, *two(*names))
    with pytest.raises(InvalidData, match="--layout classes") as caught:
        from_folder(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert all(name in str(caught.value) for name in names)
    assert {label for label, _ in seen(from_folder(tmp_path, "classes")).values()} == set(names)


def test_layout_splits_leaves_out_what_has_no_images(tmp_path):
    touch(tmp_path, *two("train", "test"), "annotations/a.json")
    listing = from_folder(tmp_path, "splits")
    assert {label for label, _ in seen(listing).values()} == {"cat", "dog"}
    assert "the folder annotations has no image, and was left out" in listing.notes
    touch(tmp_path, "extra/1.png")
    with pytest.raises(InvalidData, match="extra has images, but its name is of no split"):
        from_folder(tmp_path, "splits")
    with pytest.raises(InvalidData, match=r"no subfolder of .* is called train"):
        from_folder(touch(tmp_path / "other", "cat/a.png"), "splits")


def test_classes_may_be_called_like_splits_if_that_is_said(tmp_path):
    touch(tmp_path, "test/a.png", "train/b.png")
    with pytest.raises(InvalidData, match="no subfolder with images"):
        from_folder(tmp_path)
    assert seen(from_folder(tmp_path, "classes")) == {
        "test/a.png": ("test", ""),
        "train/b.png": ("train", ""),
    }


def test_a_split_without_class_folders_is_named(tmp_path):
    touch(tmp_path, *two("train"), "test/1.png", "test/2.png")
    listing = from_folder(tmp_path)
    assert listing.notes[1:] == (
        "test has no class folders, so its images were left out",
        "the test items are drawn from the training items",
    )
    assert [id for id, _ in listing.quarantined] == ["test/1.png", "test/2.png"]


def test_a_class_of_the_test_items_alone_is_named(tmp_path):
    touch(tmp_path, *two("train"), "test/cat/a.png", "test/dgo/b.png")
    assert "only the test items have the classes dgo" in from_folder(tmp_path).notes


def test_splits_inside_the_classes_are_splits(tmp_path):
    touch(
        tmp_path,
        *(f"{c}/{s}/a.png" for c in ("cat", "dog") for s in ("train", "test")),
        "cat/unlabeled/b.png",
    )
    listing = from_folder(tmp_path)
    assert seen(listing) == {
        "cat/test/a.png": ("cat", "test"),
        "cat/train/a.png": ("cat", "train"),
        "cat/unlabeled/b.png": ("", "train"),
        "dog/test/a.png": ("dog", "test"),
        "dog/train/a.png": ("dog", "train"),
    }
    touch(tmp_path, "ant/a.png")
    with pytest.raises(InvalidData, match=r"ant has not only these"):
        from_folder(tmp_path)
    assert seen(from_folder(tmp_path, "classes"))["cat/train/a.png"] == ("cat", "")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (("images/1.png", "labels/1.txt"), "images and labels do not look like classes"),
        (
            ("train/images/1.png", "train/labels/1.txt", "test/images/1.png"),
            "test, images does not look like a class. If all subfolders are classes, give --layout splits",
        ),
        (
            ("images/cat/1.png", "images/dog/1.png"),
            "has one subfolder, images, with the subfolders cat and dog",
        ),
        (("pets/cat/1.png", "pets/dog/1.png"), "has one subfolder, pets, with the subfolders cat and dog"),
        (
            ("pets/train/cat/1.png", "pets/test/cat/1.png"),
            "has one subfolder, pets, with the subfolders test and train",
        ),
        (
            tuple(f"{s}/{c}/1.png" for s in ("siteA", "siteB") for c in ("cat", "dog")),
            "either may be the classes",
        ),
        (("cat/a.png", "dog/a.heic", "dog/b.heic"), r"dog has no image \(but .heic files\)"),
    ],
)
def test_layouts_that_are_not_plain_are_named(tmp_path, files, says):
    touch(tmp_path, *files)
    with pytest.raises(InvalidData, match=says):
        from_folder(tmp_path)


def test_files_of_other_kinds_are_counted(tmp_path):
    touch(
        tmp_path,
        "cat/a.png",
        "cat/b.HEIC",
        "cat/x/c.heic",
        "dog/d.png",
        "dog/d.dcm",
        "readme.txt",
        "dog/noend",
    )
    touch(tmp_path, "cat/.DS_Store", "__MACOSX/cat/a.png")
    (note,) = from_folder(tmp_path).notes
    assert note.startswith("5 files are no image of a known kind, and left out: 2 .heic, ")
    assert all(kind in note for kind in ("1 .dcm", "1 .txt", "1 without a suffix"))


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path / "elsewhere", "deep/b.png")
    root = touch(tmp_path / "root", "cat/a.png", "dog/c.png")
    os.symlink(tmp_path / "elsewhere", root / "cat/more")
    os.symlink(root / "cat", root / "cat/more2")
    os.symlink(tmp_path / "elsewhere", root / "linked")
    listing = from_folder(root)
    assert set(seen(listing)) == {"cat/a.png", "cat/more/deep/b.png", "dog/c.png", "linked/deep/b.png"}
    assert listing.notes == (
        f"links that lead back into their own folder were not followed: {root}/cat/more2",
    )


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "cat/a.png", "cat/locked/b.png", "dog/c.png")
    original = os.scandir

    def scandir(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return original(path)

    monkeypatch.setattr(folders.os, "scandir", scandir)
    with pytest.raises(InvalidData, match="locked cannot be read: Permission denied"):
        from_folder(tmp_path)


def test_earlier_rules_take_splits_beside_others_as_classes(tmp_path):
    touch(tmp_path, *two("train", "test"), "unlabeled/1.png")
    labels = {label for label, _ in seen(from_folder(tmp_path, None, 1)).values()}
    assert labels == {"train", "test", "unlabeled"}


def test_a_data_set_says_how_its_folder_was_understood(tmp_path):
    rng = np.random.default_rng(0)
    for name in [*two("train", "test"), "unlabeled/1.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(tmp_path / name)
    data = load(str(tmp_path), image_size=8, cache=tmp_path.parent / "cache")
    assert data.notes[0].startswith("the subfolders are splits")
    assert (data.classes, sorted(data.labels.tolist())) == (("cat", "dog"), [-1, 0, 1])
    with pytest.raises(InvalidData, match="is called train"):
        load(str(tmp_path / "train"), image_size=8, cache=tmp_path.parent / "cache", layout="splits")


def test_a_link_to_a_folder_above_is_not_followed(tmp_path):
    root = touch(tmp_path / "root", "cat/a.png", "dog/c.png")
    os.symlink(root, root / "cat/up")
    os.symlink(tmp_path, root / "dog/top")
    listing = from_folder(root)
    assert set(seen(listing)) == {"cat/a.png", "dog/c.png"}
    assert listing.notes == (
        f"links that lead back into their own folder were not followed: {root}/cat/up and {root}/dog/top",
    )


@pytest.mark.parametrize("record", ["baldur.db", "database.toml"])
def test_a_run_inside_the_folder_is_no_data(tmp_path, record):
    root = touch(tmp_path, "cat/a.png", "dog/c.png", "run/artefacts/x.png", "artefacts/y.png")
    (root / "run" / record).touch()
    assert set(seen(from_folder(root))) == {"cat/a.png", "dog/c.png", "artefacts/y.png"}
    (root / record).touch()
    assert set(seen(from_folder(root))) == {"cat/a.png", "dog/c.png"}
