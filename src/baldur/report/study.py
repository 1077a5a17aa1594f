"""All data of one page, gathered once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from baldur.errors import DamagedArtefact
from baldur.report.charts import Series
from baldur.report.curves import Group, group_curves, name_runs, read_curves
from baldur.report.summary import Summary, summarise
from baldur.report.svg import Style, styles
from baldur.store import RequestRow, Store, Trial


@dataclass(frozen=True)
class Member:
    """One strategy of one run, as the page shows it.

    Args:
        name: Its name on the page.
        store: Its run.
        group: Its learning curves.
        style: Its style in drawings.
        trials: Its trials, by seed.
        requests: Its requests, by seed, round and rank.
        labels: The number of labels that a round was trained on, by seed and round.
    """

    name: str
    store: Store
    group: Group
    style: Style
    trials: tuple[Trial, ...]
    requests: tuple[RequestRow, ...]
    labels: Mapping[tuple[int, int], int]

    @property
    def series(self) -> Series:
        """Its curves with their name and style, for drawing."""
        return Series(self.name, self.group, self.style)


@dataclass(frozen=True)
class Study:
    """All data of one page.

    Args:
        runs: The runs by name.
        members: One for each strategy of each run, in the order of the summary's rows.
        summary: The numbers.
        damaged: Messages about artefacts that could not be used; it grows while the page is made.
    """

    runs: dict[str, Store]
    members: tuple[Member, ...]
    summary: Summary
    damaged: list[str] = field(default_factory=list)

    @property
    def metric(self) -> str:
        """The metric of the page."""
        return self.summary.metric

    @property
    def measured(self) -> list[Member]:
        """The members with at least one measurement."""
        return [member for member in self.members if member.group.counted]

    def find(self, trial: Trial, round: int, kind: str) -> Path | None:
        """An artefact of a trial; a damaged one is noted and left out.

        Args:
            trial: The trial.
            round: The round.
            kind: The kind of artefact.

        Returns:
            Its path; None if there is none that can be used.
        """
        try:
            return trial.find(round, kind)
        except DamagedArtefact as error:
            self.damaged.append(str(error))
            return None


def gather(stores: Sequence[Store], targets: Sequence[float], metric: str) -> Study:
    """Gather the data of a page.

    Args:
        stores: The runs.
        targets: Values of the metric to reach.
        metric: Which metric of the test split.

    Returns:
        The study.

    Raises:
        InvalidArgument: There is no run, or the metric was not measured.
    """
    summary = summarise(stores, targets, metric)
    runs = dict(zip(name_runs(stores), stores, strict=True))
    looks = styles([(row.run, row.strategy) for row in summary.rows])
    names = {(row.run, row.strategy): row.name for row in summary.rows}
    members = []
    for run, store in runs.items():
        trials, requests, measured = store.trials(), store.requests(), store.metrics("test")
        for group in group_curves(read_curves(store, run, metric)):
            key = (run, group.strategy)
            if key not in names:  # it began since
                continue
            own = sorted((t for t in trials if t.strategy == group.strategy), key=lambda trial: trial.seed)
            # Test items are asked for without a score. No strategy chose them.
            chosen = (q for q in requests if q.round == 0 or q.score is not None)
            asked = tuple(request for request in chosen if request.strategy == group.strategy)
            labels = {(row.seed, row.round): row.labels for row in measured if row.strategy == group.strategy}
            members.append(Member(names[key], store, group, looks[key], tuple(own), asked, labels))
    return Study(runs, tuple(members), summary)
