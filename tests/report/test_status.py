import io
import json
from collections.abc import Callable

from rich.console import Console

from baldur import report
from baldur.store import Store

Run = Callable[..., Store]


def flat(s: str, seed: int, r: int) -> float:
    return 0.5


def shown(status: dict[str, object]) -> str:
    """What is printed, without line ends."""
    console = Console(width=80, record=True, file=io.StringIO())
    report.print_status(status, console)
    return " ".join(console.export_text().split())


def test_a_finished_run(run: Run) -> None:
    status = report.status(run(flat, seeds=1, rounds=2))
    assert json.loads(json.dumps(status, allow_nan=False)) == status
    assert (status["state"], status["labels"], status["round"], status["rounds"]) == ("done", 80, 2, 2)
    assert (status["trials_done"], status["trials_planned"], status["phase"]) == (2, 2, None)
    assert status["seconds_left"] == 0
    assert status["quarantined"] == 1
    assert status["trials"][1] == {
        "strategy": "bald", "seed": 0, "state": "done", "reason": "2 rounds", "round": 2, "round_state": "closed",
        "labels": 40, "accuracy": 0.5,
    }  # fmt: skip
    assert "done, 2 of 2 trials done, round 2 of 2, 80 labels" in shown(status)
    assert "0.500 done: 2 rounds" in shown(status)


def test_nobody_works_on_a_stopped_run_and_it_can_go_on(run: Run) -> None:
    store = run(flat, seeds=1, rounds=2, stop=("bald", 0, 1, "running"))
    status = report.status(store)
    assert status["state"] == "stopped"
    assert status["labels"] == 40 + 20
    assert status["round"] == 2
    assert status["seconds_left"] is not None
    assert status["seconds_left"] > 0
    assert "start it again to go on" in shown(status)
    assert "20 0.500 stopped" in shown(status)
    with store.lock("trainer"):
        assert report.status(store)["state"] == "running"
        with store.trial("bald", 0).phase(1, "fit"):
            status = report.status(store)
            assert status["phase"] is not None
            assert (status["phase"]["phase"], status["phase"]["round"]) == ("fit", 1)
            assert "now: bald, seed 0, round 1: fit" in shown(status)


def test_waiting_and_failed_runs_say_why(run: Run) -> None:
    for state in ("waiting", "failed"):
        status = report.status(run(flat, name=state, seeds=1, rounds=1, stop=("bald", 0, 0, state)))
        assert status["state"] == state
        assert "for some reason" in shown(status)


def test_a_run_of_which_nothing_is_known(run: Run) -> None:
    store = run(flat, strategies=("bald",), seeds=1, rounds=1, settings="", stop=("bald", 0, 0, "running"))
    status = report.status(store)
    assert (status["state"], status["labels"], status["round"]) == ("stopped", 0, 0)
    assert status["seconds_left"] is None
    assert status["trials"][0]["accuracy"] is None
    shown(status)


def test_of_many_trials_those_that_are_done_are_left_out() -> None:
    row = {"strategy": "bald", "state": "done", "reason": "", "round": 1, "round_state": "closed", "labels": 5,
           "accuracy": 0.5}  # fmt: skip
    trials = [{**row, "seed": seed} for seed in range(30)] + [{**row, "seed": 30, "state": "running"}]
    status = {"run": "r", "state": "running", "labels": 1, "round": 1, "rounds": None, "trials_done": 30,
              "trials_planned": 31, "phase": None, "seconds_left": 100.0, "people": False, "questions": 1,
              "quarantined": 0, "incidents": 2, "notes": ["Answers are simulated."], "trials": trials}  # fmt: skip
    text = shown(status)
    assert "30 more trials not shown" in text
    assert "about 1 min 40 s left" in text
    assert "2 incidents" in text
    assert "Answers are simulated." in text
