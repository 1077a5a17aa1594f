"""Models that a run exported."""

from pathlib import Path

import numpy as np
import pytest
from tests.tiny_runs import QUICK, blob_set, factory
from torch import nn

from baldur import score
from baldur.runs import run
from baldur.runs.exported import load_model
from baldur.store import Store

pytestmark = pytest.mark.usefixtures("without_charts")


def test_an_exported_model_predicts_as_the_last_round_did(tmp_path):
    from baldur import report

    run.run(blob_set(), tmp_path / "run", network=factory, strategies=["bald"], **QUICK)
    with Store.open(tmp_path / "run") as store:
        report.export(store, tmp_path / "export")
        accuracy = [m.value for m in store.metrics("test") if m.metric == "accuracy"][-1]
    (folder,) = [p.parent for p in Path(tmp_path / "export").rglob("posterior.json")]
    model = load_model(folder, network=factory)
    assert model.classes == ("0", "1", "2")
    dataset = blob_set()
    log_probs = score.predict(model.posterior.draw(200), dataset.test)
    predicted = np.exp(log_probs).mean(1).argmax(1)
    assert (predicted == dataset.test_labels).mean() == pytest.approx(accuracy, abs=0.15)


def by_width(shape, classes, width=1.0):
    """A network that an ensemble may ask for a share of."""
    return nn.Sequential(nn.Linear(shape[0], int(8 * width)), nn.ReLU(), nn.Linear(int(8 * width), classes))


def test_an_exported_ensemble_of_small_networks_is_loaded(tmp_path):
    from baldur import report

    options = QUICK | {"posterior": "ensemble(members=2, capacity=0.5)", "rounds": 0}
    run.run(blob_set(), tmp_path / "run", network=by_width, strategies=["random"], **options)
    with Store.open(tmp_path / "run") as store:
        (folder,) = [p for p in report.export(store, tmp_path / "export") if p.is_dir()]
    model = load_model(folder, network=by_width)
    assert [member.network[0].out_features for member in model.posterior.members] == [4, 4]
