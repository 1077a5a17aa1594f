"""Labels as tables, and the way back."""

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runs.labelled_runs import AWKWARD, NAMES, labelled_run, run_of_photographs

from baldur import data
from baldur.oracles.answers import read_answers
from baldur.runs.ingest import ingest
from baldur.runs.labelled import export_labels, labelled_items
from baldur.runs.labelled_tables import as_rows
from baldur.store import ItemRecord

FORMATS = ("csv", "jsonl", "parquet")
IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


def truth(dataset):
    """The label of each item of both pools, by id."""
    sides = ((dataset.train.ids, dataset.labels), (dataset.test.ids, dataset.test_labels))
    return {
        i: dataset.classes[y]
        for ids, labels in sides
        for i, y in zip(ids, labels.tolist(), strict=True)
        if y >= 0
    }


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@given(said=st.dictionaries(IDS, NAMES, min_size=1, max_size=8), format=st.sampled_from(["csv", "jsonl"]))
def test_what_is_exported_is_read_as_answers_and_is_known_already(tmp_path_factory, said, format):
    folder = tmp_path_factory.mktemp("run")
    records = [ItemRecord(i, n, shown={"text": f"text of {i}\r\n"}) for n, i in enumerate(said)]
    with labelled_run(folder / "run", records, said) as store:
        path = export_labels(store, store.trials()[0], folder / f"labels.{format}", format)
        read = read_answers(path)
        assert read.faults == []
        assert {answer.id: answer.label for answer in read.answers} == said
        assert (
            str(ingest(store, [path]))
            == f"0 labels taken, {len(said)} {'was' if len(said) == 1 else 'were'} there already, 0 refused"
        )
    with labelled_run(folder / "other", records, {}, sorted(set(said.values()))) as other:
        ingest(other, [path])
        assert {row.item: row.value for row in other.labels()} == said
        assert {row.annotator for row in other.labels()} == {"ann"}


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_photographs_are_loaded_with_the_same_labels(tmp_path, format):
    classes = [name for name in AWKWARD if name.strip() == name]
    store, labels = run_of_photographs(tmp_path, classes)
    with store:
        path = export_labels(store, store.trials()[0], tmp_path / f"labels.{format}", format, all=True)
    assert truth(data.load(str(path))) == {str(tmp_path / "photos" / i): label for i, label in labels.items()}


@pytest.mark.parametrize("format", FORMATS)
def test_rows_of_a_table_are_loaded_with_the_same_labels_and_inputs(tmp_path, format):
    classes = [name for name in AWKWARD if name.strip() == name]
    records = [
        ItemRecord(
            f'row "{n}", of\n{n % 3}',
            n,
            "/tables/all.csv",
            f"group {n}",
            "train",
            part=n,
            shown={
                "row": {
                    "height": n / 7,
                    "time of day": ["noon", "night"][n % 2],
                    "gap": None if n % 5 else 1.0,
                }
            },
        )
        for n in range(4 * len(classes))
    ]
    labels = {record.id: classes[n % len(classes)] for n, record in enumerate(records)}
    with labelled_run(tmp_path / "run", records, labels, classes) as store:
        path = export_labels(store, store.trials()[0], tmp_path / f"labels.{format}", format)
    loaded = data.load(str(path))
    assert truth(loaded) == labels
    columns = loaded.preprocessing["columns"]
    inputs = [c["name"] for c in (*columns["numbers"], *columns["categories"])]
    assert sorted(inputs) == ["gap", "height", "time of day"]


def test_a_column_with_the_name_of_a_fact_gets_another(tmp_path):
    shown = {"row": {"label": 1, "time": 2, "row_time": 3, "x": 4}}
    with labelled_run(tmp_path / "run", [ItemRecord("a", shown=shown)], {"a": "cat"}) as store:
        columns, (row,) = as_rows(labelled_items(store, store.trials()[0]))
    assert columns == [
        *(
            "id",
            "label",
            "row_label",
            "row_row_time",
            "row_time",
            "x",
            "group",
            "split",
            "annotator",
            "time",
            "round",
        )
    ]
    assert (row["label"], row["row_label"], row["row_row_time"], row["row_time"], row["x"]) == (
        "cat",
        1,
        2,
        3,
        4,
    )


def test_a_column_has_one_type_in_parquet(tmp_path):
    from pyarrow import parquet

    shown = [{"row": {"a": 1, "b": True}}, {"row": {"a": "one", "b": False}}, {"row": {"a": None}}]
    records = [ItemRecord(f"0{n}", n, shown=row) for n, row in enumerate(shown)]
    with labelled_run(tmp_path / "run", records, {"00": "1", "01": "01", "02": "2020-01-01"}) as store:
        path = export_labels(store, store.trials()[0], tmp_path / "x.parquet", "parquet")
    table = parquet.read_table(path).to_pydict()
    assert table["id"] == ["00", "01", "02"]
    assert table["label"] == ["1", "01", "2020-01-01"]
    assert table["a"] == ["1", "one", None]
    assert table["b"] == [True, False, None]


def test_every_format_has_the_same_values(tmp_path):
    from pyarrow import parquet

    records = [ItemRecord("a", 0, "/x.npz", part=3), ItemRecord("b", 1, "/x.npz", part=4)]
    with labelled_run(tmp_path / "run", records, {"a": "cat"}, ("cat", "dog")) as store:
        made = {f: export_labels(store, store.trials()[0], tmp_path / f, f, all=True) for f in FORMATS}
    lines = [json.loads(line) for line in made["jsonl"].read_text().splitlines()]
    assert parquet.read_table(made["parquet"]).to_pylist() == lines
    assert rows_of(made["csv"]) == [
        {k: "" if v is None else str(v) for k, v in line.items()} for line in lines
    ]
    assert lines[1] == dict.fromkeys(lines[0]) | {"id": "b", "path": "/x.npz", "part": 4, "split": "train"}
