"""``bursty run FILE::JOB --help``: what a job is for, and its inputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bursty.cli.options import option_of
from bursty.cli.terminal import console, show
from bursty.forms.types import FormField
from bursty.forms.words import bounds_of
from bursty.jobs.catalog import JobInfo
from bursty.units import format_bytes, format_seconds

METAVARS = {
    "str": "TEXT",
    "int": "INTEGER",
    "float": "NUMBER",
    "date": "YYYY-MM-DD",
    "datetime": "DATE-TIME",
    "file": "FILE",
    "table": "CSV-FILE",
    "json": "JSON",
}


def show_help(target: str, job: JobInfo, reserved: Sequence[str]) -> None:
    """On stdout."""
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Table

    out = console()
    fields = job.form["fields"]
    out.print(f"\n[bold]bursty run {escape(target)}[/]{' [OPTIONS]' if fields else ''}\n", soft_wrap=True)
    out.print(f"[bold]{escape(job.title)}[/]")
    if job.description.strip() and job.description.strip() != job.title:
        out.print(escape(job.description.strip()))
    grid = Table.grid(padding=(0, 3, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for item in fields:
        option = _option(item, reserved)
        space = "" if option.endswith("=") else " "
        grid.add_row(f"[cyan]{escape(option)}[/]{space}[yellow]{escape(_metavar(item))}[/]", escape(describe(item)))
    if fields:
        out.print("\n[bold]Inputs[/]\n")
        show(Padding(grid, (0, 0, 0, 2)))
    out.print(f"\n[dim]{escape(_limits(job))}[/]")
    out.print("[dim]What runs of all jobs have (--detach, --json …): bursty run --help[/]\n")


def _option(item: FormField, reserved: Sequence[str]) -> str:
    name = item.get("name", "")
    option = option_of(name)
    if option in reserved:
        return f"--set {name}="
    return f"{option}/--no-{option[2:]}" if item.get("kind") == "bool" else option


def _metavar(item: FormField) -> str:
    kind = item.get("kind", "json")
    if kind == "bool":
        return ""
    if kind == "choice":
        words = "|".join(str(choice["value"]) for choice in item.get("choices", []))
        return words if len(words) <= 30 else "CHOICE"
    if kind == "list":
        return _metavar(item.get("items", {})) + " …"
    return METAVARS[kind]


def describe(item: FormField) -> str:
    """Title, help, bounds, unit, columns and default of an input."""
    title, about = item.get("title", ""), item.get("description", "").strip()
    parts = [f"{title}: {about}" if about else title, _bounds(item), _more(item)]
    return "; ".join(part for part in parts if part) + _default(item)


def _bounds(item: FormField) -> str:
    if item.get("kind") == "choice" and _metavar(item) != "CHOICE":
        return ""  # they are all named
    bounds = bounds_of(item)
    if bounds or "unit" not in item:
        return bounds
    return f"in {item['unit']}"


def _more(item: FormField) -> str:
    kind = item.get("kind")
    if kind == "list":
        inner = _bounds(item.get("items", {}))
        return "give it again for each item" + (f" ({inner})" if inner else "")
    if kind == "table" and item.get("columns"):
        return "columns: " + ", ".join(column.get("name", "") for column in item.get("columns", []))
    return ""


def _default(item: FormField) -> str:
    if item.get("required", True) and "default" not in item:
        return " (required)"
    default = item.get("default")
    if default is None:
        return " (not set unless given)"
    if default in ("", []):
        return " (empty by default)"
    text = default if isinstance(default, str) else json.dumps(default, ensure_ascii=False)
    unset = f"; --unset {item.get('name')}" if item.get("nullable") else ""
    return f" (default: {text if len(text) <= 60 else text[:59] + '…'}{unset})"


def _limits(job: JobInfo) -> str:
    parts: list[str] = []
    if job.timeout is not None:
        parts.append(f"an attempt may take {format_seconds(job.timeout)}")
    if job.memory is not None:
        parts.append(f"it may use {format_bytes(job.memory)}")
    parts.append("not tried again when it fails" if not job.retries else f"tried again {job.retries} times")
    return ", ".join(parts).capitalize() + "."


def describe_json(job: JobInfo) -> dict[str, Any]:
    """For programs: ``--help --json``."""
    return {
        "app": job.app,
        "job": job.name,
        "title": job.title,
        "description": job.description,
        "timeout": job.timeout,
        "memory": job.memory,
        "retries": job.retries,
        "form": job.form,
    }
