"""Beginning a run in which people label, and going on with it."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.runs.people import NAMES, QUICKLY, answered, begun, elsewhere, truth
from tests.tiny_runs import QUICK, blobs, by_entropy, factory

import baldur
from baldur.errors import (
    AnswersRefused,
    InvalidArgument,
    InvalidSettings,
    ItemChanged,
    RunNotFound,
    SettingsChanged,
)
from baldur.runs import registering
from baldur.store import Store


def test_a_new_folder_needs_data(tmp_path):
    with pytest.raises(RunNotFound, match=r"data=\.\.\."):
        baldur.open(tmp_path / "run")
    with pytest.raises(RunNotFound, match=r"data=\.\.\."):
        baldur.open(tmp_path / "run", classes=NAMES)
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_where_it_was(tmp_path):
    run = begun(tmp_path)
    answered(run, 8)
    again = begun(tmp_path)
    assert again.status()["labels"] == 8
    answered(again, 8)
    assert again.status()["round"] == 1


def test_the_data_of_python_are_only_needed_for_training(tmp_path):
    run = begun(tmp_path)
    answered(run, 8)
    again = baldur.open(tmp_path)
    assert len(again.ask(4, train=False)) == 4
    with pytest.raises(InvalidSettings, match="pass them again"):
        again.ask(4)


def test_data_at_a_path_are_found_again(tmp_path):
    np.save(tmp_path / "x.npy", blobs()[0])
    baldur.open(tmp_path / "run", tmp_path / "x.npy", classes=NAMES, **QUICKLY)
    run = baldur.open(tmp_path / "run")
    answered(run, 8)
    answered(run, 8)
    assert run.status()["round"] == 1
    (tmp_path / "x.npy").rename(tmp_path / "moved.npy")
    run = baldur.open(tmp_path / "run", tmp_path / "moved.npy")
    answered(run, 8)
    assert run.status()["round"] == 2
    run = baldur.open(tmp_path / "run")  # and it knows the new place
    answered(run, 8)
    assert run.status()["round"] == 3


def test_other_settings_or_classes_are_refused(tmp_path):
    begun(tmp_path)
    with pytest.raises(SettingsChanged, match="epochs was 2 and is now 3"):
        begun(tmp_path, epochs=3)
    with pytest.raises(SettingsChanged, match="add_class"):
        begun(tmp_path, classes=["red", "green"])
    with pytest.raises(InvalidSettings, match="did you mean 'epochs'"):
        begun(tmp_path, epoch=3)


@pytest.mark.parametrize("classes", [[1.0, 2.0], ["a ", " b"], "a,b", np.array([True, False])])
def test_the_same_classes_are_the_same_in_any_form(tmp_path, classes):
    for _ in range(2):
        begun(tmp_path, classes=classes)
    for wrong in ([], ["a", None]):
        with pytest.raises(InvalidArgument, match="class"):
            begun(tmp_path, classes=wrong)


def test_a_reservation_has_an_end(tmp_path):
    for minutes in (0, float("inf"), float("nan"), 1e12):
        with pytest.raises(InvalidSettings, match="lease_minutes must be"):
            begun(tmp_path, lease_minutes=minutes)


def test_other_data_are_refused(tmp_path):
    begun(tmp_path)
    with pytest.raises(ItemChanged):
        baldur.open(tmp_path, blobs()[0][:50])
    with pytest.raises(ItemChanged):
        baldur.open(tmp_path, blobs()[0] + 1)


def test_a_comparison_is_not_labelled(tmp_path):
    baldur.run(blobs(), tmp_path, strategies=["random"], **QUICK)
    with pytest.raises(InvalidArgument, match="compares strategies"):
        begun(tmp_path)


def test_one_strategy_and_one_seed(tmp_path):
    with pytest.raises(InvalidArgument, match="one strategy"):
        begun(tmp_path, strategies=["bald", "random"])
    with pytest.raises(InvalidArgument, match="seeds must be 1"):
        begun(tmp_path, seeds=3)


def test_objects_may_stand_for_names(tmp_path):
    parts = {"strategy": by_entropy, "network": factory}
    run = begun(tmp_path, **parts)
    answered(run, 8)
    answered(run, 4)
    assert begun(tmp_path, **parts).status()["round"] == 1


def test_labels_that_one_has_are_taken(tmp_path):
    x, y = blobs()
    known = np.where(np.arange(len(y)) < 30, y, -1)
    run = baldur.open(tmp_path, (x, known), classes=NAMES, **QUICKLY)
    assert len(run.labels()) == 30
    assert set(run.labels().annotator) == {registering.BROUGHT}
    item, *_ = run.ask(1)
    assert item.guess is not None
    with Store.open(tmp_path) as store:
        (trial,) = store.trials()
        trained = {row.item for row in trial.labels(trial.cut_of(0))}
        tests = {place.id for place in store.places() if place.split == "reserve"}
        purposes = {row.item: row.purpose for row in store.ledger()}
    assert trained & tests
    assert all((purposes[i] == "test") == (i in tests) for i in trained)


def test_new_items_are_added(tmp_path):
    x, _ = blobs()
    run = baldur.open(tmp_path, x[:60], classes=NAMES, **QUICKLY)
    answered(run, 8)
    answered(run, 8)
    new = run.add(x[60:])
    assert new == [f"added-1/{i}" for i in range(30)]
    run = baldur.open(tmp_path, x[:60], added=[x[60:]])
    right = truth() | {name: truth()[str(i + 60)] for i, name in enumerate(new)}
    for _ in range(12):
        run.tell({item.id: right[item.id] for item in run.ask(8)})
    assert set(new) & set(run.labels().item)
    with Store.open(tmp_path) as store:
        splits = {place.split for place in store.places() if place.id in new}
    assert splits <= {"train", "reserve"}
    with pytest.raises(InvalidSettings, match=r"added=\[\.\.\.\]"):
        baldur.open(tmp_path, x[:60])


def test_a_file_may_grow_and_others_may_be_added(tmp_path):
    x, _ = blobs()
    np.save(tmp_path / "x.npy", x[:40])
    run = baldur.open(tmp_path / "run", tmp_path / "x.npy", classes=NAMES, **QUICKLY)
    np.save(tmp_path / "x.npy", x[:50])
    assert run.add() == [str(i) for i in range(40, 50)]
    assert run.add() == []
    np.savez(tmp_path / "more.npz", x=x[50:], y=np.array([NAMES[c] for c in blobs()[1][50:]]))
    new = run.add(tmp_path / "more.npz")
    assert new == [f"added-1/{i}" for i in range(40)]
    assert set(run.labels().item) == set(new)
    assert baldur.open(tmp_path / "run").train()
    assert run.add(tmp_path / "x.npy") == []  # equal to items that are there


def test_labels_of_added_items_are_not_lost_by_an_interruption(tmp_path, monkeypatch):
    x, y = blobs()
    run = baldur.open(tmp_path, x[:60], classes=NAMES, **QUICKLY)
    more = (x[60:], [NAMES[c] for c in y[60:]])

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registering, "bring", killed)
        with pytest.raises(KeyboardInterrupt):
            run.add(more)
    assert run.labels().empty
    run = baldur.open(tmp_path, x[:60], added=[more])
    assert len(run.labels()) == 30


def test_the_same_answers_make_the_same_run(tmp_path):
    def labelled(folder, restart):
        run = begun(folder)
        for _ in range(4):
            answered(run, 6)
            if restart:
                run = begun(folder)
        run.ask(1)
        return run.metrics(), run.picks()[["round", "item", "score"]]

    plain, restarted = labelled(tmp_path / "a", False), labelled(tmp_path / "b", True)
    for one, other in zip(plain, restarted, strict=True):
        assert one.equals(other)


KILLED = """
import os, sys
import numpy as np
from tests.runs.people import begun
from baldur.runs import trainer, registering
at = sys.argv[2]
if at == "register":
    trainer.register = lambda *_: os._exit(0)
elif at == "first":
    trainer.first_requests = lambda *_: os._exit(0)
begun(sys.argv[1])
"""


@pytest.mark.parametrize("at", ["register", "first"])
def test_a_beginning_that_was_killed_is_finished(tmp_path, at, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ":".join(__import__("sys").path))
    elsewhere(KILLED, tmp_path / "run", at)
    run, whole = begun(tmp_path / "run"), begun(tmp_path / "whole")
    assert [item.id for item in run.ask(9)] == [item.id for item in whole.ask(9)]


def files_of(folder, first="red green blue", later=None):
    """Two files: one without labels, and one with labels under other names of the classes."""
    x, y = blobs()
    names = np.array((later or first).split())
    np.savez(folder / "x.npz", x=x[:60])
    np.savez(folder / "more.npz", x=x[60:], y=names[y[60:]])
    return baldur.open(folder / "run", folder / "x.npz", classes=first.split(), **QUICKLY)


def test_items_that_another_process_added_are_trained_on(tmp_path):
    run = files_of(tmp_path)
    answered(run, 8)
    assert run.train()
    baldur.open(tmp_path / "run").add(tmp_path / "more.npz")
    assert run.train()
    assert run.status()["labels"] == 38
    assert all(item.x is not None for item in run.ask(3))


def test_two_processes_add_items_at_once(tmp_path):
    files_of(tmp_path)
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", blobs()[0][60:] + ord(name))
    first, second = baldur.open(tmp_path / "run"), baldur.open(tmp_path / "run")
    with Store.open(tmp_path / "run") as before:  # opened before the other adds
        a = first.add(tmp_path / "a.npy")
        b = second._needed().add(before, [tmp_path / "b.npy"], "bob")
    assert (a[0], b[0]) == ("added-1/0", "added-2/0")
    first.tell({item.id: "red" if n % 2 else "blue" for n, item in enumerate(first.ask(8))})
    assert baldur.open(tmp_path / "run").train()


def test_an_addition_that_was_interrupted_is_finished(tmp_path, monkeypatch):
    run = files_of(tmp_path)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(registering, "bring", killed)
        with pytest.raises(KeyboardInterrupt):
            run.add(tmp_path / "more.npz")
    assert run.labels().empty
    assert baldur.open(tmp_path / "run").add() == []
    assert len(run.labels()) == 30
    item = run.labels().item[0]
    run.untell(item)
    run.add()
    assert item not in set(run.labels().item)


def test_labels_of_added_data_have_the_present_names(tmp_path):
    run = files_of(tmp_path)
    run.rename_class("red", "scarlet")
    run.merge_classes(["green", "blue"], "cold")
    run.add(tmp_path / "more.npz")
    assert run.labels().label.value_counts().to_dict() == {"scarlet": 10, "cold": 20}


def test_added_data_may_have_new_classes(tmp_path):
    run = files_of(tmp_path, later="red green pink")
    run.add_class("pink")
    run.add(tmp_path / "more.npz")
    assert run.labels().label.value_counts().to_dict() == {"red": 10, "green": 10, "pink": 10}
    assert baldur.open(tmp_path / "run").train()


def test_new_classes_change_no_numbers_of_old_data(tmp_path):
    x, y = blobs()
    known = np.where(np.arange(len(y)) < 30, y + 3, -1)
    run = baldur.open(tmp_path, (x, known), classes=[3, 4, 5], **QUICKLY)
    run.add_class("none")
    assert baldur.open(tmp_path, (x, known)).train()


def test_the_test_items_of_the_data_follow_changes_of_classes(tmp_path):
    x, y = blobs()
    table = pd.DataFrame(x, columns=list("abcd"))
    table["label"] = np.where(np.arange(90) < 60, "", np.array(NAMES)[y])
    table["split"] = np.where(np.arange(90) < 60, "train", "test")
    table.to_csv(tmp_path / "t.csv", index=False)
    longer = QUICKLY | {"epochs": 60, "test_labels": 0}
    run = baldur.open(tmp_path / "run", tmp_path / "t.csv", classes=NAMES, **longer)
    with pytest.warns(AnswersRefused, match="'75' is a test item"):
        run.tell({"75": "red"})
    answered(run, 30)
    run.merge_classes(["red", "green"], "warm")
    run.add_class("pink")
    assert run.train()
    (measured,) = run.metrics().query("metric == 'accuracy' and split == 'test'").value
    right = np.array(["warm", "warm", "blue"])[y[60:]]
    assert measured == pytest.approx((run.model().predict(table.iloc[60:, :4]) == right).mean(), abs=0.1)
    assert measured > 0.8


@pytest.mark.parametrize("after", ["withdraw", "unlabelable"])
def test_a_round_keeps_the_items_of_its_cut(tmp_path, after):
    """Items that are taken out after the cut of a round are trained on once more, also after a restart."""
    runs = begun(tmp_path / "plain"), begun(tmp_path / "other")
    for run in runs:
        items = answered(run, 8)
        with Store.open(run.folder) as store, store.lock("trainer"):
            (trial,) = store.trials()
            with trial.phase(0, "label") as phase:
                phase.labelled()
        if run is runs[1]:
            getattr(run, after)([items[0], items[4]])  # the latter is a test item
        assert run.train()
    of_first = [run.metrics().query("round == 0") for run in runs]
    assert of_first[0].equals(of_first[1])
    answered(runs[1], 8)
    assert runs[1].train()
    with Store.open(runs[1].folder) as store:
        (trial,) = store.trials()
        assert items[4] not in {row.item for row in trial.labels(trial.cut_of(1))} or after == "withdraw"
        assert trial.metric(1, "items", "reserve") == trial.metric(0, "items", "reserve")


def test_test_items_are_the_end_of_the_random_order(tmp_path):
    begun(tmp_path)
    with Store.open(tmp_path) as store:
        places = sorted(store.places(), key=lambda place: place.key)
        assert [place.split for place in places] == ["train"] * 72 + ["reserve"] * 18
        assert places[72].key == store.frontier
        assert all(place.key == registering.key_of(0, place.id) for place in places)
        first = [row.item for row in store.requests()]
    assert first == [*(place.id for place in places[:4]), places[-1].id]


def test_without_test_labels_every_item_may_be_chosen(tmp_path):
    run = begun(tmp_path, test_labels=0)
    with Store.open(tmp_path) as store:
        assert {place.split for place in store.places()} == {"train"}
    answered(run, 8)
    answered(run, 8)
    assert run.quality().accuracy is None


def test_runs_in_which_people_label_are_not_compared(tmp_path):
    begun(tmp_path)
    with pytest.raises(InvalidSettings, match=r"baldur\.open"):
        baldur.run(blobs(), tmp_path)


def photographs(folder, n=24):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(n):
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(folder / f"{i:02}.png")


def test_a_photograph_that_was_taken_out_may_be_deleted(tmp_path):
    photographs(tmp_path / "photos")
    options = QUICKLY | {"classes": NAMES, "network": "auto", "image_size": 8}
    run = baldur.open(tmp_path / "run", tmp_path / "photos", **options)
    out, *items = run.ask(9)
    run.tell({item.id: NAMES[n % 3] for n, item in enumerate(items)})
    (tmp_path / "photos" / out.id).unlink()
    with pytest.raises(ItemChanged, match=r"withdraw\(ID\)"):
        run.train()
    run.withdraw(out.id)
    assert run.train()
    again = baldur.open(tmp_path / "run", tmp_path / "photos")
    assert out.id not in [item.id for item in again.ask(30)]
    Image.new("RGB", (9, 9)).save(tmp_path / "photos" / items[0].id)
    with pytest.raises(ItemChanged):
        baldur.open(tmp_path / "run", tmp_path / "photos")
