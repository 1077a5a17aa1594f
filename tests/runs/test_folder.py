"""A run's folder opened again: made longer, with items that are gone, or with other data."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from tests.tiny_runs import QUICK, blob_set, blobs

from baldur.data import from_arrays, from_dataset, in_memory, load_for_labelling, with_added
from baldur.errors import BaldurError, InvalidSettings, ItemChanged, RunBusy, SettingsChanged, UnreadableItems
from baldur.protocols import View
from baldur.runs import folder as _folder
from baldur.runs import run
from baldur.runs import settings as settings_
from baldur.runs.items import item_shape
from baldur.runs.observer import Observer
from baldur.store import ItemRecord, Request, Store, Trial
from baldur.testing.resume import history

pytestmark = pytest.mark.usefixtures("without_charts")

X, Y = blobs()
ONE_ROUND = QUICK | {"rounds": 1}
SETTINGS = settings_.create(data="in memory", rounds=1)


class Damaged:
    """The blobs, of which one item cannot be read, or others hold something else."""

    gone = None

    def __init__(self):
        self.x = X.copy()

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        if i == self.gone:
            raise OSError(5, "Input/output error")
        return self.x[i], Y[i]


def damaged():
    source = Damaged()
    pool, labels = from_dataset(source)
    return source, in_memory(pool, labels, test_fraction=0.2)


def opened(folder, dataset):
    return _folder.open_run(folder, SETTINGS, dataset, Observer())


def test_a_run_that_was_killed_while_it_became_longer_becomes_longer(tmp_path, monkeypatch):
    longer = SETTINGS.but(rounds=3)
    with Store.create(tmp_path / "run", settings=settings_.to_toml(SETTINGS), classes=["a"]) as store:
        for seed in (0, 1):
            through(store.trial("random", seed))
        whole, calls = Trial.reopen, []

        def killed(trial):
            if calls:
                raise KeyboardInterrupt
            calls.append(whole(trial))

        monkeypatch.setattr(Trial, "reopen", killed)
        with pytest.raises(KeyboardInterrupt):
            _folder.grow(store, longer)
        monkeypatch.undo()
        _folder.grow(store, longer)
        assert [trial.state for trial in store.trials()] == ["waiting", "waiting"]
        assert settings_.from_toml(store.settings) == longer


def through(trial):
    """One round, and the trial is done."""
    trial.begin([Request("i", 0)])
    with trial.phase(0, "label") as phase:
        trial.answer(0, {"i": "a"}, "oracle")
        phase.labelled()
    with trial.phase(0, "fit") as phase:
        phase.fitted()
    with trial.phase(0, "measure") as phase:
        phase.measured({})
    trial.finish("done", "1 rounds")


@pytest.mark.parametrize("how", ["unreadable", "another content"])
def test_what_was_left_out_may_be_gone_and_all_else_must_be_the_same(tmp_path, how):
    source, data = damaged()
    first = data.train.ids[0]
    opened(tmp_path / "run", data).close()
    source.gone = int(first) if how == "unreadable" else None
    source.x[int(first)] = np.nan
    with pytest.raises(UnreadableItems if how == "unreadable" else ItemChanged):
        opened(tmp_path / "run", data)
    with Store.open(tmp_path / "run") as store:
        store.mark_items([ItemRecord(first, 0, state="quarantined", reason="gone")])
    opened(tmp_path / "run", data).close()
    assert item_shape(data.train) == (4,)
    source.x[int(data.train.ids[-1])] += 1
    with pytest.raises(ItemChanged, match="started with other data"):
        opened(tmp_path / "run", data)
    source, data = damaged()
    opened(tmp_path / "run", data).close()  # it may be back as well
    with pytest.raises(ItemChanged):
        opened(tmp_path / "run", replace(data, classes=("a", "b", "c")))


def test_a_pool_that_grew_has_the_same_items():
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    first = load_for_labelling(x, classes="a,b").train
    before, ids = _folder.pool_fingerprint(first), list(first.ids)
    assert len(before.split()) == 65
    grown = load_for_labelling((np.concatenate([x, x + 1]), [None] * 399 + ["a"]), classes="b,a").train
    assert _folder.same_items(before, ids, grown, ())
    added = with_added(load_for_labelling(x, classes="a,b"), x + 2, 1).train
    assert _folder.same_items(before, ids, added, ())
    assert not _folder.same_items(before, ids[::-1], first, ())
    fewer = View(first, np.arange(1, 200))
    assert not _folder.same_items(before, ids, fewer, ())
    assert _folder.same_items(before, ids, fewer, {"0"})
    assert _folder.same_items(before, ids, View(first, np.arange(200)[::-1]), ())  # places do not matter
    other = load_for_labelling(x + 1, classes="a,b").train
    assert not _folder.same_items(before, ids, other, ())


def test_a_run_of_a_version_that_kept_one_digest_opens(tmp_path):
    x = np.arange(360, dtype=np.float32).reshape(90, 4)
    data = in_memory(from_arrays(x), Y, test_fraction=0.2)
    facts = {"facts": {"fingerprint": "4b0c52431c8d47853a459b863b58101b96552c6c182827d66c3365a01397f959"}}
    text = settings_.to_toml(SETTINGS)
    Store.create(tmp_path / "run", settings=text, classes=data.classes, preprocessing=facts).close()
    opened(tmp_path / "run", data).close()
    with pytest.raises(ItemChanged):
        opened(tmp_path / "run", in_memory(from_arrays(x + 1), Y, test_fraction=0.2))


def test_other_settings_are_refused_and_named(finished):
    with pytest.raises(SettingsChanged, match=r"draws was 3 and is now 4.*another folder"):
        run.run(blob_set(), finished, **QUICK | {"draws": 4})


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"strategies": ["blad"]}, "did you mean bald"),
        ({"strategies": ["power_bald(beta=-1)"]}, "at least 0"),
        ({"posterior": "swga"}, "did you mean swag"),
        ({"learner": "fixmach"}, "did you mean fixmatch"),
    ],
)
def test_a_misspelt_name_is_said_where_there_is_a_run(finished, option, words):
    with pytest.raises(InvalidSettings, match=words):
        run.run(blob_set(), finished, **QUICK | option)


def test_no_strategy_at_all_is_refused(tmp_path):
    with pytest.raises(InvalidSettings, match="strategies must be a list of at least one"):
        run.run(blob_set(), tmp_path / "run", **QUICK | {"strategies": []})


def test_a_run_can_be_made_longer_and_is_then_the_run_that_was_long_from_the_beginning(tmp_path):
    short = QUICK | {"strategies": ["random"], "seeds": 1, "rounds": 1}
    long = QUICK | {"strategies": ["bald", "random"], "seeds": 2, "rounds": 2}
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
    with pytest.raises(SettingsChanged, match=r"strategies was .* and is now .*; rounds was 2 and is now 1"):
        run.run(blob_set(), tmp_path / "run", **short | {"seeds": 2})


def test_a_trial_that_ended_for_another_reason_stays_ended_in_a_longer_run(tmp_path):
    options = QUICK | {"strategies": ["random"], "seeds": 1, "until": 0.01}
    run.run(blob_set(), tmp_path / "run", **options)
    run.run(blob_set(), tmp_path / "run", **options | {"rounds": QUICK["rounds"] + 2})
    with Store.open(tmp_path / "run") as store:
        (trial,) = store.trials()
        assert (trial.latest().round, trial.reason) == (0, "accuracy 0.01 reached")


def test_a_second_trainer_is_refused(finished):
    with (
        Store.open(finished) as store,
        store.lock("trainer"),
        pytest.raises(RunBusy, match="trainer"),
    ):
        run.run(blob_set(), finished, **QUICK)


def test_a_typo_does_not_cost_the_folder(tmp_path):
    for options in (
        {"network": "resnet19"},
        {"initial": 900},
        {"learner": "nowhere:learner"},
        {"augment": "a:b"},
    ):
        with pytest.raises(InvalidSettings):
            run.run(blob_set(), tmp_path / "run", **QUICK | options)
    options = QUICK | {"strategies": ["random"], "rounds": 0}
    assert run.run(blob_set(), tmp_path / "run", **options).state == "done"


def test_other_data_are_noticed(tmp_path):
    x, y = blobs()
    options = QUICK | {"strategies": ["random"], "rounds": 0}
    for _ in range(2):
        run.run((x, y), tmp_path / "run", **options)
    for other in ((x[::-1].copy(), y), (x[:-3], y[:-3]), (x, (y + 1) % 3)):
        with pytest.raises(ItemChanged, match="started with other data"):
            run.run(other, tmp_path / "run", **options)


def begin_wrong(folder, error, **options):
    with pytest.raises(error):
        run.run(blob_set(), folder, strategies=["random"], **ONE_ROUND | options)


def test_a_value_that_is_refused_late_does_not_cost_the_folder(tmp_path):
    said = []
    right = {"strategies": ["random"], "observer": Observer(message=said.append)}
    begin_wrong(tmp_path / "run", InvalidSettings, stop=["target(0.9, split='validation')"])
    assert not (tmp_path / "run").exists()
    begin_wrong(tmp_path / "run", BaldurError, posterior="swag(rank=1)")  # seen by the first fit
    assert (
        run.run(blob_set(), tmp_path / "run", posterior="deterministic", **right, **ONE_ROUND).state == "done"
    )
    assert "starts anew" in said[0]
    assert said[1].startswith("task: classification")
    run.run(blob_set(), tmp_path / "whole", strategies=["random"], posterior="deterministic", **ONE_ROUND)
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
    with pytest.raises(SettingsChanged, match="initial was 8 and is now 6"):
        run.run(blob_set(), folder, **options)


def test_a_run_that_another_process_works_on_is_not_begun_anew(tmp_path):
    begin_wrong(tmp_path / "run", BaldurError, posterior="swag(rank=1)")
    with Store.open(tmp_path / "run") as store, store.lock("trainer"):
        begin_wrong(tmp_path / "run", RunBusy)
    with Store.open(tmp_path / "run") as store:
        assert len(store.ledger()) == 6


def test_an_edited_file_of_settings_is_named(tmp_path):
    short = QUICK | {"strategies": ["random"], "seeds": 1, "rounds": 1}
    run.run(blob_set(), tmp_path / "run", **short)
    file = tmp_path / "run" / "settings.toml"
    text = file.read_text()
    file.write_bytes(text.replace("\n", "\r\n").encode())  # an editor saved it
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _folder.settle(short, tmp_path / "run")
    file.write_text(text.replace("epochs = ", "epochs = 7"))
    with pytest.warns(UserWarning, match=r"settings\.toml was edited, but a run keeps the settings"):
        _folder.settle(short, tmp_path / "run")
