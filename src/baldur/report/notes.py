"""The notes of a report: facts that a reader needs to judge the numbers of a run."""

import json
from collections.abc import Iterator, Sequence

from baldur.report.curves import RANDOM, Curve, Group
from baldur.report.plan import Plan, read_plan
from baldur.report.wording import count, flat, listed
from baldur.store import Store

ENOUGH_SEEDS = 5
"""With fewer seeds, the intervals are too wide to show most differences."""


def notes_on(store: Store, groups: Sequence[Group], stretch: tuple[float, float] | None) -> list[str]:
    """The notes on one run.

    Args:
        store: The run.
        groups: Its trials by strategy.
        stretch: The first and the last number of labels of the areas; None if the curves share no range.

    Returns:
        Sentences, the most important ones first.
    """
    plan = read_plan(store)
    if store.seed is not None:  # people label, and there is nothing to compare
        return [*differing_starts(store), *_losses(store)]
    return [
        *_progress(store, groups, plan),
        *_comparability(store, groups),
        *_extent(groups, stretch),
        *_labels(plan),
        *_tested(store),
        *answers(store),
        *differing_starts(store),
        *_losses(store),
    ]


def _progress(store: Store, groups: Sequence[Group], plan: Plan) -> Iterator[str]:
    trials = store.trials()
    done = sum(trial.state == "done" for trial in trials)
    planned = max(plan.trials, len(trials))
    if done < planned:
        rest = " Where a strategy has finished trials, only those count." if done else ""
        yield f"The run is not finished: {done} of {count(planned, 'trial')} done.{rest}"
    for trial in trials:
        if trial.state in ("waiting", "failed"):
            why = f": {trial.reason}" if trial.reason else ""
            yield f"{trial.strategy}, seed {trial.seed}, {_STATES[trial.state]}{why}."
    begun = [group.strategy for group in groups if any(c.state != "done" for c in group.counted)]
    if begun:
        yield f"The numbers of {listed(begun)} come from unfinished trials and will change."


_STATES = {"waiting": "is waiting", "failed": "failed"}


def _comparability(store: Store, groups: Sequence[Group]) -> Iterator[str]:
    measured = [group for group in groups if group.counted]
    if measured and not any(group.strategy == RANDOM for group in groups):
        yield (
            "There is no random baseline, so this run cannot show whether active learning helped. "
            "Add the strategy random."
        )
    fewest = min((len(group.counted) for group in measured), default=ENOUGH_SEEDS)
    if fewest < ENOUGH_SEEDS:
        yield (
            f"Only {count(fewest, 'seed')}: chance plays a large part. "
            f"Use at least {ENOUGH_SEEDS} seeds to tell a difference from chance."
        )
    if not _paired(store):
        yield (
            "Trials with the same seed did not all start from the same labels, "
            "so their results are only loosely paired."
        )


def _paired(store: Store) -> bool:
    """Whether all strategies of a seed asked for the same initial items."""
    initial: dict[int, dict[str, set[str]]] = {}
    for request in store.requests():
        if request.round == 0:
            initial.setdefault(request.seed, {}).setdefault(request.strategy, set()).add(request.item)
    return all(len({frozenset(items) for items in seed.values()}) == 1 for seed in initial.values())


def _extent(groups: Sequence[Group], stretch: tuple[float, float] | None) -> Iterator[str]:
    curves: list[Curve] = [curve for group in groups for curve in group.counted]
    if not curves:
        return
    if stretch is None:
        yield "The curves have no range of labels in common, so their areas cannot be compared."
    elif any(curve.labels[-1] > stretch[1] or curve.labels[0] < stretch[0] for curve in curves):
        yield (
            f"Areas under the curve are taken from {stretch[0]:.0f} to {stretch[1]:.0f} labels, "
            "the range that all curves share."
        )


def _labels(plan: Plan) -> Iterator[str]:
    if plan.free_labels:
        yield (
            f"{count(plan.free_labels, 'more label')} were used for validation and declared free. "
            "No count on this page includes them."
        )
    if plan.until is not None:
        yield (
            f"Trials ended when their test accuracy reached {plan.until:g}, so the test set decided when to stop. "
            "Compare the labels to the target, not the last accuracies."
        )
    if plan.stop:
        yield (
            f"A trial ends when {' or '.join(plan.stop)} says so, or after the last round. So curves may end at "
            "different numbers of labels. The section Trials says why each trial ended, "
            "and how far it then was from its best round."
        )
    if plan.stops_on_test:
        yield "A stopping criterion looked at the test set, so the last test accuracies are too optimistic."


def _tested(store: Store) -> Iterator[str]:
    items = [int(row.value) for row in store.metrics("reserve") if row.metric == "items" and row.value > 0]
    if items:
        yield (
            f"The label counts include up to {count(max(items), 'test label')} in each trial. They were drawn at "
            "random to decide when to stop, and no model was trained on them."
        )


def answers(store: Store) -> list[str]:
    """How the simulated answers err, and how many answers make one label.

    Args:
        store: The run.

    Returns:
        One text; none where each label is one correct answer, or where a person answers.
    """
    plan = read_plan(store)
    people, _, who = plan.noise.partition(":")
    rate = _share(plan.noise)
    if plan.oracle != "simulated" or (plan.annotators == 1 and people != "people" and not rate):
        return []
    if people == "people":
        said = "Answers come from the annotators of CIFAR-10N" + (f" ({who})" if who else "")
    else:
        said = f"Answers are simulated with {100 * rate:g} % errors"
    if plan.annotators == 1:
        return [f"{said}. Each label is one answer."]
    labels = len(store.labels())
    votes = sum(row.source == "vote" for row in store.ledger())
    given = f", so {count(labels, 'label')} are {count(votes, 'answer')}" if labels else ""
    return [f"{said}. Each label is the majority of {count(plan.annotators, 'answer')}{given}."]


def _share(noise: str) -> float:
    try:
        return float(noise)
    except ValueError:
        return 0.0


def differing_starts(store: Store) -> list[str]:
    """Differences between the processes that worked on a run.

    Args:
        store: The run.

    Returns:
        A sentence for each of versions, threads and device that changed between two starts.
    """
    starts = store.starts()
    sentences = []
    for key, name in (("versions", "versions"), ("threads", "numbers of threads"), ("device", "devices")):
        seen = dict.fromkeys(json.dumps(start[key], sort_keys=True) for start in starts if key in start)
        if len(seen) > 1:
            values = listed([flat(json.loads(text)) for text in seen])
            sentences.append(
                f"The run was started with different {name} ({values}), so a repetition may give slightly "
                "different results."
            )
    return sentences


def _losses(store: Store) -> Iterator[str]:
    quarantined = store.count_items("quarantined")
    if quarantined:
        yield f"{count(quarantined, 'item')} took no part. The section Data lists them."
    incidents = len(store.incidents())
    if incidents:
        yield f"The run recovered from {count(incidents, 'incident')}. The section Environment lists them."
