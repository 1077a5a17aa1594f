"""A run that is there, finished or not: its curves, picks, labels, report and models."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baldur import report
from baldur.errors import InvalidArgument, RunNotFound
from baldur.report.export import about, newest_posterior
from baldur.runs import settings as settings_
from baldur.runs.names import canonical
from baldur.store import Store, Trial

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from baldur.runs.exported import Model
    from baldur.runs.names import NetworkFactory


class Run:
    """A run in a folder. It reads the store anew in each call, so it follows a run that goes on meanwhile.

    Args:
        folder: The run's folder.

    Raises:
        RunNotFound: There is no run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        with self._store():
            pass

    def __repr__(self) -> str:
        now = self.status()
        return f"<run {str(self.folder)!r}: {now['state']}, {now['labels']} labels, round {now['round']}>"

    def _repr_html_(self) -> str:
        return report.as_html(self.summary())

    def status(self) -> dict[str, Any]:
        """How far the run is.

        Returns:
            "state", "labels", "round", "trials" and more; see `report.status`.
        """
        with self._store() as store:
            return report.status(store)

    def summary(self) -> report.Summary:
        """The table of the run: labels to target, area under the curve, comparison with random.

        Returns:
            The summary; printed, it is the table.
        """
        with self._store() as store:
            return report.summarise([store], settings_.from_toml(store.settings).compare.targets)

    def curves(self) -> "pd.DataFrame":
        """The learning curves on the test split.

        Returns:
            A row for each metric of each round: strategy, seed, round, labels, metric, value.
        """
        return self.metrics().query("split == 'test'").drop(columns="split").reset_index(drop=True)

    def metrics(self) -> "pd.DataFrame":
        """All metrics of all splits.

        Returns:
            A row for each metric of each round: strategy, seed, round, labels, metric, split, value.
        """
        columns = ("strategy", "seed", "round", "labels", "metric", "split", "value")
        with self._store() as store:
            return _frame(store.metrics(), columns)

    def picks(self) -> "pd.DataFrame":
        """Everything that was asked for, in the order in which it was chosen.

        Returns:
            A row for each item: strategy, seed, round, rank, item, score (the gain when it was chosen; missing for
            initial items), state ("open" or "answered") and label.
        """
        columns = ("strategy", "seed", "round", "rank", "item", "score", "state", "label")
        with self._store() as store:
            return _frame(store.requests(), columns)

    def labels(self) -> "pd.DataFrame":
        """The current labels.

        Returns:
            A row for each labelled item of each trial: strategy, seed, item, label, annotator, time (UTC), round.
        """
        columns = ("strategy", "seed", "item", "label", "annotator", "time", "round")
        with self._store() as store:
            return _frame(store.labels(), columns)

    def report(self, path: str | Path | None = None) -> Path:
        """Draw the page: curves, labels to target, picks, calibration, time.

        Args:
            path: Where to; unset, `report.html` in the run's folder.

        Returns:
            Where it is.
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
            strategy: The name of its strategy; may be left out where there is only one.
            seed: Its seed; may be left out where there is only one.
            network: Where the run was given a factory or a module in Python: the same one.

        Returns:
            A fitted model, with `predict` and `predict_proba`.

        Raises:
            InvalidArgument: There is no such trial, or several; or it has no model yet.
            DamagedArtefact: The model is not the one that was recorded, or is gone.
        """
        from baldur.runs.exported import rebuilt

        with self._store() as store:
            trial = _only(store.trials(), strategy, seed)
            _, folder = newest_posterior(store, trial)
            if folder is None:
                raise InvalidArgument(
                    f"{trial.strategy}, seed {trial.seed} has no model yet: its first round is not fitted"
                )
            return rebuilt(folder, about(store), network)

    def _store(self) -> Store:
        return Store.open(self.folder)


def open(folder: str | Path) -> Run:
    """Open a run that is there, finished or not, for reading.

    Args:
        folder: The run's folder.

    Returns:
        The run, with `curves()`, `picks()`, `labels()`, `metrics()`, `status()`, `report()` and `model()`.

    Raises:
        RunNotFound: There is no run. The message names runs that are near.
    """
    try:
        return Run(folder)
    except RunNotFound as error:
        near = []
        with suppress(OSError):
            near = sorted(str(p.parent) for p in Path(folder).absolute().parent.glob("*/baldur.db"))
        hint = f"; there are {', '.join(near[:5])}" if near else "; begin one with baldur.run(DATA, FOLDER)"
        raise RunNotFound(f"{error}{hint}") from None


def _frame(rows: Iterable[Sequence[Any]], columns: Sequence[str]) -> "pd.DataFrame":
    try:
        import pandas as pd
    except ImportError:
        raise InvalidArgument("this table needs pandas: pip install pandas") from None
    return pd.DataFrame(list(rows), columns=list(columns))


def _only(trials: Sequence[Trial], strategy: str | None, seed: int | None) -> Trial:
    """The trial of a strategy and a seed, where these tell which."""
    found = [
        trial
        for trial in trials
        if (strategy is None or _plain(trial.strategy) == _plain(strategy)) and seed in (None, trial.seed)
    ]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{trial.strategy!r} seed {trial.seed}" for trial in (found or trials)[:8])
    if not found:
        raise InvalidArgument(f"there is no trial of {strategy!r} with seed {seed}; there are {listed}")
    raise InvalidArgument(f"several trials fit: {listed}; say which strategy and which seed")


def _plain(name: str) -> str:
    """A name without the path of Baldur's own strategies, and with underscores."""
    return canonical(name).removeprefix("baldur.strategies:").replace("-", "_").replace(" ", "")
