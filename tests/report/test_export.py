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
    keep(store, "random", "chance")
    trial = store.trial("own:pick", 0)
    trial.artefact_folder(
        0, "posterior", lambda folder: folder.joinpath("weights").write_text("old") and None
    )
    trial.artefact_folder(
        1, "posterior", lambda folder: folder.joinpath("weights").write_text("new") and None
    )
    for _ in range(2):  # a second export takes the place of the first
        written = report.export(store, tmp_path / "out")
    assert [path.name for path in written] == [
        "labels.csv",
        "curves.csv",
        "settings.toml",
        "random-0",
        "own%3Apick-0",
    ]
    rows = list(csv.DictReader((tmp_path / "out" / "labels.csv").read_text().splitlines()))
    assert len(rows) == 2 * 30
    assert set(rows[0]) >= {"strategy", "seed", "id", "label"}
    assert (written[4] / "weights").read_text() == "new"
    facts = json.loads((written[4] / "model.json").read_text())
    assert facts["classes"] == ["cat", "dog", "owl"]
    assert facts["round"] == 1
    assert "facts" in facts["preprocessing"]


def keep(store: Store, strategy: str, text: str) -> Path:
    def write(folder: Path) -> None:
        (folder / "weights").write_text(text)

    return store.trial(strategy, 0).artefact_folder(0, "posterior", write)


@pytest.mark.parametrize("lost", [("random",), ("bald",), ("random", "bald")])
@pytest.mark.parametrize("how", ["damaged", "forgotten"])
def test_models_that_are_lost_are_named_and_the_others_written(
    run: Callable[..., Store], tmp_path: Path, lost: tuple[str, ...], how: str
) -> None:
    store = run(lambda s, seed, r: 0.5, seeds=1, rounds=0, pictures=False)
    for strategy in ("random", "bald"):
        path = keep(store, strategy, "whole")
        if strategy in lost and how == "damaged":
            (path / "weights").write_text("other")
        elif strategy in lost:
            store.trial(strategy, 0).forget("posterior", before=1)
    with pytest.raises(DamagedArtefact, match="--rounds") as caught:
        report.export(store, tmp_path / "out")
    assert f"everything but the models of {'; '.join(f'{name}, seed 0' for name in lost)}:" in str(
        caught.value
    )
    assert (tmp_path / "out" / "curves.csv").is_file()
    there = {name for name in ("random", "bald") if (tmp_path / "out" / "models" / f"{name}-0").is_dir()}
    assert there == {"random", "bald"} - set(lost)


def test_a_trial_that_goes_on_may_have_no_model_yet(run: Callable[..., Store], tmp_path: Path) -> None:
    store = run(lambda s, seed, r: 0.5, seeds=1, rounds=1, stop=("random", 0, 0, "running"))
    assert [path.name for path in report.export(store, tmp_path)] == [
        "labels.csv",
        "curves.csv",
        "settings.toml",
    ]
