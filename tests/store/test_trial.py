import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.store.one_round import go_through

from baldur.errors import InvalidArgument, InvalidLabel, StoreError
from baldur.store import Request, Store


def test_before_the_beginning(run):
    trial = run.trial("bald", 0)
    assert trial.latest() is None
    with pytest.raises(StoreError, match="no round 0"), trial.phase(0, "label"):
        pass
    with pytest.raises(StoreError, match="no round 0"):
        trial.cut(0)


def test_beginning_again_is_harmless_unless_it_differs(trial):
    trial.begin([Request(item, rank) for rank, item in enumerate("abc")])
    with pytest.raises(StoreError, match="other initial items"):
        trial.begin([Request("a", 0)])
    assert trial.open_requests(0) == ["a", "b", "c"]


def test_an_item_asked_for_twice(run):
    with pytest.raises(InvalidArgument, match="'a' twice"):
        run.trial("bald", 0).begin([Request("a", 0), Request("a", 1)])
    assert run.trial("bald", 0).latest() is None


def test_answers_enter_the_ledger_once_and_in_the_order_of_the_requests(run, trial):
    for _ in range(2):
        trial.answer(0, {"c": "dog", "a": "cat"}, "ann", source="page")
    rows = [(row.number, row.item, row.value, row.annotator, row.source) for row in run.ledger()]
    assert rows == [(1, "a", "cat", "ann", "page"), (2, "c", "dog", "ann", "page")]
    assert trial.open_requests(0) == ["b"]


def test_a_refused_answer_leaves_nothing_behind(run, trial):
    with pytest.raises(InvalidLabel, match=r"'fish' for 'b'.*cat, dog, bird"):
        trial.answer(0, {"a": "cat", "b": "fish"}, "ann")
    with pytest.raises(StoreError, match="did not ask for 'z'"):
        trial.answer(0, {"a": "cat", "z": "cat"}, "ann")
    trial.answer(0, {"a": "cat"}, "ann")
    with pytest.raises(StoreError, match="'ann' answered 'cat' for 'a'"):
        trial.answer(0, {"b": "cat", "a": "dog"}, "ann")
    assert [row.item for row in run.ledger()] == ["a"]


def test_the_newest_event_is_the_current_label_and_names_what_it_supersedes(run, trial):
    trial.answer(0, {"a": "cat", "b": "cat"}, "ann")
    trial.answer(0, {"a": "dog"}, "bob")
    assert [(row.item, row.value, row.annotator) for row in trial.labels()] == [
        ("b", "cat", "ann"),
        ("a", "dog", "bob"),
    ]
    assert [row.value for row in trial.labels(cut=2)] == ["cat", "cat"]
    assert [(row.item, row.value) for row in run.labels()] == [("b", "cat"), ("a", "dog")]
    assert [row.supersedes for row in run.ledger()] == [None, None, None], (
        "another annotator supersedes nobody"
    )
    go_through(trial, 0, following="a")
    trial.answer(1, {"a": "bird"}, "ann")
    assert run.ledger()[-1].supersedes == 1


def test_the_cut_is_recorded_once(trial):
    trial.answer(0, {"a": "cat"}, "ann")
    assert trial.cut(0) == 1
    trial.answer(0, {"b": "cat"}, "ann")  # late: it belongs to the next round
    assert trial.cut(0) == 1
    assert trial.latest() == (0, "labelled", 1, 1)
    assert [row.item for row in trial.labels(trial.cut(0))] == ["a"]


def test_without_labels_the_cut_is_nought(trial):
    assert trial.cut(0) == 0
    assert trial.labels(0) == []


def test_a_phase_is_recorded_as_it_begins_and_ends(run, trial):
    with trial.phase(0, "label"):
        assert run.phases()[0].seconds is None
    assert 0 <= run.phases()[0].seconds < 10
    with pytest.raises(KeyError), trial.phase(0, "label"):
        raise KeyError
    assert run.phases()[1].seconds is None
    with pytest.raises(StoreError, match="ck_phases_phase"), trial.phase(0, "dance"):
        pass


def test_leaving_and_coming_back(trial):
    trial.finish("waiting", "for 3 labels")
    assert (trial.state, trial.reason) == ("waiting", "for 3 labels")
    with trial.phase(0, "label"):
        assert (trial.state, trial.reason) == ("running", "")
    with pytest.raises(InvalidArgument, match="not 'asleep'"):
        trial.finish("asleep", "")


def test_done_closes_the_last_round_once_it_is_measured(trial):
    with pytest.raises(StoreError, match="'requested'"):
        trial.finish("done", "too early")
    assert trial.state == "running"
    go_through(trial, 0, following="d")
    trial.answer(1, {"d": "dog"}, "oracle")
    trial.cut(1)
    with trial.phase(1, "fit") as phase:
        phase.fitted()
    with trial.phase(1, "measure") as phase:
        phase.measured({})
    for _ in range(2):
        trial.finish("done", "1 rounds")
        assert (trial.state, trial.latest()) == ("done", (1, "closed", 4, 4))


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.sampled_from(["cat", "dog"])),
        max_size=12,
    )
)
def test_labels_are_the_last_word_up_to_any_cut(tmp_path_factory, said):
    with Store.create(tmp_path_factory.mktemp("run"), settings="", classes=["cat", "dog"]) as run:
        trial = run.trial("random", 0)
        trial.begin([Request(item, rank) for rank, item in enumerate("abc")])
        events, spoken = [], set()
        for item, annotator, value in said:
            if (item, annotator) not in spoken:
                spoken.add((item, annotator))
                trial.answer(0, {item: value}, annotator)
                events.append((item, value))
        for cut in range(len(events) + 1):
            assert {row.item: row.value for row in trial.labels(cut)} == dict(events[:cut])
            numbers = [row.number for row in trial.labels(cut)]
            assert numbers == sorted(numbers)


def test_a_correction_is_a_newer_event_and_earlier_cuts_stay(run, trial):
    trial.answer(0, {"a": "cat", "b": "cat", "c": "dog"}, "ann")
    cut = trial.cut(0)
    for _ in range(2):
        trial.correct({"a": "dog", "b": "cat"}, "ann")
    assert {row.item: row.value for row in trial.labels(cut)} == {"a": "cat", "b": "cat", "c": "dog"}
    assert {row.item: row.value for row in trial.labels()} == {"a": "dog", "b": "cat", "c": "dog"}
    trial.correct({"a": "cat"}, "bob")
    events = [(row.value, row.annotator, row.supersedes) for row in run.ledger() if row.item == "a"]
    assert events == [("cat", "ann", None), ("dog", "ann", 1), ("cat", "bob", 4)]
    with pytest.raises(InvalidLabel, match="'horse'"):
        trial.correct({"a": "horse"}, "ann")


def test_only_what_has_a_label_can_be_corrected(trial):
    trial.answer(0, {"a": "cat"}, "ann")
    with pytest.raises(StoreError, match="'b' has no label yet"):
        trial.correct({"a": "dog", "b": "dog"}, "ann")
    assert [row.value for row in trial.labels()] == ["cat"]
