"""Tables for the terminal and for Markdown, and the files in results/."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.envs import ROOT
from harness.peers import WORKERS, Peer, Workload
from harness.rounds import Cell, Table
from harness.targets import SUBJECT, Key, Series, Verdict

RESULTS = ROOT / "benchmarks" / "results"
Row = tuple[str, ...]
HEADER: Row = ("peer", "median", "least to most", "times bursty", "samples", "note")
VERDICT_HEADER: Row = ("", "what", "bursty", "limit", "of the limit", "promise")


def show(value: float, unit: str = "s") -> str:
    """Three significant digits in the unit that a reader expects."""
    if unit == "x":
        return f"{value:.3f}×"
    if unit == "%":
        return f"{value:.2f}%"
    if unit == "MB":
        return f"{value:.1f} MB"
    if unit == "/s":
        return f"{_digits(1 / value)} /s"
    for factor, name in ((1.0, "s"), (1e-3, "ms")):
        if value >= factor:
            return f"{_digits(value / factor)} {name}"
    return f"{_digits(value / 1e-6)} µs"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def times(cell: Cell, subject: Sequence[float]) -> str:
    """How often bursty's value goes into a peer's: the median of the rounds that have both."""
    ratios = [value / own for value, own in zip(cell.samples, subject, strict=False)]
    return _digits(statistics.median(ratios)) if ratios else "?"


def cell_row(peer: Peer, cell: Cell, unit: str, subject: Sequence[float]) -> Row:
    if cell.value is None:
        return (peer.title, "not run", "", "", "", clean(cell.reason or "no sample"))
    spread = f"{show(min(cell.samples), unit)} – {show(max(cell.samples), unit)}"
    note = "; ".join(filter(None, [cell.note, clean(f"then failed: {cell.reason}") if cell.reason else ""]))
    return (peer.title, show(cell.value, unit), spread, times(cell, subject), str(len(cell.samples)), note)


def workload_rows(workload: Workload, peers: Sequence[Peer], cells: Mapping[str, Cell]) -> list[Row]:
    subject = cells[SUBJECT].samples if SUBJECT in cells else []
    return [cell_row(peer, cells[peer.name], workload.unit, subject) for peer in peers if peer.name in cells]


def verdict_row(verdict: Verdict, unit: str) -> Row:
    if verdict.value is None or verdict.limit is None or verdict.share is None:
        return (verdict.status, verdict.workload, "?", "?", "?", f"{verdict.promise} ({clean(verdict.note)})")
    share = f"{100 * verdict.share:.0f}%"
    promise = verdict.promise + (f" ({verdict.note})" if verdict.note else "")
    return (verdict.status, verdict.workload, show(verdict.value, unit), show(verdict.limit, unit), share, promise)


def text_table(header: Row, rows: Sequence[Row]) -> str:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    return "\n".join("  " + line.rstrip() for line in lines)


def markdown_table(header: Row, rows: Sequence[Row]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)


def clean(text: str) -> str:
    """Without this machine's folders."""
    for folder, name in ((str(ROOT), "."), (str(Path.home()), "~")):
        text = text.replace(folder, name)
    return text


def counts(peer: str, cell: Cell) -> bool:
    """A peer that failed in a later round keeps the value of those before; bursty does not."""
    return not (is_subject(peer) and cell.reason)


def is_subject(peer: str) -> bool:
    """Whether it is bursty, in one of its ways."""
    return peer == SUBJECT or peer.startswith(f"{SUBJECT}_")


def series_of(table: Table, aside: Sequence[str]) -> Series:
    cells: dict[Key, Cell] = {(workload, peer): cell for workload, row in table.items() for peer, cell in row.items()}
    samples = {key: cell.samples for key, cell in cells.items() if cell.samples and counts(key[1], cell)}
    missing = {key: cell.reason or "no sample" for key, cell in cells.items() if key not in samples}
    return Series(samples, missing, aside)


def machine_facts() -> dict[str, Any]:
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "workers": WORKERS,
        "load before": load(),
        "commit": _commit(),
    }


def load() -> float:
    """How many processes wanted a core in the last minute."""
    return round(os.getloadavg()[0], 2)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    try:
        changed = " and changes" if git("status", "--porcelain", "--", "src") else ""
        return git("rev-parse", "--short", "HEAD") + changed
    except OSError:
        return ""


def facts_lines(facts: Mapping[str, Any]) -> list[str]:
    return [f"{key}: {value}" for key, value in facts.items() if value not in ("", None)]


def write(name: str, folder: Path, data: Mapping[str, Any], markdown: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.json", folder / f"{name}.md"]
    files[0].write_text(clean(json.dumps(data, indent=1, ensure_ascii=False)) + "\n")
    files[1].write_text(clean(markdown).rstrip() + "\n")
    return files
