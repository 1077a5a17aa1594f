"""What people bring, by format and by entrance: it goes in as it is, and comes out as a model that predicts."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.cli.commands import baldur as command

import baldur
from baldur import data
from baldur.data.origins import records_of

QUICK = {"seeds": 1, "rounds": 1, "query_size": 5, "initial": 10, "draws": 3, "learner": "committee"}
QUICK |= {"label": "kind of animal", "strategies": ["random"]}
ABOUT = {"owl's": "the owl flies at night over the wood", 'tit "blue"': "a tit sings all day in the garden"}
N = 60
CLASSES = list(ABOUT)
ROWS = [
    {
        "nr": f"r{i}",
        "question": f"{ABOUT[CLASSES[i % 2]]} {i} times",
        "size": float(i % 7 + 5 * (i % 2)),
        "place": ["north", "south"][i % 2],
        "label": "not this",
        "kind of animal": CLASSES[i % 2],
    }
    for i in range(N)
]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}


class ClassLabel:
    """Stands for the feature of that name in `datasets`."""

    names = CLASSES


class Value:
    """Stands for the feature of that name in `datasets`."""


class Dataset:
    """Stands for `datasets.Dataset`, which is not installed where the tests run."""

    def __init__(self, columns):
        self.columns = columns
        self.column_names = list(columns)
        self.features = {name: ClassLabel() if name == "kind of animal" else Value() for name in columns}

    def __len__(self):
        return N

    def __getitem__(self, name):
        values = self.columns[name]
        return [CLASSES.index(value) for value in values] if name == "kind of animal" else values


def csv(at):
    pd.DataFrame(COLUMNS).to_csv(at / "t.csv", index=False)
    return at / "t.csv"


def jsonl(at):
    (at / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return at / "t.jsonl"


def parquet(at):
    pytest.importorskip("pyarrow")
    pd.DataFrame(COLUMNS).to_parquet(at / "t.parquet")
    return at / "t.parquet"


def polars(at):
    return pytest.importorskip("polars").DataFrame(COLUMNS)


def by_split(at):
    order = np.random.default_rng(0).permutation(N)
    mixed = {name: [values[i] for i in order] for name, values in COLUMNS.items()}
    parts = {
        "train": {name: v[:40] for name, v in mixed.items()},
        "test": {name: v[40:] for name, v in mixed.items()},
    }
    return {name: Dataset(part) for name, part in parts.items()}


FILES = [csv, jsonl, parquet]
OBJECTS = [
    lambda at: pd.DataFrame(COLUMNS),
    polars,
    lambda at: COLUMNS,
    lambda at: Dataset(COLUMNS),
    by_split,
]
INPUTS = [
    {"text": "question"},
    {"inputs": ["size", "place"]},
    {"text": "question", "inputs": ["size"], "id": "nr"},
]


def as_options(told):
    for name, value in told.items():
        for one in value if isinstance(value, list) else [value]:
            yield from ("--" + {"strategies": "strategy"}.get(name, name).replace("_", "-"), str(one))


def check(folder, told):
    run = baldur.open(folder)
    rows = pd.DataFrame(COLUMNS)[:4]
    assert set(run.model().predict(rows).tolist()) == set(CLASSES)
    if set(told) == {"text"}:
        assert run.model().predict(COLUMNS["question"][:2]).tolist() == CLASSES
    item = next(iter(run.labels()["item"]))
    assert item.startswith("r") == ("id" in told)


@pytest.mark.parametrize(("make", "told"), list(zip(FILES, INPUTS, strict=True)))
def test_files_from_the_command_line(tmp_path, make, told):
    result = command("run", make(tmp_path), "--out", tmp_path / "run", *as_options(QUICK | told))
    assert result.exit_code == 0, result.output
    check(tmp_path / "run", told)


@pytest.mark.parametrize(
    ("make", "told"), list(zip([*FILES, *OBJECTS], [*INPUTS[1:], *INPUTS, *INPUTS], strict=True))
)
def test_all_from_python(tmp_path, make, told):
    baldur.run(make(tmp_path), tmp_path / "run", **QUICK, **told)
    check(tmp_path / "run", told)


@pytest.mark.parametrize("make", [csv, parquet, OBJECTS[0], OBJECTS[3]])
def test_people_label_them(tmp_path, make):
    dataset = data.load_for_labelling(
        make(tmp_path), classes=CLASSES, text="question", label="kind of animal", id="nr"
    )
    assert (dataset.labels >= 0).all()
    record = next(records_of(dataset))
    assert record.id == "r0"
    assert record.shown == {"text": ROWS[0]["question"]}


def test_a_column_of_texts_is_recognised(tmp_path):
    table = {"question": COLUMNS["question"], "label": COLUMNS["kind of animal"]}
    baldur.run(pd.DataFrame(table), tmp_path / "a", **QUICK | {"label": None})
    baldur.run((table["question"], table["label"]), tmp_path / "b", **QUICK | {"label": None})
    for name in "ab":
        assert baldur.open(tmp_path / name).model().predict(table["question"][:2]).tolist() == CLASSES
    with_numbers = data.load(str(csv(tmp_path)), label="kind of animal")
    assert any("name it with --text COLUMN" in note for note in with_numbers.notes)
    assert with_numbers.preprocessing["shape"] == [3]  # as in earlier versions


def test_a_run_goes_on_with_the_same_columns(tmp_path):
    path: Path = csv(tmp_path)
    baldur.run(path, tmp_path / "run", **QUICK, text="question")
    again = baldur.run(path, tmp_path / "run", rounds=2)
    assert again.state == "done"


def test_booleans_are_labels(tmp_path):
    y = np.arange(N) % 2 == 1
    baldur.run((pd.DataFrame({"size": COLUMNS["size"]}), y), tmp_path / "run", **QUICK | {"label": None})
    assert baldur.open(tmp_path / "run").model().classes == ("False", "True")
