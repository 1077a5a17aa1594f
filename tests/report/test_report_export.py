import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from baldur import report
from baldur.errors import DamagedArtefact
from baldur.store import Store


def test_labels_curves_and_models_are_written(run: Callable[..., Store], tmp_path: Path) -> None:
    store = run(lambda s, seed, r: 0.5, seeds=1, rounds=1, strategies=("random", "own:pick"), pictures=False)
    trial = store.trial("own:pick", 0)
    trial.artefact_folder(
        0, "posterior", lambda folder: folder.joinpath("weights").write_text("old") and None
    )
    trial.artefact_folder(
        1, "posterior", lambda folder: folder.joinpath("weights").write_text("new") and None
    )
    for _ in range(2):  # a second export takes the place of the first
        written = report.export(store, tmp_path / "out")
    assert [path.name for path in written] == ["labels.csv", "curves.csv", "settings.toml", "own%3Apick-0"]
    rows = list(csv.DictReader((tmp_path / "out" / "labels.csv").read_text().splitlines()))
    assert len(rows) == 2 * 30
    assert set(rows[0]) >= {"strategy", "seed", "id", "label"}
    assert (written[3] / "weights").read_text() == "new"
    facts = json.loads((written[3] / "model.json").read_text())
    assert facts["classes"] == ["cat", "dog", "owl"]
    assert facts["round"] == 1
    assert "facts" in facts["preprocessing"]


def test_a_damaged_model_is_not_exported(run: Callable[..., Store], tmp_path: Path) -> None:
    store = run(lambda s, seed, r: 0.5, seeds=1, rounds=0, strategies=("bald",))
    path = store.trial("bald", 0).artefact(
        0, "posterior", ".bin", lambda path: path.write_bytes(b"x") and None
    )
    path.write_bytes(b"y")
    with pytest.raises(DamagedArtefact):
        report.export(store, tmp_path / "out")
