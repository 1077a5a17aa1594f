"""The status of a run."""

from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from baldur.oracles.answers import unanswered
from baldur.report import wording
from baldur.report.notes import answers
from baldur.report.plan import Plan, read_plan
from baldur.store import PhaseRow, Store, Trial

if TYPE_CHECKING:
    from rich.console import Console

_MOST_ROWS = 24


def status(store: Store) -> dict[str, Any]:
    """The status of a run, as values that JSON can hold.

    Args:
        store: The run.

    Returns:
        "run" (its folder), "state" ("running", "stopped", "waiting", "failed" or "done"), "labels" (over all
        trials), "round" (the newest of any trial), "rounds" (planned, or None), "trials_done",
        "trials_planned", "phase" (the one going on, or None), "seconds_left" (an estimate, or None),
        "people" (whether people label in the run), "questions" (items that wait for the answer of a person),
        "quarantined", "incidents", "notes" (on the simulated answers) and "trials": the strategy, seed, state, reason,
        round, round_state, labels and accuracy of each.
    """
    plan = read_plan(store)
    trials = _trials(store)
    planned = max(plan.trials, len(trials))
    state = _state([row["state"] for row in trials], planned, store.is_held("trainer"))
    phases = store.phases()
    done = {(row["strategy"], row["seed"]) for row in trials if row["state"] == "done"}
    return {
        "run": str(store.folder),
        "state": state,
        "labels": sum(row["labels"] for row in trials),
        "round": max((row["round"] for row in trials if row["round"] is not None), default=0),
        "rounds": plan.rounds,
        "trials_done": len(done),
        "trials_planned": planned,
        "phase": _phase(phases[-1]) if phases and state == "running" else None,
        "seconds_left": 0.0 if state == "done" else _seconds_left(phases, plan, done),
        "people": plan.oracle == "people",
        "questions": _questions(store, plan),
        "quarantined": store.count_items("quarantined"),
        "incidents": len(store.incidents()),
        "notes": answers(store),
        "trials": trials,
    }


def print_status(status: dict[str, Any], console: "Console") -> None:
    """Print a status; of many trials, only those that are not done.

    Args:
        status: The result of `status`.
        console: Where to print it.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console.print(Text(_headline(status)))
    if status["phase"]:
        console.print(Text("now: {strategy}, seed {seed}, round {round}: {phase}".format(**status["phase"])))
    rows = status["trials"]
    shown = rows if len(rows) <= _MOST_ROWS else [row for row in rows if row["state"] != "done"][:_MOST_ROWS]
    if shown:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("strategy", overflow="fold")
        for heading in ("seed", "round", "labels", "accuracy"):
            table.add_column(heading, justify="right")
        table.add_column("state", overflow="fold")
        for row in shown:
            table.add_row(*map(Text, _cells(row, status["state"])))
        console.print(table)
    if len(shown) < len(rows):
        console.print(Text(f"{wording.count(len(rows) - len(shown), 'more trial')} not shown"))
    if said := questions_in_words(status):
        console.print(Text(said), soft_wrap=True)  # with a command to copy
    for note in status["notes"]:
        console.print(Text(note))
    for thing, name in (("quarantined", "quarantined item"), ("incidents", "incident")):
        if status[thing]:
            console.print(Text(f"{wording.count(status[thing], name)}: see the report"))


def questions_in_words(status: dict[str, Any]) -> str:
    """How many answers a run waits for, and how to give them.

    Args:
        status: The result of `status`.

    Returns:
        A sentence; empty if no answer is missing.
    """
    if not status["questions"]:
        return ""
    how = how_to_label if status["people"] else how_to_answer
    return f"waiting for {wording.count(status['questions'], 'answer')}: {how(status['run'])}"


def how_to_label(folder: Any) -> str:
    """How people label in a run.

    Args:
        folder: The folder of the run.

    Returns:
        A part of a sentence.
    """
    return (
        f"baldur propose {folder} --count 50 --format csv > batch.csv prints the next items; fill in the column label, "
        f"then: baldur ingest {folder} batch.csv; and to train: baldur run --out {folder}. In Python: "
        f"baldur.open({str(folder)!r}).ask()"
    )


def how_to_answer(folder: Any) -> str:
    """How a person answers the questions of a run.

    Args:
        folder: The folder of the run.

    Returns:
        A part of a sentence.
    """
    questions = wording.count(unanswered(Path(folder) / "requests.csv"), "question")
    return (
        f"read the {questions} in {folder}/requests.csv, fill in the labels there or write them to "
        f"{folder}/answers.csv (columns id, label), then continue with: baldur run --out {folder}"
    )


def _questions(store: Store, plan: Plan) -> int:
    if plan.oracle == "people":
        return sum(trial.queue.waiting() for trial in store.trials())
    if plan.oracle != "file":
        return 0
    return len({row.item for row in store.requests() if row.state == "open"})


def _trials(store: Store) -> list[dict[str, Any]]:
    split = "test" if store.seed is None else "reserve"  # where people label, some items are kept for testing
    accuracy = {
        (row.strategy, row.seed): row.value for row in store.metrics(split) if row.metric == "accuracy"
    }
    labels = Counter((row.strategy, row.seed) for row in store.labels())
    return [_trial(trial, labels, accuracy) for trial in store.trials()]


def _trial(
    trial: Trial, labels: Mapping[tuple[str, int], int], accuracy: dict[tuple[str, int], float]
) -> dict[str, Any]:
    latest, key = trial.latest(), (trial.strategy, trial.seed)
    measured = accuracy.get(key)
    return {
        "strategy": trial.strategy,
        "seed": trial.seed,
        "state": trial.state,
        "reason": trial.reason,
        "round": latest.round if latest else None,
        "round_state": latest.state if latest else None,
        "labels": labels.get(key, 0),
        "accuracy": measured if measured == measured else None,  # NaN is nothing that JSON can hold
    }


def _state(states: list[str], planned: int, held: bool) -> str:
    """One word for the whole run; a trial that nobody works on is not running, whatever its row says."""
    if len(states) == planned and all(state == "done" for state in states) and states:
        return "done"
    if held:
        return "running"
    for state in ("failed", "waiting"):
        if state in states:
            return state
    return "stopped"


def _phase(row: PhaseRow) -> dict[str, Any] | None:
    """The phase that is going on, if it is."""
    if row.seconds is not None:
        return None
    return {key: getattr(row, key) for key in ("strategy", "seed", "round", "phase", "started")}


def _seconds_left(phases: list[PhaseRow], plan: Plan, done: set[tuple[str, int]]) -> float | None:
    """An estimate from the same rounds of other trials, or else from the newest rounds."""
    if not plan.trials or plan.rounds is None or plan.oracle != "simulated":
        return None
    spent = [row for row in phases if row.seconds is not None and row.phase != "label"]
    spent.sort(key=_round_of)
    rounds = {key: sum(row.seconds or 0.0 for row in rows) for key, rows in groupby(spent, key=_round_of)}
    if not rounds:
        return None
    usual: dict[int, float] = {}
    for r in range(plan.rounds + 1):
        there = [seconds for (_, _, round), seconds in rounds.items() if round == r]
        usual[r] = fmean(there) if there else usual.get(r - 1, 0.0)
    begun = sum(min(s, usual[r]) for (strategy, seed, r), s in rounds.items() if (strategy, seed) not in done)
    return (plan.trials - len(done)) * sum(usual.values()) - begun


def _round_of(row: PhaseRow) -> tuple[str, int, int]:
    return row.strategy, row.seed, row.round


def _headline(status: dict[str, Any]) -> str:
    parts = [f"{status['run']}: {status['state']}"]
    parts.append(f"{status['trials_done']} of {wording.count(status['trials_planned'], 'trial')} done")
    rounds = "" if status["rounds"] is None else f" of {status['rounds']}"
    parts.append(f"round {status['round']}{rounds}")
    parts.append(wording.count(status["labels"], "label"))
    if status["seconds_left"] and status["state"] in ("running", "stopped"):
        parts.append(f"about {wording.duration(status['seconds_left'])} left")
    if status["state"] == "stopped":
        parts.append("start it again to go on")
    return ", ".join(parts)


def _cells(row: dict[str, Any], run: str) -> list[str]:
    """A row of the table; a trial that nobody works on is stopped."""
    number = "–" if row["round"] is None else str(row["round"])
    accuracy = "–" if row["accuracy"] is None else wording.value(row["accuracy"])
    state = "stopped" if row["state"] == "running" and run != "running" else row["state"]
    if row["reason"]:
        state += f": {row['reason']}"
    return [row["strategy"], str(row["seed"]), number, str(row["labels"]), accuracy, state]
