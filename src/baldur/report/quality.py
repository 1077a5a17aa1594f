"""The accuracy of the model of a run in which people label, on random items that were kept for testing."""

from dataclasses import dataclass

from baldur.store import PastRow, Store

_UNKNOWN = (
    "Whether active learning helped is not known, because nothing was labelled at random to compare with."
)


@dataclass(frozen=True)
class Quality:
    """The accuracy of a model on the part of the pool that was kept for testing.

    Args:
        accuracy: The estimate; None if it is not known yet.
        low: Lower end of its interval, which holds at 95 % at all looks together.
        high: Upper end.
        test_labels: The number of test labels.
        labels: The number of labels when the model was trained, test labels included.
        round: The round of the model.
        kept: How many items are kept for testing. Those that cannot be labelled are not among them.
    """

    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    test_labels: int = 0
    labels: int = 0
    round: int | None = None
    kept: int = 0

    def __str__(self) -> str:
        if self.accuracy is None:
            return f"The accuracy is not known yet: {self.test_labels} test items have a label. {_UNKNOWN}"
        return (
            f"Accuracy {self.accuracy:.2f}, between {self.low:.2f} and {self.high:.2f} (95 %), for the model of "
            f"{self.labels} labels, on {self.kept} random items that are kept for testing. {self.test_labels} of them "
            f"have a label, and no model was trained on them. {_UNKNOWN}"
        )


def quality_of(store: Store) -> Quality:
    """The quality at the newest look at the test labels.

    Args:
        store: A run in which people label.

    Returns:
        The quality; without an accuracy before the first look.
    """
    past = [row for trial in store.trials() for row in trial.past()]
    looks = [row for row in past if ("low", "reserve") in row.metrics]
    if not looks:
        return Quality(test_labels=_tests(past[-1]) if past else 0)
    newest = looks[-1]
    low, high = (newest.metrics[end, "reserve"] for end in ("low", "high"))
    accuracy = newest.metrics["accuracy", "reserve"]
    kept = int(newest.metrics.get(("size", "reserve"), 0))
    return Quality(accuracy, low, high, _tests(newest), newest.labels, newest.round, kept)


def _tests(row: PastRow) -> int:
    return int(row.metrics.get(("items", "reserve"), 0))
