"""Reads an existing run, finished or not: its curves, picks, labels, report and models."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baldur import report
from baldur.errors import InvalidArgument
from baldur.report.export import about, newest_posterior
from baldur.runs import settings as settings_
from baldur.runs.ingest import Ingested, ingest
from baldur.runs.names import canonical
from baldur.store import Store, Trial

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from baldur.runs.exported import Model
    from baldur.runs.names import NetworkFactory


class Run:
    """A run in a folder. Each call reads the store again, so it also shows the progress of a run in another process.

    Args:
        folder: The run's folder.
        db: The URL of its database, if it needs a password that is neither in PGPASSWORD nor in ~/.pgpass.

    Raises:
        RunNotFound: The folder holds no run.
    """

    def __init__(self, folder: str | Path, db: str | None = None) -> None:
        self.folder = Path(folder)
        self._db = db
        with self._store():
            pass

    def __repr__(self) -> str:
        now = self.status()
        return f"<run {str(self.folder)!r}: {now['state']}, {now['labels']} labels, round {now['round']}>"

    def _repr_html_(self) -> str:
        return report.as_html(self.summary())

    def status(self) -> dict[str, Any]:
        """The progress of the run.

        Returns:
            "state", "labels", "round", "trials" and more; see `report.status`.
        """
        with self._store() as store:
            return report.status(store)

    def summary(self) -> report.Summary:
        """The table of the run: labels to target, area under the curve, comparison with random.

        Returns:
            The summary, which prints as a table.
        """
        with self._store() as store:
            return report.summarise([store], settings_.from_toml(store.settings).compare.targets)

    def curves(self) -> "pd.DataFrame":
        """The learning curves on the test split.

        Returns:
            One row for each metric of each round: strategy, seed, round, labels, metric, value.
        """
        return self.metrics().query("split == 'test'").drop(columns="split").reset_index(drop=True)

    def metrics(self) -> "pd.DataFrame":
        """All metrics of all splits.

        Returns:
            One row for each metric of each round: strategy, seed, round, labels, metric, split, value.
        """
        columns = ("strategy", "seed", "round", "labels", "metric", "split", "value")
        with self._store() as store:
            return _frame(store.metrics(), columns)

    def picks(self) -> "pd.DataFrame":
        """All requested items, in the order in which they were chosen.

        Returns:
            One row for each item: strategy, seed, round, rank, item, score (the gain when it was chosen; missing for
            initial and test items), state ("open" or "answered") and label.
        """
        columns = ("strategy", "seed", "round", "rank", "item", "score", "state", "label")
        with self._store() as store:
            return _frame(store.requests(), columns)

    def labels(self) -> "pd.DataFrame":
        """The current labels.

        Returns:
            One row for each labelled item of each trial: strategy, seed, item, label, annotator, time (UTC), round.
        """
        columns = ("strategy", "seed", "item", "label", "annotator", "time", "round")
        with self._store() as store:
            return _frame(store.labels(), columns)

    def ingest(self, *paths: str | Path, by: str | None = None) -> Ingested:
        """Take labels from files: CSV, JSON or JSON lines. Lines that do not fit are kept apart; the rest is taken.

        Args:
            paths: Files with id and label; optionally kind, annotator, event (a client's id) and time.
            by: The annotator of lines that name none; by default "person", or "file" with `--oracle file`.

        Returns:
            What became of the lines; printed, it is a sentence.

        Raises:
            InvalidLabel: A file as a whole cannot be read; nothing is taken.
            InvalidArgument: The run compares several trials.
        """
        with self._store() as store:
            return ingest(store, map(Path, paths), by)

    def export(
        self,
        place: str | Path,
        format: str = "csv",
        *,
        strategy: str | None = None,
        seed: int | None = None,
        all: bool = False,
        link: bool = False,
    ) -> Path:
        """Write the labels for other programs. What is at the place already is never overwritten.

        Args:
            place: A file for csv, jsonl and parquet; a new folder for imagefolder, coco and huggingface.
            format: "csv", "jsonl", "parquet", "imagefolder", "coco" or "huggingface".
            strategy: The name of the strategy. It may be omitted if the run has only one.
            seed: The seed. It may be omitted if the run has only one.
            all: Also the items of the pool without a label.
            link: Whether folders hold links to images rather than copies.

        Returns:
            The place.

        Raises:
            InvalidArgument: No trial or several trials match, or the items do not fit the format.
            StoreError: There is something at the place.
        """
        from baldur.runs.labelled import export_labels

        with self._store() as store:
            trial = only(store.trials(), strategy, seed)
            return export_labels(store, trial, Path(place), format, all, link)

    def report(self, path: str | Path | None = None) -> Path:
        """Write the page of results: curves, labels to target, picks, calibration and time.

        Args:
            path: The file to write; by default, `report.html` in the run's folder.

        Returns:
            The path of the page.
        """
        with self._store() as store:
            targets = settings_.from_toml(store.settings).compare.targets
            return report.write_html([store], Path(path or self.folder / "report.html"), targets)

    def model(
        self,
        strategy: str | None = None,
        seed: int | None = None,
        *,
        network: "NetworkFactory | nn.Module | None" = None,
    ) -> "Model":
        """The newest model of a trial.

        Args:
            strategy: The name of the strategy. It may be omitted if the run has only one.
            seed: The seed. It may be omitted if the run has only one.
            network: The factory or module of the run, if it was passed in Python.

        Returns:
            A fitted model, with `predict` and `predict_proba`.

        Raises:
            InvalidArgument: No trial or several trials match, or the trial has no model yet.
            DamagedArtefact: The file of the model is missing or was changed.
        """
        from baldur.runs.exported import rebuilt

        with self._store() as store:
            trial = only(store.trials(), strategy, seed)
            _, folder = newest_posterior(store, trial)
            if folder is None:
                raise InvalidArgument(
                    f"the trial {trial.strategy}, seed {trial.seed} has no model yet; its first fit is not finished"
                )
            return rebuilt(folder, about(store), network)

    def _store(self) -> Store:
        return Store.open(self.folder, url=self._db)


def open(folder: str | Path, *, db: str | None = None) -> Run:
    """Open an existing run, finished or not, for reading.

    Args:
        folder: The run's folder.
        db: The URL of its database, if it needs a password that is neither in PGPASSWORD nor in ~/.pgpass.

    Returns:
        The run, with `curves()`, `picks()`, `labels()`, `metrics()`, `status()`, `report()` and `model()`.

    Raises:
        RunNotFound: The folder holds no run. The message names runs nearby.
    """
    return Run(folder, db)


def _frame(rows: Iterable[Sequence[Any]], columns: Sequence[str]) -> "pd.DataFrame":
    try:
        import pandas as pd
    except ImportError:
        raise InvalidArgument("this table needs pandas: pip install pandas") from None
    return pd.DataFrame(list(rows), columns=list(columns))


def only(trials: Sequence[Trial], strategy: str | None, seed: int | None) -> Trial:
    """The only trial of a strategy and a seed."""
    found = [
        trial
        for trial in trials
        if (strategy is None or _plain(trial.strategy) == _plain(strategy)) and seed in (None, trial.seed)
    ]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{trial.strategy!r} seed {trial.seed}" for trial in (found or trials)[:8])
    if not found:
        asked = [f"strategy {strategy!r}"] * (strategy is not None) + [f"seed {seed}"] * (seed is not None)
        raise InvalidArgument(f"there is no trial with {' and '.join(asked)}; the trials are {listed}")
    raise InvalidArgument(f"several trials match: {listed}; give one strategy and one seed")


def _plain(name: str) -> str:
    """A name without the path of Baldur's own strategies, and with underscores."""
    return canonical(name).removeprefix("baldur.strategies:").replace("-", "_").replace(" ", "")
