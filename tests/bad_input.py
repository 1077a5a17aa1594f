"""Bad input, and a part of the answer to each. `docs/make_errors.py` writes the answers to docs/errors.md."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import Perceptron
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

import baldur
from baldur import acquire, data, evaluate, learners, posteriors, score, select
from baldur.errors import InvalidLabel
from baldur.store import ItemRecord, Request, Store


@dataclass(frozen=True)
class Case:
    """One bad input.

    Args:
        given: The input, in words.
        act: Gives the input to Baldur; its argument is an empty folder.
        answer: A part of the error.
    """

    given: str
    act: Callable[[Path], Any]
    answer: str


def images(folder: Path, *names: str, side: int = 8) -> Path:
    """A folder of grey images, one for each name."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((side, side), 10 * number, np.uint8)).save(folder / name)
    return folder


def manifest(folder: Path, text: str) -> Path:
    """A manifest beside two images, a.png and b.png."""
    images(folder, "a.png", "b.png")
    (folder / "items.csv").write_text(text)
    return folder / "items.csv"


def network(width: int = 4) -> nn.Module:
    """A network without dropout for items of 4 numbers."""
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))


def run(folder: Path, **options: Any) -> Any:
    """A run of one trial on vectors."""
    rng = np.random.default_rng(0)
    told = {"data": (rng.normal(size=(60, 4)).astype(np.float32), np.arange(60) % 3)}
    return baldur.run(**told | {"out": folder / "run", "seeds": 1, "rounds": 1, "epochs": 1} | options)


def told(folder: Path, text: str, name: str = "labels.csv") -> None:
    """A file of labels for a run of the items 7 and 8; the first refused line is an error."""
    with Store.create(folder / "run", settings="", classes=("cat", "dog")) as store:
        store.record_items([ItemRecord("7"), ItemRecord("8"), ItemRecord("9", split="test")])
        store.trial("bald", 0).begin([Request("7", 0)])
    (folder / name).write_text(text)
    if refused := baldur.open(folder / "run").ingest(folder / name).refused:
        raise InvalidLabel(refused[0].reason)


def exported(folder: Path, place: Path, format: str = "csv") -> Path:
    """Labels exported to a place, beside the file labels.csv."""
    told(folder, "id,label\n7,cat\n")
    return baldur.open(folder / "run").export(place, format)


class Noisy(torch.utils.data.Dataset[Any]):
    """A data set whose items are noisy whenever they are read."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        return torch.rand(4), position % 2


class Lists(torch.utils.data.Dataset[Any]):
    """A data set of lists of numbers."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, position: int) -> list[float]:
        return [1.0, float(position)]


X = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
LOG_PROBS = np.log(np.full((12, 5, 3), 1 / 3))

TWO_TEXTS = "a,b,label\n" + "".join(f"it is {i},so {i} is it,{'xy'[i % 2]}\n" for i in range(30))

CASES: dict[str, Sequence[Case]] = {
    "Data": [
        Case("a name that does not exist", lambda at: data.load("digit"), "Did you mean digits"),
        Case(
            "a folder without images",
            lambda at: data.load(str(at)),
            "has no subfolder with images",
        ),
        Case(
            "an empty class folder",
            lambda at: ((images(at, "cat/1.png") / "dog").mkdir(), data.load(str(at))),
            "dog has no image",
        ),
        Case(
            "a manifest with an unknown split",
            lambda at: data.load(str(manifest(at, "path,label,split\na.png,x,trian\n"))),
            "the split must be train, test, val or empty",
        ),
        Case(
            "a manifest with an item twice",
            lambda at: data.load(str(manifest(at, "path,label\na.png,x\na.png,y\n"))),
            "in lines 2 and 3",
        ),
        Case(
            "a file of an unknown format",
            lambda at: ((at / "x.docx").write_text(""), data.load(str(at / "x.docx"))),
            "unknown format",
        ),
    ],
    "Data that people will label": [
        Case(
            "no labels, and no classes",
            lambda at: data.load_for_labelling(images(at, "a.png", "b.png")),
            "name all classes",
        ),
        Case(
            "one class",
            lambda at: data.load_for_labelling(X, classes=["owl"]),
            "at least two classes are needed",
        ),
        Case(
            "a class whose name means a missing label",
            lambda at: data.load_for_labelling(X, classes=["yes", "NA"]),
            "'NA' means a missing label",
        ),
        Case(
            "a folder that is no class",
            lambda at: data.load_for_labelling(images(at, "owl/a.png", "cat/b.png"), classes=["owl", "tit"]),
            "cat is a folder of images, but is not among the classes",
        ),
        Case(
            "a label that is not among the classes",
            lambda at: data.load_for_labelling((X[:2], ["owl", "cat"]), classes=["owl", "tit"]),
            "the labels cat, which are not among the classes",
        ),
        Case(
            "texts without a word",
            lambda at: data.load_for_labelling(["?", "..."], classes=["owl", "tit"]),
            "have no words in common",
        ),
        Case(
            "an item that is a list of numbers",
            lambda at: data.load_for_labelling(Lists(), classes=["owl", "tit"]),
            "which may be an input or a pair",
        ),
        Case(
            "added items of another shape",
            lambda at: data.with_added(data.load_for_labelling(X, classes=["owl", "tit"]), X[:, :3], 1),
            "and the run items of (4,)",
        ),
        Case(
            "added labels that are not among the classes",
            lambda at: data.with_added(
                data.load_for_labelling(X, classes=["owl", "tit"]), (X[:2], ["owl", "cat"]), 1
            ),
            "the labels cat, which are not among the classes",
        ),
        Case(
            "an item of the run that is missing",
            lambda at: data.load_for_labelling(X[:2], classes=["owl", "tit"], order=["0", "1", "2"]),
            "the data no longer have",
        ),
    ],
    "Folders and arrays of images": [
        Case(
            "a folder with train and a class",
            lambda at: data.load(str(images(at, "train/cat/1.png", "train/dog/2.png", "birds/3.png"))),
            "--layout",
        ),
        Case(
            "a folder with images and labels",
            lambda at: data.load(str(images(at, "images/1.png", "labels/2.png"))),
            "--layout classes",
        ),
        Case(
            "splits with a folder of another name",
            lambda at: data.load(str(images(at, "train/cat/1.png", "extra/2.png")), layout="splits"),
            "its name is of no split",
        ),
        Case(
            "a folder that is the only class",
            lambda at: data.load(str(images(at, "photos/cat/1.png", "photos/dog/2.png"))),
            "has one subfolder, photos",
        ),
        Case(
            "images whose channels may be in two places",
            lambda at: run(at, data=(np.zeros((30, 3, 8, 3), np.uint8), np.arange(30) % 3)),
            "axis 1 or axis 3 may have the channels",
        ),
        Case(
            "NaN in an array",
            lambda at: run(at, data=(np.full((30, 4), np.nan, np.float32), np.arange(30) % 3)),
            "holds NaN",
        ),
    ],
    "Labels and tables": [
        Case(
            "-1 beside other codes",
            lambda at: run(at, data=(np.zeros((40, 4), np.float32), np.arange(40) % 4 - 1)),
            "Is -1 a class, or a missing label?",
        ),
        Case(
            "amounts as labels",
            lambda at: run(at, data=(np.zeros((40, 4), np.float32), np.arange(40) * 1.5)),
            "They look like amounts",
        ),
        Case(
            "a row with too few cells",
            lambda at: data.load(str(manifest(at, "path,label\na.png,x\nb.png\n"))),
            "line 3 has 1 cell",
        ),
        Case(
            "a cell with a comma and without quotes",
            lambda at: data.load(str(manifest(at, "path,label\na.png,cat, wild\nb.png,dog\n"))),
            "put quotes around a cell",
        ),
        Case(
            "two columns called label",
            lambda at: data.load(str(manifest(at, "path,label,label\na.png,x,y\n"))),
            "2 columns called label",
        ),
        Case(
            "one number written in two ways",
            lambda at: data.load(str(manifest(at, "path,label\na.png,1\nb.png,1.0\n"))),
            "the same number",
        ),
        Case(
            "a file without the column label",
            lambda at: data.load(str(manifest(at, "path,class\na.png,x\n"))),
            "label is missing",
        ),
        Case(
            "a table of ids only",
            lambda at: data.load(str(manifest(at, "patient_id,label\n3,x\n4,y\n3,x\n4,y\n"))),
            "an id, by its name",
        ),
        Case(
            "the name of no column",
            lambda at: data.load(str(manifest(at, "a,clas\n1,x\n2,y\n")), label="class"),
            "did you mean 'clas'?",
        ),
        Case(
            "one column with two meanings",
            lambda at: run(at, data={"a": X[:, 0], "b": ["x", "y"] * 6}, label="b", inputs=["a", "b"]),
            "is given as label and as inputs",
        ),
        Case(
            "two columns of texts",
            lambda at: data.load(str(manifest(at, TWO_TEXTS))),
            "name it with --text COLUMN",
        ),
        Case(
            "the name of a column for arrays",
            lambda at: run(at, label="class"),
            "the data have no columns with names",
        ),
        Case(
            "a data set with random augmentation",
            lambda at: run(at, data=Noisy()),
            "another one when it is read again",
        ),
        Case(
            "items of two shapes",
            lambda at: run(at, data=[(torch.zeros(2), 0), (torch.zeros(3), 1)]),
            "item 1 of the data set has the shape (3,)",
        ),
        Case(
            "a number that float32 does not hold",
            lambda at: run(at, data=(X.astype(np.float64) * 1e300, np.arange(12) % 2)),
            "read as float32",
        ),
        Case(
            "items of different shapes",
            lambda at: run(at, data=([[1.0, 2.0], [3.0]] * 6, np.arange(12) % 2)),
            "give all items one shape",
        ),
        Case(
            "a vector instead of a table",
            lambda at: run(at, data=(X[:, 0], np.arange(12) % 2), initial=4),
            "give one column",
        ),
        Case(
            "dates as labels",
            lambda at: run(at, data=(X, np.arange(12).astype("datetime64[D]"))),
            "give them as texts",
        ),
    ],
    "Labels in files": [
        Case(
            "no line with names of columns", lambda at: told(at, "7,cat\n"), "names the columns id and label"
        ),
        Case("an id of no item", lambda at: told(at, "id,label\n007,cat\n"), "there is no item '007'"),
        Case("a label of no class", lambda at: told(at, "id,label\n7,Cat\n"), "did you mean 'cat'?"),
        Case("the label of a test item", lambda at: told(at, "id,label\n9,cat\n"), "'9' is a test item"),
        Case(
            "two answers for an item", lambda at: told(at, "id,label\n7,cat\n7,dog\n"), "keep one of the two"
        ),
        Case("too many cells", lambda at: told(at, "id,label\n7,cat,dog\n"), "line 2 has 3 cells"),
        Case("a half written line", lambda at: told(at, "id,label\n7,cat\n8,d"), "the file ends after 'd'"),
        Case("a quote without an end", lambda at: told(at, 'id,label\n7,"cat\n'), "never closed"),
        Case("broken JSON", lambda at: told(at, '{"id": "7", "label"\n', "labels.jsonl"), "was expected"),
        Case(
            "a kind that does not exist",
            lambda at: told(at, "id,label,kind\n7,cat,guess\n"),
            "the kinds are label",
        ),
        Case(
            "a place where something is", lambda at: exported(at, at / "labels.csv"), "nothing is overwritten"
        ),
        Case("a format that does not exist", lambda at: exported(at, at / "x", "xml"), "must be one of csv"),
        Case("numbers as images", lambda at: exported(at, at / "x", "coco"), "the run has no image of '7'"),
        Case(
            "labels for a comparison",
            lambda at: (run(at, seeds=2), baldur.open(at / "run").ingest(manifest(at, "id,label\n1,2\n"))),
            "on labels that it knows",
        ),
    ],
    "Settings": [
        Case("a misspelt option", lambda at: run(at, epoch=3), "did you mean"),
        Case("a misspelt strategy", lambda at: run(at, strategy="blad"), "did you mean"),
        Case("an option out of range", lambda at: run(at, strategy="power_bald(beta=-1)"), "at least 0"),
        Case("no strategy", lambda at: run(at, strategies=[]), "at least one"),
        Case("a number as text", lambda at: run(at, rounds="many"), "a whole number"),
        Case(
            "other settings for the run in a folder",
            lambda at: (run(at), run(at, draws=4)),
            "draws was 20 and is now 4",
        ),
        Case(
            "a classifier of scikit-learn that needs more labels",
            lambda at: run(at, learner=KNeighborsClassifier(20), initial=6),
            "more labels first",
        ),
        Case(
            "a classifier of scikit-learn without probabilities",
            lambda at: run(at, learner=Perceptron()),
            "predict_proba",
        ),
        Case("a folder without a run", lambda at: baldur.open(at / "nothing"), "there is no run"),
    ],
    "Database": [
        Case(
            "the URL of another kind of database",
            lambda at: run(at, db="mysql://ann:secret@host/birds"),
            "expected the URL of a PostgreSQL database",
        ),
        Case("a URL that is not a text", lambda at: run(at, db=5), "as a text"),
        Case(
            "a password with @ in the URL",
            lambda at: run(at, db="postgresql://ann:se@cret@host/birds"),
            "%40",
        ),
        Case(
            "a server that does not run",
            lambda at: run(at, db="postgresql://ann@127.0.0.1:1/birds"),
            "Check that the server runs",
        ),
        Case(
            "a server for a run that is kept in its folder",
            lambda at: (run(at), run(at, db="postgresql://ann@127.0.0.1:1/birds")),
            "leave out the URL",
        ),
    ],
    "Models": [
        Case(
            "MC dropout of a network without dropout",
            lambda at: posteriors.MCDropout(network()).draw(2)(torch.from_numpy(X)),
            "calls no dropout",
        ),
        Case("a network instead of a posterior", lambda at: baldur.choose(network(), X), "MCDropout"),
        Case(
            "items of another shape",
            lambda at: score.predict(posteriors.Deterministic(network()).draw(1), X[:, :2]),
            "items of shape",
        ),
        Case("a dict as the network", lambda at: run(at, network={"a": 1}), "network= is an object"),
        Case(
            "a factory of networks that fails",
            lambda at: run(at, network=lambda shape, classes: nn.Linear(shape[1], classes)),
            "raised IndexError",
        ),
        Case(
            "a factory that returns no network",
            lambda at: run(at, network=lambda shape, classes: None),
            "must return the network",
        ),
        Case(
            "a class instead of a learner",
            lambda at: run(at, learner=learners.Supervised),
            "call Supervised",
        ),
    ],
    "Predictions": [
        Case(
            "probabilities instead of log-probabilities",
            lambda at: acquire.bald(np.exp(LOG_PROBS)),
            "from_probs",
        ),
        Case("NaN in the predictions", lambda at: acquire.bald(LOG_PROBS * np.nan), "item 0, sample 0"),
        Case(
            "probabilities in an evaluation",
            lambda at: evaluate.nll(np.full((4, 3), 1 / 3), np.zeros(4, np.int64)),
            "from_probs",
        ),
        Case(
            "a label that is not a class",
            lambda at: evaluate.accuracy(LOG_PROBS[:, 0], np.full(12, 3)),
            "the label of item 0 is 3",
        ),
        Case(
            "one column for two classes",
            lambda at: acquire.from_probs(np.full((4, 1), 0.5)),
            "from_sigmoid",
        ),
        Case("a negative k", lambda at: select.top(np.zeros(3), -1), "k"),
    ],
}
