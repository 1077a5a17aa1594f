"""Where the data lie, and those sets that `baldur run` has no name for."""

import csv
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from baldur import data
from baldur.data import Dataset

WORDS = 40
"""Terms of a question that are read; longer ones are cut."""

QUESTIONS = ("abbreviation", "entity", "description", "human", "location", "number")


def folder() -> Path:
    """$BALDUR_DATA, which holds the sets in their public layouts."""
    if "BALDUR_DATA" not in os.environ:
        raise SystemExit(
            "set BALDUR_DATA to the folder that holds mnist/, fashion-mnist/, text/ and tabular/"
        )
    return Path(os.environ["BALDUR_DATA"])


def trec() -> tuple[Dataset, int]:
    """TREC questions (Li & Roth, COLING 2002) as numbers of terms, 0 for none; and how many terms there are.

    Terms are words and pairs of words that at least two questions of the pool hold: no label is looked at.
    """
    train, labels = _questions(folder() / "text" / "TREC.train.all.txt")
    test, test_labels = _questions(folder() / "text" / "TREC.test.all.txt")
    counts = Counter(term for terms in train for term in set(terms))
    number = {term: i + 1 for i, term in enumerate(term for term, n in counts.items() if n > 1)}
    dataset = Dataset(
        name="trec",
        train=data.from_arrays(_numbers(train, number)),
        labels=labels,
        test=data.from_arrays(_numbers(test, number), ids=[f"test {i}" for i in range(len(test))]),
        test_labels=test_labels,
        classes=QUESTIONS,
        preprocessing={"terms": len(number), "words": WORDS},
    )
    return dataset, len(number)


def _questions(path: Path) -> tuple[list[list[str]], NDArray[np.int64]]:
    texts, labels = [], []
    for line in path.read_text("latin-1").splitlines():
        label, text = line.split(" ", 1)
        words = text.lower().split()
        texts.append([*words, *(f"{a} {b}" for a, b in zip(["", *words], words, strict=False))])
        labels.append(int(label))
    return texts, np.array(labels)


def _numbers(texts: Sequence[Sequence[str]], number: dict[str, int]) -> NDArray[np.int64]:
    out = np.zeros((len(texts), WORDS), np.int64)
    for row, terms in zip(out, texts, strict=True):
        known = [number[term] for term in terms if term in number][:WORDS]
        row[: len(known)] = known
    return out


def table(name: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """A table of numbers as it is; the last column is the class. A run standardises it by its pool."""
    with (folder() / "tabular" / f"{name}.csv").open(newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    x = np.array([[float(v) for v in row[:-1]] for row in rows])
    _, y = np.unique([row[-1] for row in rows], return_inverse=True)
    return x[:, x.std(0) > 0].astype(np.float32), y.astype(np.int64)
