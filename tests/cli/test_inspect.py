import json

import numpy as np
import pytest
from typer.testing import CliRunner

from baldur.cli import app


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{i},{rng.normal():.3f},{rng.choice(['red', 'blue'])},{i % 2 - 1}" for i in range(40)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["patient_id,age,colour,label", *rows]))
    return path


def inspected(*words):
    return CliRunner().invoke(app, ["inspect", *map(str, words)], env={"COLUMNS": "300"})


def test_it_says_how_data_are_understood_and_writes_nothing(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = inspected("t.csv")
    assert asked.exit_code == 1
    assert "Is -1 a class, or a missing label?" in asked.output
    said = inspected("t.csv", "--missing", "")
    assert said.output.splitlines() == [
        "task: classification, 2 classes (-1: 20, 0: 20)",
        "items: 40; 32 in the pool, 8 for testing",
        "inputs: 1 column of numbers (age) and 1 column of categories (colour: 2 values), as 3 numbers",
        "left out: patient_id (an id, by its name)",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_it_prints_json(table):
    told = json.loads(inspected(table, "--missing=-1", "--json").output)
    assert told["classes"] == {"0": 20}
    assert told["unlabelled"] == 20
    assert told["left_out"] == {"patient_id": "an id, by its name"}


def test_its_options_are_those_of_data():
    shown = inspected("--help").output
    assert all(
        option in shown for option in ("--missing", "--task", "--scaling", "--test-fraction", "--json")
    )
    assert "--strategy" not in shown
    assert "there is no data set called" in inspected("nothing").output
