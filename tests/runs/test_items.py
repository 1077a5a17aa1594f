"""The items of a run: validation parts, initial labels, labels that are missing, pictures."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.tiny_runs import QUICK, blob_set, blobs, factory

from baldur.data import from_arrays, in_memory, load, load_for_labelling
from baldur.errors import InvalidData, InvalidSettings
from baldur.protocols import View
from baldur.runs import run
from baldur.runs import settings as settings_
from baldur.runs.items import record_items, reserve_part, validation_part
from baldur.runs.observer import Observer
from baldur.runs.plan import make_plan
from baldur.store import Store

pytestmark = pytest.mark.usefixtures("without_charts")


def test_balanced_initial_labels_are_even_and_paired(tmp_path):
    run.run(blob_set(), tmp_path / "run", initial_balanced=True, **QUICK | {"rounds": 0, "seeds": 2})
    with Store.open(tmp_path / "run") as store:
        labels = store.labels()
    picks = {}
    for row in labels:
        picks.setdefault((row.strategy, row.seed), []).append((row.item, row.value))
    for seed in (0, 1):
        assert picks["random", seed] == picks["bald", seed]
        assert sorted(value for _, value in picks["bald", seed]) == ["0", "0", "1", "1", "2", "2"]
    assert picks["bald", 0] != picks["bald", 1]


def test_every_item_of_arrays_is_recorded_once(tmp_path, monkeypatch):
    x = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    data = (x, np.arange(60) % 3)
    run.run(data, tmp_path / "run", **QUICK | {"rounds": 0, "seeds": 1})
    with Store.open(tmp_path / "run") as store:
        items = store.items()
        assert (len(items), len(store.pool_ids())) == (60, 48)
        assert items["7"].shown == {"row": {"0": pytest.approx(x[7, 0]), "1": pytest.approx(x[7, 1])}}
        dataset = in_memory(from_arrays(x), data[1], test_fraction=0.2)
        monkeypatch.setattr(Store, "record_items", lambda *_: pytest.fail("they are recorded already"))
        record_items(store, dataset)


def test_moved_files_are_recorded_again(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.csv").write_text(
            "u,label\n" + "".join(f"{i % 7},{'pq'[i % 2]}\n" for i in range(40))
        )
    with Store.create(tmp_path / "run", settings="", classes=["p", "q"]) as store:
        for name in ("a", "a", "b"):
            record_items(store, load(str(tmp_path / name / "x.csv")))
            assert {item.path for item in store.items().values() if item.state == "ok"} == {
                str(tmp_path / name / "x.csv")
            }


def test_a_file_with_another_name_is_recorded_again(tmp_path):
    for i in range(4):
        Image.fromarray(np.full((8, 8), 60 * i, np.uint8)).save(tmp_path / f"{i}.png")
    told = {"classes": "a,b", "image_size": 8, "cache": tmp_path / "cache"}
    first = load_for_labelling(tmp_path, **told)
    with Store.create(tmp_path / "run", settings="", classes=["a", "b"]) as store:
        record_items(store, first)
        (tmp_path / "2.png").rename(tmp_path / "z.png")
        again = load_for_labelling(
            tmp_path, **told, known=store.files(), order=store.pool_ids(), kept=first.preprocessing
        )
        record_items(store, again)
        assert store.pool_ids() == ["0.png", "1.png", "2.png", "3.png"]
        assert [item.path for item in store.items().values()] == [str(tmp_path / f"{i}.png") for i in "01z3"]


def test_free_validation_items_leave_the_pool_and_are_declared(tmp_path):
    options = QUICK | {"validation": 12, "validation_free": True, "patience": 1, "epochs": 9}
    outcome = run.run(blob_set(), tmp_path / "run", strategies=["bald"], **options)
    with Store.open(tmp_path / "run") as store:
        assert store.metrics()[0].labels == 6
    assert "12" in str(outcome)


def test_a_reserve_is_a_random_end_of_the_pool_that_only_ids_and_the_seed_decide():
    ids = [f"i{n}" for n in range(1000)]
    pool = from_arrays(np.zeros((1000, 1), np.float32), ids=ids)
    kept, reserve = reserve_part(0.2, pool, 3)
    assert len(reserve) == 200
    assert sorted([*kept, *reserve]) == list(range(1000))
    assert 400 < reserve.mean() < 600
    assert np.abs(np.corrcoef(np.arange(200), reserve)[0, 1]) < 0.25, "its order is random, too"
    back = View(pool, np.arange(1000)[::-1])
    assert [back.ids[i] for i in reserve_part(0.2, back, 3)[1]] == [ids[i] for i in reserve]
    other = reserve_part(0.2, pool, 4)[1]
    assert 20 < len(np.intersect1d(other, reserve)) < 60
    assert len(reserve_part(0.5, from_arrays(np.zeros((20_000, 1), np.float32)), 0)[1]) == 5000


def test_no_group_is_in_the_reserve_and_among_the_candidates():
    class Grouped(View):
        @property
        def groups(self):
            return [f"g{p // 7}" for p in self.positions]

    pool = Grouped(from_arrays(np.zeros((700, 1), np.float32)), np.arange(700))
    kept, reserve = reserve_part(0.2, pool, 0)
    assert 100 < len(reserve) <= 140
    assert not {int(p) // 7 for p in kept} & {int(p) // 7 for p in reserve}


def test_a_target_is_reached_by_test_labels_that_no_strategy_chose(tmp_path):
    said = []
    options = QUICK | {
        "rounds": 8,
        "epochs": 40,
        "draws": 10,
        "strategies": ["random", "entropy"],
        "seeds": 2,
    }
    x, y = blobs(1200)
    easy = in_memory(from_arrays(x + 2 * np.eye(3, 4, dtype=np.float32)[y]), y, test_fraction=0.2)
    run.run(easy, tmp_path / "run", stop=["target(0.8)"], observer=Observer(message=said.append), **options)
    (told,) = [text for text in said if "test labels" in text]
    assert "reserve of 192 items, which no strategy may choose" in told
    assert "holds for the reserve only" in told
    with Store.open(tmp_path / "run") as store:
        for trial in store.trials():
            assert trial.reason.startswith(("accuracy 0.8", "accuracy 0.9", "accuracy 1.")), trial.reason
            assert "test labels, at least 0." in trial.reason
            apart = reserve_part(0.2, easy.train, trial.seed)[1]
            ids = [easy.train.ids[i] for i in apart]
            tested = [row.item for row in trial.labels() if row.item in set(ids)]
            assert sorted(tested) == sorted(ids[: len(tested)])
            last = trial.past()[-1]
            assert last.labels == len(trial.labels())
            assert last.metrics["items", "reserve"] == len(tested) > 0


def test_a_run_of_an_earlier_format_stops_on_its_validation_items(tmp_path):
    run.run(blob_set(), tmp_path / "run", stop=["target(0.99)"], reserve=0, validation=2, **QUICK)
    with Store.open(tmp_path / "run") as store:
        assert store.metrics("validation")
        assert not store.metrics("reserve")
    old = 'format = 2\n[compare]\nstop = ["target(0.9)", "plateau(tolerance=0.1)"]\n'
    settings = settings_.from_toml(old)
    assert settings.compare.reserve == 0
    criterion = make_plan(settings).criterion
    assert criterion is not None
    assert criterion.splits == {"validation"}
    assert make_plan(settings.but(reserve=0.2)).criterion.splits == {"reserve"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stop": ["target(0.9, split='reserve')"], "reserve": 0}, "give a --reserve greater than 0"),
        ({"stop": ["target(0.9)"], "reserve": 0.001}, "no item, so there are no test labels"),
        ({"stop": ["target(0.9)"], "reserve": 0.5, "initial": 50}, "the pool has only 36"),
    ],
)
def test_a_reserve_that_cannot_be_is_refused(options, words, tmp_path):
    with pytest.raises(InvalidSettings, match=words):
        run.run(blob_set(), tmp_path / "run", **QUICK | options)


def test_no_group_is_in_the_pool_and_among_the_free_validation_items():
    dataset = blob_set()
    groups = tuple(f"patient {i % 8}" for i in range(len(dataset.train)))
    pool = from_arrays(np.zeros((len(groups), 2), np.float32), groups=groups)
    labels = np.where(
        np.arange(len(pool)) % 5 == 0, -1, dataset.labels
    )  # who is not labelled belongs to somebody too
    told = settings_.create(data="blobs", validation=10, validation_free=True)
    rest, known, free = validation_part(told.learn, replace(dataset, train=pool, labels=labels))
    assert len(rest) == len(known)
    assert 0 < len(free.pool) <= 10
    assert (free.labels >= 0).all()
    assert not set(rest.groups) & set(free.pool.groups)


def test_counted_validation_items_come_out_of_the_labels(tmp_path):
    options = QUICK | {"validation": 2, "initial": 9}
    assert run.run(blob_set(), tmp_path / "run", strategies=["bald"], **options).state == "done"


def test_test_items_without_a_label(tmp_path):
    whole = blob_set()
    nothing = replace(whole, test_labels=np.full(len(whole.test_labels), -1))
    with pytest.raises(InvalidData, match="no test item has a label"):
        run.run(nothing, tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()


def test_items_without_a_label_cannot_be_simulated(tmp_path):
    x, y = blobs()
    y[:5] = -1
    with pytest.raises(InvalidData, match=r"5 of \d+ items have no label.*--oracle file"):
        run.run((x, y), tmp_path / "run", missing=-1, **QUICK)


def test_pictures_are_kept_of_images_and_of_nothing_else(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (40, 1, 8, 8)).astype(np.float32)
    run.run((images, np.arange(40) % 2), tmp_path / "images", network=factory, strategies=["random"], **QUICK)
    run.run(blob_set(), tmp_path / "blobs", strategies=["random"], **QUICK)
    for name, expected in (("images", 2), ("blobs", 0)):
        with Store.open(tmp_path / name) as store:
            assert len(store.artefacts("picks")) == expected
