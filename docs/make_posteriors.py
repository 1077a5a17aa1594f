"""Writes docs/posteriors.md from the figures in docs/posteriors/.

`python -m baldur.experiments PART ...` measures them.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from baldur.evaluate import aulc, corrected, labels_to_target, paired, quantile

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "posteriors.md"
FIGURES = ROOT / "docs" / "posteriors"
SINGLE = "deterministic"

MEASURES = {
    "accuracy": ("accuracy, %", True),
    "nll": ("NLL", False),
    "ece": ("ECE", False),
    "auroc_entropy": ("AUROC, entropy", True),
    "auroc_bald": ("AUROC, BALD", True),
}
"""Columns of the table of posteriors: their heads, and whether larger is better."""

Values = Mapping[str, NDArray[np.float64]]
"""Values over the seeds, by measure."""

Cells = Mapping[tuple[str, int, int], Values]
"""Values by (posterior, labels, epochs)."""

Curves = Mapping[str, Mapping[int, tuple[NDArray[np.float64], NDArray[np.float64]]]]
"""Labels and accuracies by strategy and seed."""


def cells(rows: Iterable[Mapping[str, str]]) -> Cells:
    """The figures of posteriors.csv, in the order of the seeds."""
    found: dict[tuple[str, int, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        for name in ("seed", *MEASURES, "fit", "predict"):
            key = row["posterior"], int(row["labels"]), int(row["epochs"])
            found[key][name].append(float(row[name] or math.nan))
    return {key: {name: np.array(v) for name, v in values.items()} for key, values in found.items()}


def posteriors(table: Cells) -> str:
    """The tables of posteriors, one for each budget, and lists of those not better than one network."""
    parts = []
    for labels, epochs in sorted({(labels, epochs) for _, labels, epochs in table}):
        mine = {name: values for (name, *budget), values in table.items() if budget == [labels, epochs]}
        if any(len(values["seed"]) < 2 for values in mine.values()):
            continue
        seeds = min(len(values["seed"]) for values in mine.values())
        heads = [head for head, _ in MEASURES.values()]
        lines = [
            f"### {labels:,} labels, {epochs} epochs\n",
            "| posterior | " + " | ".join(heads) + " | fit, s | predict, s |",
            "|---|" + "---|" * (len(heads) + 2),
        ]
        signs = {name: {m: _agreed(table, name, labels, m) for m in MEASURES} for name in mine}
        for name, values in mine.items():
            told = [_cell(values[m][:seeds], m) + signs[name][m] for m in MEASURES]
            costs = [f"{values[cost].mean():.0f}" for cost in ("fit", "predict")]
            lines.append(f"| {name} | " + " | ".join([*told, *costs]) + " |")
        parts.append("\n".join(lines) + "\n\n" + "\n".join(_not_better(signs)))
    return "\n\n".join(parts)


def _agreed(table: Cells, name: str, labels: int, measure: str) -> str:
    """The sign of a posterior, if it is the same for all trainings that were measured with several seeds."""
    signs = set()
    for (other, n, epochs), values in table.items():
        if (other, n) == (name, labels) and len(values["seed"]) > 1:
            single = table[SINGLE, labels, epochs][measure]
            signs.add(_sign(values[measure], single, MEASURES[measure][1]))
    return signs.pop() if len(signs) == 1 else ""


def _cell(values: NDArray[np.float64], measure: str) -> str:
    """Mean ± sd over seeds."""
    if np.isnan(values).any():
        return ""
    scale, digits = (100, 1) if measure == "accuracy" else (1, 3)
    spread = f" ± {scale * values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{scale * values.mean():.{digits}f}{spread}"


def _sign(values: NDArray[np.float64], single: NDArray[np.float64], larger: bool) -> str:
    n = min(len(values), len(single))
    if n < 2 or np.isnan(single).any():
        return ""
    gain = (values[:n] - single[:n]) * (1 if larger else -1)
    return " ▲" if (gain > 0).all() else " ▼" if (gain < 0).all() else ""


def _not_better(signs: Mapping[str, Mapping[str, str]]) -> list[str]:
    lines = []
    for measure, (head, _) in MEASURES.items():
        if measure == "auroc_bald":  # one network has none
            continue
        flat = [name for name in signs if name != SINGLE and signs[name][measure] != " ▲"]
        said = ", ".join(f"`{name}`" for name in flat) or "none"
        lines.append(f"- {head.removesuffix(', %')}, not better than a single network in every seed: {said}.")
    return lines


def read_curves(path: Path) -> Curves:
    """The curves of a run."""
    found: dict[str, dict[int, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            found[row["strategy"]][int(row["seed"])].append((float(row["labels"]), float(row["value"])))
    return {
        name: {
            seed: (np.array(points)[:, 0], np.array(points)[:, 1]) for seed, points in sorted(seeds.items())
        }
        for name, seeds in found.items()
    }


Right = Mapping[tuple[str, int, int], Mapping[int, float]]
"""Accuracies by (learner, labels, epochs) and seed."""

PLAIN = "supervised"


def read_learners(path: Path) -> Right:
    """The figures of learners.csv."""
    found: dict[tuple[str, int, int], dict[int, float]] = defaultdict(dict)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            key = (row["learner"], int(row["labels"]), int(row["epochs"]))
            found[key][int(row["seed"])] = float(row["accuracy"])
    return found


def learners(right: Right) -> str:
    """The table of learners: accuracy after a short and a long training, ranked where both agree.

    Only seeds that all learners have are used.
    """
    names = list(dict.fromkeys(name for name, *_ in right))
    labels, epochs = (sorted({key[i] for key in right}) for i in (1, 2))
    seeds = {
        n: sorted(set.intersection(*(set(right.get((name, n, e), {})) for name in names for e in epochs)))
        for n in labels
    }
    heads = [f"{n} labels, {e} epochs" for n in labels if seeds[n] for e in epochs]
    lines = ["| learner | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for name in names:
        told = []
        for n in labels:
            values = np.array([[right[name, n, e][s] for s in seeds[n]] for e in epochs])
            plain = np.array([[right[PLAIN, n, e][s] for s in seeds[n]] for e in epochs])
            sign = " ▲" if (values > plain).all() else " ▼" if (values < plain).all() else ""
            told += [f"{100 * row.mean():.1f}{sign}" for row in values if len(row)]
        lines.append(f"| {name} | " + " | ".join(told) + " |")
    counts = " and ".join(f"{len(seeds[n])} with {n} labels" for n in labels if seeds[n])
    return "\n".join(lines) + f"\n\nSeeds: {counts}."


def run(curves: Curves, targets: Sequence[float]) -> str:
    """The table of one run: labels to targets and area under the curve, against random."""
    heads = [f"labels to {100 * t:g} %, median" for t in targets]
    lines = [
        "| strategy | " + " | ".join(heads) + " | area under the curve | minus random (95 % interval) | |",
        "|---|" + "---|" * (len(targets) + 3),
    ]
    areas = {
        name: np.array([aulc(labels, values) for labels, values in seeds.values()])
        for name, seeds in curves.items()
    }
    others = [name for name in curves if name != "random"]
    pairs = corrected([paired(areas[name], areas["random"], bounds=(0, 1)) for name in others])
    against = dict(zip(others, pairs, strict=True))
    for name, seeds in curves.items():
        needed = [quantile([labels_to_target(n, v, t) for n, v in seeds.values()], 0.5) for t in targets]
        told = [f"{n:g}" if math.isfinite(n) else "–" for n in needed]
        area = f"{areas[name].mean():.4f} ± {areas[name].std(ddof=1):.4f}"
        versus = ["", ""]
        if name in against:
            difference = against[name]
            versus = [
                f"{difference.difference:+.4f} ({difference.low:+.4f}, {difference.high:+.4f})",
                difference.verdict,
            ]
        lines.append(f"| {name} | " + " | ".join([*told, area, *versus]) + " |")
    return "\n".join(lines)


def few(path: Path, texts: bool) -> str:
    """Accuracy and NLL of each learner: the mean over data sets and seeds, for each number of labels.

    Data sets with fewer items for training than labels count with all of them.
    """
    found: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    sets: dict[int, set[tuple[str, str]]] = defaultdict(set)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if (row["data"] in TEXTS) == texts:
                n = next(size for size in FEW if int(row["labels"]) <= size)
                found[row["learner"], n].append((float(row["accuracy"]), float(row["nll"])))
                sets[n].add((row["data"], row["seed"]))
    sizes = sorted(sets)
    lines = [
        "| learner | " + " | ".join(f"{n} labels, % right | NLL" for n in sizes) + " |",
        "|---|" + "---|---|" * len(sizes),
    ]
    for name in dict.fromkeys(name for name, _ in found):
        means = [np.mean(found[name, n], 0) for n in sizes]
        lines.append(f"| {name} | " + " | ".join(f"{100 * a:.1f} | {nll:.3f}" for a, nll in means) + " |")
    data = {name for pairs in sets.values() for name, _ in pairs}
    seeds = {seed for pairs in sets.values() for _, seed in pairs}
    return "\n".join(lines) + f"\n\nData sets: {len(data)}. Seeds: {len(seeds)}."


FEW = (50, 100, 200, 500)
TEXTS = ("TREC", "SST-2")


def page() -> str:
    """The page, from all measurements so far."""
    with (FIGURES / "posteriors.csv").open(newline="") as file:
        table = cells(csv.DictReader(file))
    runs = [
        f"### {title}\n\n{text}\n\n{run(read_curves(FIGURES / f'{name}.csv'), targets)}"
        for name, (title, text, targets) in RUNS.items()
        if (FIGURES / f"{name}.csv").exists()
    ]
    seeds = max(len(values["seed"]) for values in table.values())
    return PAGE_TEXT.format(
        seeds=seeds,
        posteriors=posteriors(table),
        learners=learners(read_learners(FIGURES / "learners.csv")),
        tables=few(FIGURES / "few.csv", texts=False),
        texts=few(FIGURES / "few.csv", texts=True),
        runs="\n\n".join(runs),
    )


RUNS: Mapping[str, tuple[str, str, tuple[float, ...]]] = {
    "trec": (
        "TREC: kinds of questions",
        "The data are 5,452 questions of 6 classes (Li & Roth 2002), and 500 for testing. The features are words and\n"
        "pairs of words. The posterior is MC-dropout. Trials start with 50 labels and ask for 50 more in each round.\n"
        "There are 5 paired seeds. Verdicts are corrected for the number of strategies (Holm).",
        (0.75, 0.8),
    ),
    "banknote_authentication": (
        "A table: the shape of bank notes",
        "The table has 1,372 rows of 4 numbers and 2 classes; a fifth is for testing. The network is `mlp` with\n"
        "MC-dropout. Trials start with 6 labels and ask for 2 more in each round. There are 10 paired seeds. Columns\n"
        "are standardised by the pool, as in every run.",
        (0.95, 0.98),
    ),
    "ionosphere": (
        "A table: radar returns from the ionosphere",
        "The table has 351 rows of 33 numbers and 2 classes; a fifth is for testing. The network is `mlp` with\n"
        "MC-dropout. Trials start with 6 labels and ask for 2 more in each round. There are 10 paired seeds. Columns\n"
        "are standardised by the pool, as in every run.",
        (0.85, 0.9),
    ),
}

PAGE_TEXT = """# Posteriors and learners, measured on few labels

`python docs/make_posteriors.py` writes this page from the figures in [posteriors/](posteriors/). To measure them again,
run `python -m baldur.experiments posteriors learners few text tables` with the data sets in `$BALDUR_DATA`.

## Posteriors

All posteriors use the network of BatchBALD (Kirsch, van Amersfoort & Gal 2019) and random labels of MNIST. They share
one recipe: Adam, epochs of 2,000 items (or of all labels), and no validation items. No posterior was tuned. With few
labels, 10 epochs are a short and 40 epochs a long training.

- The test set has 10,000 images. T is 20 samples, or the members of an ensemble.
- AUROC shows how well a score separates 2,000 test images of Fashion-MNIST from those of MNIST. The scores are the
  entropy of the mean prediction, and the disagreement of the samples (BALD).
- Times are seconds of one processor core, for fitting and for predicting the 10,000 images.
- Values are means ± standard deviations over {seeds} seeds, which all posteriors share. ▲ is better and ▼ is worse than
  `deterministic`, a single network, in every seed, after the short and after the long training if both are measured.

{posteriors}

`laplace` with `mean_factor=1.0` is the usual Laplace approximation. `no dropout` rows train the same network without
its dropout layers. `temperature` and `dirichlet` use a fifth of the labels for calibration, so they train on fewer.

## Learners

Each learner trains the same network on random labels from a pool of 5,000 images of MNIST, two of each class first,
with MC-dropout. The values are % right of the 10,000 test images. An epoch has 2,000 items, so there are 310 or 1,250
steps. ▲ is better and ▼ is worse than `supervised` in every seed, after the short and after the long training.
There are few seeds (see below the table), so a small difference may be chance.

- `augmented` is `supervised` with shifted images. Consistency training and FixMatch have not converged after 310 steps.
  So `baldur run` trains them, and augmented ones, four times as long by default.
- CEAL with `model='previous'` is measured in rounds of 20, 80 and 320 labels. It learns the pseudo-labels of its first
  model again and again, so `model='current'` is the default.
- `learning-loss` is measured with random labels here, so only its training differs.
- `bayesian-generative` learns from images that often do not show their class. Without those from random codes, and with
  the others only after two fifths of the steps, it was 87.3 % right with 80 labels (one seed). There is no option for
  this.

{learners}

## Tables and texts with few labels

Random rows of UCI tables are labelled, and 30 % of the rows are for testing. The columns are made as in every run.
`extra-trees` is the default for tables in `baldur run`, if no option of learning is given.

{tables}

The texts are TREC questions and sentences of the Stanford Sentiment Treebank (SST-2), with their own test items. The
inputs are the 200 numbers that a run makes of a text. `committee(C=0.05, standardise=False)` is the default for texts:
bagged logistic regressions whose inputs are not standardised.

{texts}

## Active learning of text and tables

{runs}
"""

if __name__ == "__main__":
    PAGE.write_text(page())
