"""The values that a run's store takes and returns. Times are ISO 8601 texts in UTC."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple


@dataclass(frozen=True)
class ItemRecord:
    """The recorded facts of one item of the pool.

    Args:
        id: The item's stable id.
        position: Its position in the pool, counted from 0.
        path: Its file, if it has one.
        group: Its group (patient, track, ...), which a split never divides.
        split: The part of the data that it belongs to.
        sha256: Hexadecimal digest of its content at the first read.
        size: Bytes of its file at the first read.
        mtime_ns: Modification time of its file at the first read, nanoseconds.
        state: "ok", or "quarantined" if it cannot be used.
        reason: Why it is quarantined.
        part: Its place in the file, if the file holds many items: a row or an index, counted from 0.
        shown: The values that a page shows if they are not in a file: {"text": ...}, or {"row": {column: value}}.
        key: Its place in the random order of the run; the smallest key comes first.
        since: The number of the event that added it; None if the run began with it.
    """

    id: str
    position: int | None = None
    path: str | None = None
    group: str | None = None
    split: str | None = None
    sha256: str | None = None
    size: int | None = None
    mtime_ns: int | None = None
    state: Literal["ok", "quarantined"] = "ok"
    reason: str | None = None
    part: int | None = None
    shown: Mapping[str, Any] | None = None
    key: int | None = None
    since: int | None = None


class ItemPlace(NamedTuple):
    """The split of an item, its key in the random order of the run, and the event that added it; see `ItemRecord`."""

    id: str
    split: str | None
    key: int | None
    since: int | None


class Request(NamedTuple):
    """A request for the label of one item; `score` is its score when it was chosen, None for an initial item."""

    item: str
    rank: int
    score: float | None = None


class Round(NamedTuple):
    """One round of a trial; `cut` is the last ledger number that it trains on, `labels` the number of its labels."""

    round: int
    state: str
    cut: int | None
    labels: int | None


class PastRow(NamedTuple):
    """One round of a trial: its metrics, and the scores of the batch that it trained on for the first time."""

    round: int
    labels: int
    metrics: dict[tuple[str, str], float]
    scores: tuple[float, ...]


class RankingRow(NamedTuple):
    """One of the best items of a round's pool; rank 0 is the best."""

    rank: int
    item: str
    score: float


class LabelRow(NamedTuple):
    """The current label of one item in one trial, and its ledger number."""

    item: str
    value: str
    round: int
    annotator: str
    number: int


class CurrentLabel(NamedTuple):
    """The current label of one item in one trial of the run."""

    strategy: str
    seed: int
    item: str
    value: str
    annotator: str
    time: str
    round: int


class MetricRow(NamedTuple):
    """One point of a learning curve; `value` is NaN if the metric was undefined."""

    strategy: str
    seed: int
    round: int
    labels: int
    metric: str
    split: str
    value: float


class PhaseRow(NamedTuple):
    """One attempt at a phase; `seconds` is None while it runs, and stays None if it was interrupted."""

    strategy: str
    seed: int
    round: int
    phase: str
    started: str
    seconds: float | None


class RequestRow(NamedTuple):
    """One request and the current label of its item, if it has one."""

    strategy: str
    seed: int
    round: int
    rank: int
    item: str
    score: float | None
    state: str
    label: str | None


class LedgerRow(NamedTuple):
    """One event of the append-only ledger; `round` is None if no round had asked for the item.

    Events about the pool or the classes have no trial, and events about the classes no item.
    """

    number: int
    event: str
    strategy: str | None
    seed: int | None
    item: str | None
    annotator: str
    value: str
    time: str
    round: int | None
    supersedes: int | None
    source: str
    kind: str
    purpose: str


class ArtefactRow(NamedTuple):
    """One recorded file or folder; `path` is absolute."""

    strategy: str | None
    seed: int | None
    round: int | None
    kind: str
    path: Path
    sha256: str
    bytes: int


class IncidentRow(NamedTuple):
    """A problem that the run recovered from, such as a damaged checkpoint that was deleted."""

    time: str
    strategy: str | None
    seed: int | None
    round: int | None
    what: str


class Finding(NamedTuple):
    """A finding of `doctor`; `mend` is the advice, and empty if nothing needs to be done."""

    level: Literal["ok", "warning", "error"]
    what: str
    mend: str = ""
