import pytest
from tests.store.one_round import go_through, write

from baldur.errors import InvalidArgument, NonFiniteScore, StoreError
from baldur.store import Request

RESULTS = {
    "label": lambda phase: phase.labelled(),
    "fit": lambda phase: phase.fitted(),
    "measure": lambda phase: phase.measured({("accuracy", "test"): 0.5}),
    "choose": lambda phase: phase.chosen([Request("d", 0, 1.0)], [("d", 1.0)]),
}
STATES = ["requested", "labelled", "fitted", "measured", "closed"]
ALLOWED = {  # by phase: the states in which its result may be recorded
    "label": {"requested", "labelled", "fitted", "measured", "closed"},
    "fit": {"labelled", "fitted", "measured"},
    "measure": {"fitted"},
    "choose": {"measured"},
}


@pytest.mark.parametrize("done", range(5))
@pytest.mark.parametrize("phase", RESULTS)
def test_results_land_in_order(run, trial, phase, done):
    for earlier in list(RESULTS)[:done]:
        with trial.phase(0, earlier) as handle:
            RESULTS[earlier](handle)
    if STATES[done] in ALLOWED[phase]:
        with trial.phase(0, phase) as handle:
            RESULTS[phase](handle)
    else:
        with pytest.raises(StoreError, match=f"is '{STATES[done]}'"), trial.phase(0, phase) as handle:
            RESULTS[phase](handle)
        assert run.phases()[-1].seconds is None


def test_a_round_opens_with_the_closing_of_the_last(run, trial):
    go_through(trial, 0, following="de")
    assert trial.latest() == (1, "requested", None, None)
    assert trial.open_requests(1) == ["d", "e"]
    assert trial.ranking(0) == [(0, "d", 1.0), (1, "e", 0.9)]
    assert [(row.phase, row.seconds is None) for row in run.phases()] == [(phase, False) for phase in RESULTS]


def test_of_a_ranking_the_best_thousand_are_rows(trial):
    for phase in ("label", "fit", "measure"):
        with trial.phase(0, phase) as handle:
            RESULTS[phase](handle)
    with trial.phase(0, "choose") as handle:
        handle.chosen([], [(f"item {i}", -float(i)) for i in range(1500)])
    assert [(row.rank, row.item, row.score) for row in trial.ranking(0)[-1:]] == [(999, "item 999", -999.0)]


def test_without_requests_the_round_only_closes(trial):
    go_through(trial, 0)
    assert trial.latest() == (0, "closed", 3, 3)


@pytest.mark.parametrize(
    ("requests", "ranking", "error"),
    [
        ([Request("d", 0, float("nan"))], [], NonFiniteScore),
        ([Request("d", 0, 1.0)], [("d", float("inf"))], NonFiniteScore),
        ([Request("d", 0, 1.0), Request("d", 1, 1.0)], [("d", 1.0)], InvalidArgument),
    ],
)
def test_a_refused_choice_leaves_nothing_behind(trial, requests, ranking, error):
    for phase in ("label", "fit", "measure"):
        with trial.phase(0, phase) as handle:
            RESULTS[phase](handle)
    with pytest.raises(error), trial.phase(0, "choose") as handle:
        handle.chosen(requests, ranking)
    assert trial.latest().state == "measured"
    assert trial.ranking(0) == []


def test_a_phase_ends_once(trial):
    with trial.phase(0, "label") as handle:
        handle.labelled()
        with pytest.raises(StoreError, match="ended already"):
            handle.labelled()


def test_fitting_a_lost_model_again_takes_nothing_back(trial):
    for phase in ("label", "fit", "measure", "fit"):
        with trial.phase(0, phase) as handle:
            RESULTS[phase](handle)
    assert trial.latest().state == "measured"


def test_the_end_of_a_phase_records_its_files(run, trial):
    trial.artefact(0, "scores", ".txt", lambda path: write(path, b"old"))
    with trial.phase(0, "label") as phase:
        phase.artefact(0, "scores", ".txt", lambda path: write(path, b"new"))
        assert trial.find(0, "scores").read_bytes() == b"old"
        phase.labelled()
    assert trial.find(0, "scores").read_bytes() == b"new"
    assert len(list(run.folder.glob("artefacts/*/*/scores-*"))) == 1


@pytest.mark.parametrize("refused", [True, False])
def test_a_phase_that_fails_leaves_no_file(run, trial, refused):
    def fail():
        with trial.phase(0, "label") as phase:
            phase.artefact(0, "scores", ".txt", lambda path: write(path, b"new"))
            if refused:
                phase.measured({})  # the round is not fitted
            raise StoreError("another error")

    trial.artefact(0, "scores", ".txt", lambda path: write(path, b"old"))
    with pytest.raises(StoreError):
        fail()
    assert trial.find(0, "scores").read_bytes() == b"old"
    assert len(list(run.folder.glob("artefacts/*/*/scores-*"))) == 1
