import csv
import json

import pytest

from baldur.errors import InvalidLabel
from baldur.oracles import FileOracle

CLASSES = ("cat", "dog")


def rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_file_answers_later(tmp_path):
    oracle = FileOracle(tmp_path, CLASSES, {"a": "/pictures/a.png"}.get)
    assert oracle.ask(["a", "b"]) == {}
    asked = rows(tmp_path / "requests.csv")
    assert asked == [
        {"id": "a", "path": "/pictures/a.png", "label": ""},
        {"id": "b", "path": "", "label": ""},
    ]
    (tmp_path / "answers.csv").write_text("id,label\na,dog\nz,cat\nb,\n")
    assert oracle.ask(["a", "b"]) == {"a": "dog"}
    assert [row["id"] for row in rows(tmp_path / "requests.csv")] == ["b"]
    (tmp_path / "answers.jsonl").write_text(json.dumps({"id": "b", "label": "cat"}) + "\n\n")
    assert oracle.ask(["a", "b"]) == {"a": "dog", "b": "cat"}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("answers.csv", "id,label\na,horse\n", r"line 2: 'horse' is not a class; the classes are cat, dog"),
        ("answers.csv", "item,class\na,cat\n", "columns id and label"),
        ("answers.jsonl", '{"id": "a"}\n', "line 1: an object"),
        ("answers.jsonl", "a,cat\n", "line 1: an object"),
    ],
)
def test_an_answer_that_does_not_fit_is_named(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidLabel, match=words):
        FileOracle(tmp_path, CLASSES).ask(["a"])


def test_space_around_an_id_or_a_label_may_be_part_of_it(tmp_path):
    oracle = FileOracle(tmp_path, ("cat ", "dog"), ids=(" a.jpg", "a.jpg", "b"))
    (tmp_path / "answers.csv").write_text("id,label\n a.jpg,cat \nb , dog\n")
    assert oracle.ask([" a.jpg", "a.jpg", "b"]) == {" a.jpg": "cat ", "b": "dog"}
    assert oracle.ask(["a.jpg"]) == {}


def test_an_answer_for_no_item_is_warned_of_once(tmp_path):
    oracle = FileOracle(tmp_path, CLASSES, ids=("7", "8"))
    (tmp_path / "answers.csv").write_text("id,label\n007,cat\n8,dog\nz,cat\n")
    with pytest.warns(UserWarning, match=r"2 of the answers .* the first for '007'"):
        assert oracle.ask(["7"]) == {}
    assert oracle.ask(["8"]) == {"8": "dog"}


@pytest.mark.parametrize("end", ["\u2028", "\x85", "\x0c"])
def test_what_unicode_ends_lines_with_may_stand_in_an_answer(tmp_path, end):
    answer = {"id": f"a{end}b", "label": "cat"}
    (tmp_path / "answers.jsonl").write_text(json.dumps(answer, ensure_ascii=False) + "\r\n", encoding="utf-8")
    (tmp_path / "answers.csv").write_text(
        f'id,label,note\na,dog,x{end}y\nc,cat,"two\nlines"\n', encoding="utf-8"
    )
    ids = ["a", "c", f"a{end}b"]
    assert FileOracle(tmp_path, CLASSES).ask(ids) == {"a": "dog", "c": "cat", f"a{end}b": "cat"}
