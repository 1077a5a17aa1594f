"""Commands about labels in files."""

import json

import numpy as np
import pytest
from tests.cli.commands import OPTIONS, baldur
from tests.tiny_runs import blobs

from baldur.cli.app import WAITING
from baldur.cli.labels import REFUSED
from baldur.store import Store

pytestmark = pytest.mark.usefixtures("without_charts")


@pytest.fixture
def waiting(arrays, tmp_path):
    """A run that waits for 6 labels."""
    words = ("--strategy", "random", "--oracle", "file", *OPTIONS, "--out", tmp_path / "run")
    assert baldur("run", arrays, *words).exit_code == 3
    return tmp_path / "run"


def test_a_person_labels_with_files_only(waiting, tmp_path):
    asked = (waiting / "requests.csv").read_text().split()[1:]
    filled = tmp_path / "filled.csv"
    filled.write_text(
        "\n".join(["id;label", *(f"{line.split(',')[0]};{n % 3}" for n, line in enumerate(asked))])
    )
    assert "6 labels taken" in baldur("ingest", waiting, filled, "--by", "ann").output
    assert "6 were there already" in baldur("ingest", waiting, filled, "--by", "ann").output
    status = json.loads(baldur("status", waiting, "--json").output)
    assert (status["labels"], status["state"], status["round"], status["questions"]) == (6, "waiting", 0, 0)
    assert baldur("run", "--out", waiting).exit_code == 3
    status = json.loads(baldur("status", waiting, "--json").output)
    assert (status["labels"], status["round"], status["questions"]) == (6, 1, 4)


def test_a_correction_outlives_the_answer_in_a_file_of_the_run(waiting, tmp_path):
    asked = [line.split(",")[0] for line in (waiting / "requests.csv").read_text().split()[1:]]
    answers = waiting / "answers.csv"
    answers.write_text("id,label\n" + "".join(f"{i},{n % 3}\n" for n, i in enumerate(asked[:4])))
    assert baldur("run", "--out", waiting).exit_code == 3
    corrected = tmp_path / "corrected.csv"
    corrected.write_text(f"id,label\n{asked[0]},2\n")
    assert "1 label taken" in baldur("ingest", waiting, corrected).output

    def label():
        with Store.open(waiting) as store:
            return {row.item: row.value for row in store.labels()}[asked[0]]

    assert baldur("run", "--out", waiting).exit_code == 3
    assert label() == "2"
    answers.write_text(answers.read_text().replace(f"{asked[0]},0", f"{asked[0]},1"))
    assert baldur("run", "--out", waiting).exit_code == 3
    assert label() == "1", "what was written after that counts"


def test_refused_lines_have_an_exit_code(waiting, tmp_path):
    item = (waiting / "requests.csv").read_text().split()[1].split(",")[0]
    rows = [{"id": item, "label": 1}, *({"id": f"no {n}", "label": 1} for n in range(22))]
    (tmp_path / "labels.json").write_text(json.dumps(rows))
    said = baldur("ingest", waiting, tmp_path / "labels.json")
    assert said.exit_code == REFUSED
    assert "1 label taken, 0 were there already, 22 refused:" in said.output
    assert "entry 2: there is no item 'no 0'" in said.output
    assert "... and 2 more" in said.output
    assert str(waiting / "refused-1.csv") in said.output
    told = json.loads(baldur("ingest", waiting, tmp_path / "labels.json", "--json").output)
    assert (told["taken"], told["there"], len(told["refused"])) == ({}, 1, 22)


def test_a_file_that_cannot_be_read_is_an_error(waiting, tmp_path):
    said = baldur("ingest", waiting, tmp_path / "none.csv")
    assert said.exit_code == 1
    assert "does not exist" in said.output


def test_items_are_proposed_as_lines(waiting, tmp_path):
    said = baldur("propose", waiting, "--count", "2")
    rows = [json.loads(line) for line in said.stdout.splitlines()]
    assert [set(row) >= {"id", "guess", "probabilities", "score", "expires"} for row in rows] == [True, True]
    rest = baldur("propose", waiting, "--format", "csv")
    assert len(rest.stdout.splitlines()) == 1 + 4
    assert "only 4 items are left" in rest.stderr
    assert "no item is left" in baldur("propose", waiting, "--by", "ann").stderr
    batch = tmp_path / "batch"
    batch.write_text("".join(json.dumps(row | {"label": 0}) + "\n" for row in rows))
    assert "2 labels taken" in baldur("ingest", waiting, batch).output
    for words in (("--format", "xml"), ("--count", "0"), ("--minutes", "-1")):
        assert baldur("propose", waiting, *words).exit_code == 1


def test_items_are_added(tmp_path):
    np.save(tmp_path / "x.npy", blobs()[0][:40])
    np.save(tmp_path / "more.npy", blobs()[0][40:])
    options = ("--oracle", "people", "--classes", "red,green,blue", "--network", "mlp")
    begun = baldur("run", tmp_path / "x.npy", *options, "--out", tmp_path / "run")
    assert begun.exit_code == WAITING, begun.output
    assert "baldur propose" in begun.output
    done = baldur("add", tmp_path / "run", tmp_path / "more.npy")
    assert "50 items added, the first added-1/0" in done.output
    assert json.loads(baldur("add", tmp_path / "run", "--json").stdout) == {"added": []}
