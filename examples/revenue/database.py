"""The company's database, which has the revenue of each month.

REVENUE_DATABASE is its URL. Without one, a sample in memory stands for it: sales of US beer, wine and liquor stores.

    python examples/revenue/database.py URL     # copies the sample into a database of yours
"""

import csv
import os
import sys
from importlib.resources import files

import polars as pl
from sqlalchemy import Column, Engine, Float, MetaData, String, Table, create_engine

SALES = Table("sales", MetaData(), Column("month", String(7), primary_key=True), Column("sales_musd", Float))


def open_database() -> Engine:
    if url := os.environ.get("REVENUE_DATABASE"):
        return create_engine(url)
    engine = create_engine("sqlite://")
    fill(engine)
    return engine


def read_sales(engine: Engine) -> pl.DataFrame:
    """Month by month, in millions of US dollars."""
    return pl.read_database("SELECT month, sales_musd FROM sales ORDER BY month", engine)


def fill(engine: Engine) -> None:
    """Copy the sample."""
    with (files("bursty.demo") / "data/us_liquor_store_sales.csv").open(encoding="utf-8") as lines:
        rows = [{"month": row["month"], "sales_musd": float(row["sales_musd"])} for row in csv.DictReader(lines)]
    SALES.create(engine)
    with engine.begin() as connection:
        connection.execute(SALES.insert(), rows)


if __name__ == "__main__":
    fill(create_engine(sys.argv[1]))
