"""The writer for a format."""

from __future__ import annotations

from bursty.cli.files import NewFile
from bursty.cli.outputs import CsvWriter, JsonWriter, Writer
from bursty.cli.rows import Table
from bursty.errors import ConfigError


def open_writer(path: str, kind: str, table: Table) -> Writer:
    """Raises ``ConfigError`` when it can't be written."""
    if kind == "parquet":
        if path == "-":
            raise ConfigError("Parquet can't be written to standard output", "Name a file with -o.")
        from bursty.cli.parquet import ParquetWriter  # polars takes a while

        return ParquetWriter(NewFile(path), table)
    if kind == "jsonl":
        return JsonWriter(table) if path == "-" else JsonWriter(table, NewFile(path))
    return CsvWriter(table, None if path == "-" else NewFile(path), "\t" if kind == "tsv" else ",")
