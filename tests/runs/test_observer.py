"""What a run says to whoever listens."""

import pytest
from tests.tiny_runs import QUICK, blob_set, blobs

from baldur.data import Dataset, Record, from_arrays
from baldur.runs import run
from baldur.runs.observer import Observer
from baldur.store import Store

pytestmark = pytest.mark.usefixtures("without_charts")


def test_the_observer_hears_of_everything(tmp_path):
    events, details = [], []
    observer = Observer(event=events.append, detail=lambda *d: details.append(d[0]))
    run.run(blob_set(), tmp_path / "run", strategies=["bald"], observer=observer, **QUICK)
    assert {e.phase for e in events} == {"label", "fit", "measure", "choose"}
    assert {"training", "testing", "scoring"} <= set(details)


def test_files_are_recorded_and_what_is_left_out_is_said(tmp_path):
    x, y = blobs()
    whole = blob_set()
    records = tuple(Record(i, f"/tmp/{i}.npy", "train", None, None, 16, 1) for i in whole.train.ids)
    quarantined = tuple((f"bad-{i}", "not an image") for i in range(7))
    dataset = Dataset(
        *("files", from_arrays(x), y, whole.test, whole.test_labels, ("a", "b", "c"), {}),
        records=records,
        quarantined=quarantined,
    )
    said = []
    options = QUICK | {"rounds": 0}
    run.run(
        dataset, tmp_path / "run", strategies=["random"], observer=Observer(message=said.append), **options
    )
    assert said[3:] == [f"left out: bad-{i}: not an image" for i in range(5)] + [
        "... and 2 more items, named in the report"
    ]
    with Store.open(tmp_path / "run") as store:
        items = store.items()
    assert items["bad-6"].state == "quarantined"
    assert items[whole.train.ids[0]].path == f"/tmp/{whole.train.ids[0]}.npy"
