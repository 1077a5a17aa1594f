"""Reads an existing run, finished or not: its curves, picks, labels, report and models."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baldur import report
from baldur.errors import AnswersRefused, InvalidArgument, RunBusy, RunNotFound
from baldur.runs import asking
from baldur.runs import settings as settings_
from baldur.runs.ingest import Ingested, ingest
from baldur.runs.names import canonical
from baldur.store import Store, Trial

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from baldur.protocols import Learner, Strategy
    from baldur.runs.asking import Item, Told
    from baldur.runs.exported import Model
    from baldur.runs.names import NetworkFactory
    from baldur.runs.observer import Observer
    from baldur.runs.trainer import Trainer
    from baldur.store.classes import Verb
    from baldur.store.events import Kind


_MOST = 2**31  # items at once, which no pool has


class Run:
    """A run in a folder. Each call reads the store again, so it also shows the progress of a run in another process.

    Args:
        folder: The run's folder.
        db: The URL of its database, if it needs a password that is neither in PGPASSWORD nor in ~/.pgpass.
        trainer: Trains the model of a run in which people label; None to read only.

    Raises:
        RunNotFound: The folder holds no run.
    """

    def __init__(self, folder: str | Path, db: str | None = None, trainer: "Trainer | None" = None) -> None:
        self.folder = Path(folder)
        self._db = db
        self._trainer = trainer
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

    def ask(self, k: int = 10, *, train: bool = True) -> "list[Item]":
        """Ask for the next items to label. The model is trained first if enough labels are new.

        The same items come again until they are answered, skipped or given back. Another process gets other items.

        Args:
            k: The number of items.
            train: Whether the model may be trained first, in this process.

        Returns:
            The items; fewer than k if the pool is exhausted.

        Raises:
            InvalidArgument: The run compares strategies, or k is no whole number of at least 1.
        """
        try:
            k = min(index(k), _MOST)
        except TypeError:
            k = 0
        if k < 1:
            raise InvalidArgument("k, the number of items to ask for, must be a whole number of at least 1")
        with self._store() as store:
            trial, settings = asking.only_trial(store), settings_.from_toml(store.settings)
            if train and asking.worth_training(store, trial, settings.people.retrain_after):
                self._train(store, trial)
            if trial.state == "done":
                return []
            minutes = settings.people.lease_minutes
            offered = trial.queue.offer(asking.holder_of(store), k, minutes)
            inputs = {} if self._trainer is None else self._trainer.inputs([one.item for one in offered])
            return asking.items_of(store, trial, offered, inputs)

    def train(self) -> bool:
        """Train the model now, if enough labels are new or all requests are answered; `ask` does so by itself.

        Returns:
            Whether a model was trained.

        Raises:
            InvalidArgument: The run compares strategies.
        """
        with self._store() as store:
            trial, settings = asking.only_trial(store), settings_.from_toml(store.settings)
            worth = asking.worth_training(store, trial, settings.people.retrain_after)
            return worth and self._train(store, trial)

    def tell(self, labels: "Mapping[Any, Any] | Iterable[tuple[Any, Any]]", *, by: str = "") -> "Told":
        """Store labels. When this returns, they are safe.

        A label that cannot be believed is refused, and the others are taken: an unknown item or class, or another class
        than the item has. `relabel` changes a label.

        Args:
            labels: Class names by item or by its id: a dict, a pandas Series, or pairs.
            by: The name of the annotator; by default, that of the user of this computer.

        Returns:
            The fate of each label. A warning names those that were refused.
        """
        return self._say("label", labels, by)

    def relabel(self, labels: "Mapping[Any, Any] | Iterable[tuple[Any, Any]]", *, by: str = "") -> "Told":
        """Change the labels of items. The earlier labels stay in the ledger.

        Args:
            labels: Class names by item or by its id.
            by: The name of the annotator.

        Returns:
            The fate of each label.
        """
        return self._say("correction", labels, by)

    def untell(self, items: "str | Item | Iterable[str | Item]", *, by: str = "") -> "Told":
        """Take labels back. The items may be asked for again.

        Args:
            items: An item, its id, or several of them.
            by: The name of the annotator.

        Returns:
            The fate of each.
        """
        return self._say("withdrawal", dict.fromkeys(asking.as_ids(items), ""), by)

    def skip(self, items: "str | Item | Iterable[str | Item]", *, by: str = "") -> "Told":
        """Put items off. They may be asked for again later.

        Args:
            items: An item, its id, or several of them.
            by: The name of the annotator.

        Returns:
            The fate of each.
        """
        return self._say("skip", dict.fromkeys(asking.as_ids(items), ""), by)

    def unlabelable(self, items: "str | Item | Iterable[str | Item]", *, by: str = "") -> "Told":
        """Say that items cannot be labelled. They leave the pool; a label brings them back.

        Args:
            items: An item, its id, or several of them.
            by: The name of the annotator.

        Returns:
            The fate of each.
        """
        return self._say("unlabelable", dict.fromkeys(asking.as_ids(items), ""), by)

    def note(self, notes: Mapping[str, str], *, by: str = "") -> "Told":
        """Write notes about items. They decide nothing.

        Args:
            notes: Texts by item id.
            by: The name of the annotator.

        Returns:
            The fate of each.
        """
        return self._say("note", notes, by)

    def give_back(self, items: "str | Item | Iterable[str | Item] | None" = None) -> None:
        """Give items back without an answer, so that others can get them.

        Args:
            items: An item, its id, or several of them; None for all that this process holds.
        """
        with self._store() as store:
            trial, holder = asking.only_trial(store), asking.holder_of(store)
            trial.queue.give_back(None if items is None else asking.as_ids(items), holder)

    def add(self, *data: Any, by: str = "") -> list[str]:
        """Add items to the pool.

        Args:
            data: Places or objects with the new items: a folder, a file, one image, an array, ... Without any, new
                items are looked for where the data of the run are.
            by: The name of the person who adds them.

        Returns:
            The ids of the new items. Items that the run has already by their content are not added again.

        Raises:
            InvalidData: The new items cannot be used.
        """
        with self._store() as store:
            asking.only_trial(store)
            return self._needed().add(store, data, by or asking.user())

    def withdraw(
        self, items: "str | Item | Iterable[str | Item]", *, by: str = "", back: bool = False
    ) -> None:
        """Take items out of the pool. Their labels stay in the ledger, but later models are trained without them.

        Args:
            items: An item, its id, or several of them.
            by: The name of the person.
            back: Put them back instead.

        Raises:
            InvalidArgument: There is no such item.
        """
        with self._store() as store:
            asking.only_trial(store)
            store.withdraw_items(asking.as_ids(items), by or asking.user(), back)

    def add_class(self, name: str, *, by: str = "") -> tuple[str, ...]:
        """Add a class.

        Args:
            name: Its name.
            by: The name of the person.

        Returns:
            All classes.

        Raises:
            InvalidArgument: There is such a class already.
        """
        return self._change_classes("add", [], name, by)

    def rename_class(self, old: str, new: str, *, by: str = "") -> tuple[str, ...]:
        """Rename a class. Its labels have the new name from then on, and the ledger keeps the old one.

        Args:
            old: The present name.
            new: The new name.
            by: The name of the person.

        Returns:
            All classes.

        Raises:
            InvalidArgument: There is no such class, or the new name is taken.
        """
        return self._change_classes("rename", [old], new, by)

    def merge_classes(self, old: Sequence[str], new: str, *, by: str = "") -> tuple[str, ...]:
        """Merge classes into one.

        Args:
            old: Two names or more.
            new: The name of the merged class; it may be one of the old ones.
            by: The name of the person.

        Returns:
            All classes.

        Raises:
            InvalidArgument: There is no such class, or the new name is taken.
        """
        return self._change_classes("merge", old, new, by)

    def quality(self) -> report.Quality:
        """The accuracy of the model on random items that were kept for testing, with its interval.

        The interval holds at 95 % at all looks together, whatever the strategy chooses.

        Returns:
            The accuracy, its interval and a sentence; printed, it is the sentence.
        """
        with self._store() as store:
            return report.quality_of(store)

    def _say(self, kind: "Kind", answers: Any, by: str) -> "Told":
        with self._store() as store:
            told = asking.tell(asking.only_trial(store), kind, answers, by)
        if told.refused:
            item, reason = next(iter(told.refused.items()))
            warnings.warn(
                f"{len(told.refused)} of {sum(map(len, told))} answers were refused, the first for {item!r}: {reason}",
                AnswersRefused,
                stacklevel=3,
            )
        return told

    def _change_classes(self, verb: "Verb", old: Sequence[str], new: str, by: str) -> tuple[str, ...]:
        with self._store() as store:
            asking.only_trial(store)
            if isinstance(old, str):
                raise InvalidArgument(f"give the names of the classes in a list, not {old!r}")
            names = [asking.as_text(name) for name in old]
            return store.change_classes(verb, names, asking.as_text(new), by or asking.user()).names

    def _train(self, store: Store, trial: Trial) -> bool:
        """Train the model, unless another process is doing so."""
        with suppress(RunBusy), store.lock("trainer"):
            self._needed().advance(store, trial)
            return True
        return False

    def _needed(self) -> "Trainer":
        if self._trainer is None:
            from baldur.runs.labelling import Source
            from baldur.runs.trainer import Trainer

            self._trainer = Trainer(Source())
        return self._trainer

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
            initial and test items), state ("open", "answered", or "skipped" if the round closed before) and label.
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
            by: The annotator of lines that name none; by default, the user of this computer, or "file" in a run with
                `--oracle file`.

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
        from baldur.runs.exported import model_of

        with self._store() as store:
            return model_of(store, only(store.trials(), strategy, seed), network)

    def _store(self) -> Store:
        return Store.open(self.folder, url=self._db)


def open(
    folder: str | Path,
    data: Any = None,
    *,
    classes: "Sequence[Any] | None" = None,
    strategy: "str | Strategy | None" = None,
    network: "str | NetworkFactory | nn.Module | None" = None,
    learner: "str | Learner | Any" = None,
    added: "Sequence[Any]" = (),
    db: str | None = None,
    observer: "Observer | None" = None,
    **options: Any,
) -> Run:
    """Open a run: an existing one for reading or labelling, or a new one in which people label.

    A new run needs data. An existing run in which people label goes on with the data that it began with. Pass data that
    are objects in Python again, or the new place of data that were moved.

    Args:
        folder: The run's folder.
        data: The data to label: a path, arrays, a tuple (x, y) with missing labels, a data frame, a PyTorch data set,
            ...; see `data.load_for_labelling`.
        classes: The names of the classes; by default, those of the labels that the data have.
        strategy: The strategy that chooses items: a name or a function.
        network: A name, a factory (shape, classes) -> module, or a module whose weights every fit starts from.
        learner: A name, a learner, or a classifier of scikit-learn.
        added: Objects that were added to the run with `add`, in this order, if they are no files.
        db: The URL of a PostgreSQL database that keeps the run; the folder then has its files only.
        observer: Receives the progress. By default, a notebook or a terminal shows a progress bar.
        options: Options of `baldur run` with underscores, and: retrain_after (new labels after which the model is
            trained again), test_labels (labels of random items that are kept for testing), lease_minutes (how long an
            item is reserved for the process that asked).

    Returns:
        The run. Reading: `curves()`, `picks()`, `labels()`, `metrics()`, `status()`, `report()`, `model()`. Labelling:
        `ask()`, `tell()`, `skip()`, `untell()`, `relabel()`, `quality()`, ...

    Raises:
        RunNotFound: The folder holds no run, and no data are given. The message names runs nearby.
        InvalidSettings: An option is unknown or not valid.
        SettingsChanged: The run was begun with other settings or classes.
        InvalidData: The data cannot be used.
    """
    named = {"strategies": strategy, "network": network, "learner": learner}
    told = options | {name: value for name, value in named.items() if value is not None}
    if data is None and classes is None and not added and not told and observer is None:
        try:
            return Run(folder, db)
        except RunNotFound as error:
            raise RunNotFound(f"{error}. To label data, give them: {asking.again(Path(folder))}") from None
    from baldur.runs.trainer import opened

    return Run(folder, db, opened(Path(folder), data, classes, added, told, db, observer))


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
