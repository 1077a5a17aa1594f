"""Writes docs/mnist.md and its picture from docs/mnist/curves.csv, or from the folders of runs.

baldur run --settings docs/mnist/settings.toml --out RUN && python docs/make_mnist.py RUN
"""

import csv
import sys
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from baldur.evaluate import labels_to_target, quantile

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "mnist.md"
CURVES = ROOT / "docs" / "mnist" / "curves.csv"
PICTURE = ROOT / "docs" / "mnist" / "curves.png"
TARGET = 0.9

# Labels to 90 %, median and quartiles, counted as here, and accuracy at 100 labels. BatchBALD and BALD are six runs of
# the paper's own logs. Random is twenty runs of a re-implementation: the paper's logs have it only on noisy copies.
PUBLISHED = {"batchbald": (100, 80, 120), "bald": (130, 130, 180), "random": (200, 190, 225)}
ACCURACY = {"batchbald": "89.2 ± 2.0", "bald": "85.7 ± 1.4", "random": "81.6 ± 2.4"}
COLOURS = {"batchbald": "#0072B2", "bald": "#E69F00", "random": "#6b6b6b"}

Curves = Mapping[tuple[str, int], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Labels and accuracies by strategy and seed."""


def read(paths: Sequence[Path]) -> tuple[list[list[str]], Curves]:
    """The rows of accuracy in some curves.csv, and the curves."""
    rows = []
    for path in paths:
        with path.open(newline="") as file:
            rows += [row for row in csv.reader(file) if row[4] == "accuracy"]
    rows.sort(key=lambda row: (list(PUBLISHED).index(row[0]), int(row[1]), int(row[2])))
    curves = {}
    for key in dict.fromkeys((row[0], int(row[1])) for row in rows):
        own = [row for row in rows if (row[0], int(row[1])) == key]
        curves[key] = (np.array([float(r[3]) for r in own]), np.array([float(r[5]) for r in own]))
    return rows, curves


def page(curves: Curves) -> str:
    """The page."""
    lines = []
    for strategy, (median, low, high) in PUBLISHED.items():
        mine = {seed: curve for (name, seed), curve in curves.items() if name == strategy}
        needed = [labels_to_target(labels, values, TARGET) for labels, values in mine.values()]
        at = [values[labels == 100][0] for labels, values in mine.values() if (labels == 100).any()]
        seen = f"{100 * np.mean(at):.1f}" + (f" ({len(at)} of {len(mine)})" if len(at) < len(mine) else "")
        lines.append(
            f"| `{strategy}` | {quantile(needed, 0.5):g} | {', '.join(f'{n:g}' for n in needed)} "
            f"| {median} ({low}–{high}) | {seen} | {ACCURACY[strategy]} |"
        )
    seeds = len({seed for _, seed in curves})
    return INTRO.format(seeds=seeds) + "\n".join(lines) + OUTRO


INTRO = """# BatchBALD, BALD and random selection on MNIST

`python docs/make_mnist.py` writes this page from [curves.csv](mnist/curves.csv). To repeat the measurement, run
`baldur run --settings docs/mnist/settings.toml --out RUN && python docs/make_mnist.py RUN`.

The recipe is that of BatchBALD (Kirsch, van Amersfoort & Gal, NeurIPS 2019), with the same network and training:

- 20 labels at first, two of each class, then 10 more in each round.
- T = 100 dropout masks.
- 1,024 validation labels, which are not counted, decide which epoch is kept.
- {seeds} paired seeds, until 90 % of the 10,000 test images are right.

There are two differences. Each round chooses among 10,000 random items of the pool. Labels are counted when the
accuracy was measured. The paper counts a batch from its first label, so its numbers are 10 lower.

![test accuracy by labels](mnist/curves.png)

| strategy | labels to 90 %, median | each seed | published, median (quartiles) | % right at 100 labels | published |
|---|---|---|---|---|---|
"""

OUTRO = """

The published 200 labels of random come from a re-implementation, which had a lower accuracy at 100 labels. The paper's
own logs have random only on noisy copies of MNIST. There, random had 85.3 to 85.9 % at 100 labels, and medians of 150
to 170 labels to 90 %. The curve of random is flat near 90 %. So compare its height rather than the place where it
crosses 90 %.

The bands in the picture are the quartiles of the published runs. So few seeds can rank three methods, but cannot prove
a difference of ten labels. The same methods need other numbers of labels with another training recipe. So compare
strategies only with the same recipe.
"""


def picture(curves: Curves) -> bytes:
    """The curves, and where the published ones reach the target."""
    figure = Figure(figsize=(8, 4.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    for strategy, (median, low, high) in PUBLISHED.items():
        colour = COLOURS[strategy]
        axes.axvspan(low, high, ymin=0.02, ymax=0.07, color=colour, alpha=0.35, linewidth=0)
        axes.axvline(median, ymin=0.02, ymax=0.07, color=colour, linewidth=2)
        mine = [curve for (name, _), curve in curves.items() if name == strategy]
        for i, (labels, values) in enumerate(mine):
            axes.plot(
                labels, values, color=colour, linewidth=1.3, marker=".", label=strategy if not i else None
            )
    axes.axhline(TARGET, color="#8a8a8a", linewidth=0.8, linestyle=(0, (1, 2)))
    axes.set_xlabel("labels, initial ones included")
    axes.set_ylabel("test accuracy")
    axes.set_ylim(0.5, 0.93)
    axes.text(0.01, 0.085, "published labels to 90 %", transform=axes.transAxes, fontsize=8, color="#555555")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center right")
    out = BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def main(folders: Sequence[str]) -> None:
    """Write all three."""
    rows, curves = read([Path(folder) / "curves.csv" for folder in folders] or [CURVES])
    if folders:
        with CURVES.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([list(HEADER), *rows])
    PAGE.write_text(page(curves))
    PICTURE.write_bytes(picture(curves))


HEADER = ("strategy", "seed", "round", "labels", "metric", "value")

if __name__ == "__main__":
    main(sys.argv[1:])
