"""The parts of the page of runs in which people label: the accuracy on random items, the progress, and the classes."""

from collections import Counter
from collections.abc import Iterator

from baldur.report import charts, wording
from baldur.report.charts import Look
from baldur.report.curves import name_runs
from baldur.report.markup import Html, element, figure, join, table
from baldur.report.quality import quality_of
from baldur.report.status import questions_in_words, status
from baldur.report.study import Study
from baldur.report.svg import styles
from baldur.store import Store


def only_people(study: Study) -> bool:
    """Whether people label in all runs of a page, so that there is nothing to compare.

    Args:
        study: The data of the page.

    Returns:
        True if they do.
    """
    return all(store.seed is not None for store in study.runs.values())


def said(store: Store) -> list[str]:
    """The accuracy and the progress of a run, in sentences.

    Args:
        store: A run in which people label.

    Returns:
        Sentences.
    """
    now = status(store)
    items, labels = store.count_items(), len(store.labels())
    done = f"{labels:,} of {wording.count(items, 'item')} {'has' if labels == 1 else 'have'} a label."
    return [str(quality_of(store)), done, *filter(None, [questions_in_words(now)])]


def accuracy(study: Study) -> Html:
    """The accuracy on test labels over the number of labels, with its interval.

    Args:
        study: The data of the page.

    Returns:
        The section; empty before the first measurement.
    """
    drawn, rows = [], []
    names = dict(zip(study.runs, name_runs(list(study.runs.values())), strict=True))
    for i, (run, store) in enumerate(study.runs.items()):
        looks = _looks(store)
        if looks:
            look = styles([(run, "")])[run, ""]
            drawn.append(
                figure(
                    charts.looks(f"accuracy{i}", looks, look),
                    f"{names[run]}: accuracy on random test items. The band is a 95 % interval that holds for all"
                    " rounds together.",
                )
            )
        rows += [
            [
                f"{names[run]}, {wording.count(one.labels, 'label')}",
                wording.value(one.accuracy),
                f"{wording.value(one.low)}–{wording.value(one.high)}",
                str(one.tests),
            ]
            for one in looks
        ]
    if not rows:
        return Html("")
    heads = ["Model", "Accuracy", "95 % interval", "Test labels"]
    numbers = table("Accuracy of each model on test labels", heads, rows, numbers=range(1, 4))
    return join([element("div", *drawn, class_="charts"), numbers])


def _looks(store: Store) -> list[Look]:
    """The rounds with an accuracy on test labels."""
    past = [row for trial in store.trials() for row in trial.past()]
    found = []
    for row in past:
        told = {name: value for (name, split), value in row.metrics.items() if split == "reserve"}
        if "low" in told:
            found.append(Look(row.labels, told["accuracy"], told["low"], told["high"], int(told["items"])))
    return found


def classes(study: Study) -> Html:
    """How many items of each class have a label, and who gave the labels.

    Args:
        study: The data of the page.

    Returns:
        The section; empty before the first label.
    """
    return join(part for run, store in study.runs.items() for part in _classes(run, store))


def _classes(run: str, store: Store) -> Iterator[Html]:
    labels = store.labels()
    if not labels:
        return
    counts, by = Counter(row.value for row in labels), Counter(row.annotator for row in labels)
    rows = [[name, f"{counts[name]:,}", f"{counts[name] / len(labels):.1%}"] for name in store.classes]
    caption = (
        f"{run}: classes of the labels. They are no sample of the pool, because a strategy chose most items"
    )
    yield table(caption, ["Class", "Labels", "Share"], rows, numbers=range(1, 3))
    if missing := [name for name in store.classes if not counts[name]]:
        yield element("p", f"No item has a label of the {_named(missing)} yet.")
    yield table(
        "Annotators", ["Annotator", "Labels"], [[who, f"{n:,}"] for who, n in by.most_common()], numbers={1}
    )


def _named(names: list[str]) -> str:
    some = [*names[:8], f"{len(names) - 8} more"] if len(names) > 8 else names
    return f"class {some[0]}" if len(some) == 1 else f"classes {wording.listed(some)}"
