"""The export of a run: labels, curves, and models with the facts that are needed to use them."""

import csv
import io
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from baldur.errors import DamagedArtefact
from baldur.report.curves import write_curves
from baldur.store import Store, Trial
from baldur.store.artefacts import room, write_text

MODELS = "models"


def export(store: Store, folder: Path) -> list[Path]:
    """Write the labels, the curves and each trial's newest model with its classes and preprocessing.

    Every model is a folder `models/STRATEGY-SEED`: the saved posterior and `model.json`. If labels are the majority
    of several answers, `votes.csv` has the answers.

    Args:
        store: The run.
        folder: The target folder; it is created if needed, and the files of an earlier export are replaced.

    Returns:
        The files and folders that were written.

    Raises:
        DamagedArtefact: A model was altered or is missing; everything else is written.
        DiskFull: The disk is full.
    """
    with room(folder.parent):
        folder.mkdir(parents=True, exist_ok=True)
    labels, curves, settings = folder / "labels.csv", folder / "curves.csv", folder / "settings.toml"
    write_text(labels, _labels(store))
    write_curves(store, curves)
    write_text(settings, store.settings)
    written = [labels, *_votes(store, folder), curves, settings]
    lost = {}
    for trial in store.trials():
        try:
            model = _model(store, trial, folder / MODELS)
        except DamagedArtefact as error:
            lost[f"{trial.strategy}, seed {trial.seed}"] = error
        else:
            written += [] if model is None else [model]
    if lost:
        first = next(iter(lost.values()))
        raise DamagedArtefact(f"exported to {folder} everything but the models of {'; '.join(lost)}: {first}")
    return written


def _labels(store: Store) -> str:
    return _table(("strategy", "seed", "id", "label", "annotator", "time", "round"), store.labels())


def _votes(store: Store, folder: Path) -> list[Path]:
    """Write the answers behind the labels, if labels are a majority."""
    given = [row for row in store.ledger() if row.source == "vote"]
    if not given:
        return []
    path = folder / "votes.csv"
    rows = ((row.strategy, row.seed, row.item, row.annotator, row.value) for row in given)
    write_text(path, _table(("strategy", "seed", "id", "annotator", "label"), rows))
    return [path]


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()


def newest_posterior(store: Store, trial: Trial) -> tuple[int, Path | None]:
    """The newest posterior of a trial.

    Args:
        store: The run.
        trial: The trial.

    Returns:
        Its round, and the folder that holds it; None if the trial has none yet.

    Raises:
        DamagedArtefact: It is not the one that was recorded, or is gone.
    """
    own = (trial.strategy, trial.seed)
    rounds = [row.round or 0 for row in store.artefacts("posterior") if (row.strategy, row.seed) == own]
    newest = max(rounds, default=0)
    source = trial.find(newest, "posterior")
    if source is None and trial.state == "done":
        raise DamagedArtefact(
            "the file of the model was lost. Restore a backup, or train a new model with more rounds"
            f" (baldur run --out {store.folder} --rounds …)"
        )
    return newest, source


def about(store: Store, trial: Trial, round: int) -> dict[str, Any]:
    """The facts that are needed to load and apply a model: classes, preprocessing and settings.

    Args:
        store: The run.
        trial: The trial of the model.
        round: Its round. People may have changed the classes since.

    Returns:
        Values that JSON can hold.
    """
    return {
        "strategy": trial.strategy,
        "seed": trial.seed,
        "round": round,
        "classes": list(trial.classes(trial.cut_of(round)).names),
        "preprocessing": store.preprocessing,
        "settings": store.settings,
    }


def _model(store: Store, trial: Trial, folder: Path) -> Path | None:
    """Copy the newest posterior of a trial; None if it has none yet."""
    newest, source = newest_posterior(store, trial)
    if source is None:
        return None
    target = folder / f"{quote(trial.strategy, safe='')}-{trial.seed}"
    facts = about(store, trial, newest)
    with room(folder.parent):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
    write_text(target / "model.json", json.dumps(facts, indent=2) + "\n")
    return target
