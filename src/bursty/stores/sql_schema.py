"""Which tables a database has, and making those that this bursty needs."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from bursty.errors import StoreError

VERSION_TABLE = "bursty_schema"
VERSION = "0002"
"""The newest of ``migrations/versions``."""
KNOWN = ("0001", "0002")


def is_current(connection: sa.Connection, where: str) -> bool:
    """Whether the tables are those of this bursty. Raises ``StoreError`` when a newer one made them."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return False
    found = connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    if found is not None and found not in KNOWN:
        raise StoreError(
            f"{where} was last used by a newer bursty: its tables have version {found}, this one knows {VERSION}",
            "Upgrade bursty here (pip install -U bursty), or use another state.",
        )
    return found == VERSION


def upgrade(connection: sa.Connection) -> None:
    """Make what is missing, inside the transaction that the connection is in."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
