"""Labels from files."""

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldur.errors import DataNotFound, InvalidArgument, InvalidLabel
from baldur.runs.asking import user
from baldur.runs.ingest import ingest
from baldur.store import ItemRecord, Request, Store, Trial

CLASSES = ("cat", "cats", "dog")
ITEMS = ("a", "b", "c", "d,1", 'e"2', "f\n3", "ä")


def made(folder, settings="", trials=1):
    store = Store.create(folder, settings=settings, classes=CLASSES)
    store.record_items(ItemRecord(i, position, f"/photos/{i}") for position, i in enumerate(ITEMS))
    store.record_items(
        [ItemRecord("t", split="test"), ItemRecord("q", state="quarantined", reason="is black")]
    )
    for seed in range(trials):
        store.trial("bald", seed).begin([Request("a", 0), Request("b", 1)])
    return store


@pytest.fixture
def run(tmp_path):
    with made(tmp_path / "run") as store:
        yield store


@pytest.fixture
def write(tmp_path):
    def file(text, name="labels.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        return [tmp_path / name]

    return file


def labels(store):
    return {row.item: row.value for row in store.labels()}


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_labels_are_taken_once(run, write):
    files = write('id,label\na,cat\n"d,1",dog\nb,\n')
    assert str(ingest(run, files)) == "2 labels taken, 0 were there already, 0 refused"
    assert labels(run) == {"a": "cat", "d,1": "dog"}
    assert run.trials()[0].open_requests(0) == ["b"]
    before = run.ledger()
    assert str(ingest(run, files)) == "0 labels taken, 2 were there already, 0 refused"
    assert run.ledger() == before
    assert {(row.annotator, row.source) for row in before} == {(user(), "file")}
    assert list(run.folder.glob("refused*")) == []


def test_another_answer_in_a_later_file_is_a_correction(run, write):
    for n, label in enumerate(("cat", "dog", "cat", "cat", "dog")):
        ingest(run, write(f"id,label\na,{label}\n", f"{n}.csv"))
        assert labels(run) == {"a": label}
    rows = [(row.kind, row.value, row.supersedes) for row in run.ledger()]
    assert rows == [
        ("label", "cat", None),
        *[("correction", v, n) for n, v in enumerate(("dog", "cat", "dog"), 1)],
    ]


def test_another_answer_of_somebody_else_must_be_called_a_correction(run, write):
    ingest(run, write("id,label\na,cat\n"), by="ann")
    bob = write("id,label,annotator\na,dog,bob\nb,dog,\n", "bob.csv")
    (refused,) = ingest(run, bob, by="ann").refused
    assert "'dog' for 'a', but 'ann' said 'cat'; give it the kind correction" in refused.reason
    ingest(run, write("id,label,annotator,kind\na,dog,bob,correction\n", "bob.csv"))
    assert [(row.kind, row.annotator) for row in run.ledger()][1:] == [
        ("label", "ann"),
        ("correction", "bob"),
    ]
    assert str(ingest(run, write("id,label\na,cat\n"), by="ann")).startswith("0 labels taken, 1 was there")
    assert labels(run) == {"a": "dog", "b": "dog"}
    ingest(run, write("id,label\na,cats\n"), by="ann")
    assert labels(run) == {"a": "cats", "b": "dog"}, "who answered before may change it"


def test_labels_are_read_through_changes_of_the_classes(run, write):
    ingest(run, write("id,label\na,cat\nb,dog\n"))
    run.change_classes("rename", ["cat"], "owl", "ann")
    assert str(ingest(run, write("id,label\na,owl\nb,dog\nc,owl\n"))).startswith(
        "1 label taken, 2 were there"
    )
    assert (
        "'cat' is not a class; the classes are owl, cats, dog"
        in ingest(run, write("id,label\na,cat\n")).refused[0].reason
    )


def test_all_kinds_of_lines(run, write):
    rows = [
        {"id": "a", "label": "cat"},
        {"id": "a", "kind": "note", "note": "dark"},
        {"id": "a", "kind": "correction", "label": "dog"},
        {"id": "b", "kind": "skip"},
        {"id": "c", "kind": "unlabelable"},
        {"id": "ä", "label": "dog"},
        {"id": "ä", "kind": "withdrawal"},
    ]
    files = write("".join(json.dumps(row) + "\n" for row in rows), "log.jsonl")
    done = ingest(run, files)
    assert str(done) == (
        "3 labels taken (1 corrected), 1 note taken, 1 skip taken, 1 unlabelable taken, 1 withdrawal taken, "
        "0 were there already, 0 refused"
    )
    assert labels(run) == {"a": "dog"}
    assert run.trials()[0].left_out() == {"c"}
    assert [row.state for row in run.requests()] == ["answered", "skipped"]
    before = run.ledger()
    assert ingest(run, files).there == 7
    files[0].write_text(
        files[0].read_text() + json.dumps({"id": "a", "kind": "correction", "label": "cat"}) + "\n"
    )
    assert str(ingest(run, files)).startswith("1 label taken (1 corrected), 7 were")
    assert len(run.ledger()) == len(before) + 1
    assert labels(run) == {"a": "cat"}


def test_events_with_ids_and_times_count_once_in_any_order(run, write):
    first = write(
        '{"id": "a", "label": "cat", "event": "1"}\n{"id": "b", "label": "cat", "time": "9:00"}\n', "1.jsonl"
    )
    second = write(
        '{"id": "a", "label": "dog", "event": "2"}\n{"id": "b", "label": "dog", "time": "9:05"}\n', "2.jsonl"
    )
    for files in (first, second, first, second, first):
        ingest(run, files)
    assert labels(run) == {"a": "dog", "b": "dog"}
    assert [(row.item, row.kind) for row in run.ledger()] == [
        (i, k) for k in ("label", "correction") for i in "ab"
    ]
    other = write('{"id": "c", "label": "dog", "event": "2"}\n', "3.jsonl")
    assert "another event has this id" in ingest(run, other).refused[0].reason


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("z,cat", "line 3: there is no item 'z'"),
        ("b,Dog", "line 3: 'Dog' is not a class; the classes are cat, cats, dog; did you mean 'dog'?"),
        ("b,cat,x", "line 3 has 3 cells"),
        ("t,cat", "line 3: 't' is a test item"),
        ("q,cat", "line 3: the run left out 'q': is black"),
        ("b,cat\nb,dog", "line 3: 'cat' for 'b', but"),
        ("b,cat\nb,dog", "line 4: 'dog' for 'b', but"),
    ],
)
def test_a_line_that_does_not_fit_is_named_and_the_rest_is_taken(run, write, line, words):
    files = write(f"id,label\na,cat\n{line}\nc,dog\n")
    done = ingest(run, files)
    assert any(words in one.reason for one in done.refused)
    assert labels(run) == {"a": "cat", "c": "dog"}
    assert done.kept == run.folder / "refused-1.csv"
    kept = rows_of(done.kept)
    assert [row["reason"] for row in kept] == [one.reason for one in done.refused]
    assert ingest(run, files).kept == done.kept, "the same lines are kept once"
    assert ingest(run, write("id,label\nz,dog\n")).kept == run.folder / "refused-2.csv"
    assert rows_of(done.kept) == kept


def test_refused_lines_can_be_mended_and_given_again(run, write):
    done = ingest(run, write('id,label,annotator\n"f\n3",Dog,ann\n"d,1",cta,ann\n'))
    done.kept.write_text(done.kept.read_text().replace(",Dog,", ",dog,").replace(",cta,", ",cat,"))
    assert str(ingest(run, [done.kept])).startswith("2 labels taken")
    assert {row.annotator for row in run.labels()} == {"ann"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,label\na,cat\nb,cat", "the file ends after 'cat', which may be a part of 'cats'"),
        ("label,id\ncat,a\ndog,d", "the file ends after 'd', which may be a part of 'd,1'"),
        ("id,label\na,cat\nb,do", "the file ends after 'do', which may be a part of 'dog'"),
        ("id,label\na,cat\nb", "half written"),
        ('id,label\na,cat\nb,"dog', "never closed"),
    ],
)
def test_the_last_line_of_a_half_written_file_is_not_believed(run, write, text, words):
    (refused,) = ingest(run, write(text)).refused
    assert words in refused.reason
    assert labels(run) == {"a": "cat"}


def test_a_last_line_without_an_end_is_taken_where_it_is_plain(run, write):
    assert str(ingest(run, write("id,label\na,cat\nb,dog"))).startswith("2 labels taken")


def test_nothing_can_be_withdrawn_or_corrected_before_it_is_there(run, write):
    done = ingest(run, write("id,label,kind\na,,withdrawal\nb,cat,correction\n"))
    assert ["nothing to withdraw" in one.reason for one in done.refused] == [True]
    assert [(row.kind, row.item) for row in run.ledger()] == [("label", "b")]
    assert str(ingest(run, write("id,label,kind\nb,,withdrawal\n"))).startswith(
        "0 labels taken, 1 withdrawal taken"
    )
    assert str(ingest(run, write("id,label,kind\nb,,withdrawal\n", "b.csv"), "bob")).endswith(
        "1 was there already, 0 refused"
    )


def test_runs_of_several_trials_say_where_their_answers_go(tmp_path, write):
    files = write("id,label\na,cat\n")
    for name, settings, words in (
        ("1", 'oracle = "file"\n', r"answers\.csv"),
        ("2", 'oracle = "simulated"\n', "on labels that it knows"),
    ):
        with made(tmp_path / name, settings, trials=2) as store, pytest.raises(InvalidArgument, match=words):
            ingest(store, files)
    with made(tmp_path / "3", trials=0) as store, pytest.raises(InvalidArgument, match="has not begun"):
        ingest(store, files)


def test_files_that_are_no_files(run, write, tmp_path):
    with pytest.raises(DataNotFound, match="does not exist"):
        ingest(run, [*write("id,label\na,cat\n"), tmp_path / "none.csv"])
    with pytest.raises(DataNotFound, match="is a folder"):
        ingest(run, [tmp_path])
    with pytest.raises(InvalidLabel, match="needs a first line"):
        ingest(run, [*write("id,label\na,cat\n"), *write("a,cat\n", "b.csv")])
    with pytest.raises(InvalidArgument, match="annotator is empty"):
        ingest(run, write("id,label\na,cat\n"), by=" ")
    assert labels(run) == {}, "nothing is taken before all files are read"


def test_a_run_that_knows_only_the_items_it_asked_for(tmp_path, write):
    with Store.create(
        tmp_path / "run", settings="", classes=CLASSES, preprocessing={"facts": {"pool": 9}}
    ) as store:
        store.trial("bald", 0).begin([Request("a", 0)])
        done = ingest(store, write("id,label\na,cat\nb,cat\n"))
        assert str(done) == "1 label taken, 0 were there already, 1 refused"


ROWS = st.lists(
    st.tuples(st.sampled_from(ITEMS), st.sampled_from(CLASSES), st.sampled_from(["", "ann", "bob"])),
    max_size=5,
)


@given(st.lists(ROWS, max_size=5))
def test_files_in_any_sequence_give_each_annotators_newest_answer(tmp_path_factory, said):
    folder = tmp_path_factory.mktemp("run")
    own, current, events = {}, {}, 0
    with made(folder / "run") as store:
        for n, rows in enumerate(said):
            path = folder / f"{n}.csv"
            with path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("id", "label", "annotator"), *rows])
            answers = [((i, who or "cy"), label) for i, label, who in rows]
            alone = [a for a in answers if len({value for key, value in answers if key == a[0]}) == 1]
            taken, waiting = 0, alone
            for _ in range(2):  # what differs from an answer of somebody else is tried again at the end
                now, waiting = waiting, []
                for key, label in now:
                    if own.get(key) == label:
                        continue
                    if key not in own and current.get(key[0], label) != label:
                        waiting.append((key, label))
                    else:
                        own[key] = current[key[0]] = label
                        taken += 1
            refused = len(answers) - len(alone) + len(waiting)
            events += taken
            done = ingest(store, [path], by="cy")
            assert (sum(done.taken.values()), len(done.refused)) == (taken, refused)
            assert done.there == len(rows) - taken - refused
            again = ingest(store, [path], by="cy")
            assert sum(again.taken.values()) == 0
            assert labels(store) == current
            assert len(store.ledger()) == events


def test_what_was_taken_before_an_interruption_counts_once(run, write, monkeypatch):
    files = write("id,label,kind\na,cat,\na,dog,correction\nb,dog,\nc,cat,\nä,cat,\n")
    monkeypatch.setattr("baldur.runs.ingest._AT_ONCE", 2)
    left, tell = [1], Trial.tell

    def interrupted(self, events):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return tell(self, events)

    monkeypatch.setattr(Trial, "tell", interrupted)
    for taken in (2, 4):
        with pytest.raises(KeyboardInterrupt):
            ingest(run, files)
        assert len(run.ledger()) == taken
        left.append(1)
    monkeypatch.setattr(Trial, "tell", tell)
    assert str(ingest(run, files)).startswith("1 label taken, 4 were there already")
    assert labels(run) == {"a": "dog", "b": "dog", "c": "cat", "ä": "cat"}


def test_a_lease_that_ran_out_and_a_round_that_is_closed_take_late_answers(run, write):
    trial = run.trials()[0]
    trial.queue.offer("bob", 2, 1e-9)
    ingest(run, write("id,label\na,cat\nb,dog\n"))
    with trial.phase(0, "label") as phase:
        phase.labelled()
    assert str(ingest(run, write("id,label\na,dog\n"))).startswith("1 label taken (1 corrected)")
    cut = trial.latest().cut
    assert {row.item: row.value for row in trial.labels(cut)} == {"a": "cat", "b": "dog"}
    assert labels(run) == {"a": "dog", "b": "dog"}
