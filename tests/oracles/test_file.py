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


def fill(path, *labels):
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *(a + b for a, b in zip(lines, labels, strict=True))]) + "\n")


def test_a_file_of_requests_that_was_filled_in_is_read_and_never_overwritten(tmp_path):
    oracle, asked = FileOracle(tmp_path, CLASSES), tmp_path / "requests.csv"
    oracle.ask(["a", "b", "c"])
    fill(asked, "cat", "", "dog")
    written = asked.read_text()
    for again in (oracle, FileOracle(tmp_path, CLASSES)):
        assert again.ask(["a", "b", "c", "d"]) == {"a": "cat", "c": "dog"}
        assert (tmp_path / "requests-answered-1.csv").read_text() == written
        assert [row["id"] for row in rows(asked)] == ["b", "d"]
    fill(asked, "dog", "dog")
    assert again.ask(["b", "d"]) == {"b": "dog", "d": "dog"}
    assert [row["label"] for row in rows(asked)] == ["dog", "dog"], "there is nothing else to ask for"
    assert again.ask(["e"]) == {}
    assert rows(tmp_path / "requests-answered-2.csv")[0] == {"id": "b", "path": "", "label": "dog"}


def test_what_else_a_person_wrote_into_the_requests_stays(tmp_path):
    (tmp_path / "requests.csv").write_text("id;path;label;note\na;;;who knows\n")
    assert FileOracle(tmp_path, CLASSES).ask(["a"]) == {}
    assert "who knows" in (tmp_path / "requests-answered-1.csv").read_text()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"answers.csv": "id,label\na,cat\na,dog\n"},
            r"line 3: 'dog' for 'a', but \S*csv, line 2 says 'cat'",
        ),
        (
            {"answers.csv": "id,label\na,cat\n", "answers.jsonl": '{"id": "a", "label": "dog"}\n'},
            r"jsonl, line 1: 'dog' for 'a', but \S*csv, line 2 says 'cat'; keep one",
        ),
        (
            {"requests.csv": "id,path,label\na,,cat\n", "answers.csv": "id,label\na,dog\n"},
            "requests.csv, line 2",
        ),
        ({"answers.csv": "id,label\na,hund, klein\n"}, r"line 2 has 3 cells, but .* names 2 columns"),
        ({"answers.csv": "id,label\nb,cat\na\n"}, r"line 3 has 1 cell,"),
        ({"answers.csv": "id,label\n,cat\n"}, r"line 2: the label 'cat' has no id"),
        ({"answers.csv": "id,label,label\na,cat,dog\n"}, "each once"),
        (
            {"answers.csv": "id,label\na,Cat\nb,x\n"},
            r"line 2: 'Cat' .*did you mean 'cat'\?; .*line 3: 'x' is not",
        ),
        ({"answers.jsonl": '{"id": "a", "label": ["cat"]}\n'}, "line 1: an object"),
    ],
)
def test_conflicts_and_cells_that_are_too_many_are_named(tmp_path, files, words):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    with pytest.raises(InvalidLabel, match=words):
        FileOracle(tmp_path, CLASSES).ask(["a", "b"])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "text",
    [
        "id;label\r\na;cat\r\n",
        "id\tlabel\na\tcat\n",
        " ID , Label\na,cat\n",
        "id,label\na,cat,\n\n,\nb,\n",
        "\ufeffid,label\na,cat\na,cat\n",
    ],
)
def test_files_of_spreadsheets_are_read(tmp_path, text):
    (tmp_path / "answers.csv").write_bytes(text.encode())
    assert FileOracle(tmp_path, CLASSES).ask(["a", "b"]) == {"a": "cat"}


def test_numbers_in_json_are_the_classes_that_they_name(tmp_path):
    lines = ({"id": 7, "label": 1}, {"id": "8", "label": 0.0}, {"id": "9", "label": None})
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert FileOracle(tmp_path, ("0", "1")).ask(["7", "8", "9"]) == {"7": "1", "8": "0"}


def test_an_answer_that_changed_is_a_correction(tmp_path):
    oracle = FileOracle(tmp_path, CLASSES)
    (tmp_path / "answers.csv").write_text("id,label\na,cat\nb,dog\n")
    known = dict(oracle.ask(["a", "b"]))
    assert oracle.corrections(known) == {}
    (tmp_path / "answers.csv").write_text("id,label\na,dog\n")
    assert oracle.corrections(known) == {"a": "dog"}, "an answer that is gone says nothing"


def test_the_encoding_of_a_spreadsheet_is_warned_of(tmp_path):
    (tmp_path / "answers.csv").write_bytes("id;label\na;K\xe4se\n".encode("cp1252"))
    with pytest.warns(UserWarning, match="read as Windows-1252"):
        assert FileOracle(tmp_path, ("Käse", "Brot")).ask(["a"]) == {"a": "Käse"}


def asked(folder):
    return [row["id"] for row in rows(folder / "requests.csv")]


def test_a_file_asks_for_what_can_be_answered_in_a_sitting(tmp_path):
    oracle = FileOracle(tmp_path, CLASSES, most=50)
    trials = [[f"{seed}-{n}" for n in range(20)] for seed in range(5)]
    for ids in trials:
        for _ in range(2):  # strategies of one seed begin with the same items
            assert oracle.ask(ids) == {}
    assert asked(tmp_path) == [*trials[0], *trials[1]]
    (tmp_path / "answers.csv").write_text("id,label\n" + "".join(f"{i},cat\n" for i in trials[0]))
    again = FileOracle(tmp_path, CLASSES, most=50)
    follow = ["next-1", "next-2"]
    assert len(again.ask(trials[0])) == 20
    again.ask(follow)
    for ids in trials[1:]:
        again.ask(ids)
    assert asked(tmp_path) == [*follow, *trials[1], *trials[2]]


def test_one_trial_that_asks_for_more_is_asked_in_parts(tmp_path):
    ids = [str(n) for n in range(130)]
    sizes = []
    for _ in range(4):
        given = FileOracle(tmp_path, CLASSES).ask(ids)
        sizes.append((len(given), len(asked(tmp_path))))
        lines = ["id,label", *(f"{i},dog" for i in (*given, *asked(tmp_path)))]
        (tmp_path / "answers.csv").write_text("\n".join(lines) + "\n")
    assert sizes == [(0, 50), (50, 50), (100, 30), (130, 0)]
