"""k-center on features of a network, compared with a plain incremental loop in torch and with scikit-activeml."""

import os
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from baldur import select
from baldur.errors import BaldurError
from baldur.training import Recipe, initialise, train
from bench import peers, pools
from bench.measure import MIB, child, peak, say, seconds, show

PEERS = ("scikit-activeml",)
N, D, K, LABELS, REPEATS = 60_000, 512, 1000, 5000, 3


def network() -> nn.Sequential:
    """Two convolutions, and 512 units before the last layer."""
    convolutions = [nn.Conv2d(1, 32, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 5), nn.ReLU()]
    return nn.Sequential(
        *convolutions, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1024, D), nn.ReLU(), nn.Linear(D, 10)
    )


def images() -> tuple[str, Tensor, Tensor]:
    """MNIST's training images where $BALDUR_DATA has them, else generated pictures; what they are, and labels."""
    if os.environ.get("BALDUR_DATA"):
        from baldur.data import load

        try:
            data = load("mnist")
        except BaldurError as error:
            say(str(error))
        else:
            ((_, x),) = data.train.batches(np.arange(len(data.train)), len(data.train))
            return "MNIST's training images", x, torch.from_numpy(np.asarray(data.labels))
    x, y = pools.pictures(N, 10, seed=0)
    return "generated pictures ($BALDUR_DATA has no MNIST)", torch.from_numpy(x), torch.from_numpy(y)


def features(n: int, out: str) -> dict[str, Any]:
    """What the last layer takes, under a network fitted on the first labels; written to a file."""
    source, x, y = images()
    fitted = initialise(network, 0)
    recipe = Recipe(epochs=5, device="cpu", precision="float32")
    train(fitted, x[:LABELS], y[:LABELS], recipe=recipe, seed=0)
    with torch.inference_mode():
        parts = [fitted[:-1](part) for part in x[:n].split(512)]
    values = torch.cat(parts).numpy()
    np.save(out, values - values.mean(axis=0))
    return {"source": source}


def plain(x: Tensor, k: int) -> tuple[int, list[int]]:
    """Where it begins, which is the item nearest the mean of the centred features, and k further picks."""
    squares = (x * x).sum(1)
    first = int(squares.argmin())
    nearest = torch.full_like(squares, torch.inf)
    picks = [first]
    for _ in range(k):
        centre = picks[-1]
        distances = torch.addmv(squares + squares[centre], x, x[centre], alpha=-2)
        torch.minimum(nearest, distances, out=nearest)
        nearest[picks[-1]] = -torch.inf
        picks.append(int(nearest.argmax()))
    return first, picks[1:]


def loops(path: str, k: int) -> dict[str, Any]:
    """The plain loop and Baldur in turn on the same float32 features; the picks of the loop in float64 too."""
    x = np.load(path)
    tensor = torch.from_numpy(x)
    first, _ = plain(tensor, 1)
    centres = np.array([first])
    select.k_center(x[:100], 3)
    found: list[Any] = []
    rise = peak(lambda: found.append(select.k_center(x, k, centres)))
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(REPEATS):
        times["plain"] += seconds(lambda: plain(tensor, k))
        times["ours"] += seconds(lambda: select.k_center(x, k, centres))
    own = found[0]
    return times | {
        "first": first,
        "rise": rise,
        "bytes": x.nbytes,
        "picks": own.indices.tolist(),
        "single": plain(tensor, k)[1],
        "double": plain(tensor.double(), k)[1],
        "share": own.info["distances"] / (len(x) * k),
    }


def theirs(path: str, k: int, first: int) -> dict[str, Any]:
    """Time and picks of scikit-activeml, where the first centre is labelled."""
    core_set, _, _ = peers.activeml()
    x = np.load(path)
    y = np.full(len(x), np.nan)
    y[first] = 0
    found: list[Any] = []
    (took,) = seconds(lambda: found.append(core_set(random_state=0).query(x, y, batch_size=k)))
    return {"seconds": took, "picks": [int(i) for i in found[0]]}


def rows(n: int = N, k: int = K) -> list[tuple[str, str, str]]:
    """(what, measured, bar)."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "features.npy")
        say("k-center: features")
        source = child("bench.k_center:features", n=n, out=path)["source"]
        say("k-center: the plain loop and ours")
        found = child("bench.k_center:loops", path=path, k=k)
        theirs = peers.peer("scikit-activeml", "bench.k_center:theirs", path=path, k=k, first=found["first"])
    own = median(found["ours"])
    ratio = median(plain / ours for plain, ours in zip(found["plain"], found["ours"], strict=True))
    what = f"k-center, N = {n:,}, D = {D}, k = {k}, features of {source}"
    picks = {"of the loop in float64": found["double"], "in float32": found["single"]}
    against = peers.missing("scikit-activeml")
    if theirs:
        against = f"{show(theirs['seconds'])} / {show(own)} = {theirs['seconds'] / own:.1f}x"
        picks["of scikit-activeml"] = theirs["picks"]
    same = [f"{np.equal(found['picks'], other).sum()} {name}" for name, other in picks.items()]
    return [
        (f"{what}: time of scikit-activeml over ours", against, "at least 4x"),
        (
            f"{what}: time of a plain incremental loop in torch, float32, over ours",
            f"{show(median(found['plain']))} / {show(own)} = {ratio:.2f}x"
            f" ({found['share']:.1%} of the distances computed)",
            "at least 1.3x",
        ),
        (f"{what}: picks the same, one by one", ", ".join(same), f"{k} of the loop in float64"),
        (
            f"{what}: peak memory beside the features of {found['bytes'] / MIB:.0f} MiB",
            f"{found['rise']:.0f} MiB",
            "O(N)",
        ),
    ]
