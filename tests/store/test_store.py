import math
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from tests.store.one_round import CLASSES, go_through

from baldur.errors import InvalidArgument, RunNotFound, StoreError
from baldur.store import ItemRecord, Request, Store


def test_a_run_is_what_it_was_created_with(tmp_path):
    folder = tmp_path / "a run?#%41" / "näme"
    with Store.create(folder, settings="seeds = 5\n", classes=CLASSES, preprocessing={"mean": [0.5]}) as made:
        assert tomllib.loads((folder / "settings.toml").read_text()) == {"seeds": 5}
    with Store.open(folder) as store:
        assert (store.folder, store.settings, store.classes) == (folder, "seeds = 5\n", CLASSES)
        assert (store.preprocessing, store.created) == ({"mean": [0.5]}, made.created)
    assert sorted(path.name for path in folder.iterdir()) == [
        "artefacts",
        "baldur.db",
        "baldur.db-journal",
        "settings.toml",
    ]


def test_a_second_run_in_one_folder_is_refused_and_changes_nothing(run):
    with pytest.raises(StoreError, match="already; open it"):
        Store.create(run.folder, settings="rounds = 9\n", classes=["x"])
    assert (run.folder / "settings.toml").read_text() == "rounds = 3\n"
    with Store.open(run.folder) as again:
        assert again.classes == CLASSES


def test_of_several_that_begin_a_run_at_once_one_does(tmp_path, url):
    def begin(number):
        try:
            Store.create(tmp_path / "run", settings=f"seed = {number}\n", classes=["x"], url=url).close()
        except StoreError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(begin, range(4)))
    assert said.count("") == 1, said
    assert sum("already" in words for words in said) == 3, said
    with Store.open(tmp_path / "run") as run:
        assert run.settings == f"seed = {said.index('')}\n" == (run.folder / "settings.toml").read_text()


def test_threads_may_begin_runs_in_different_folders_at_once(tmp_path, url):
    def begin(number):
        Store.create(tmp_path / str(number), settings="", classes=["x"], url=url).close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(begin, range(4)))
    for number in range(4):
        Store.open(tmp_path / str(number)).close()


def test_where_there_is_no_run(tmp_path):
    with pytest.raises(RunNotFound, match="no run"):
        Store.open(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "baldur.db").touch()  # killed while it was created
    with pytest.raises(RunNotFound, match="empty"):
        Store.open(tmp_path)
    Store.create(tmp_path, settings="", classes=["x"]).close()


def test_a_class_twice(tmp_path):
    with pytest.raises(InvalidArgument, match="name of its own"):
        Store.create(tmp_path, settings="", classes=["x", "x"])


def test_where_no_folder_can_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is a file"):
        Store.create(tmp_path / "file", settings="", classes=["x"])
    with pytest.raises(StoreError, match="may write to"):
        Store.create(tmp_path / "file" / "run", settings="", classes=["x"])


def test_relative_folders_outlive_a_change_of_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Store.create(tmp_path.relative_to(tmp_path) / "run", settings="", classes=["x"]) as store:
        monkeypatch.chdir("/")
        assert (
            store.trial("bald", 0)
            .artefact(None, "note", ".txt", lambda p: p.write_text("x") and None)
            .exists()
        )


def test_items_are_recorded_and_overwritten(run):
    first = ItemRecord(
        "a/ü.png", position=1, path="a/ü.png", group="patient 3", split="train", size=2**40, mtime_ns=2**62
    )
    run.record_items(iter([first, ItemRecord("b", position=0)]))
    quarantined = ItemRecord("b", position=0, state="quarantined", reason="not an image")
    run.record_items([quarantined])
    run.record_items([])
    assert run.items() == {"b": quarantined, "a/ü.png": first}
    assert list(run.items()) == ["b", "a/ü.png"]
    run.mark_items(
        [ItemRecord("a/ü.png", state="quarantined", reason="gone"), ItemRecord("b"), ItemRecord("c")]
    )
    left_out = replace(first, state="quarantined", reason="gone")
    assert run.items("quarantined") == {"a/ü.png": left_out}
    assert run.items("ok") == {"b": ItemRecord("b", position=0), "c": ItemRecord("c")}


def test_many_items_are_recorded_in_several_transactions(run, monkeypatch):
    monkeypatch.setattr("baldur.store.pool.CHUNK", 10)
    drawn = []

    def records(n):
        for i in range(n):
            drawn.append(i)
            yield ItemRecord(str(i), n - i, f"/{i}", sha256="ab", size=i, mtime_ns=2**60, shown={"text": "é"})

    with pytest.raises(ZeroDivisionError):  # what was committed before a failure stays
        run.record_items(ItemRecord(str(i), size=1 // (25 - i)) for i in range(26))
    assert run.count_items() == 20
    run.record_items(records(35))
    assert (run.count_items(), run.count_items("quarantined")) == (35, 0)
    assert run.item("7") == ItemRecord(
        "7", 28, "/7", sha256="ab", size=7, mtime_ns=2**60, shown={"text": "é"}
    )
    assert run.item("99") is None


def test_what_a_reopened_run_reads(run):
    run.record_items(
        [
            ItemRecord("b", 1, "/b", split="train", sha256="ab", size=3, mtime_ns=2**60),
            ItemRecord("a", 0, "/a", split="train", size=4, mtime_ns=5),
            ItemRecord("t", None, "/t", split="test", sha256="cd", size=5, mtime_ns=6),
            ItemRecord("c", 2),
            ItemRecord("bad", state="quarantined", reason="no image"),
        ]
    )
    assert run.pool_ids() == ["a", "b", "c"]
    assert run.files() == {"b": ("ab", 3, 2**60), "a": (None, 4, 5), "t": ("cd", 5, 6)}
    assert list(run.items("quarantined")) == ["bad"]


def test_starts(run):
    run.record_start({"versions": {"torch": "2.13.0"}, "threads": 2, "device": "cpu"})
    run.record_start({"threads": 4})
    first, second = run.starts()
    assert first["versions"] == {"torch": "2.13.0"}
    assert (second["threads"], first["time"] < second["time"]) == (4, True)


def test_trials_are_made_once(run):
    assert run.trial("bald", 1).id == run.trial("bald", 1).id != run.trial("bald", 2).id
    assert [(t.strategy, t.seed, t.state) for t in run.trials()] == [
        ("bald", 1, "running"),
        ("bald", 2, "running"),
    ]


def test_the_curve_is_ordered_and_counts_labels(run):
    for strategy, seed in (("random", 0), ("bald", 1), ("bald", 0)):
        trial = run.trial(strategy, seed)
        trial.begin([Request("a", 0), Request("b", 1)])
        go_through(trial, 0, following="c")
        go_through(trial, 1)
    rows = run.metrics("test")
    accuracy = [row[:4] for row in rows if row.metric == "accuracy"]
    assert accuracy == [
        *(("bald", 0, 0, 2), ("bald", 0, 1, 3), ("bald", 1, 0, 2)),
        *(("bald", 1, 1, 3), ("random", 0, 0, 2), ("random", 0, 1, 3)),
    ]
    assert [row.value for row in rows[:2]] == [0.5, pytest.approx(math.nan, nan_ok=True)]
    assert run.metrics("validation") == []


def test_requests_carry_the_current_label(run, trial):
    trial.answer(0, {"b": "dog"}, "ann")
    rows = [(row.rank, row.item, row.state, row.label) for row in run.requests()]
    assert rows == [(0, "a", "open", None), (1, "b", "answered", "dog"), (2, "c", "open", None)]
    other = run.trial("random", 0)
    other.begin([Request("b", 0)])
    assert run.requests()[-1].label is None, "labels of one trial are not those of another"


def test_settings_that_cannot_be_written_leave_no_run(tmp_path, monkeypatch):
    def refuse(path, text):
        raise OSError("no")

    monkeypatch.setattr("baldur.store.artefacts.write_text", refuse)
    with pytest.raises(OSError, match="no"):
        Store.create(tmp_path, settings="", classes=["x"])
    with pytest.raises(RunNotFound):
        Store.open(tmp_path)


def test_the_store_does_without_torch():
    code = "import sys; sys.modules['torch'] = None; import baldur.store"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_settings_that_somebody_edited_are_kept_under_another_name(run):
    path = run.folder / "settings.toml"
    run.change_settings("rounds = 2\n")
    assert [p.name for p in run.folder.glob("settings*")] == ["settings.toml"]
    path.write_text("rounds = 9  # mine\n")
    run.change_settings("rounds = 3\n")
    assert path.read_text() == "rounds = 3\n"
    assert (run.folder / "settings-edited-1.toml").read_text() == "rounds = 9  # mine\n"


def test_a_discarded_run_leaves_its_files_and_room_for_another(run, trial, url):
    path = trial.artefact(0, "scores", ".npy", lambda p: p.write_bytes(b"x") and None)
    run.discard()
    with pytest.raises(RunNotFound):
        Store.open(run.folder)
    assert sorted(p.name for p in run.folder.iterdir()) == ["artefacts", "settings.toml"]
    assert path.exists()
    with Store.create(run.folder, settings="", classes=["x"], url=url) as again:
        assert again.trials() == []
