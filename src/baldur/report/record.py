"""The sections of the page without drawings: trials, data, environment, settings."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from baldur.report import wording
from baldur.report.curves import LOSSES, Curve
from baldur.report.markup import Html, details, element, join, table
from baldur.report.notes import differing_starts
from baldur.report.study import Study
from baldur.store import Store

_MOST_ROWS = 200


def trials(study: Study) -> Html:
    """Every trial: its state, why it stopped, and how far its last round is from its best one.

    Args:
        study: The data of the page.

    Returns:
        The section; empty if no trial has begun.
    """
    rows = []
    for member in study.members:
        last = {curve.seed: curve for curve in member.group.counted}
        for trial in member.trials:
            latest, curve = trial.latest(), last.get(trial.seed)
            labels = max((n for (seed, _), n in member.labels.items() if seed == trial.seed), default=0)
            rows.append(
                [
                    f"{member.name}, seed {trial.seed}",
                    f"{trial.state}: {trial.reason}" if trial.reason else trial.state,
                    "–" if latest is None else str(latest.round),
                    str(labels),
                    *(("–", "–", "–") if curve is None else _end_and_best(curve, study.metric)),
                ]
            )
    heads = [
        "Trial",
        "State",
        "Round",
        "Labels",
        f"Last {wording.full_name(study.metric)}",
        "Best",
        "Gap to best",
    ]
    shown = table("All trials", heads, rows, numbers=range(2, 7))
    return details(wording.count(len(rows), "trial"), shown) if rows else Html("")


def _end_and_best(curve: Curve, metric: str) -> tuple[str, str, str]:
    """The last value, the best one, and the gap between them. It is shown only; it decides nothing."""
    best = int(np.argmin(curve.values) if metric in LOSSES else np.argmax(curve.values))
    last, top = float(curve.values[-1]), float(curve.values[best])
    return (
        wording.value(last),
        f"{wording.value(top)} at {curve.labels[best]:.0f} labels",
        wording.value(abs(top - last)),
    )


def data(study: Study) -> Html:
    """The pool: its size, its classes, its duplicates, and its unreadable items.

    Args:
        study: The data of the page.

    Returns:
        The section.
    """
    return join(part for run, store in study.runs.items() for part in _of_run(study, run, _data(store)))


def environment(study: Study) -> Html:
    """Versions, threads and devices of the runs, their changes between starts, and incidents.

    Args:
        study: The data of the page.

    Returns:
        The section.
    """
    parts = [part for run, store in study.runs.items() for part in _of_run(study, run, _environment(store))]
    if study.damaged:
        parts.append(element("h3", "Files that could not be used"))
        parts.append(element("ul", *(element("li", text) for text in study.damaged)))
    return join(parts)


def settings(study: Study) -> Html:
    """The settings of each run, as the file that reproduces it.

    Args:
        study: The data of the page.

    Returns:
        The section.
    """
    return join(
        details(f"settings.toml of {run}", element("pre", store.settings))
        for run, store in study.runs.items()
    )


def _of_run(study: Study, run: str, parts: Iterator[Html]) -> Iterator[Html]:
    if len(study.runs) > 1:
        yield element("h3", run)
    yield from parts


def _data(store: Store) -> Iterator[Html]:
    facts = store.preprocessing.get("facts", {})
    said = {key: value for key, value in facts.items() if isinstance(value, int)} if facts else {}
    equal = said.get("duplicates")
    if equal is None:  # an early version recorded none
        contents = Counter(sha256 for sha256, _, _ in store.files().values() if sha256)
        equal = sum(count > 1 for count in contents.values())
    lines = []
    if "pool" in said and "test" in said:
        lines.append(f"{said['pool']:,} items in the pool, {said['test']:,} held out for testing.")
    lines.append(
        f"{wording.count(equal, 'group')} of items with exactly the same content."
        if equal
        else "No exact duplicates were found."
    )
    yield element("p", " ".join(lines))
    bad = list(store.items("quarantined").values())
    if bad:
        rows = [[item.id, item.reason or "no reason recorded"] for item in bad[:_MOST_ROWS]]
        few = f" (the first {_MOST_ROWS})" if len(bad) > _MOST_ROWS else ""
        shown = table(f"Items that took no part{few}", ["Item", "Why"], rows)
        yield details(wording.count(len(bad), "quarantined item"), shown, is_open=len(bad) <= 10)
    yield details(f"{len(store.classes)} classes", element("p", wording.listed(list(store.classes))))
    if store.preprocessing:
        told: Any = dict(store.preprocessing)
        told["facts"] = {key: value for key, value in told.get("facts", {}).items() if key != "fingerprint"}
        text = json.dumps(told, indent=2, ensure_ascii=False)
        yield details("Preprocessing", element("pre", text))


def _environment(store: Store) -> Iterator[Html]:
    for sentence in differing_starts(store):
        yield element("p", sentence)
    rows = []
    for start in store.starts():
        known = [wording.flat(start.get(key, "–")) for key in ("versions", "threads", "device")]
        rows.append([start["time"][:19].replace("T", " "), *known])
    if rows:
        yield table("Starts (UTC)", ["Time", "Versions", "Threads", "Device"], rows[-_MOST_ROWS:])
    else:
        yield element("p", "No start is recorded.")
    incidents = store.incidents()
    if incidents:
        said = [[row.time[:19].replace("T", " "), row.what] for row in incidents[:_MOST_ROWS]]
        yield table("Incidents; the run recovered from all of them", ["Time", "Event"], said)
