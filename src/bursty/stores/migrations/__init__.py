"""The tables of the SQL state stores and how they came about, for Alembic. What is released is not changed again."""
