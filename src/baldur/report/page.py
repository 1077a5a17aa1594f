"""The report: one HTML file that needs neither network nor script."""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from baldur.report import findings, labelling, record, sections, wording
from baldur.report.beside import beside
from baldur.report.markup import Html, element, join, table
from baldur.report.picks import picked
from baldur.report.plan import read_plan
from baldur.report.study import Member, Study, gather
from baldur.report.summary import Row
from baldur.report.table import explanation
from baldur.store import Store
from baldur.store.artefacts import write_text

_PARTS: tuple[tuple[str, str, Callable[[Study], Html], str], ...] = (
    ("curves", "Learning curves", sections.learning_curves, "No round is measured yet."),
    ("picks", "Picked items", picked, "Nothing was picked yet."),
    ("hardest", "Hardest classes", sections.hardest, "No class was measured on its own."),
    ("classes", "Classes of the picks", sections.class_balance, "No pick is answered yet."),
    (
        "scores",
        "Scores by round",
        sections.score_distribution,
        "No scores were kept. Random selection has none.",
    ),
    ("calibration", "Calibration", sections.calibration, "No calibration was kept."),
    ("time", "Time", sections.time_by_phase, "No phase has ended yet."),
    ("trials", "Trials", record.trials, "No trial has begun yet."),
    ("data", "Data", record.data, ""),
    ("environment", "Environment", record.environment, ""),
    ("settings", "Settings", record.settings, ""),
)

_PEOPLE: tuple[tuple[str, str, Callable[[Study], Html], str], ...] = (
    ("accuracy", "Accuracy", labelling.accuracy, "No model was measured on test labels yet."),
    ("labels", "Labels", labelling.classes, "No item has a label yet."),
    *(part for part in _PARTS if part[0] in ("picks", "scores", "time", "data", "environment", "settings")),
)
"""The parts of a page of runs in which people label. There is nothing to compare."""


def write_html(
    stores: Sequence[Store], path: Path, targets: Sequence[float], metric: str = "accuracy"
) -> Path:
    """Write one self-contained page that shows one run or compares several.

    Args:
        stores: The runs, finished or not.
        path: The file; replaced whole.
        targets: Values of the metric to reach.
        metric: Which metric of the test split.

    Returns:
        The path.

    Raises:
        InvalidArgument: There is no run, or the metric was not measured.
        DiskFull: There was no room.
    """
    study = gather(stores, targets, metric)
    people = labelling.only_people(study)
    drawn = _PEOPLE if people else _PARTS
    parts = [(anchor, title, draw(study) or element("p", empty)) for anchor, title, draw, empty in drawn]
    if not people:
        parts.insert(0, ("summary", "Summary", join(_summary(study))))
    if len(stores) > 1:
        parts.insert(0, ("beside", "Side by side", beside(study)))
    links = [element("a", title, href=f"#{anchor}") for anchor, title, _ in parts]
    body = [
        element(
            "header", *_header(study), _notes(study), element("nav", *links, aria_label="Parts of this page")
        ),
        *(element("section", element("h2", title, id=anchor), part) for anchor, title, part in parts),
    ]
    write_text(path, _document(" and ".join(study.runs), body))
    return path


def _document(title: str, body: Sequence[Html]) -> str:
    css = files("baldur.report").joinpath("page.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name_="viewport", content_="width=device-width, initial-scale=1"),
        element("title", f"Baldur: {title}"),
        element("style", Html(css)),
    )
    whole = element("html", head, element("body", element("main", *body)), lang="en")
    return f"<!doctype html>\n{whole}\n"


def _header(study: Study) -> Iterator[Html]:
    people = labelling.only_people(study)
    title = "Labelling" if people else "Active learning report"
    yield element("h1", f"{title}: {wording.listed(list(study.runs))}")
    for run, store in study.runs.items():
        name = f"{run}: " if len(study.runs) > 1 else ""
        yield element("p", name + _facts(store), class_="facts")
    told = [s for store in study.runs.values() for s in labelling.said(store)] if people else []
    found = [element("p", sentence) for sentence in told or findings.findings(study.summary)]
    yield element("div", *found, class_="finding", role="note", aria_label="Finding")


def _facts(store: Store) -> str:
    plan, trials = read_plan(store), store.trials()
    done = sum(trial.state == "done" for trial in trials)
    facts = [plan.data] if plan.data else []
    facts.append(f"{len(store.classes)} classes")
    if store.seed is not None:
        facts += [trial.strategy for trial in trials]
    else:
        facts.append(f"{done} of {wording.count(max(plan.trials, len(trials)), 'trial')} done")
    facts.append(f"begun {store.created[:16].replace('T', ' ')} UTC")
    return " · ".join(facts)


def _notes(study: Study) -> Html:
    """The notes; made after the parts are drawn, so that they count the damaged files."""
    notes = list(study.summary.notes)
    if study.damaged:
        notes.append(
            f"{wording.count(len(study.damaged), 'file')} of the run could not be used. "
            "The section Environment lists them."
        )
    if not notes:
        return Html("")
    items = element("ul", *(element("li", note) for note in notes))
    return element("aside", items, class_="notes", aria_label="Notes")


def _summary(study: Study) -> Iterator[Html]:
    summary = study.summary
    targets = [wording.target(target, study.metric) for target in summary.targets]
    heads = ["Strategy", "Seeds", *(f"Labels to {t}" for t in targets), "AULC"]
    name = wording.full_name(study.metric)
    heads += [f"Last {name}", "AULC − random", "Verdict"]
    rows = [_row(row, member, len(heads)) for row, member in zip(summary.rows, study.members, strict=True)]
    yield table(f"Test {name} of each strategy", heads, rows, numbers=range(1, len(heads) - 1))
    yield from (element("p", text, class_="soft") for text in explanation(summary))
    if len(summary.rows) > 1 and summary.targets:
        yield element("h3", "Labels to target")
        yield _labels_to_target(study)


def _row(row: Row, member: Member, width: int) -> list[Html | str]:
    swatch = element("span", class_="swatch", style=f"background:{member.style.colour}", aria_hidden="true")
    name = join([swatch, Html(escape(row.name).replace("/", "/<wbr>"))])
    if row.final is None:
        return [name, "0", *["–"] * (width - 3), "nothing measured yet"]
    cells: list[Html | str] = [name, str(row.seeds)]
    for reached in row.to_target:
        cells.append(_sure(wording.labels(reached.median, reached.end), findings.quartiles(reached)))
    cells.append("–" if row.aulc is None else _sure(wording.value(row.aulc.mean), wording.bounds(row.aulc)))
    cells.append(
        _sure(wording.value(row.final.mean), "" if row.seeds == 1 else f"± {wording.value(row.final.sd)}")
    )
    compared = row.against_random
    if compared is None:
        cells.append("–")
    else:
        cells.append(_sure(wording.signed(compared.difference), wording.bounds(compared)))
    return [*cells, row.verdict or "the baseline"]


def _sure(value: str, how_sure: str) -> Html:
    """A value, and below it its interval or spread."""
    return join([value, element("span", how_sure, class_="sure")]) if how_sure else join([value])


def _labels_to_target(study: Study) -> Html:
    """For each target: how many seeds reached it, with how many labels, and the ratio to random."""
    baselines = {row.run: row for row in study.summary.rows if row.strategy == "random"}
    rows = []
    for row in study.summary.rows:
        for i, reached in enumerate(row.to_target):
            baseline = baselines.get(row.run)
            ratio = reached.median / baseline.to_target[i].median if baseline and baseline.to_target else 0.0
            rows.append(
                [
                    f"{row.name}, {wording.target(reached.target, study.metric)}",
                    f"{reached.reached} of {reached.seeds}",
                    wording.labels(reached.low, reached.end),
                    wording.labels(reached.median, reached.end),
                    wording.labels(reached.high, reached.end),
                    f"{ratio:.0%}" if 0 < ratio < float("inf") else "–",
                ]
            )
    heads = ["Strategy and target", "Seeds that reached it", "Lower quartile", "Median", "Upper quartile"]
    caption = "Labels needed for each target; the last column divides the median by that of random"
    return table(caption, [*heads, "Of random"], rows, numbers=range(1, 6))
