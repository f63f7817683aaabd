"""Run by Alembic: makes the changes on the connection that ``sql_schema`` hands over, in that one's transaction."""

from alembic import context

from bursty.stores.sql_schema import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
