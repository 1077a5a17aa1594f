"""One append-only table for all that annotators say, and what labelling by people needs.

The labels of the old ledger are copied with their numbers. Items get what a page shows and a place in a random order.

Revision ID: 0002
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_KINDS = ("label", "correction", "withdrawal", "skip", "unlabelable", "note", "item", "class")
_PURPOSES = ("train", "test", "audit", "gold")


def upgrade() -> None:
    """Make the tables and triggers, and copy the ledger."""
    _add("run", ("seed", sa.BigInteger), ("frontier", sa.BigInteger))
    op.add_column("run", sa.Column("token", sa.Integer, nullable=False, server_default="0"))
    _add("items", ("part", sa.BigInteger), ("shown", sa.JSON), ("key", sa.BigInteger), ("since", sa.Integer))
    op.create_index("ix_items_key", "items", ["key"])
    op.create_index("ix_items_position", "items", ["position"])
    _add("rounds", ("seen", sa.Integer))
    op.create_table(
        "leases",
        sa.Column("item", sa.String, primary_key=True),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("offered", sa.String, nullable=False),
        sa.Column("expires", sa.String, nullable=False),
        _one_of("purpose", _PURPOSES),
    )
    op.create_index("ix_leases_holder", "leases", ["holder"])
    op.create_table(
        "events",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("event", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column("trial", sa.Integer),
        sa.Column("round", sa.Integer),
        sa.Column("item", sa.String),
        sa.Column("annotator", sa.String, nullable=False),
        sa.Column("value", sa.String, nullable=False),
        sa.Column("time", sa.String, nullable=False),
        sa.Column("supersedes", sa.Integer),
        sa.Column("source", sa.String, nullable=False),
        _one_of("kind", _KINDS),
        _one_of("purpose", _PURPOSES),
        sa.UniqueConstraint("event", name="uq_events_event"),
        sa.ForeignKeyConstraint(["trial"], ["trials.id"], name="fk_events_trial_trials"),
        sa.ForeignKeyConstraint(["supersedes"], ["events.number"], name="fk_events_supersedes_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_trial_item_number", "events", ["trial", "item", "number"])
    op.execute(
        "INSERT INTO events (number, event, kind, purpose, trial, round, item, annotator, value, time, supersedes, "
        "source) SELECT number, event, 'label', 'train', trial, round, item, annotator, value, time, supersedes, "
        "source FROM ledger ORDER BY number"
    )
    _guard()
    _order_by_bytes()


def _add(table: str, *columns: tuple[str, Any]) -> None:
    for name, kind in columns:
        op.add_column(table, sa.Column(name, kind))


def _one_of(column: str, values: tuple[str, ...]) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"{column} IN ({', '.join(repr(v) for v in values)})", name=column)


def _guard() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER events_refuse_{verb.lower()} BEFORE {verb} ON events "
                "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            )
        return
    op.execute("SELECT setval(pg_get_serial_sequence('events', 'number'), max(number)) FROM events")
    op.execute(
        "CREATE TRIGGER events_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON events "
        "FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only()"
    )


def _order_by_bytes() -> None:
    """Order texts by their bytes, as SQLite does, and not by the language of the server."""
    if op.get_bind().dialect.name == "sqlite":
        return
    texts = op.get_bind().exec_driver_sql(
        """SELECT table_name, string_agg(format('ALTER COLUMN %%I TYPE varchar COLLATE "C"', column_name), ', ')
        FROM information_schema.columns WHERE table_schema = current_schema()
        AND data_type = 'character varying' AND table_name <> 'alembic_version' GROUP BY table_name"""
    )
    for table, changes in texts.all():
        op.execute(f'ALTER TABLE "{table}" {changes}')
