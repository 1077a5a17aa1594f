import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldur.errors import InvalidLabel
from baldur.oracles.answers import Answer, Answers, blank, is_blank, read_answers, unanswered

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(st.dictionaries(TEXT, TEXT, max_size=5))
def test_what_is_asked_for_is_blank_until_somebody_writes(tmp_path_factory, asked):
    path = tmp_path_factory.mktemp("run") / "requests.csv"
    path.write_text(blank(asked.items()), encoding="utf-8", newline="")
    assert is_blank(path)
    assert unanswered(path) == len(asked)
    assert read_answers(path) == Answers([], [])
    if asked:
        path.write_bytes(path.read_bytes()[:-2] + b"cat")
        assert not is_blank(path)
        read = read_answers(path)
        (answer,) = read.answers
        assert (answer.label, read.faults) == ("cat", [])
        if list(asked)[-1].strip():
            assert answer.id == list(asked)[-1]


@pytest.mark.parametrize("text", ["", "id,path\n", "id,path,label,note\na,,,x\n", "\xff"])
def test_other_files_are_not_blank(tmp_path, text):
    path = tmp_path / "requests.csv"
    path.write_bytes(text.encode("latin-1"))
    assert not is_blank(path)


def test_spaces_are_taken_off_where_only_that_is_known():
    answer = Answer(" a ", " cat", "answers.csv, line 2")
    assert answer.as_known({" a "}, {"cat"}) == Answer(" a ", "cat", "answers.csv, line 2")


def said(path, content, name="answers.csv"):
    file = path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_answers(file)


def pairs(read):
    return [(answer.id, answer.label) for answer in read.answers]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "sep=;\r\nid;label\r\n7;cat\r\n"),
        ("a.tsv", "id\tlabel\n7\tcat"),
        ("a.csv", "id,label\n7,cat\n".encode("utf-16")),
        ("a.csv", "id|label\r7|cat\r"),
        ("batch", '{"id": 7, "label": "cat", "probabilities": {"cat": 0.4}, "path": null}\n'),
        ("batch", '{"id": "7", "label": "cat"}\n{"id": "8", "label": null}\n{"id": "9", "label": ""}\n'),
        ("a.ndjson", '{"id": 7.0, "label": "cat"}'),
        ("a.json", '[{"id": 7, "label": "cat"}]'),
        ("a.json", '{"7": "cat", "8": null}'),
        ("a.json", '\ufeff{\n "7": {"label": "cat"}\n}'),
    ],
)
def test_one_answer_in_every_format(tmp_path, name, content):
    read = said(tmp_path, content, name)
    assert (pairs(read), read.faults) == ([("7", "cat")], [])


def test_a_line_says_who_answered_and_what_kind_of_answer_it_is(tmp_path):
    rows = "id,label,kind,annotator,event,time,note\na,,Skip,ann,e1,12:00,\nb,x,note,,,,blurred\n"
    rows += "c,cat,label,,,,my own\n"
    skip, note, label = said(tmp_path, rows).answers
    assert (skip.kind, skip.annotator, skip.event, skip.time) == ("skip", "ann", "e1", "12:00")
    assert (note.kind, note.label) == ("note", "blurred")
    assert (label.kind, label.label) == ("label", "cat")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "id,label\na,cat\nb\n", "line 3 has 1 cell"),
        ("a.csv", "id,label\na,cat\nb", "line 3 is half written"),
        ("a.csv", 'id,label\na,cat\nb,"do\nc,cat\n', "line 3 opens a quote that is never closed"),
        ("a.csv", 'id,label\na,cat\nb,"' + "long " * 40000, "line 3 opens a quote that is never closed"),
        (
            "a.csv",
            "id,label,kind\na,cat,\nb,cat,wish\n",
            "line 3: there is no kind 'wish'; the kinds are label,",
        ),
        ("a.jsonl", '{"id": "a", "label": "cat"}\n{"id": "b", "lab', "line 2 is half written"),
        (
            "a.jsonl",
            '{"id": "a", "label": "cat"}\n{"id": "b", "label": "cat", "label": "dog"}\n',
            "line 2: an object",
        ),
        ("a.jsonl", '{"id": "a", "label": "cat"}\n{"id": true, "label": "cat"}\n', "line 2: an object"),
        ("a.json", '[{"id": "a", "label": "cat"}, ["b", "dog"]]', "entry 2: an object"),
        ("a.json", '{"a": "cat", "b": ["dog"]}', "'b': an object"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_and_the_others_are_read(tmp_path, name, content, words):
    read = said(tmp_path, content, name)
    (fault,) = read.faults
    assert words in str(fault)
    assert pairs(read) == [("a", "cat")]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "needs a first line"),
        ("a.csv", b"id,label\na,\x00\n", "no text file"),
        ("a.csv", b"\xff\xfei\x00d", "begins as UTF-16, but is not"),
        ("a.csv", b"id,label\na,k\x81se\n", "is not UTF-8"),
        ("a.json", b"id,label\n", "holds no JSON"),
    ],
)
def test_a_file_that_cannot_be_read_at_all_is_named(tmp_path, name, content, words):
    with pytest.raises(InvalidLabel, match=words):
        said(tmp_path, content, name)


def test_the_encoding_of_a_spreadsheet_is_named(tmp_path):
    read = said(tmp_path, "id;label\na;Käse\n".encode("cp1252"))
    assert pairs(read) == [("a", "Käse")]
    assert "read as Windows-1252" in read.notes[0]


def test_whole_numbers_may_have_a_point():
    assert Answer("7", "1.0", "").as_known({"7"}, {"1"}).label == "1"
    assert Answer("7", "1.0", "").as_known({"7"}, {"1", "1.0"}).label == "1.0"
    assert Answer("7", "1.50", "").as_known({"7"}, {"1"}).label == "1.50"
    assert Answer("7", "1.0", "", kind="note").as_known({"7"}, {"1"}).label == "1.0"


def test_a_file_that_is_edited_while_it_is_read_is_read_when_it_stands_still(tmp_path, monkeypatch):
    path, lines = tmp_path / "a.csv", ["id,label\n", "a,cat\n", "b,dog\n"]
    path.write_text("")
    read = type(path).read_bytes

    def edited(self):
        if lines:
            with self.open("a") as file:
                file.write(lines.pop(0))
        return read(self)

    monkeypatch.setattr(type(path), "read_bytes", edited)
    assert pairs(read_answers(path)) == [("a", "cat"), ("b", "dog")]
    lines += ["c,cat\n"] * 100
    with pytest.raises(InvalidLabel, match="is being written now"):
        read_answers(path)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=6), st.sampled_from([",", ";", "\t", "|"]), st.booleans())
def test_what_is_written_is_read(tmp_path_factory, rows, mark, as_json):
    rows = [(i, label) for i, label in rows if label.strip()]
    path = tmp_path_factory.mktemp("files") / ("a.jsonl" if as_json else "a.csv")
    with path.open("w", encoding="utf-8", newline="") as file:
        if as_json:
            file.writelines(json.dumps({"id": i, "label": label}) + "\n" for i, label in rows)
        else:
            csv.writer(file, delimiter=mark).writerows([("id", "label"), *rows])
    read = read_answers(path)
    assert (pairs(read), read.faults) == (rows, [])
