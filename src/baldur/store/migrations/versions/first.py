"""The first tables.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table, and the triggers that keep the ledger append-only."""
    _pool()
    _trials()
    _labels()
    _results()
    _guard_ledger()


def _one_of(column: str, *values: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"{column} IN ({', '.join(repr(v) for v in values)})", name=column)


def _key(name: str) -> "sa.Column[int]":
    return sa.Column(name, sa.Integer, primary_key=True, autoincrement=False)


def _of_round(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["trial", "round"], ["rounds.trial", "rounds.round"], name=f"fk_{table}_trial_round_rounds"
    )


def _of_trial(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["trial"], ["trials.id"], name=f"fk_{table}_trial_trials")


def _pool() -> None:
    op.create_table(
        "run",
        _key("id"),
        sa.Column("created", sa.String, nullable=False),
        sa.Column("settings", sa.String, nullable=False),
        sa.Column("classes", sa.JSON, nullable=False),
        sa.Column("preprocessing", sa.JSON, nullable=False),
        sa.CheckConstraint("id = 1", name="only"),
    )
    op.create_table(
        "starts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("time", sa.String, nullable=False),
        sa.Column("environment", sa.JSON, nullable=False),
    )
    op.create_table(
        "items",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("position", sa.Integer),
        sa.Column("path", sa.String),
        sa.Column("grp", sa.String),
        sa.Column("split", sa.String),
        sa.Column("sha256", sa.String),
        sa.Column("size", sa.BigInteger),
        sa.Column("mtime_ns", sa.BigInteger),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reason", sa.String),
        _one_of("state", "ok", "quarantined"),
    )


def _trials() -> None:
    op.create_table(
        "trials",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("strategy", sa.String, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        _one_of("state", "running", "waiting", "done", "failed"),
        sa.UniqueConstraint("strategy", "seed", name="uq_trials_strategy_seed"),
    )
    op.create_table(
        "rounds",
        _key("trial"),
        _key("round"),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("cut", sa.Integer),
        sa.Column("labels", sa.Integer),
        sa.Column("opened", sa.String, nullable=False),
        sa.Column("closed", sa.String),
        _one_of("state", "requested", "labelled", "fitted", "measured", "closed"),
        _of_trial("rounds"),
    )
    op.create_table(
        "phases",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("trial", sa.Integer, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("phase", sa.String, nullable=False),
        sa.Column("started", sa.String, nullable=False),
        sa.Column("seconds", sa.Float),
        _one_of("phase", "label", "fit", "measure", "choose"),
        _of_round("phases"),
    )


def _labels() -> None:
    op.create_table(
        "requests",
        _key("trial"),
        _key("round"),
        sa.Column("item", sa.String, primary_key=True),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("score", sa.Float),
        sa.Column("state", sa.String, nullable=False),
        _one_of("state", "open", "answered", "skipped"),
        _of_round("requests"),
    )
    op.create_table(
        "ledger",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("event", sa.String, nullable=False),
        sa.Column("trial", sa.Integer, nullable=False),
        sa.Column("item", sa.String, nullable=False),
        sa.Column("annotator", sa.String, nullable=False),
        sa.Column("value", sa.String, nullable=False),
        sa.Column("time", sa.String, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("supersedes", sa.Integer),
        sa.Column("source", sa.String, nullable=False),
        sa.UniqueConstraint("event", name="uq_ledger_event"),
        _of_trial("ledger"),
        sa.ForeignKeyConstraint(["supersedes"], ["ledger.number"], name="fk_ledger_supersedes_ledger"),
        sa.ForeignKeyConstraint(
            ["trial", "round", "item"],
            ["requests.trial", "requests.round", "requests.item"],
            name="fk_ledger_trial_round_item_requests",
        ),
        sqlite_autoincrement=True,
    )


def _results() -> None:
    op.create_table(
        "ranking",
        _key("trial"),
        _key("round"),
        _key("rank"),
        sa.Column("item", sa.String, nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        _of_round("ranking"),
    )
    op.create_table(
        "metrics",
        _key("trial"),
        _key("round"),
        sa.Column("metric", sa.String, primary_key=True),
        sa.Column("split", sa.String, primary_key=True),
        sa.Column("value", sa.Float),
        _of_round("metrics"),
    )
    op.create_table(
        "artefacts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("trial", sa.Integer),
        sa.Column("round", sa.Integer),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("created", sa.String, nullable=False),
        _of_trial("artefacts"),
        sa.UniqueConstraint("path", name="uq_artefacts_path"),
        sa.UniqueConstraint("trial", "round", "kind", name="uq_artefacts_trial_round_kind"),
    )
    op.create_table(
        "incidents",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("time", sa.String, nullable=False),
        sa.Column("trial", sa.Integer),
        sa.Column("round", sa.Integer),
        sa.Column("what", sa.String, nullable=False),
        _of_trial("incidents"),
    )


def _guard_ledger() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER ledger_refuses_{verb.lower()} BEFORE {verb} ON ledger "
                "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER ledger_refuses_change BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger "
        "FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only()"
    )
