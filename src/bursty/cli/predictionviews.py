"""What ``bursty predictions`` shows and takes."""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import Any

from bursty.cli.files import NewFile
from bursty.cli.terminal import ago, columns, console, iso, plain, print_json, show
from bursty.endpoints import AnswerKind, Prediction
from bursty.errors import BlobNotFound, ConfigError
from bursty.ports.serving import Judged, PredictionStore
from bursty.serving.infos import endpoints_of
from bursty.serving.labels import LabelReport, take_labels
from bursty.stage import Stage
from bursty.units import parse_seconds

PAGE = 1000
SHOWN_ERRORS = 20
CHUNK = 1 << 20
ROW = (
    *("prediction_id", "ts_ms", "endpoint", "version", "answer", "score", "threshold", "decision", "matched"),
    *("latency_ms", "error", "input", "y", "ts", "source"),
)
"""Columns of the CSV: those of labels have their names, so that the file, filled in, can be taken as labels."""


def moment(text: str | None, now: float, default: int | None) -> int | None:
    """``2 h`` (ago) or a time, on this machine's clock unless it says another zone; milliseconds since the epoch.

    Raises ``ConfigError``.
    """
    if text is None:
        return default
    try:
        return int(datetime.fromisoformat(text.strip()).timestamp() * 1000)
    except ValueError:
        pass
    try:
        seconds = parse_seconds(text)
    except ConfigError:
        raise ConfigError(
            f"{text!r} is no time", 'Write it like "2 h" (ago), 2026-11-03 or 2026-11-03T12:00Z.'
        ) from None
    return int((now - (seconds or 0.0)) * 1000)


def _span(since: str | None, until: str | None) -> dict[str, Any]:
    now = time.time()
    return {"since": moment(since, now, 0) or 0, "until": moment(until, now, None)}


def show_endpoints(since: str | None, until: str | None, as_json: bool) -> None:
    """``bursty predictions list`` without an endpoint."""
    from rich.markup import escape

    with Stage() as stage:
        store = stage.predictions
        counts = {name: store.count(name, **_span(since, until)) for name in store.endpoints()}
    if as_json:
        print_json([{"endpoint": name, **count._asdict()} for name, count in counts.items()])
    elif not counts:
        console(stderr=True).print("no predictions yet; [bold]bursty serve FILE[/] logs what endpoints answer")
    else:
        table = columns("endpoint", "predictions", "errors", "labelled", right=("predictions", "errors", "labelled"))
        for name, count in counts.items():
            table.add_row(escape(plain(name)), *(f"{number:,}" for number in count))
        show(table)


def show_list(endpoint: str, since: str | None, until: str | None, limit: int, as_json: bool) -> None:
    """``bursty predictions list ENDPOINT``."""
    with Stage() as stage:
        found = list(_newest(stage.predictions, endpoint, _span(since, until), limit))
        known: Sequence[str] = () if found else stage.predictions.endpoints()
    if not found and endpoint not in known:
        words = ", ".join(known) if known else "no endpoint has any yet"
        raise ConfigError(f"there are no predictions of {endpoint!r}", f"Known: {words}.")
    if as_json:
        print_json([_json(item) for item in found])
    elif not found:
        console(stderr=True).print("no predictions then")
    else:
        _print(found)


def _newest(store: PredictionStore, endpoint: str, span: Mapping[str, Any], limit: int | None) -> Iterator[Judged]:
    """Page by page."""
    cursor, left = None, limit
    while left is None or left > 0:
        size = PAGE if left is None else min(left, PAGE)
        page = store.list(endpoint, **span, limit=size, cursor=cursor, inputs=True)
        yield from page.items
        cursor = page.cursor
        if cursor is None:
            return
        left = None if left is None else left - len(page.items)


def _print(found: Sequence[Judged]) -> None:
    from rich.markup import escape

    table = columns(
        *("prediction", "asked", "answer", "score", "decision", "key", "took", "label"),
        right=("score", "took", "label"),
    )
    for prediction, label in found:
        is_fallback = prediction.answer in (AnswerKind.CACHED, AnswerKind.DEFAULT)  # its error tells why there is one
        failed = prediction.error is not None and not is_fallback
        answer = f"[red]✗[/] {escape(plain(prediction.error or ''))}" if failed else str(prediction.answer)
        table.add_row(
            escape(_short(prediction.id)),
            ago(prediction.ts_ms / 1000),
            answer,
            _number(prediction.score),
            escape(plain(prediction.decision or "")),
            escape(plain(prediction.matched or "")),
            f"{prediction.latency_ms:.3g} ms",
            _number(label.y) if label is not None else "",
        )
    show(table)


def _short(name: str) -> str:
    """The end of the request's id, which is chance, and the position in the list."""
    request, mark, position = plain(name).partition("/")
    return f"{request[-8:]}{mark}{position}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _json(item: Judged) -> dict[str, Any]:
    prediction, label = item
    told = asdict(prediction)
    for name in ("decision", "input"):
        with suppress(TypeError, ValueError):
            told[name] = json.loads(told[name])
    told["at"] = iso(prediction.ts_ms / 1000)
    told["label"] = None if label is None else {"y": label.y, "at": iso(label.ts_ms / 1000), "source": label.source}
    return told


def write_csv(endpoint: str, since: str | None, until: str | None, limit: int | None, path: str) -> None:
    """``bursty predictions list ENDPOINT --csv FILE``."""
    with Stage() as stage:
        found = _newest(stage.predictions, endpoint, _span(since, until), limit)
        if path == "-":
            for text, _ in _csv_texts(found):
                sys.stdout.write(text)
            sys.stdout.flush()
            return
        file, count = NewFile(path), 0
        try:
            for text, rows in _csv_texts(found):
                file.write(text.encode())
                count += rows
            file.commit()
        finally:
            file.discard()
    console(stderr=True).print(f"[green]✓[/] {count:,} predictions in [bold]{path}[/]", soft_wrap=True)


def _csv_texts(found: Iterator[Judged]) -> Iterator[tuple[str, int]]:
    """The header, then rows; with how many rows there are in each text."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(ROW)
    yield buffer.getvalue(), 0
    for item in found:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(_cells(item.prediction, item))
        yield buffer.getvalue(), 1


def _cells(prediction: Prediction, item: Judged) -> list[Any]:
    label = item.label
    truth = ("", "", "") if label is None else (label.y, label.ts_ms, label.source)
    values = {**asdict(prediction), "prediction_id": prediction.id, "answer": str(prediction.answer)}
    return [*(values[name] for name in ROW[:-3]), *truth]


def take_file(path: str, as_json: bool) -> int:
    """``bursty predictions label``; the exit code."""
    kind = "application/json" if path.endswith(".json") else "text/csv"
    try:
        file = sys.stdin.buffer if path == "-" else open(path, "rb")  # noqa: SIM115 (standard input stays open)
    except OSError as error:
        raise ConfigError(f"{path!r} can't be read: {error.strerror or error}") from error
    try:
        with Stage() as stage:
            pieces = iter(lambda: file.read(CHUNK), b"")
            report = take_labels(stage.predictions, kind, pieces, time.time(), business_keys(stage))
    finally:
        if path != "-":
            file.close()
    if as_json:
        print_json(report.as_json())
    else:
        _print_report(report)
    return 1 if report.failed else 0


def business_keys(stage: Stage) -> Mapping[str, Sequence[str]] | None:
    """Of the endpoints of all current versions; ``None`` when there are none."""
    found: dict[str, Sequence[str]] = {}
    for app in stage.versions.apps():
        with suppress(ConfigError, BlobNotFound):  # none is current, or its blobs are lost
            digest = stage.versions.get(app).digest
            for info in endpoints_of(stage.builder.manifest(digest), digest):
                found[info.spec.name] = info.spec.log.key if info.spec.log is not None else ()
    return found or None


def _print_report(report: LabelReport) -> None:
    from rich.markup import escape

    waiting = f", {report.unknown:,} wait for their prediction" if report.unknown else ""
    mark = "[green]✓[/]" if not report.failed else "[yellow]![/]"
    refused = f", [red]{report.failed:,} refused[/]" if report.failed else ""
    labels = f"{report.accepted:,} label{'s' * (report.accepted != 1)} taken"
    console().print(f"{mark} {labels}{waiting}{refused}", soft_wrap=True)
    err = console(stderr=True)
    for error in report.errors[:SHOWN_ERRORS]:
        err.print(f"  row {error.row}: {escape(plain(error.message))}", soft_wrap=True)
    if report.failed > SHOWN_ERRORS:
        err.print(f"  [dim]and {report.failed - SHOWN_ERRORS:,} more[/]")
