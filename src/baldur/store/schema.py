"""The tables of a run. Times are ISO 8601 texts in UTC, so that they can be sorted and read directly.

A change here needs a migration beside it in `migrations/versions`; a test compares the two.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Insert,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)

REVISION = "0002"
"""The newest migration: the value of `alembic_version` in a database of this version of Baldur."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def now() -> str:
    """The current time in UTC, in the format of the tables."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _one_of(column: str, *values: str) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(v) for v in values)})", name=column)


def _of_round() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["trial", "round"], ["rounds.trial", "rounds.round"])


run = Table(
    "run",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("created", String, nullable=False),
    Column("settings", String, nullable=False),  # TOML
    Column("classes", JSON, nullable=False),
    Column("preprocessing", JSON, nullable=False),
    Column("seed", BigInteger),  # of the order of the items; NULL in a run that compares strategies
    Column("frontier", BigInteger),  # items with this key or a larger one are test items
    Column(
        "token", Integer, nullable=False, server_default="0"
    ),  # of the newest trainer on a database server
    CheckConstraint("id = 1", name="only"),
)

starts = Table(
    "starts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("time", String, nullable=False),
    Column("environment", JSON, nullable=False),
)

items = Table(
    "items",
    metadata,
    Column("id", String, primary_key=True),
    Column("position", Integer),
    Column("path", String),
    Column("grp", String),
    Column("split", String),
    Column("sha256", String),
    Column("size", BigInteger),
    Column("mtime_ns", BigInteger),
    Column("state", String, nullable=False),
    Column("reason", String),
    Column("part", BigInteger),  # the place in the file: a row, or an index
    Column("shown", JSON(none_as_null=True)),  # the values that a page shows, if they are not in a file
    Column("key", BigInteger),  # the place in the random order of the run
    Column("since", Integer),  # the number of the event that added it; NULL if the run began with it
    _one_of("state", "ok", "quarantined"),
    Index("ix_items_key", "key"),
    Index("ix_items_position", "position"),
)

trials = Table(
    "trials",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("strategy", String, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", String, nullable=False),
    _one_of("state", "running", "waiting", "done", "failed"),
    UniqueConstraint("strategy", "seed"),
)

rounds = Table(
    "rounds",
    metadata,
    Column("trial", ForeignKey("trials.id"), primary_key=True),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("state", String, nullable=False),
    Column("cut", Integer),
    Column("seen", Integer),  # the last event number that counted when the next items were chosen
    Column("labels", Integer),
    Column("opened", String, nullable=False),
    Column("closed", String),
    _one_of("state", "requested", "labelled", "fitted", "measured", "closed"),
)

phases = Table(
    "phases",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("trial", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("phase", String, nullable=False),
    Column("started", String, nullable=False),
    Column("seconds", Float),
    _one_of("phase", "label", "fit", "measure", "choose"),
    _of_round(),
)

requests = Table(
    "requests",
    metadata,
    Column("trial", Integer, primary_key=True, autoincrement=False),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("item", String, primary_key=True),
    Column("rank", Integer, nullable=False),
    Column("score", Float),
    Column("state", String, nullable=False),
    _one_of("state", "open", "answered", "skipped"),
    _of_round(),
)

ranking = Table(
    "ranking",
    metadata,
    Column("trial", Integer, primary_key=True, autoincrement=False),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("rank", Integer, primary_key=True, autoincrement=False),
    Column("item", String, nullable=False),
    Column("score", Float, nullable=False),
    _of_round(),
)

ledger = Table(  # of the first version: `events` has a copy, and nothing is written here any more
    "ledger",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("event", String, nullable=False, unique=True),
    Column("trial", ForeignKey("trials.id"), nullable=False),
    Column("item", String, nullable=False),
    Column("annotator", String, nullable=False),
    Column("value", String, nullable=False),
    Column("time", String, nullable=False),
    Column("round", Integer, nullable=False),
    Column("supersedes", ForeignKey("ledger.number")),
    Column("source", String, nullable=False),
    ForeignKeyConstraint(["trial", "round", "item"], ["requests.trial", "requests.round", "requests.item"]),
    sqlite_autoincrement=True,
)

events = Table(  # append-only: triggers of the migration refuse every update and delete
    "events",
    metadata,
    # One more than the last: a sequence of a server would leave gaps.
    Column(
        "number", Integer, primary_key=True, default=text("(SELECT coalesce(max(number), 0) + 1 FROM events)")
    ),
    Column("event", String, nullable=False, unique=True),
    Column("kind", String, nullable=False),
    Column("purpose", String, nullable=False),
    Column("trial", ForeignKey("trials.id")),
    Column("round", Integer),
    Column("item", String),
    Column("annotator", String, nullable=False),
    Column("value", String, nullable=False),
    Column("time", String, nullable=False),
    Column("supersedes", ForeignKey("events.number")),
    Column("source", String, nullable=False),
    _one_of("kind", "label", "correction", "withdrawal", "skip", "unlabelable", "note", "item", "class"),
    _one_of("purpose", "train", "test", "audit", "gold"),
    Index("ix_events_trial_item_number", "trial", "item", "number"),
    sqlite_autoincrement=True,
)

leases = Table(  # items that were offered to somebody and are not answered yet
    "leases",
    metadata,
    Column("item", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("purpose", String, nullable=False),
    Column("rank", Integer, nullable=False),  # the order in which the holder gets them
    Column("offered", String, nullable=False),
    Column("expires", String, nullable=False),
    _one_of("purpose", "train", "test", "audit", "gold"),
    Index("ix_leases_holder", "holder"),
)

metrics = Table(
    "metrics",
    metadata,
    Column("trial", Integer, primary_key=True, autoincrement=False),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("metric", String, primary_key=True),
    Column("split", String, primary_key=True),
    Column("value", Float),  # NULL is NaN, which SQLite cannot hold
    _of_round(),
)

artefacts = Table(
    "artefacts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("trial", ForeignKey("trials.id")),
    Column("round", Integer),
    Column("kind", String, nullable=False),
    Column("path", String, nullable=False, unique=True),  # relative to the run, with forward slashes
    Column("sha256", String, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created", String, nullable=False),
    UniqueConstraint("trial", "round", "kind"),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("time", String, nullable=False),
    Column("trial", ForeignKey("trials.id")),
    Column("round", Integer),
    Column("what", String, nullable=False),
)


def incident(trial: int | None, round: int | None, what: str) -> Insert:
    """The statement that records a problem that the run recovered from.

    Args:
        trial: The trial, or None.
        round: The round, or None.
        what: A sentence.

    Returns:
        An insert.
    """
    return incidents.insert().values(time=now(), trial=trial, round=round, what=what)
