"""Ask and tell: the run offers items, and people say what they are."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from getpass import getuser
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import numpy as np

from baldur.errors import DamagedArtefact, InvalidArgument, RunBusy
from baldur.store import Event, Offered, Store, Trial
from baldur.store.events import LABELS, RESERVE, Kind, Last

_EVENTS = UUID("8c1f0f86-3c7e-5b5e-9d7c-0d8a3c3f7f10")
_ROLE = "asking"
_SOURCE = "python"

_HOLDERS: dict[tuple[int, str], tuple[str, ExitStack]] = {}
"""The name under which a process holds items, by process and run. A forked process has another name."""


@dataclass(frozen=True)
class Item:
    """An item that a person is asked for.

    Args:
        id: The id of the item.
        path: Its file; None if it is in no file.
        text: Its text; None if it is no text.
        x: The item as the data have it: a row of a table as a dict, or the input in a run with its data at hand; None
            otherwise.
        guess: The class that the model believes in; None for an item that was drawn at random.
        probabilities: The probability of each class; None without a guess.
        score: The score with which the item was chosen; None for an item that was drawn at random.
        why: The reason why it is asked for.
    """

    id: str
    path: str | None = None
    text: str | None = None
    x: Any = field(default=None, repr=False, compare=False)
    guess: str | None = None
    probabilities: Mapping[str, float] | None = field(default=None, repr=False, compare=False)
    score: float | None = None
    why: str = ""


class Told(NamedTuple):
    """What became of answers.

    Args:
        taken: The items whose answers are stored.
        known: The items whose answers were stored before.
        refused: The reason for each answer that was not taken, by item.
    """

    taken: tuple[str, ...]
    known: tuple[str, ...]
    refused: Mapping[str, str]


def only_trial(store: Store) -> Trial:
    """The trial of a run in which people label.

    Args:
        store: The run.

    Returns:
        The trial.

    Raises:
        InvalidArgument: The run compares strategies, or its beginning was interrupted.
    """
    if store.seed is None:
        raise InvalidArgument(
            f"the run in {store.folder} compares strategies, so it asks nobody; to label data, begin another run with "
            "baldur.open(FOLDER, data=...)"
        )
    trials = store.trials()
    if not trials:
        raise InvalidArgument(
            f"the beginning of the run in {store.folder} was interrupted; finish it with {again(store.folder)}"
        )
    return trials[0]


def holder_of(store: Store) -> str:
    """The name under which this process holds items. Another process at the same time has another name.

    A process that starts after the end of an earlier one gets the name of the earlier one, and so its items.

    Args:
        store: The run.

    Returns:
        The name.
    """
    run = os.getpid(), str(store.folder)
    if run not in _HOLDERS:
        stack = ExitStack()
        own = stack.enter_context(Store.open(store.folder, url=store.url))
        number = 0
        while True:
            try:
                stack.enter_context(own.lock(f"{_ROLE}-{number}"))
                break
            except RunBusy:
                number += 1
        _HOLDERS[run] = f"{_ROLE}-{number}", stack
    return _HOLDERS[run][0]


def let_go(store: Store) -> None:
    """Give the name of this process free, so that another process may continue with its items.

    Args:
        store: The run.
    """
    if (held := _HOLDERS.pop((os.getpid(), str(store.folder)), None)) is not None:
        held[1].close()


def worth_training(store: Store, trial: Trial, retrain_after: int) -> bool:
    """Whether a model should be trained before the next question.

    Args:
        store: The run.
        trial: Its trial.
        retrain_after: New labels after which a model is trained again.

    Returns:
        True if a fit was interrupted; or if enough labels are new, or all requests are answered, and the labels to
        train on are of two classes at least.
    """
    latest = trial.latest()
    if latest is None:
        return False
    if latest.state != "requested":
        return True
    new = trial.queue.new()
    enough = new >= retrain_after or (new > 0 and not trial.queue.waiting())
    return enough and len(_to_learn(store, trial)) > 1


def _to_learn(store: Store, trial: Trial) -> set[str]:
    """The classes of the labels that a model would be trained on: without test items, and items out of the pool."""
    out = trial.left_out()
    labels = {row.item: row.value for row in trial.labels() if row.item not in out}
    kept = store.some_items(list(labels))
    return {value for item, value in labels.items() if kept[item].split != RESERVE}


def tell(trial: Trial, kind: Kind, answers: Any, by: Any = "") -> Told:
    """Store answers. Those that cannot be believed are refused, and the others are taken.

    An answer that says what the ledger ends with adds nothing, so it may be sent again after a crash.

    Args:
        trial: The trial.
        kind: The kind of the events.
        answers: By item or id, a class name or the text of a note; for other kinds, anything.
        by: The name of the annotator; by default, that of the user of this computer.

    Returns:
        The fate of each answer.

    Raises:
        InvalidArgument: The answers are not by item id, or the name of the annotator is no name.
    """
    if not isinstance(by, str) or (by and not by.strip()):
        raise InvalidArgument(f"the annotator must be a name, such as by='ann', not {by!r}")
    who = by.strip() or user()
    told_of = _by_item(answers)
    last, newest = trial.last([_id(item) for item in told_of]), trial.newest()
    events, repeated = [], []
    for item, given in told_of.items():
        value, name = as_text(given), _id(item)
        before = last.get(name)
        if before is not None and _says(before) == (_act(kind), value, who):
            repeated.append(name)
            continue
        # The same answer sent twice at once is one event; after another event about the item, it is a new one.
        number = 0 if before is None else before.number
        event = str(uuid5(_EVENTS, "\0".join((str(trial.id), kind, name, who, value, str(number)))))
        if kind in ("skip", "note"):  # each of these counts, however often it is said
            event = str(uuid5(_EVENTS, f"{event}\0{newest}"))
        events.append(Event(event, kind, name, who, value, source=_SOURCE))
    told = trial.tell(events)
    item_of = {event.id: event.item for event in events}
    return Told(
        tuple(item_of[event] for event in told.accepted),
        (*repeated, *(item_of[event] for event in told.repeated)),
        {item_of[event]: reason for event, reason in told.refused.items()},
    )


def _act(kind: str) -> str:
    return "label" if kind in LABELS else kind


def _says(last: Last) -> tuple[str, str, str]:
    return _act(last.kind), last.value, last.annotator


def items_of(store: Store, trial: Trial, offered: Sequence[Offered], inputs: Mapping[str, Any]) -> list[Item]:
    """The items that were offered, with what is known of them.

    Args:
        store: The run.
        trial: Its trial.
        offered: The items.
        inputs: Inputs by item id, where the data are at hand.

    Returns:
        The items.
    """
    records = store.some_items([one.item for one in offered])
    guesses = _guesses(trial) if offered else {}
    made = []
    for one in offered:
        record = records[one.item]
        shown = record.shown or {}
        believed = guesses.get(one.item) if one.purpose == "train" else None
        guess = None if believed is None else max(believed, key=lambda name: believed[name])
        made.append(
            Item(
                id=one.item,
                path=record.path,
                text=shown.get("text"),
                x=inputs.get(one.item, shown.get("row")),
                guess=guess,
                probabilities=believed,
                score=one.score,
                why=_why(one, believed),
            )
        )
    return made


def _why(one: Offered, believed: Mapping[str, float] | None) -> str:
    if one.score is None:
        return "drawn at random"
    if believed is None or len(believed) < 2:
        return f"chosen by the strategy, with the score {one.score:.3g}"
    first, second = sorted(believed, key=lambda name: -believed[name])[:2]
    return f"the model believes in {first} with {believed[first]:.2f} and in {second} with {believed[second]:.2f}"


def _guesses(trial: Trial) -> dict[str, dict[str, float]]:
    """The newest guesses of the model, under the present names of the classes."""
    latest = trial.latest()
    path = None
    round = -1 if latest is None else latest.round
    while round >= 0 and path is None:
        with suppress(DamagedArtefact):  # people can go on without guesses
            path = trial.find(round, "guesses")
        round -= path is None
    if path is None:
        return {}
    with np.load(path, allow_pickle=False) as kept:
        ids, probabilities = kept["ids"].tolist(), kept["probabilities"]
    cut = trial.cut_of(round)
    classes, names = trial.classes(), trial.classes(cut).names
    now = [classes.now(name, cut or 0) for name in names]
    guesses = {}
    for item, row in zip(ids, probabilities.tolist(), strict=True):
        believed = dict.fromkeys(classes.names, 0.0)
        for name, p in zip(now, row, strict=True):
            believed[name] += p
        guesses[item] = believed
    return guesses


def _by_item(answers: Any) -> dict[Any, Any]:
    """Answers as a dict: a mapping, a pandas Series, or pairs."""
    try:
        several = dict(answers)
    except (TypeError, ValueError):
        several = None
    if several is None or (
        not isinstance(answers, Mapping) and any(np.ndim(value) for value in several.values())
    ):
        raise InvalidArgument(
            f"give the answers by item id, such as {{items[0].id: 'owl'}}, not as {type(answers).__name__}; "
            "for a table, dict(zip(table.id, table.label))"
        )
    return several


def as_text(value: Any) -> str:
    """A class or a note as text, as `baldur.open` reads the names of classes.

    Args:
        value: A name; or a number, of NumPy or PyTorch too, that is the name of a class.

    Returns:
        The text.
    """
    if isinstance(value, str):
        return value.strip()
    plain = np.asarray(value)
    one = plain.item() if plain.ndim == 0 else value
    return str(int(one)) if isinstance(one, float) and one.is_integer() else str(one)


def user() -> str:
    """The name of the user of this computer.

    Returns:
        The name; "person" if it is unknown.
    """
    try:
        return getuser()
    except (OSError, KeyError, ImportError):
        return "person"


def as_ids(items: Any) -> list[str]:
    """Ids of items.

    Args:
        items: An item, its id, or several of them.

    Returns:
        The ids.

    Raises:
        InvalidArgument: They are neither items nor ids.
    """
    alone = isinstance(items, str | Item | int | np.integer)
    if not alone and not isinstance(items, Iterable):
        raise InvalidArgument(f"give an item, its id, or several of them, not {items!r}")
    return [_id(one) for one in ([items] if alone else items)]


def _id(item: Any) -> str:
    if isinstance(item, Item):
        return item.id
    return str(item) if isinstance(item, str) else as_text(item)


def again(folder: Path) -> str:
    """How to open a run with its data.

    Args:
        folder: The run's folder.

    Returns:
        A part of a sentence.
    """
    return f"baldur.open({str(folder)!r}, data=..., classes=[...])"
