"""``bursty runs compare`` on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bursty.cli.outcome import input_words, number_words
from bursty.cli.terminal import columns, console, short_id, show
from bursty.units import format_bytes, format_seconds

Data = Mapping[str, Any]


def print_comparison(found: Data) -> None:
    """What ``compare_runs`` gave; what is the same is only counted."""
    from rich.markup import escape

    a, b = found["a"], found["b"]
    table = columns("", f"A {short_id(a['id'])}", f"B {short_id(b['id'])}", fold=(f"A {short_id(a['id'])}",))
    table.add_row("job", escape(f"{a['app']}/{a['job']}"), escape(f"{b['app']}/{b['job']}"))
    table.add_row("version", _version(a), _version(b))
    table.add_row("status", a["status"], b["status"])
    table.add_row("took", *(format_seconds(side["seconds"]) if side["seconds"] is not None else "" for side in (a, b)))
    show(table)
    _inputs(found["inputs"])
    _metrics(found["metrics"])
    _outputs(found["outputs"])
    if found["same"]:
        console().print("\n[green]✓[/] inputs, metrics and outputs are the same")


def _version(side: Data) -> str:
    return f"{side['version'] or ''} {side['digest'][:8]}".strip()


def _heading(what: str, items: Sequence[Data], different: Sequence[Data]) -> bool:
    """Whether there is anything to be shown."""
    if not items:
        return False
    same = len(items) - len(different)
    note = f" [dim]{same} the same[/]" if same else ""
    console().print(f"\n[bold]{what}[/]{note}")
    return bool(different)


def _inputs(items: Sequence[Data]) -> None:
    from rich.markup import escape

    different = [item for item in items if not item["same"]]
    if _heading("Inputs", items, different):
        table = columns("", "A", "B", fold=("A", "B"))
        for item in different:
            sides = [input_words(item[side]) if item[f"in_{side}"] else "[dim]none[/]" for side in ("a", "b")]
            table.add_row(escape(item["title"]), *sides)
        show(table)


def _metrics(items: Sequence[Data]) -> None:
    from rich.markup import escape

    different = [item for item in items if item["a"] != item["b"]]
    if _heading("Metrics", items, different):
        table = columns("", "A", "B", "B - A", "", right=("A", "B", "B - A", ""))
        for item in different:
            numbers = [_number(item[key]) for key in ("a", "b")]
            percent = "" if item["percent"] is None else f"{item['percent']:+.1f} %"
            table.add_row(escape(item["name"]), *numbers, _delta(item["delta"]), percent)
        show(table)


def _number(value: float | None) -> str:
    return "" if value is None else number_words(value)


def _delta(value: float | None) -> str:
    return "" if value is None else ("+" if value > 0 else "") + number_words(value)


def _outputs(items: Sequence[Data]) -> None:
    from rich.markup import escape

    different = [item for item in items if not item["same"]]
    if not _heading("Outputs", items, different):
        return
    out = console()
    for item in different:
        if item["only"]:
            words = f"only in {item['only'].upper()}"
        elif "problem" in item:
            words = f"can't be compared: {escape(item['problem'])}"
        elif "table" in item:
            words = _table_words(item["table"])
        else:
            words = f"differs, {format_bytes(item['a'])} and {format_bytes(item['b'])}"
        out.print(f"{escape(item['name'])}  {words}", soft_wrap=True)
        if "table" in item:
            _table(item["table"])


def _table_words(table: Data) -> str:
    rows, parts = table["rows"], list[str]()
    if rows["a"] != rows["b"]:
        parts.append(f"{rows['a']:,} and {rows['b']:,} rows")
    parts.append(f"{table['changed_rows']:,} of {min(rows.values()):,} rows differ")
    for side in ("a", "b"):
        if names := table["columns"][f"only_{side}"]:
            parts.append(f"columns only in {side.upper()}: {', '.join(names[:10])}")
    return "; ".join(parts)


def _table(table: Data) -> None:
    from rich.markup import escape

    means = [item for item in table["means"] if item["a"] != item["b"]]
    if means:
        grid = columns("  mean of", "A", "B", "B - A", right=("A", "B", "B - A"))
        for item in means:
            grid.add_row(f"  {escape(item['name'])}", _number(item["a"]), _number(item["b"]), _delta(item["delta"]))
        show(grid)
    if table["first"]:
        grid = columns("  row", "column", "A", "B", right=("A", "B"))
        for item in table["first"]:
            cells = ("" if item[side] is None else str(item[side]) for side in ("a", "b"))
            grid.add_row(f"  {item['row']:,}", escape(item["column"]), *map(escape, cells))
        show(grid)
