"""The sections of the page with drawings; a section is empty if the run kept nothing to draw."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from baldur.evaluate import interval
from baldur.report import charts, wording
from baldur.report.charts import Series
from baldur.report.curves import RANDOM, group_curves, mean_curve, read_curves
from baldur.report.markup import Html, details, element, figure, join, table
from baldur.report.study import Member, Study
from baldur.store import Store

Bins = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def learning_curves(study: Study) -> Html:
    """The curves, the difference from random, and the same as a table.

    Args:
        study: The data of the page.

    Returns:
        The section.
    """
    members, metric = study.measured, study.metric
    if not members:
        return Html("")
    series = [member.series for member in members]
    name = wording.full_name(metric)
    drawn = [
        figure(
            charts.learning("learning", series, metric, study.summary.targets),
            f"Test {name}. Thick line: mean over the seeds that were measured at this number of labels. "
            "Thin lines: single seeds. Dotted lines: targets. "
            "Band: 95 % t-interval of the mean, drawn for three seeds or more. It may reach beyond the frame.",
        )
    ]
    baselines = {member.group.run: member.group for member in members if member.group.strategy == RANDOM}
    others = [s for s in series if s.group.strategy != RANDOM and s.group.run in baselines]
    if others:
        drawn.append(
            figure(
                charts.difference("difference", others, baselines, metric),
                f"{name[0].upper()}{name[1:]} minus that of random, with the same seed and number of labels. "
                "Line: mean over seeds. Band: 95 % t-interval. "
                "Where the band includes zero, the difference may be chance.",
            )
        )
    return join(
        [element("div", *drawn, class_="charts"), details("The curves as a table", _curve_table(study))]
    )


def _curve_table(study: Study) -> Html:
    means = [{p.labels: p.value for p in mean_curve(member.group.counted)} for member in study.measured]
    rows = []
    for n in sorted({n for mean in means for n in mean}):
        cells = [wording.value(mean[n].mean) if n in mean else "–" for mean in means]
        rows.append([f"{n:.0f}", *cells])
    head = ["labels", *(member.name for member in study.measured)]
    caption = f"Mean test {wording.full_name(study.metric)} over seeds"
    return table(caption, head, rows, numbers=range(1, len(head)))


def class_balance(study: Study) -> Html:
    """The classes that each strategy picked.

    Args:
        study: The data of the page.

    Returns:
        The section, with one drawing for each list of classes.
    """
    drawn = []
    for i, classes in enumerate(dict.fromkeys(store.classes for store in study.runs.values())):
        members = [member for member in study.members if member.store.classes == classes]
        shares = {member.name: share for member in members if (share := _shares(member)) is not None}
        if shares:
            drawn.append(_balance(f"balance{i}", members, shares, classes))
    return element("div", *drawn, class_="charts") if drawn else Html("")


def _balance(
    name: str, members: Sequence[Member], shares: Mapping[str, NDArray[np.float64]], classes: Sequence[str]
) -> Html:
    known = _pool_counts(members[0], len(classes))
    pool = np.full(len(classes), 1 / len(classes)) if known is None else known / known.sum()
    apart = np.max([np.abs(share - pool) for share in shares.values()], axis=0)
    shown = np.sort(np.argsort(-apart, kind="stable")[: charts.MOST_CLASSES])
    looks = {member.name: member.style for member in members}
    few_shares, names = {one: s[shown] for one, s in shares.items()}, [classes[i] for i in shown]
    sign = "even share" if known is None else "pool"
    svg = charts.balance(name, few_shares, looks, names, pool[shown], sign)
    mark = "an even share of the classes" if known is None else "the class's share of the pool"
    few = (
        f" Shown are the {len(shown)} of {len(classes)} classes that differ most."
        if len(shown) < len(classes)
        else ""
    )
    return figure(svg, f"All picks of all seeds, without the initial labels. Vertical mark: {mark}.{few}")


def _shares(member: Member) -> NDArray[np.float64] | None:
    """The share of each class among the answered picks; None without any."""
    index = {name: i for i, name in enumerate(member.store.classes)}
    picks = [index[r.label] for r in member.requests if r.round > 0 and r.label in index]
    counts = np.bincount(picks, minlength=len(index)).astype(np.float64) if picks else None
    return None if counts is None else counts / counts.sum()


def _pool_counts(member: Member, classes: int) -> NDArray[np.float64] | None:
    """How many items of each class the pool held, where the run recorded it and all labels were known."""
    facts = member.store.preprocessing.get("facts")
    if not isinstance(facts, dict):
        return None
    counts = facts.get("class counts")
    if not isinstance(counts, list) or len(counts) != classes or not sum(counts):
        return None
    if sum(counts) < facts.get("pool", 0):  # the classes of the labelled are not those of the pool
        return None
    return np.array(counts, np.float64)


def hardest(study: Study) -> Html:
    """The classes that the newest models predict worst, by F1 on the test items.

    Args:
        study: The data of the page.

    Returns:
        The section; empty if no class was measured.
    """
    shown = []
    for member in study.measured:
        found = _f1(member)
        worst = sorted(found, key=lambda name: found[name][0])[:_HARDEST]
        rows = [[name, wording.value(found[name][0]), str(found[name][1])] for name in worst]
        if rows:
            caption = f"{member.name}: {len(rows)} of {len(member.store.classes)} classes, the hardest first"
            shown.append(table(caption, ["Class", "F1, mean over seeds", "Seeds"], rows, numbers=range(1, 3)))
    return join(shown)


_HARDEST = 8  # classes that are shown


def _f1(member: Member) -> dict[str, tuple[float, int]]:
    """The F1 of each class in the last round, and the number of seeds with a value."""
    last = {seed: max(r for s, r in member.labels if s == seed) for seed, _ in member.labels}
    counted = {curve.seed for curve in member.group.counted}
    values: dict[str, list[float]] = {}
    classes = {f"f1_{name}": name for name in member.store.classes if name != "macro"}
    for row in member.store.metrics("test"):
        own = row.strategy == member.group.strategy and row.seed in counted
        if own and row.metric in classes and row.round == last.get(row.seed) and np.isfinite(row.value):
            values.setdefault(classes[row.metric], []).append(row.value)
    return {name: (float(np.mean(each)), len(each)) for name, each in values.items()}


def score_distribution(study: Study) -> Html:
    """How the scores of the pool were spread in each round, for the first seed of each strategy.

    Args:
        study: The data of the page.

    Returns:
        The section; empty if no scores were kept.
    """
    drawn = []
    for i, member in enumerate(study.members):
        rounds, seed = _scores(study, member)
        if rounds:
            svg = charts.score_bands(f"scores{i}", f"{member.name}, seed {seed}", rounds, member.style)
            drawn.append(
                figure(
                    svg,
                    "Scores of all candidates in each round. Dots: the picks, with the scores that they had then."
                    + _ties(rounds),
                )
            )
    return element("div", *drawn, class_="charts") if drawn else Html("")


def _ties(rounds: Sequence[charts.Scores]) -> str:
    """How many rounds had ties for the last places, within rounding."""
    tied = [one.tied for one in rounds if one.tied]
    if not tied:
        return ""
    return (
        f" In {len(tied)} of {len(rounds)} rounds, up to {max(tied)} items tied for the last places within rounding. "
        "Order or chance decided among them."
    )


def _tied(scores: NDArray[np.float64], k: int) -> int:
    """How many items tie for the last places within rounding; 0 if all of them have a place."""
    if not 0 < k < len(scores):
        return 0
    last, slack = np.partition(scores, -k)[-k], 1e-6 * np.abs(scores).max()
    near = int((np.abs(scores - last) <= slack).sum())
    return near if near > k - int((scores > last + slack).sum()) else 0


def _scores(study: Study, member: Member) -> tuple[list[charts.Scores], int]:
    kept = [row for row in member.store.artefacts("scores") if row.strategy == member.group.strategy]
    for trial in member.trials:
        found = []
        for r in sorted(row.round or 0 for row in kept if row.seed == trial.seed):
            path = study.find(trial, r, "scores")
            scores = np.load(path, allow_pickle=False) if path else np.empty(0)
            known = member.labels.get((trial.seed, r))
            if scores.size and known is not None:
                quantiles = np.quantile(scores, (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)).tolist()
                picks = (q for q in member.requests if (q.seed, q.round) == (trial.seed, r + 1))
                chosen = tuple(q.score for q in picks if q.score is not None)
                found.append(charts.Scores(known, tuple(quantiles), chosen, _tied(scores, len(chosen))))
        if found:
            return found, trial.seed
    return [], 0


def calibration(study: Study) -> Html:
    """Reliability in the last round, the calibration error over labels, and scores of the probabilities.

    Args:
        study: The data of the page.

    Returns:
        The section; empty if no calibration was kept.
    """
    bins = {member.name: found for member in study.measured if (found := _bins(study, member)) is not None}
    looks = {member.name: member.style for member in study.members}
    drawn = []
    if bins:
        caption = (
            "Reliability in the last round, all seeds together. Larger dots stand for more test items. "
            "The line leaves out bins with less than 1 % of the items. "
            "Below the diagonal, the model is overconfident."
        )
        drawn.append(figure(charts.reliability("reliability", bins, looks), caption))
    series = list(_ece_series(study))
    if series:
        caption = (
            "Expected calibration error with 15 bins. Smaller is better. Mean and 95 % t-interval over seeds."
        )
        drawn.append(figure(charts.learning("ece", series, "ece", ()), caption))
    shown = [element("div", *drawn, class_="charts")] if drawn else []
    return join([*shown, _probabilities(study)])


_OF_PROBABILITIES = {
    "ece": "ECE",
    "adaptive_ece": "Adaptive ECE",
    "brier": "Brier",
    "nll": "NLL",
    "auroc": "AUROC",
}


def _probabilities(study: Study) -> Html:
    """Scores of the probabilities in the last round; empty if none was measured."""
    columns = {
        metric: {
            (run, group.strategy): [float(curve.values[-1]) for curve in group.counted]
            for run, store in study.runs.items()
            for group in group_curves(read_curves(store, run, metric))
            if group.counted
        }
        for metric in _OF_PROBABILITIES
    }
    measured = {metric: found for metric, found in columns.items() if found}
    if not measured:
        return Html("")
    rows = [
        [
            member.name,
            *(_mean(found.get((member.group.run, member.group.strategy), ())) for found in measured.values()),
        ]
        for member in study.measured
    ]
    head = ["Strategy", *(_OF_PROBABILITIES[metric] for metric in measured)]
    caption = (
        "Predicted probabilities on the test items after the last round: mean ± standard deviation over seeds"
    )
    return table(caption, head, rows, numbers=range(1, len(head)))


def _mean(values: Sequence[float]) -> str:
    """The mean of a metric over seeds, and its standard deviation."""
    if not values or not np.isfinite(values).all():
        return "–"
    found = interval(list(values))
    return wording.value(found.mean) + ("" if found.n == 1 else f" ± {wording.value(found.sd)}")


def _ece_series(study: Study) -> Iterator[Series]:
    for run, store in study.runs.items():
        for group in group_curves(read_curves(store, run, "ece")):
            key = (run, group.strategy)
            member = next((m for m in study.members if (m.group.run, m.group.strategy) == key), None)
            if member and group.counted:  # a strategy may begin while the page is made
                yield Series(member.name, group, member.style)


def _bins(study: Study, member: Member) -> Bins | None:
    """The last round's bins, summed over the seeds that count; those that hold nothing are left out."""
    kept = [row for row in member.store.artefacts("calibration") if row.strategy == member.group.strategy]
    counted = {curve.seed for curve in member.group.counted}
    total = None
    for trial in member.trials:
        rounds = [row.round for row in kept if row.seed == trial.seed and row.round is not None]
        path = study.find(trial, max(rounds), "calibration") if rounds and trial.seed in counted else None
        if path is not None:
            with np.load(path, allow_pickle=False) as arrays:
                count = arrays["count"].astype(np.float64)
                held = [np.where(count > 0, arrays[name], 0) * count for name in ("confidence", "accuracy")]
            part = np.array([count, *held])
            total = part if total is None else total + part
    if total is None or not total[0].any():
        return None
    count, confidence, accuracy = total[:, total[0] > 0]
    return count, confidence / count, accuracy / count


def time_by_phase(study: Study) -> Html:
    """The time of a trial by phase.

    Args:
        study: The data of the page.

    Returns:
        The section; empty if no phase has ended.
    """
    seconds = {member.name: spent for member in study.members if (spent := _seconds(member))}
    if not seconds:
        return Html("")
    again = sum(_done_again(store) for store in study.runs.values())
    caption = "label: waiting for answers. fit: training. measure: testing. choose: scoring and selecting."
    if again:
        caption += f" Not counted: {wording.count(again, 'interrupted attempt')}."
    drawn = figure(charts.time_by_phase("time", seconds), caption)
    rows = [
        [name, *(wording.duration(spent.get(phase, 0.0)) for phase in charts.PHASES)]
        for name, spent in seconds.items()
    ]
    head = ["Strategy", *charts.PHASES]
    numbers = table(
        "The same in numbers: one trial, mean over seeds", head, rows, numbers=range(1, len(head))
    )
    return join([element("div", drawn, class_="charts"), numbers])


def _seconds(member: Member) -> dict[str, float]:
    """Mean seconds a trial spent in each phase, of the trials that count; of all if none has a curve."""
    own = [row for row in member.store.phases() if row.strategy == member.group.strategy]
    counted = {curve.seed for curve in member.group.counted} or {row.seed for row in own}
    spent: dict[str, float] = {}
    for row in own:
        if row.seed in counted and row.seconds is not None:
            spent[row.phase] = spent.get(row.phase, 0.0) + row.seconds / len(counted)
    return spent


def _done_again(store: Store) -> int:
    """How many attempts at a phase never ended and were followed by another; those that only waited did end."""
    attempts = store.phases()
    latest = {row[:4]: row for row in attempts}  # by strategy, seed, round and phase
    return sum(row.seconds is None and row is not latest[row[:4]] for row in attempts)
