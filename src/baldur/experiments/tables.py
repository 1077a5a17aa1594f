"""Active learning of TREC questions, and of a table, against random."""

import csv
from pathlib import Path

import torch
from torch import Tensor, nn

from baldur.experiments.data import table, trec
from baldur.runs import run

FIGURES = Path("docs", "posteriors")
RUNS = Path("build", "studies")


class Terms(nn.Module):
    """The terms of a text, each a vector; their sum over √n, a hidden layer, logits."""

    def __init__(self, terms: int, classes: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(terms + 1, 64, padding_idx=0)
        self.layers = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, C) of term numbers (n, L)."""
        n = (x > 0).sum(1, keepdim=True).clamp(min=1)
        logits: Tensor = self.layers(self.vectors(x).sum(1) / n.sqrt())
        return logits


def text() -> None:
    """TREC: MC-dropout over a bag of terms."""
    dataset, terms = trec()
    outcome = run.run(
        dataset,
        RUNS / "trec",
        network=lambda shape, classes: Terms(terms, classes),
        strategies=["random", "bald", "entropy", "margin", "power_bald"],
        seeds=5,
        initial=50,
        query_size=50,
        rounds=12,
        epochs=20,
        epoch_size=512,
        learning_rate=3e-3,
        targets=[0.75, 0.8],
        threads=1,
    )
    print(outcome)
    keep(RUNS / "trec", "trec")


def tables() -> None:
    """The shape of bank notes, and red wine: MC-dropout over a small network."""
    for name, rounds in (("banknote_authentication", 20), ("ionosphere", 20)):
        x, y = _table(name)
        outcome = run.run(
            (x, y),
            RUNS / name,
            network="mlp",
            strategies=["random", "bald", "margin", "core_set"],
            seeds=10,
            initial=6,
            initial_balanced=True,
            query_size=2,
            rounds=rounds,
            epochs=30,
            epoch_size=128,
            threads=1,
        )
        print(outcome)
        keep(RUNS / name, name)


def _table(name: str) -> tuple[Tensor, Tensor]:
    x, y = table(name)
    return torch.from_numpy(x), torch.from_numpy(y)


def keep(folder: Path, name: str) -> None:
    """The curves of a run, accuracy only, beside the page.

    Args:
        folder: Of the run.
        name: Of the file.
    """
    FIGURES.mkdir(exist_ok=True)
    with (folder / "curves.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    with (FIGURES / f"{name}.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [header, *(row for row in rows if row[4] == "accuracy")]
        )
