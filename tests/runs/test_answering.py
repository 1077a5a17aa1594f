"""Who answers in a run: a file, annotators who err, or several people."""

import csv

import pytest
from tests.tiny_runs import QUICK, blob_set

from baldur.data.people import People
from baldur.errors import InvalidLabel, InvalidSettings
from baldur.runs import run
from baldur.store import Store
from baldur.testing.resume import history

pytestmark = pytest.mark.usefixtures("without_charts")


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


@pytest.mark.parametrize("step", [2, 5, 100])
def test_trials_that_a_file_answers_learn_what_simulated_ones_learn(tmp_path, step):
    """Items that were answered for another trial, and answers that come a few at a time, change no curve."""
    dataset, options = blob_set(), QUICK | {"rounds": 2, "seeds": 2, "strategies": ["random", "bald"]}
    truth = dict(zip(dataset.train.ids, dataset.labels.tolist(), strict=True))
    folder = tmp_path / "run"
    run.run(dataset, tmp_path / "simulated", **options)
    told: dict[str, int] = {}
    while run.run(dataset, folder, oracle="file", **options).state == "waiting":
        lines = (folder / "requests.csv").read_text().splitlines()[1:]
        asked = [line.split(",")[0] for line in lines if line.split(",")[0] not in told]
        told |= {i: truth[i] for i in asked[::-1][:step]}  # the last first
        (folder / "answers.csv").write_text("id,label\n" + "".join(f"{i},{c}\n" for i, c in told.items()))
    assert history(folder)["curve"] == history(tmp_path / "simulated")["curve"]


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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"oracle": "file", "noise": "0.2"}, "are for simulated answers"),
        ({"oracle": "file", "annotators": 3}, "are for simulated answers"),
        (
            {"noise": "people:worst", "annotators": 3},
            r"answers first, second, third, so 'worst' cannot be chosen",
        ),
        ({"noise": "people"}, "choose the answers"),
        ({"noise": "people", "annotators": 4}, "at most --annotators 3, not 4"),
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


def filled(folder, labels):
    """Write labels into the file of requests, as a person does in an editor."""
    path = folder / "requests.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *(line + labels(line.split(",")[0]) for line in lines)]) + "\n")


def test_labels_filled_into_the_requests_are_answers(tmp_path):
    folder, options = tmp_path / "run", QUICK | {"oracle": "file", "rounds": 1}
    dataset = blob_set()
    truth = dict(zip(dataset.train.ids, dataset.labels.tolist(), strict=True))
    written = []
    for _ in range(12):
        if run.run(dataset, folder, strategies="bald", **options).state == "done":
            break
        filled(folder, lambda i: str(truth[i]))
        written.append((folder / "requests.csv").read_text())
    kept = sorted(folder.glob("requests-answered-*.csv"))
    assert {path.read_text() for path in kept} | {(folder / "requests.csv").read_text()} >= set(written)
    run.run(dataset, tmp_path / "simulated", strategies="bald", **QUICK | {"rounds": 1})
    assert history(folder)["curve"] == history(tmp_path / "simulated")["curve"]


def test_a_correction_supersedes_from_the_next_round_on(tmp_path):
    folder, options = tmp_path / "run", QUICK | {"oracle": "file", "rounds": 2}
    dataset = blob_set()
    truth = dict(zip(dataset.train.ids, dataset.labels.tolist(), strict=True))

    def go():
        return run.run(dataset, folder, strategies=["random"], **options).state

    def answer(wrong=()):
        with Store.open(folder) as store:
            asked = [row.item for row in store.requests()]
        told = {i: truth[i] if i not in wrong else (truth[i] + 1) % 3 for i in asked}
        (folder / "answers.csv").write_text("id,label\n" + "".join(f"{i},{c}\n" for i, c in told.items()))
        return asked

    go()
    first = answer()[0]
    answer({first})
    assert go() == "waiting"
    for _ in range(2):
        answer()
        go()
    with Store.open(folder) as store:
        labels = {row.item: row.value for row in store.labels()}
        events = [row for row in store.ledger() if row.item == first]
        (trial,) = store.trials()
        assert trial.state == "done"
        assert {row.item: row.value for row in trial.labels(trial.latest().cut)} == labels
    assert labels == {i: str(truth[i]) for i in labels}
    assert [row.value for row in events] == [str((truth[first] + 1) % 3), str(truth[first])]
    assert (events[1].supersedes, events[1].kind) == (events[0].number, "correction")
