import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.store.one_round import go_through

from baldur.errors import InvalidArgument, StoreError
from baldur.store import Event, Request, Store


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


def test_what_the_oracle_said_is_known_after_somebody_else_corrected_it(trial):
    trial.answer(0, {"a": "cat", "b": "cat"}, "file")
    trial.tell([Event("1", "correction", "a", "ann", "dog")])
    assert trial.said("oracle") == {"a": "cat", "b": "cat"}
    trial.correct({"b": "dog"}, "file")
    assert trial.said("oracle") == {"a": "cat", "b": "dog"}
    assert trial.said("person") == {"a": "dog"}
