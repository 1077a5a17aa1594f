"""Appends events to a run, one at a time: python teller.py FOLDER NAME COUNT."""

import sys
from pathlib import Path

from baldur.store import Event, Store


def main(folder: Path, name: str, count: int) -> None:
    with Store.open(folder) as store:
        trial = store.trial("bald", 0)
        print("ready", flush=True)
        sys.stdin.readline()
        for n in range(count):
            told = trial.tell([Event(f"{name}-{n}", "label", f"{name}-{n}", name, "cat")])
            assert told.accepted == (f"{name}-{n}",)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
