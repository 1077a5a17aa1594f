"""What a reader must know to judge a run's numbers, each in a sentence."""

import json
from collections.abc import Iterator, Sequence

from baldur.report.curves import RANDOM, Curve, Group
from baldur.report.plan import Plan, read_plan
from baldur.report.wording import count, flat, listed
from baldur.store import Store

ENOUGH_SEEDS = 5
"""With fewer, intervals over seeds are too wide to say much."""


def notes_on(store: Store, groups: Sequence[Group], stretch: tuple[float, float] | None) -> list[str]:
    """What a reader must know about one run.

    Args:
        store: The run.
        groups: Its trials by strategy.
        stretch: From which to which number of labels areas are taken, if there is such a stretch.

    Returns:
        Sentences, the weightiest first.
    """
    plan = read_plan(store)
    return [
        *_progress(store, groups, plan),
        *_comparability(store, groups),
        *_extent(groups, stretch),
        *_labels(plan),
        *answers(store),
        *differing_starts(store),
        *_losses(store),
    ]


def _progress(store: Store, groups: Sequence[Group], plan: Plan) -> Iterator[str]:
    trials = store.trials()
    done = sum(trial.state == "done" for trial in trials)
    planned = max(plan.trials, len(trials))
    if done < planned:
        rest = ", and of a strategy with finished trials only those count" if done else ""
        yield f"The run is not finished: {done} of {count(planned, 'trial')} done{rest}."
    for trial in trials:
        if trial.state in ("waiting", "failed"):
            why = f": {trial.reason}" if trial.reason else ""
            yield f"{trial.strategy}, seed {trial.seed}, {_STATES[trial.state]}{why}."
    begun = [group.strategy for group in groups if any(c.state != "done" for c in group.counted)]
    if begun:
        yield f"The numbers of {listed(begun)} are of unfinished trials, and will change."


_STATES = {"waiting": "is waiting", "failed": "failed"}


def _comparability(store: Store, groups: Sequence[Group]) -> Iterator[str]:
    measured = [group for group in groups if group.counted]
    if measured and not any(group.strategy == RANDOM for group in groups):
        yield (
            "There is no random baseline, so nobody can say whether choosing helped; "
            "add the strategy random for one."
        )
    fewest = min((len(group.counted) for group in measured), default=ENOUGH_SEEDS)
    if fewest < ENOUGH_SEEDS:
        yield (
            f"{count(fewest, 'seed')} only: at such sizes luck is large; {ENOUGH_SEEDS} seeds or more are needed "
            "to tell a difference from it."
        )
    if len(measured) > 2 and any(group.strategy == RANDOM for group in measured):
        yield (
            "Each strategy is compared with random by itself; the p-values are not corrected for their number."
        )
    if not _paired(store):
        yield "Strategies of the same seed did not all begin with the same labels, so the pairing is loose."


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
        yield "The curves share no stretch of labels, so there is no area to compare."
    elif any(curve.labels[-1] > stretch[1] or curve.labels[0] < stretch[0] for curve in curves):
        yield (
            f"Areas under the curve are over {stretch[0]:.0f} to {stretch[1]:.0f} labels, which all curves share."
        )


def _labels(plan: Plan) -> Iterator[str]:
    if plan.free_labels:
        yield (
            f"{count(plan.free_labels, 'more label')} were used for validation and declared free: "
            "no count on this page includes them."
        )
    if plan.until is not None:
        yield (
            f"Trials ended when their test accuracy was {plan.until:g}: last accuracies say nothing, and the crossing "
            "was sought on the test set."
        )
    if plan.stop:
        yield (
            f"A trial ends when {' or '.join(plan.stop)} says so, or after the last round: curves may have different "
            "ends; why each ended, and what it gave up against its best round, is under Trials."
        )
    if plan.stops_on_test:
        yield "That looked at the test set, so the last test accuracies are better than new data would show."


def answers(store: Store) -> list[str]:
    """How answers err, and how many were given for the labels of a run.

    Args:
        store: The run.

    Returns:
        One sentence; none where each label is one answer that is never wrong, or comes from outside.
    """
    plan = read_plan(store)
    people, _, who = plan.noise.partition(":")
    rate = _share(plan.noise)
    if plan.oracle != "simulated" or (plan.annotators == 1 and people != "people" and not rate):
        return []
    if people == "people":
        said = "Answers are those of the people of CIFAR-10N" + (f" ({who})" if who else "")
    else:
        said = f"Answers are simulated with {100 * rate:g} % errors"
    if plan.annotators == 1:
        return [f"{said}, one for each label."]
    labels = len(store.labels())
    votes = sum(row.source == "vote" for row in store.ledger())
    given = f", so {count(labels, 'label')} are {count(votes, 'answer')}" if labels else ""
    return [f"{said}; each label is the majority of {count(plan.annotators, 'answer')}{given}."]


def _share(noise: str) -> float:
    try:
        return float(noise)
    except ValueError:
        return 0.0


def differing_starts(store: Store) -> list[str]:
    """In what the processes that worked on a run differed.

    Args:
        store: The run.

    Returns:
        A sentence for each of versions, threads and device that was not always the same.
    """
    starts = store.starts()
    sentences = []
    for key in ("versions", "threads", "device"):
        seen = dict.fromkeys(json.dumps(start[key], sort_keys=True) for start in starts if key in start)
        if len(seen) > 1:
            values = listed([flat(json.loads(text)) for text in seen])
            sentences.append(
                f"The run was started with different {key} ({values}), so repeating it may not give the same bits."
            )
    return sentences


def _losses(store: Store) -> Iterator[str]:
    quarantined = sum(item.state == "quarantined" for item in store.items().values())
    if quarantined:
        yield f"{count(quarantined, 'item')} could not be read and took no part; they are named under Data."
    incidents = len(store.incidents())
    if incidents:
        yield f"{count(incidents, 'incident')} got over on the way; see Environment."
