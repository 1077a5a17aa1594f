"""A loop that learns nothing, to be killed at any instant: python tiny_loop.py FOLDER ROUNDS [URL]."""

import sys
import time
from functools import partial
from pathlib import Path

from baldur.errors import RunNotFound
from baldur.store import Request, Store, Trial

POOL = [f"item {i}" for i in range(100)]


def main(folder: Path, rounds: int, url: str | None = None) -> None:
    try:
        store = Store.open(folder, url=url)
    except RunNotFound:
        store = Store.create(folder, settings="", classes=["odd", "even"], url=url)
    with store, store.lock("trainer"):
        store.sweep()
        print("going", flush=True)
        for strategy in ("random", "bald"):
            trial = store.trial(strategy, 0)
            trial.begin([Request(POOL[i], i) for i in range(3)])
            while step(trial, rounds):
                print("going on", flush=True)


def step(trial: Trial, rounds: int) -> bool:
    """Do the next phase; False when there is none."""
    latest = trial.latest()
    assert latest is not None
    round = latest.round
    if latest.state == "requested":
        with trial.phase(round, "label") as phase:
            for item in trial.open_requests(round):  # one transaction an answer: a kill may fall between them
                trial.answer(round, {item: "odd" if len(item) % 2 else "even"}, "oracle")
            phase.labelled()
    elif latest.state == "labelled":
        with trial.phase(round, "fit") as phase:
            fit(trial, round)
            phase.fitted()
        trial.forget("posterior", before=round)
    elif latest.state == "fitted":
        with trial.phase(round, "measure") as phase:
            known = [row.item for row in trial.labels(latest.cut)]
            model = trial.find(round, "posterior")
            assert model is not None
            assert (model / "a").read_text() == ",".join(known)
            phase.measured({("accuracy", "test"): 1 - 1 / len(known)})
    elif latest.state == "measured" and round < rounds:
        with trial.phase(round, "choose") as phase:
            known = [row.item for row in trial.labels(latest.cut)]
            free = [item for item in POOL if item not in known]
            scores = sorted(((item, hash_of(item, round)) for item in free), key=lambda pair: -pair[1])
            trial.artefact(round, "scores", ".txt", lambda path: path.write_text(str(scores)) and None)
            phase.chosen([Request(item, i, s) for i, (item, s) in enumerate(scores[:3])], scores)
    else:
        trial.forget("posterior", before=round)  # again, for a kill may have come before it
        trial.finish("done", f"{rounds} rounds")
        return False
    return True


def fit(trial: Trial, round: int) -> None:
    slot = trial.checkpoint(round)
    latest = slot.latest()
    epoch = int(latest.read_text()) if latest else 0
    for number in range(epoch, 3):
        slot.save(partial(slowly, parts=[str(number + 1)]))
    known = [row.item for row in trial.labels(trial.cut(round))]
    trial.artefact_folder(
        round, "posterior", lambda folder: slowly(folder / "a", [known[0], *("," + i for i in known[1:])])
    )


def slowly(path: Path, parts: list[str]) -> None:
    with path.open("w") as file:
        for part in parts:
            file.write(part)
            file.flush()
            time.sleep(0.0005)


def hash_of(item: str, round: int) -> float:
    return float((len(item) * 7919 + int(item.split()[1]) * 104729 + round * 1299709) % 1009)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
