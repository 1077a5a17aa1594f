import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from baldur import report
from baldur.report.curves import Curve, between, difference_curve, mean_curve, read_curves
from baldur.store import Request, Store

Run = Callable[..., Store]


def curve(seed: int, labels: list[float], values: list[float]) -> Curve:
    return Curve("run", "bald", seed, "done", np.array(labels, np.float64), np.array(values, np.float64))


def test_csv_has_the_header_and_every_metric_of_the_test_split(run: Run, tmp_path: Path) -> None:
    store = run(lambda s, seed, r: 1 / 3 + r / 100, seeds=1, rounds=1, pictures=False, calibrated=False)
    path = tmp_path / "curves.csv"
    path.write_text("old")
    report.write_curves(store, path)
    assert path.read_text().splitlines()[0] == "strategy,seed,round,labels,metric,value"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) == 2 * 2 * 2
    assert rows[0] == {
        "strategy": "bald",
        "seed": "0",
        "round": "0",
        "labels": "20",
        "metric": "accuracy",
        "value": repr(1 / 3),
    }
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_other_splits_and_undefined_values_stay_out_of_the_curves(run: Run, tmp_path: Path) -> None:
    store = Store.create(tmp_path / "own", settings="", classes=["a", "b"])
    with store:
        trial = store.trial("bald", 0)
        trial.begin([Request("x", 0)])
        with trial.phase(0, "label") as phase:
            trial.answer(0, {"x": "a"}, "me")
            phase.labelled()
        with trial.phase(0, "fit") as phase:
            phase.fitted()
        with trial.phase(0, "measure") as phase:
            phase.measured({("accuracy", "validation"): 0.9, ("accuracy", "test"): float("nan")})
        assert len(read_curves(store, "own", "accuracy")[0].labels) == 0
        report.write_curves(store, tmp_path / "c.csv")
    assert (tmp_path / "c.csv").read_text().splitlines()[1:] == ["bald,0,0,1,accuracy,nan"]


def test_between_cuts_on_straight_lines() -> None:
    labels, values = between(curve(0, [10, 20, 30], [0.0, 1.0, 0.0]), 15, 30)
    assert labels.tolist() == [15, 20, 30]
    assert values.tolist() == [0.5, 1.0, 0.0]


def test_mean_curve_is_over_the_seeds_measured_there() -> None:
    points = mean_curve([curve(0, [10, 20], [0.4, 0.6]), curve(1, [10], [0.6])])
    assert [(p.labels, p.value.mean, p.value.n) for p in points] == [(10, 0.5, 2), (20, 0.6, 1)]


def test_difference_is_paired_by_seed_and_labels() -> None:
    mine = [curve(0, [10, 20], [0.5, 0.7]), curve(2, [10], [0.9])]
    random = [curve(0, [10, 20, 30], [0.4, 0.4, 0.4]), curve(1, [10], [0.0])]
    points = difference_curve(mine, random)
    assert [p.labels for p in points] == [10, 20]
    assert [p.value.mean for p in points] == pytest.approx([0.1, 0.3])
