import csv
import functools
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.tiny_runs import QUICK, blob_set, blobs, by_entropy, factory
from torch import nn

from baldur import score, stopping, strategies
from baldur.data import Dataset, Record, from_arrays
from baldur.data.people import People
from baldur.errors import (
    BaldurError,
    DataNotFound,
    InvalidData,
    InvalidLabel,
    InvalidSettings,
    ItemChanged,
    RunBusy,
    SettingsChanged,
    UnsupportedNetwork,
)
from baldur.runs import run
from baldur.runs import settings as settings_
from baldur.runs.exported import load_model
from baldur.runs.folder import settle
from baldur.runs.items import validation_part
from baldur.runs.observer import Observer
from baldur.runs.plan import Given
from baldur.store import Store
from baldur.testing.resume import history, verify_resume


def network():
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))


def test_own_arrays_and_own_network(tmp_path):
    outcome = run.run(blobs(), tmp_path / "run", network=lambda shape, classes: network(), **QUICK)
    assert (outcome.state, outcome.waiting) == ("done", "")
    assert (tmp_path / "run" / "report.html").exists()
    assert "bald" in str(outcome)
    with Store.open(tmp_path / "run") as store:
        curve = [(m.strategy, m.labels) for m in store.metrics("test") if m.metric == "accuracy"]
    assert curve == [(s, n) for s in ("bald", "random") for n in (6, 10, 14)]


def test_a_torch_data_set_and_a_module_whose_weights_every_fit_starts_from(tmp_path):
    x, y = blobs()
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    mine = network()
    before = [p.clone() for p in mine.parameters()]
    assert run.run(dataset, tmp_path / "run", network=mine, strategies=["bald"], **QUICK).state == "done"
    assert all(torch.equal(a, b) for a, b in zip(before, mine.parameters(), strict=True))


def test_ones_own_by_name_and_by_object_are_the_same(tmp_path):
    named = run.run(
        blob_set(),
        tmp_path / "a",
        network="tests.tiny_runs:factory",
        strategies=["tests.tiny_runs:by_entropy"],
        **QUICK,
    )
    given = run.run(blob_set(), tmp_path / "b", network=factory, strategies=[by_entropy], **QUICK)
    assert named.state == given.state == "done"
    assert history(tmp_path / "a") == history(tmp_path / "b")
    own = run.run(
        blob_set(), tmp_path / "c", learner="tests.tiny_runs:learner_factory", strategies=["margin"], **QUICK
    )
    assert own.state == "done"


def test_options_of_a_strategy_are_part_of_its_name(tmp_path):
    mine = [functools.partial(strategies.power_bald, beta=8), "power_bald(beta=8)", strategies.power_bald]
    run.run(blob_set(), tmp_path / "run", strategies=mine, **QUICK)
    with Store.open(tmp_path / "run") as store:
        assert {t.strategy for t in store.trials()} == {
            "baldur.strategies:power_bald(beta=8)",
            "power_bald(beta=8)",
            "baldur.strategies:power_bald",
        }
    assert "power_bald(beta=8)" in (tmp_path / "run" / "report.html").read_text()


def test_the_deterministic_posterior(tmp_path):
    outcome = run.run(
        blob_set(), tmp_path / "run", strategies=["entropy"], posterior="deterministic", **QUICK
    )
    assert outcome.state == "done"


@pytest.mark.parametrize("posterior", ["ensemble", "dropout-ensemble"])
def test_ensembles(tmp_path, posterior):
    words = QUICK | {"posterior": posterior, "members": 2, "draws": 4, "rounds": 1}
    verify_resume(lambda folder, observer: run.run(blob_set(), folder, observer=observer, **words), tmp_path)


def test_interrupted_anywhere_it_comes_to_the_same(tmp_path):
    quick = QUICK | {"rounds": 1}
    verify_resume(lambda folder, observer: run.run(blob_set(), folder, observer=observer, **quick), tmp_path)


def test_the_curve_is_the_same_bit_for_bit(tmp_path):
    for folder in ("a", "b"):
        run.run(blob_set(), tmp_path / folder, **QUICK)
    assert history(tmp_path / "a") == history(tmp_path / "b")
    assert (tmp_path / "a" / "curves.csv").read_bytes() == (tmp_path / "b" / "curves.csv").read_bytes()


def test_nothing_global_is_touched(tmp_path):
    torch.manual_seed(5)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    run.run(blob_set(), tmp_path / "run", **QUICK)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_other_settings_are_refused_and_named(tmp_path):
    run.run(blob_set(), tmp_path / "run", **QUICK)
    with pytest.raises(SettingsChanged, match=r"draws was 3 and is 4.*another folder"):
        run.run(blob_set(), tmp_path / "run", **QUICK | {"draws": 4})


def test_a_run_can_be_made_longer_and_is_then_the_run_that_was_long_from_the_beginning(tmp_path):
    short = QUICK | {"strategies": ["random"], "seeds": 1, "rounds": 1}
    long = QUICK | {"strategies": ["bald", "random"], "seeds": 2, "rounds": 3}
    run.run(blob_set(), tmp_path / "run", **short)
    for _ in range(2):  # the second time there is nothing to do
        assert run.run(blob_set(), tmp_path / "run", **long).state == "done"
    run.run(blob_set(), tmp_path / "whole", **long)
    histories = [history(tmp_path / folder) for folder in ("run", "whole")]
    for told in histories[0]:
        assert sorted(histories[0][told]) == sorted(histories[1][told])
    assert sorted((tmp_path / "run" / "curves.csv").read_text().splitlines()) == sorted(
        (tmp_path / "whole" / "curves.csv").read_text().splitlines()
    )
    settings = [(tmp_path / folder / "settings.toml").read_text() for folder in ("run", "whole")]
    assert settings[0] == settings[1]
    with pytest.raises(SettingsChanged, match=r"strategies was .* and is .*; rounds was 3 and is 1"):
        run.run(blob_set(), tmp_path / "run", **short | {"seeds": 2})


def test_a_trial_that_ended_for_another_reason_stays_ended_in_a_longer_run(tmp_path):
    options = QUICK | {"strategies": ["random"], "seeds": 1, "until": 0.01}
    run.run(blob_set(), tmp_path / "run", **options)
    run.run(blob_set(), tmp_path / "run", **options | {"rounds": QUICK["rounds"] + 2})
    with Store.open(tmp_path / "run") as store:
        (trial,) = store.trials()
        assert (trial.latest().round, trial.reason) == (0, "accuracy 0.01 reached")


def test_a_second_trainer_is_refused(tmp_path):
    run.run(blob_set(), tmp_path / "run", **QUICK)
    with (
        Store.open(tmp_path / "run") as store,
        store.lock("trainer"),
        pytest.raises(RunBusy, match="trainer"),
    ):
        run.run(blob_set(), tmp_path / "run", **QUICK)


def test_labels_from_a_file(tmp_path):
    """Not yet, not all, wrong, and at last."""
    folder, options = tmp_path / "run", QUICK | {"oracle": "file", "rounds": 1}
    dataset = blob_set()
    truth = dict(zip(dataset.train.ids, dataset.labels.tolist(), strict=True))

    def go():
        return run.run(dataset, folder, strategies=["bald"], **options)

    def asked():
        return [line.split(",")[0] for line in (folder / "requests.csv").read_text().splitlines()[1:]]

    def answer(ids, label=lambda i: truth[i]):
        path = folder / "answers.csv"
        text = path.read_text() if path.exists() else "id,label\n"
        path.write_text(text + "".join(f"{i},{label(i)}\n" for i in ids))

    outcome = go()
    assert outcome.state == "waiting"
    assert "6 of the labels asked for in round 0 of bald, seed 0" in outcome.waiting
    answer(asked()[:4])
    assert "2 of the labels" in go().waiting
    good = (folder / "answers.csv").read_text()
    answer(asked()[:1], lambda i: "banana")
    with pytest.raises(InvalidLabel, match=r"answers\.csv, line 6: 'banana' is not a class"):
        go()
    (folder / "answers.csv").write_text(good)
    answer(asked())
    assert "4 of the labels asked for in round 1" in go().waiting
    answer(asked())
    assert go().state == "done"
    simulated = run.run(dataset, tmp_path / "simulated", strategies=["bald"], **QUICK | {"rounds": 1})
    assert simulated.state == "done"
    assert history(folder)["curve"] == history(tmp_path / "simulated")["curve"]


def test_an_exhausted_pool(tmp_path):
    run.run(blob_set(), tmp_path / "run", strategies=["bald"], **QUICK | {"rounds": 30, "query_size": 30})
    with Store.open(tmp_path / "run") as store:
        assert [t.reason for t in store.trials()] == ["pool exhausted"]
        assert store.metrics()[-1].labels == 72


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


def test_free_validation_items_leave_the_pool_and_are_declared(tmp_path):
    options = QUICK | {"validation": 12, "validation_free": True, "patience": 1, "epochs": 9}
    outcome = run.run(blob_set(), tmp_path / "run", strategies=["bald"], **options)
    with Store.open(tmp_path / "run") as store:
        assert store.metrics()[0].labels == 6
    assert "12" in str(outcome)


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


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"strategies": ["bold"]}, InvalidSettings, r"no strategy 'bold'.*there are random.*bald"),
        ({"strategies": ["nowhere:bald"]}, InvalidSettings, "nowhere"),
        ({"strategies": ["tests.tiny_runs:missing"]}, InvalidSettings, "no 'missing'"),
        ({"strategies": ["tests.tiny_runs:QUICK"]}, InvalidSettings, "not something that can be called"),
        ({"network": "alexnet"}, InvalidSettings, r"no network 'alexnet'; there are"),
        ({"initial": 900}, InvalidSettings, "900 initial labels were asked for, but the pool holds 72"),
        ({"rounds": -1}, InvalidSettings, "rounds"),
        ({"validation": 72, "validation_free": True}, InvalidSettings, "72 free validation items"),
    ],
)
def test_mistakes_are_named(tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        run.run(blob_set(), tmp_path / "run", **QUICK | options)


def test_a_typo_does_not_cost_the_folder(tmp_path):
    for options in (
        {"network": "resnet19"},
        {"initial": 900},
        {"learner": "nowhere:learner"},
        {"augment": "a:b"},
    ):
        with pytest.raises(InvalidSettings):
            run.run(blob_set(), tmp_path / "run", **QUICK | options)
    assert run.run(blob_set(), tmp_path / "run", strategies=["random"], **QUICK).state == "done"


def test_other_data_are_noticed(tmp_path):
    x, y = blobs()
    run.run((x, y), tmp_path / "run", strategies=["random"], **QUICK)
    run.run((x, y), tmp_path / "run", strategies=["random"], **QUICK)
    for other in ((x[::-1].copy(), y), (x[:-3], y[:-3]), (x, (y + 1) % 3)):
        with pytest.raises(ItemChanged, match="not those that the run"):
            run.run(other, tmp_path / "run", strategies=["random"], **QUICK)


def test_a_run_from_python_goes_on_from_python_only(tmp_path):
    run.run(blob_set(), tmp_path / "run", strategies=["random"], **QUICK)
    with pytest.raises(InvalidSettings, match=r"given in Python.*baldur\.run"):
        run.start(settle({}, tmp_path / "run"), tmp_path / "run", Observer())


def test_a_path_object_is_a_path(tmp_path):
    with pytest.raises(DataNotFound, match=r"nothing at that path"):
        run.run(tmp_path / "nowhere.npz", tmp_path / "run", **QUICK)


def test_two_strategies_of_one_name(tmp_path):
    for same in (["random", "random"], [functools.partial(by_entropy), functools.partial(by_entropy)]):
        with pytest.raises(InvalidSettings, match=r"same name|named twice"):
            run.run(blob_set(), tmp_path / "run", strategies=same, **QUICK)


class Pairs(torch.utils.data.Dataset):
    """A person's own data set, of NumPy arrays."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], int(self.y[i])


@pytest.mark.parametrize("kind", [np.float64, np.float16, "tensor", "dataset"])
def test_numbers_of_any_kind(tmp_path, kind):
    x, y = blobs()
    given = {
        "tensor": lambda: (torch.from_numpy(x).double(), y),
        "dataset": lambda: Pairs(x.astype(np.float64), y),
    }.get(kind, lambda: (x.astype(kind), y))()
    assert run.run(given, tmp_path / "run", strategies=["bald"], **QUICK | {"rounds": 0}).state == "done"


def test_integers_are_codes_and_a_network_of_numbers_says_so(tmp_path):
    x, y = blobs()
    with pytest.raises(UnsupportedNetwork, match=r"int64 \(4,\).*float32"):
        run.run((np.round(x).astype(int), y), tmp_path / "run", strategies=["bald"], **QUICK)


def test_several_trials_that_wait_for_a_file_are_all_asked_for(tmp_path):
    options = QUICK | {"oracle": "file", "seeds": 3, "rounds": 0}
    outcome = run.run(blob_set(), tmp_path / "run", strategies=["random", "bald"], **options)
    waits = outcome.waiting.split("; ")
    assert waits[1] == "for 6 of the labels asked for in round 0 of bald, seed 0"
    assert waits[5:] == ["and 1 more"]
    with Store.open(tmp_path / "run") as store:
        wanted = {r.item for r in store.requests()}
    asked = (tmp_path / "run" / "requests.csv").read_text().splitlines()[1:]
    assert {line.split(",")[0] for line in asked} == wanted
    assert len(wanted) > 6


def test_threads_are_those_of_the_run_only(tmp_path):
    before = torch.get_num_threads()
    run.run(blob_set(), tmp_path / "run", strategies=["random"], threads=before + 1, **QUICK | {"rounds": 0})
    assert torch.get_num_threads() == before


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
        run.run((x, y), tmp_path / "run", **QUICK)


def test_a_failed_trial_says_why(tmp_path):
    options = QUICK | {"learning_rate": 1e30, "optimizer": "sgd"}
    with pytest.raises(Exception, match="learning rate"):
        run.run(blob_set(), tmp_path / "run", strategies=["bald"], **options)
    with Store.open(tmp_path / "run") as store:
        (trial,) = store.trials()
        assert trial.state == "failed"
        assert len(store.labels()) == 6


def test_the_observer_hears_of_everything(tmp_path):
    events, details = [], []
    observer = Observer(event=events.append, detail=lambda *d: details.append(d[0]))
    run.run(blob_set(), tmp_path / "run", strategies=["bald"], observer=observer, **QUICK)
    assert {e.phase for e in events} == {"label", "fit", "measure", "choose"}
    assert {"training", "testing", "scoring"} <= set(details)


def test_pictures_are_kept_of_images_and_of_nothing_else(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (40, 1, 8, 8)).astype(np.float32)
    run.run((images, np.arange(40) % 2), tmp_path / "images", network=factory, strategies=["random"], **QUICK)
    run.run(blob_set(), tmp_path / "blobs", strategies=["random"], **QUICK)
    for name, expected in (("images", 2), ("blobs", 0)):
        with Store.open(tmp_path / name) as store:
            assert len(store.artefacts("picks")) == expected


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
    assert said == [f"left out: bad-{i}: not an image" for i in range(5)] + [
        "... and 2 more unreadable items, named in the report"
    ]
    with Store.open(tmp_path / "run") as store:
        items = store.items()
    assert items["bad-6"].state == "quarantined"
    assert items[whole.train.ids[0]].path == f"/tmp/{whole.train.ids[0]}.npy"


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


def test_settings_reproduce_the_run(tmp_path):
    run.run(blob_set(), tmp_path / "a", **QUICK)
    again = settle(settings_.read(tmp_path / "a" / "settings.toml"), tmp_path / "b")
    run.start(again, tmp_path / "b", Observer(), Given(dataset=blob_set()))
    assert history(tmp_path / "a") == history(tmp_path / "b")


def test_other_versions_are_no_error_but_are_recorded(tmp_path):
    run.run(blob_set(), tmp_path / "run", **QUICK | {"rounds": 0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.run(blob_set(), tmp_path / "run", **QUICK | {"rounds": 0})
    with Store.open(tmp_path / "run") as store:
        assert [start["versions"]["torch"] for start in store.starts()] == [torch.__version__] * 2


def begin_wrong(folder, error, **options):
    with pytest.raises(error):
        run.run(blob_set(), folder, strategies=["random"], **QUICK | options)


def test_a_value_that_is_refused_late_does_not_cost_the_folder(tmp_path):
    said = []
    right = {"strategies": ["random"], "observer": Observer(message=said.append)}
    begin_wrong(tmp_path / "run", InvalidSettings, stop=["target(0.9)"])  # needs --validation
    assert not (tmp_path / "run").exists()
    begin_wrong(tmp_path / "run", BaldurError, posterior="swag(rank=1)")  # seen by the first fit
    assert run.run(blob_set(), tmp_path / "run", posterior="deterministic", **right, **QUICK).state == "done"
    assert len(said) == 1
    assert "begins anew" in said[0]
    run.run(blob_set(), tmp_path / "whole", strategies=["random"], posterior="deterministic", **QUICK)
    assert history(tmp_path / "run") == history(tmp_path / "whole")
    begin_wrong(tmp_path / "run", SettingsChanged, posterior="mc-dropout")


def test_questions_without_an_answer_are_asked_anew_and_answers_are_kept(tmp_path):
    folder, options = tmp_path / "run", QUICK | {"strategies": ["random"], "rounds": 0, "oracle": "file"}
    run.run(blob_set(), folder, **options)
    first = (folder / "requests.csv").read_text().splitlines()
    wider = options | {"initial": 8}
    assert "8 of the labels" in run.run(blob_set(), folder, **wider).waiting
    asked = (folder / "requests.csv").read_text().splitlines()
    assert (len(first), len(asked)) == (7, 9)
    (folder / "answers.csv").write_text("id,label\n" + asked[1].split(",")[0] + ",0\n")
    assert "7 of the labels" in run.run(blob_set(), folder, **wider).waiting
    with pytest.raises(SettingsChanged, match="initial was 8 and is 6"):
        run.run(blob_set(), folder, **options)


def test_a_run_that_another_process_works_on_is_not_begun_anew(tmp_path):
    begin_wrong(tmp_path / "run", BaldurError, posterior="swag(rank=1)")
    with Store.open(tmp_path / "run") as store, store.lock("trainer"):
        begin_wrong(tmp_path / "run", RunBusy)
    with Store.open(tmp_path / "run") as store:
        assert len(store.ledger()) == 6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"oracle": "file", "noise": "0.2"}, "are for simulated answers"),
        ({"oracle": "file", "annotators": 3}, "are for simulated answers"),
        (
            {"noise": "people:worst", "annotators": 3},
            r"first, second, third answers, so 'worst' cannot be meant",
        ),
        ({"noise": "people"}, "say whose answers"),
        ({"noise": "people", "annotators": 4}, "4 annotators are too many"),
        ({"noise": "1.5"}, "share of wrong answers"),
        ({"stop": "budget(5)"}, r"allows 5 labels, but --initial asks for 6"),
    ],
)
def test_answers_that_cannot_be_had_are_refused(tmp_path, options, words):
    with pytest.raises(InvalidSettings, match=words):
        run.run(blob_set(), tmp_path / "run", **QUICK | options)
    assert not (tmp_path / "run").exists()


def noisy(folder, **options):
    told = {"noise": 0.5, "rounds": 0, "initial": 40, "posterior": "deterministic", "epochs": 1}
    run.run(blob_set(), folder, **QUICK | told | options)
    with Store.open(folder) as store:
        return {
            (s, seed): {
                row.item: row.value for row in store.labels() if (row.strategy, row.seed) == (s, seed)
            }
            for s in ("random", "bald")
            for seed in (0, 1)
        }


@pytest.mark.parametrize("annotators", [1, 2])
def test_every_seed_has_errors_of_its_own_in_any_run(tmp_path, annotators):
    said = noisy(tmp_path / "a", seeds=2, annotators=annotators)
    assert said["random", 0] == said["bald", 0], "strategies of a seed are paired"
    both = said["random", 0].keys() & said["random", 1].keys()
    equal = sum(said["random", 0][i] == said["random", 1][i] for i in both)
    assert equal < 0.8 * len(both)
    alone = noisy(tmp_path / "b", seeds=1, first_seed=1, annotators=annotators)
    assert alone["random", 1] == said["random", 1]


def test_several_annotators_are_the_people_in_turn(tmp_path, monkeypatch):
    whole = blob_set()
    given = {name: (whole.labels + shift) % 3 for name, shift in (("first", 1), ("second", 1), ("third", 0))}
    people = People(tuple(whole.train.ids), whole.labels, given)
    monkeypatch.setattr("baldur.runs.answering.cifar10n", lambda data_dir: people)
    run.run(
        whole, tmp_path / "run", strategies=["random"], noise="people", annotators=3, **QUICK | {"rounds": 0}
    )
    said = dict(zip(whole.train.ids, given["first"].astype(str), strict=True))
    with Store.open(tmp_path / "run") as store:
        assert [row.value for row in store.labels()] == [said[row.item] for row in store.labels()]
        assert set(store.trial("random", 0).votes()) == {f"people ({name})" for name in given}


@pytest.mark.parametrize("stop", ["budget(8)", stopping.budget(8), ["budget(8)"]])
def test_one_criterion_is_a_list_of_one(tmp_path, stop):
    run.run(blob_set(), tmp_path / "run", strategies=["random"], stop=stop, **QUICK)
    with Store.open(tmp_path / "run") as store:
        assert [t.reason for t in store.trials()] == ["the budget of 8 labels is spent"]
    assert settings_.from_toml('stop = "budget(8)"\nnoise = 0.25').compare.stop == ["budget(8)"]
    assert settings_.from_toml("noise = 0.25").compare.noise == "0.25"


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


def test_noisy_answers_are_told_of_and_votes_are_exported(tmp_path):
    from baldur import report

    outcome = run.run(
        blob_set(), tmp_path / "run", strategies=["random"], noise=0.3, annotators=3, **QUICK | {"rounds": 1}
    )
    (note,) = (note for note in outcome.summary.notes if note.startswith("Answers"))
    assert note.startswith("Answers are simulated with 30 % errors. Each label is the majority of 3 answers,")
    assert note.endswith(" so 10 labels are 30 answers.")
    with Store.open(tmp_path / "run") as store:
        paths = report.export(store, tmp_path / "export")
        votes = store.trial("random", 0).votes()
    assert "votes.csv" in [path.name for path in paths]
    rows = list(csv.DictReader((tmp_path / "export" / "votes.csv").read_text().splitlines()))
    assert {(r["annotator"], r["id"], r["label"]) for r in rows} == {
        (who, i, label) for who, given in votes.items() for i, label in given.items()
    }
    assert len(rows) == 30
    assert {(r["strategy"], r["seed"]) for r in rows} == {("random", "0")}
