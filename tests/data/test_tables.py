import csv

import numpy as np
import pandas as pd
import pytest

from baldur.data import load
from baldur.data.labels import Labelling, Rules
from baldur.data.tables import from_table, is_table
from baldur.errors import InvalidArgument, InvalidData

RNG = np.random.default_rng(0)


def written(path, frame, name="t.csv", **options):
    frame.to_csv(path / name, **({"index": False} | options))
    return str(path / name)


def frame(n=60):
    return pd.DataFrame(
        {
            "patient_id": RNG.integers(0, 20, n),
            "age": RNG.normal(50, 10, n).round(1),
            "colour": RNG.choice(["red", "green", "blue"], n),
            "site": RNG.choice(["a", "b"], n),
            "dose": np.where(RNG.random(n) < 0.1, np.nan, RNG.normal(size=n)),
            "label": RNG.choice(["good", "bad"], n),
        }
    )


def everything(pool):
    ((_, x),) = pool.batches(np.arange(len(pool)), 10_000)
    return x.numpy()


def test_a_table_with_everything_that_real_ones_have(tmp_path):
    table = frame()
    table["label_idx"] = (table["label"] == "good").astype(int)
    table["note"] = [f"text {i}" for i in range(60)]
    table["same"] = 1
    data = load(written(tmp_path, table, index=True))  # with a column for the row, as pandas writes it
    told = data.preprocessing["columns"]
    assert [n["name"] for n in told["numbers"]] == ["age", "dose"]
    assert [(c["name"], c["values"]) for c in told["categories"]] == [
        ("colour", ["blue", "green", "red"]),
        ("site", ["a", "b"]),
    ]
    assert dict(map(tuple, told["left_out"])) == {
        "Unnamed: 0": "a column without a name; give it one",
        "patient_id": "an id, by its name",
        "label_idx": "an id, by its name",
        "note": "text or an id: 48 different values in 48 rows",
        "same": "a column with one value only",
    }
    assert "left out: patient_id, label_idx (an id, by its name)" in data.notes
    assert any("missing numbers of the pool (dose) are filled with the median" in note for note in data.notes)
    assert data.classes == ("bad", "good")
    assert (len(data.train), len(data.test), data.quarantined) == (48, 12, ())  # no row is lost
    assert everything(data.train).shape == (48, 7)
    assert np.isfinite(everything(data.test)).all()


def test_the_label_under_other_names_is_pointed_out(tmp_path):
    table = frame()
    table["verdict"] = table["label"].str.upper()
    assert any(
        "column verdict has one value for each class" in n for n in load(written(tmp_path, table)).notes
    )
    assert not any("one value for each class" in n for n in load(written(tmp_path, frame())).notes)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_facts_about_rows_are_no_inputs(tmp_path, name):
    table = frame(40)
    table.insert(0, "id", [f"r{i}" for i in range(40)])
    table["group"] = [f"g{i // 4}" for i in range(40)]
    if name == "t.csv":
        path = written(tmp_path, table)
    else:
        path = str(tmp_path / name)
        table.to_json(path, orient="records", lines=True)
    data = load(path)
    assert set(data.train.ids) | set(data.test.ids) == {f"r{i}" for i in range(40)}
    assert not set(data.train.groups) & set(data.test.groups)
    table = table.drop(columns="group").assign(split=["test"] * 10 + ["train"] * 30)
    data = load(written(tmp_path, table))
    assert sorted(data.test.ids) == sorted(f"r{i}" for i in range(10))


def test_numbers_written_with_words_for_missing_values(tmp_path):
    lines = ["a,b,label", *(f"{'?' if i % 7 == 0 else i * i},{i % 3},{i % 2}" for i in range(40))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    data = load(str(tmp_path / "t.csv"))
    assert [n["name"] for n in data.preprocessing["columns"]["numbers"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,label\n1\n", "line 2 has 1 cell"),
        ("a,label\n1,x,y\n", "line 2 has 3 cells"),
        ("a,a,label\n1,2,x\n", "2 columns called a"),
        ("a,label,label\n1,x,y\n", "2 columns called label"),
        ("id,a,label\n1,2,x\n1,3,y\n", r"id '1' occurs twice \(line 2 and line 3\)"),
        ("id,a,label\n,2,x\n2,3,y\n", "line 2: the column id has no value"),
        ("a,label,split\n1,x,half\n2,y,\n", "line 2: the split must be train"),
        ("a,b\n1,2\n", "a table needs the column label; name it with --label"),
        ("1.5,2\n1,2\n", "path and label are missing; it has 1.5, 2"),
        ("patient_id,label\n1,x\n2,y\n3,x\n4,y\n", "no column of .* patient_id is an id, by its name"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, text, says):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InvalidData, match=says):
        load(str(tmp_path / "t.csv"))


def test_a_list_of_files_is_no_table(tmp_path):
    people = Rules(labelling=Labelling(("a", "b")))
    for head, expected, unlabelled in (
        ("path,label,age", False, False),
        ("path", False, False),
        ("age,label", True, True),
        ("label", False, True),
        ("age", False, True),
    ):
        with (tmp_path / "t.csv").open("w", newline="") as file:
            csv.writer(file).writerows([head.split(","), ["1"] * len(head.split(","))])
        assert is_table(tmp_path / "t.csv", Rules()) == expected
        assert is_table(tmp_path / "t.csv", people) == unlabelled


def test_lengths_must_agree():
    for table, labels, says in (
        ({"a": [1, 2]}, ["x"], "column a has 2 rows, but there are 1 labels"),
        ({"a": []}, [], "no rows"),
    ):
        with pytest.raises(InvalidArgument, match=says):
            from_table("t", table, labels, test_fraction=0.5, rules=Rules())
