"""The record of a run: trials, rounds, requests, labels, metrics and artefacts, in one folder."""

from baldur.store.backup import restore
from baldur.store.checkpoint import ArtefactCheckpoint
from baldur.store.doctor import doctor
from baldur.store.events import Event, Told
from baldur.store.phase import PhaseHandle
from baldur.store.queue import Offered
from baldur.store.rows import (
    ArtefactRow,
    CurrentLabel,
    Finding,
    IncidentRow,
    ItemPlace,
    ItemRecord,
    LabelRow,
    LedgerRow,
    MetricRow,
    PastRow,
    PhaseRow,
    RankingRow,
    Request,
    RequestRow,
    Round,
)
from baldur.store.store import Store
from baldur.store.trial import Trial

__all__ = [
    "ArtefactCheckpoint",
    "ArtefactRow",
    "CurrentLabel",
    "Event",
    "Finding",
    "IncidentRow",
    "ItemPlace",
    "ItemRecord",
    "LabelRow",
    "LedgerRow",
    "MetricRow",
    "Offered",
    "PastRow",
    "PhaseHandle",
    "PhaseRow",
    "RankingRow",
    "Request",
    "RequestRow",
    "Round",
    "Store",
    "Told",
    "Trial",
    "doctor",
    "restore",
]
