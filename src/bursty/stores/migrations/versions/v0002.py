"""Predictions, what was asked, labels."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
REAL: sa.Double[float] = sa.Double()
NUMBER = sa.BigInteger()


def upgrade() -> None:
    """Make the tables. Ids begin with the time, so that rows of one time lie side by side."""
    op.create_table(
        "bursty_prediction",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("ts_ms", NUMBER, nullable=False),
        sa.Column("endpoint", TEXT, nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("score", REAL),
        sa.Column("threshold", REAL),
        sa.Column("decision", TEXT),
        sa.Column("matched", TEXT),
        sa.Column("latency_ms", REAL, nullable=False),
        sa.Column("answer", TEXT, nullable=False),
        sa.Column("error", TEXT),
        sqlite_with_rowid=False,
    )
    op.create_index("bursty_prediction_time", "bursty_prediction", ["endpoint", "ts_ms", "id"])
    op.create_index(
        "bursty_prediction_matched",
        "bursty_prediction",
        ["endpoint", "matched", "ts_ms"],
        sqlite_where=sa.text("matched IS NOT NULL"),
        postgresql_where=sa.text("matched IS NOT NULL"),
    )
    op.create_table(
        "bursty_prediction_input",
        sa.Column("prediction_id", TEXT, primary_key=True),
        sa.Column("input", TEXT, nullable=False),
    )
    # Truth may come before the prediction, so there is no foreign key.
    op.create_table(
        "bursty_label",
        sa.Column("prediction_id", TEXT, primary_key=True),
        sa.Column("ts_ms", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("source", TEXT, primary_key=True),
        sa.Column("y", REAL, nullable=False),
        sqlite_with_rowid=False,
    )
