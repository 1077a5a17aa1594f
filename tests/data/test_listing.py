import json
import os

import pytest

from baldur.data.labels import Rules
from baldur.data.listing import from_folder, from_manifest
from baldur.errors import InvalidData


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def triples(listing):
    return [(item.id, item.label, item.split) for item in listing.items]


def test_a_subfolder_is_a_class_whatever_is_below_it(tmp_path):
    touch(
        tmp_path, "dog/b.PNG", "cat/x/y/a.jpg", "dog/a.png", "dog/notes.csv", "dog/.hidden.png", ".git/a.png"
    )
    listing = from_folder(tmp_path)
    assert triples(listing) == [
        ("cat/x/y/a.jpg", "cat", ""),
        ("dog/a.png", "dog", ""),
        ("dog/b.PNG", "dog", ""),
    ]
    assert listing.items[0].path == tmp_path / "cat/x/y/a.jpg"
    assert listing.quarantined == ()


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("train", "test"), ("train", "test")),
        (("Train", "val"), ("train", "test")),
        (("train", "test", "val"), ("train", "test", "train")),
    ],
)
def test_train_and_test_folders_are_splits(tmp_path, folders, splits):
    touch(tmp_path, *(f"{folder}/cat/a.png" for folder in folders))
    found = {item.id: item.split for item in from_folder(tmp_path).items}
    assert found == {f"{f}/cat/a.png": s for f, s in zip(folders, splits, strict=True)}


def test_images_outside_every_class_are_quarantined(tmp_path):
    touch(tmp_path, "cat/a.png", "stray.png", "readme.txt")
    assert from_folder(tmp_path).quarantined == (("stray.png", "lies in no class folder"),)


def test_a_name_that_is_not_utf8_is_quarantined(tmp_path):
    touch(tmp_path, "cat/a.png")
    with open(os.fsencode(tmp_path / "cat") + b"/\xff.png", "wb"):
        pass
    listing = from_folder(tmp_path)
    assert [item.id for item in listing.items] == ["cat/a.png"]
    assert listing.quarantined == ((r"'cat/\udcff.png'", "its name is not UTF-8"),)


def test_an_empty_class_folder_is_named(tmp_path):
    touch(tmp_path, "cat/a.png", "dog/notes.txt")
    with pytest.raises(InvalidData, match=r"dog has no image"):
        from_folder(tmp_path)


def test_a_folder_without_classes_is_refused(tmp_path):
    touch(tmp_path, "a.png")
    with pytest.raises(InvalidData, match="no subfolder with images"):
        from_folder(tmp_path)


def manifest(tmp_path, text, name="m.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_a_csv_manifest_says_all(tmp_path):
    text = "\ufeffgroup,path,label,split,age\np1,b/2.png,nv,test,4\np2,./a.png,mel,train,5\n,/abs/x.png,,,\n"
    listing = from_manifest(manifest(tmp_path, text))
    assert [(i.id, i.label, i.split, i.group) for i in listing.items] == [
        ("/abs/x.png", "", "", ""),
        ("a.png", "mel", "train", "p2"),
        ("b/2.png", "nv", "test", "p1"),
    ]
    assert str(listing.items[0].path) == "/abs/x.png"
    assert listing.items[1].path == tmp_path / "a.png"


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_paths_that_were_written_on_windows(tmp_path, name):
    touch(tmp_path, "sub/a.png", "b\\c.png", "d.png")
    paths = ["sub\\a.png", "b\\c.png", ".\\d.png"]
    text = "path,label\n" + "".join(f"{path},cat\n" for path in paths)
    if name == "m.jsonl":
        text = "".join(json.dumps({"path": path, "label": "cat"}) + "\n" for path in paths)
    listing = from_manifest(manifest(tmp_path, text, name), Rules())
    assert {item.id for item in listing.items} == {"sub/a.png", "b\\c.png", "d.png"}


def test_spaces_quotes_and_empty_cells_of_a_manifest(tmp_path):
    text = 'path , label\n"a, b.png","cat, wild"\n\n c.png , dog ,,\n,,\n'
    listing = from_manifest(manifest(tmp_path, text))
    assert triples(listing) == [("a, b.png", "cat, wild", ""), ("c.png", "dog", "")]


def test_short_rows_of_runs_of_the_first_version(tmp_path):
    listing = from_manifest(manifest(tmp_path, "path,label\na.png\nb.png,NA,x\n"), Rules(reading=1))
    assert triples(listing) == [("a.png", "", ""), ("b.png", "NA", "")]


def test_a_manifest_of_json_lines_says_the_same(tmp_path):
    rows = [{"path": "a.png", "label": 10, "group": None}, {"path": "b.png", "label": 9, "split": "Val"}]
    text = "\n".join(map(json.dumps, rows)) + "\n\n"
    listing = from_manifest(manifest(tmp_path, text, "m.jsonl"))
    assert triples(listing) == [("a.png", "10", ""), ("b.png", "9", "test")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,label\n../up.png,a\n", r"line 2: the path '../up.png'"),
        ("path,label\na/../../up.png,a\n", "must lead to a file below"),
        ("path,label\n,a\n", "line 2: the path ''"),
        ("path,label\na.png,a\nb.png,b\n./a.png,b\n", r"a.png twice, in lines 2 and 4"),
        ("file,label\na.png,a\n", "path is missing; it has file, label"),
        ("path,label,split\na.png,a,dev\n", "'dev'"),
        ("path,label\na.png\n", "line 2 has 1 cell, but the header has 2: path, label; write a comma"),
        ("path,label,split\na.png,cat\n", "line 2 has 2 cells"),
        ("path,label\na.png,a\nb.png,cat, wild\n", 'line 3 has 3 cells.* quotes .* "cat, wild"'),
        ("path,label,label\na.png,a,b\n", "2 columns called label; keep one"),
        ("path,path,label\na.png,a,b\n", "2 columns called path; keep one"),
        ("path;label\na.png;a\n", "separated by ';'"),
        ("path\tlabel\na.png\ta\n", "separated by"),
        ('path,label\na.png,"a\nb.png,b\n', "cannot be read: unexpected end of data"),
        ("path,label\n", "no items"),
        ("", "no items"),
    ],
)
def test_a_bad_csv_manifest_is_refused_with_its_line(tmp_path, text, says):
    with pytest.raises(InvalidData, match=says):
        from_manifest(manifest(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"path": "a.png", "label": "a"}\n{"path": ', "line 2 cannot be read \\(Expecting value, character"),
        ('["a.png", "a"]\n', "line 1: path and label are missing"),
        ('{"path": "a.png", "label": ["a", "b"]}\n', "one text or number"),
        ('{"path": "a.png", "label": "a", "label": "b"}\n', "line 1 has label twice; keep one"),
    ],
)
def test_bad_json_lines_are_refused(tmp_path, text, says):
    with pytest.raises(InvalidData, match=says):
        from_manifest(manifest(tmp_path, text, "m.jsonl"))


def test_a_manifest_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "m.csv").write_bytes("path,label\nä.png,a\n".encode("latin-1"))
    with pytest.raises(InvalidData, match="UTF-8"):
        from_manifest(tmp_path / "m.csv")
