"""Items that are proposed for labelling in files."""

import csv
import io
import json

import numpy as np
import pytest

from baldur.errors import InvalidArgument
from baldur.runs.ingest import ingest
from baldur.runs.propose import lines_of, propose
from baldur.store import Event, ItemRecord, Request, Store

CLASSES = ("cat", "dog")
ROW = {"height": 1.5, "name": 'a "b", c'}


def made(folder, n=12):
    """A labelling run: round 0 was trained on 0 and 1, and asks for 2 and, as a test, for 3."""
    store = Store.create(folder, settings="", classes=CLASSES, seed=0)
    store.record_items(
        ItemRecord(
            str(i),
            i,
            f"/photos/{i}.png",
            split="reserve" if i == 3 else "train",
            key=i,
            shown={4: {"text": "hi,\nho"}, 5: {"row": ROW}}.get(i),
        )
        for i in range(n)
    )
    trial = store.trial("two_stage", 0)
    trial.begin([Request("0", 0), Request("1", 1)])
    trial.tell([Event(str(i), "label", str(i), "ann", name) for i, name in enumerate(CLASSES)])
    with trial.phase(0, "label") as phase:
        phase.labelled()
    with trial.phase(0, "fit") as phase:
        phase.fitted()
    with trial.phase(0, "measure") as phase:
        phase.measured({})
    with trial.phase(0, "choose") as phase:
        arrays = {"ids": np.array(["2", "3"]), "probabilities": np.array([[0.25, 0.75]] * 2, np.float32)}

        def write(path):
            with path.open("wb") as file:
                np.savez(file, **arrays)

        phase.artefact(0, "guesses", ".npz", write)
        phase.chosen([Request("2", 0, 0.9), Request("3", 1)], [])
    return store


@pytest.fixture
def run(tmp_path):
    with made(tmp_path / "run") as store:
        yield store


def ids(items):
    return [item.id for item in items]


def test_items_come_with_the_guess_of_the_model(run):
    first, test, text, row = propose(run, 4)
    assert (first.id, first.path, first.guess, first.score) == ("2", "/photos/2.png", "dog", 0.9)
    assert first.probabilities == {"cat": 0.25, "dog": 0.75}
    assert first.why == "the model believes in dog with 0.75 and in cat with 0.25"
    assert (test.id, test.guess, test.probabilities) == ("3", None, None), (
        "a test label is given without a hint"
    )
    assert (text.id, text.text, text.guess, text.score) == ("4", "hi,\nho", None, None)
    assert (row.id, row.row) == ("5", ROW)


def test_nobody_else_gets_reserved_items(run):
    assert ids(propose(run, 2)) == ["2", "3"]
    assert ids(propose(run, 2)) == ["4", "5"]
    assert ids(propose(run, 2, by="ann")) == ids(propose(run, 2, by="ann")) == ["6", "7"]
    assert ids(propose(run, 9)) == ["8", "9", "10", "11"]
    assert propose(run, 9) == []


def test_a_reservation_ends(run):
    assert ids(propose(run, 2, minutes=1e-9)) == ["2", "3"]
    assert ids(propose(run, 2)) == ["2", "3"]


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_a_file_with_proposals_is_filled_in_and_ingested(run, tmp_path, format):
    items = propose(run, 4)
    path = tmp_path / "batch"
    text = lines_of(items, format)
    path.write_text(text, newline="")
    assert str(ingest(run, [path])) == "0 labels taken, 0 were there already, 0 refused"
    if format == "jsonl":
        rows = [json.loads(line) | {"label": "cat"} for line in text.splitlines()]
        assert rows[0].items() >= {"id": "2", "path": "/photos/2.png", "guess": "dog", "score": 0.9}.items()
        assert rows[2]["text"] == "hi,\nho"
        assert rows[3]["row"] == ROW
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        assert json.loads(rows[0]["probabilities"]) == {"cat": 0.25, "dog": 0.75}
        assert json.loads(rows[3]["row"]) == ROW
        with path.open("w", newline="") as file:
            lines = csv.DictWriter(file, rows[0], delimiter=";")
            lines.writeheader()
            lines.writerows(row | {"label": "cat"} for row in rows)
    assert str(ingest(run, [path])).startswith("4 labels taken")
    assert run.trials()[0].queue.leased() == set()
    assert [row.purpose for row in run.ledger()] == ["train", "train", "train", "test", "train", "train"]


def test_answers_count_after_the_reservation_ended(run, tmp_path):
    propose(run, 2, minutes=1e-9)
    propose(run, 2, by="bob")
    (tmp_path / "late.csv").write_text("id,label\n2,cat\n")
    assert str(ingest(run, [tmp_path / "late.csv"])).startswith("1 label taken")
    assert ids(propose(run, 2, by="bob")) == ["3", "4"], "what somebody else answered is not asked for again"


def test_bad_values(run):
    for wrong in (
        {"count": 0},
        {"count": 1, "minutes": 0},
        {"count": 1, "minutes": float("nan")},
        {"count": 1, "minutes": 1e300},
    ):
        with pytest.raises(InvalidArgument, match="must be positive, and minutes between"):
            propose(run, **wrong)
    with pytest.raises(InvalidArgument, match="name of the annotator is empty"):
        propose(run, 1, by="")
    with pytest.raises(InvalidArgument, match="must be jsonl or csv, not 'xml'"):
        lines_of([], "xml")
    assert run.trials()[0].queue.leased() == set()


def test_a_comparison_proposes_nothing(tmp_path):
    with Store.create(tmp_path / "run", settings='oracle = "simulated"\n', classes=CLASSES) as store:
        store.trial("bald", 0)
        with pytest.raises(InvalidArgument, match="on labels that it knows"):
            propose(store, 1)
