"""Runs, events, outbox, documents."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# Text is compared by code points everywhere, whatever the database's locale is.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME: sa.Double[float] = sa.Double()
NUMBER = sa.BigInteger()


def upgrade() -> None:
    """Make the tables."""
    _make_runs()
    _index_runs()
    _make_events()
    _make_outbox()
    _make_documents()


def _make_runs() -> None:
    op.create_table(
        "bursty_runs",
        sa.Column("id", TEXT, primary_key=True),
        *(sa.Column(name, TEXT, nullable=False) for name in ("app", "job", "version", "inputs", "inputs_hash")),
        sa.Column("idempotency_key", TEXT),
        sa.Column("status", TEXT, nullable=False),
        *(sa.Column(name, NUMBER, nullable=False) for name in ("attempt", "max_attempts", "failures", "retries")),
        sa.Column("priority", NUMBER, nullable=False),
        sa.Column("owner", TEXT),
        sa.Column("lease_until", TIME),
        sa.Column("not_before", TIME, nullable=False),
        sa.Column("deadline", TIME),
        sa.Column("timeout", TIME),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("external_id", TEXT),
        sa.Column("created_by", TEXT, nullable=False),
        *(sa.Column(name, TEXT) for name in ("rerun_of", "schedule", "progress", "metrics", "output", "error")),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME),
        sa.Column("finished_at", TIME),
        sa.Column("seq", NUMBER, nullable=False),
        postgresql_with={"fillfactor": 80},  # room on the page for renewals, which touch no index
    )


def _make_events() -> None:
    op.create_table(
        "bursty_events",
        sa.Column("subject", TEXT, primary_key=True),
        sa.Column("seq", NUMBER, primary_key=True),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("data", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )


def _make_outbox() -> None:
    op.create_table(
        "bursty_outbox",
        sa.Column("id", TEXT, primary_key=True),
        *(sa.Column(name, TEXT, nullable=False) for name in ("run", "app", "kind", "data")),
        sa.Column("tries", NUMBER, nullable=False),
        sa.Column("due", TIME, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("error", TEXT),
    )
    op.create_index("bursty_outbox_due", "bursty_outbox", ["due", "id"])
    op.create_index("bursty_outbox_run", "bursty_outbox", ["run"])


def _make_documents() -> None:
    op.create_table(
        "bursty_documents",
        sa.Column("kind", TEXT, primary_key=True),
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("data", TEXT, nullable=False),
        sa.Column("rev", NUMBER, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
    )


def _index_runs() -> None:
    """Claims walk the queue in its order; lists of the newest by a field walk that field's index backwards. While its
    status changes a run is in as few indexes as may be, so that this stays cheap."""
    _index("queue", sa.text("priority DESC"), "not_before", "id", where="status = 'queued'")
    _index("queued", "id", where="status = 'queued'")
    _index("running", "id", where="status = 'running'")
    _index("final", "status", "id", where="status NOT IN ('queued', 'running')")
    _index("ended", "job", "status", "id", where="status NOT IN ('queued', 'running')")
    _index("key", "app", "idempotency_key", where="idempotency_key IS NOT NULL", unique=True)
    for name in ("app", "job", "version", "created_by", "inputs_hash"):
        _index(name, name, "id")
    _index("schedule", "schedule", "id", where="schedule IS NOT NULL")


def _index(name: str, *columns: str | sa.TextClause, where: str | None = None, unique: bool = False) -> None:
    options: dict[str, Any] = {}
    if where is not None:
        options = {"sqlite_where": sa.text(where), "postgresql_where": sa.text(where)}
    op.create_index(f"bursty_runs_{name}", "bursty_runs", list(columns), unique=unique, **options)
