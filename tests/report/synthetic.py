"""Small synthetic runs, written through the store's own interface."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from baldur.store import ItemRecord, Request, Store, Trial

SETTINGS = """data = "digits"
strategies = [{strategies}]
seeds = {seeds}
rounds = {rounds}
targets = [0.9, 0.95]
"""


@dataclass(frozen=True)
class Recipe:
    """What a synthetic run does; `value` gives a metric from (strategy, seed, round)."""

    value: Callable[[str, int, int], float]
    strategies: tuple[str, ...] = ("random", "bald")
    seeds: int = 3
    rounds: int = 4
    initial: int = 20
    query_size: int = 10
    classes: tuple[str, ...] = ("cat", "dog", "owl")
    pictures: bool = True
    scored: bool = True
    calibrated: bool = True
    settings: str = SETTINGS
    stop: tuple[str, int, int, str] | None = None
    """(strategy, seed, round, state) of a trial that ends there, in that state; later trials are not begun."""


def make_run(folder: Path, recipe: Recipe) -> Store:
    quoted = ", ".join(f'"{name}"' for name in recipe.strategies)
    text = recipe.settings.format(strategies=quoted, seeds=recipe.seeds, rounds=recipe.rounds)
    counts = [100 * (i + 1) for i in range(len(recipe.classes))]
    facts = {"pool": sum(counts), "test": 50, "duplicates": 2, "class counts": counts}
    store = Store.create(folder, settings=text, classes=recipe.classes, preprocessing={"facts": facts})
    store.record_start({"versions": {"baldur": "0.1.0", "numpy": "2"}, "threads": 2, "device": "cpu"})
    store.record_items([ItemRecord("broken.png", state="quarantined", reason="not an image")])
    for seed in range(recipe.seeds):
        for strategy in recipe.strategies:
            if not _play(store.trial(strategy, seed), recipe):
                return store
    return store


def _play(trial: Trial, recipe: Recipe) -> bool:
    rng = np.random.default_rng([trial.seed, recipe.strategies.index(trial.strategy)])
    trial.begin([Request(f"i{trial.seed}-{n}", n) for n in range(recipe.initial)])
    for r in range(recipe.rounds + 1):
        if recipe.stop is not None and recipe.stop[:3] == (trial.strategy, trial.seed, r):
            if recipe.stop[3] != "running":
                trial.finish(recipe.stop[3], "for some reason")
            return False
        with trial.phase(r, "label") as phase:
            asked = trial.open_requests(r)
            trial.answer(r, {i: recipe.classes[rng.integers(len(recipe.classes))] for i in asked}, "oracle")
            phase.labelled()
        with trial.phase(r, "fit") as phase:
            phase.fitted()
        with trial.phase(r, "measure") as phase:
            if recipe.calibrated:
                trial.artefact(r, "calibration", ".npz", lambda path: _calibration(path, rng))
            value = recipe.value(trial.strategy, trial.seed, r)
            phase.measured({("accuracy", "test"): value, ("ece", "test"): 0.2 - value / 10})
        if r < recipe.rounds:
            _choose(trial, recipe, r, rng)
    trial.finish("done", f"{recipe.rounds} rounds")
    return True


def _choose(trial: Trial, recipe: Recipe, r: int, rng: np.random.Generator) -> None:
    with trial.phase(r, "choose") as phase:
        scores = np.sort(rng.gamma(2, 0.1 / (r + 1), 500))[::-1]
        if recipe.scored and trial.strategy != "random":
            trial.artefact(r, "scores", ".npy", lambda path: save(path, scores))
        if recipe.pictures:
            trial.artefact(r + 1, "picks", ".png", lambda path: _sheet(path, recipe.query_size, rng))
        start = recipe.initial + r * recipe.query_size
        best = scores[: recipe.query_size]
        items = [f"{trial.strategy[0]}{trial.seed}-{start + n}" for n in range(recipe.query_size)]
        phase.chosen([Request(i, n, float(s)) for n, (i, s) in enumerate(zip(items, best, strict=True))])


def save(path: Path, scores: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, scores)


def _calibration(path: Path, rng: np.random.Generator) -> None:
    count = np.array([0, *rng.integers(1, 50, 14)])
    centres = (np.arange(15) + 0.5) / 15
    held = np.where(count > 0, centres, np.nan)
    with path.open("wb") as file:
        np.savez(file, count=count, confidence=held, accuracy=held * 0.9)


def _sheet(path: Path, tiles: int, rng: np.random.Generator) -> None:
    small = rng.integers(0, 255, (8, 8 * tiles), np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((64 * tiles, 64), Image.Resampling.NEAREST).save(file, "PNG")
    path.write_bytes(file.getvalue())
