"""One round of a trial, and a file, written through the store's own interface."""

from pathlib import Path

from baldur.store import Request

CLASSES = ("cat", "dog", "bird")


def go_through(trial, round: int, following: str = "") -> None:
    """Do everything of one round, and ask for the letters of `following` in the next."""
    with trial.phase(round, "label") as phase:
        trial.answer(round, dict.fromkeys(trial.open_requests(round), "cat"), "oracle")
        phase.labelled()
    with trial.phase(round, "fit") as phase:
        trial.artefact_folder(round, "posterior", lambda folder: write(folder / "weights", b"w" * 100))
        phase.fitted()
    with trial.phase(round, "measure") as phase:
        phase.measured({("accuracy", "test"): 0.5 + round / 10, ("auroc", "test"): float("nan")})
    with trial.phase(round, "choose") as phase:
        requests = [Request(item, rank, 1.0 - rank / 10) for rank, item in enumerate(following)]
        phase.chosen(requests, [(request.item, request.score) for request in requests])


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
