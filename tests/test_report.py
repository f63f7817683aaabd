"""Reports: the table, the rows, the JSON, and the timeline as SVG and PNG."""

import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursty import Executor
from bursty.engine import timeline
from bursty.engine.history import CallRecord
from bursty.engine.report import Report
from bursty.errors import ConfigError
from bursty.values import CallStats

SVG = "{http://www.w3.org/2000/svg}"


def record(
    index: int,
    at: tuple[float | None, ...],
    *,
    label: str = "work",
    failed: bool = False,
    worker: str = "w1",
    attempt: int = 1,
) -> CallRecord:
    submitted, queued, started, finished, done = at
    stats = CallStats(submitted, queued, started, finished, done, 0.5, 1 << 20, worker, attempt)
    return CallRecord(label, index, stats, failed)


def two_workers() -> Report:
    """Four calls of 1, 2, 3 and 4 seconds on two workers, submitted at once, one failed on its second attempt."""
    return Report(
        [
            record(0, (100.0, 100.1, 101.0, 102.0, 102.5)),
            record(1, (100.0, 100.1, 101.0, 103.0, 103.0), worker="w2"),
            record(2, (100.0, 100.1, 102.0, 105.0, 105.0), failed=True, attempt=2),
            record(0, (101.0, 103.0, 103.0, 107.0, 107.0), label="other", worker="w2"),
        ],
        2,
    )


def test_rows_add_up() -> None:
    report = two_workers()
    other, work = sorted(report.rows(), key=lambda row: row["function"])
    assert (other["function"], other["calls"], other["total"], other["wait"]) == ("other", 1, 4.0, 2.0)
    assert (work["calls"], work["failed"], work["retries"]) == (3, 1, 1)
    assert work["total"] == pytest.approx(6.0)
    assert work["median"] == pytest.approx(2.0)
    assert work["p95"] == pytest.approx(2.9)
    assert work["max"] == pytest.approx(3.0)
    assert work["cpu"] == 1.5
    assert work["memory"] == 1 << 20
    assert work["wait"] == pytest.approx(1.0)
    # 0: 0.9 s of worker start and 0.5 s of way back; 1: 0.9 s; 2: none, its worker was busy with 0
    assert work["overhead"] == pytest.approx(0.9)


def test_summary() -> None:
    report = two_workers()
    assert report.failed == 1
    assert report.makespan == pytest.approx(7.0)
    assert report.active == pytest.approx(7.0)
    assert report.utilisation == pytest.approx(10 / 14)


def test_time_in_which_nothing_was_asked_for_is_not_idleness() -> None:
    calls = [record(n, (at, at, at, at + 1.0, at + 1.0)) for n, at in enumerate((100.0, 500.0))]
    report = Report(calls, 1)
    assert report.makespan == 401.0
    assert report.utilisation == 1.0


def test_str_is_a_table_with_the_slowest_calls() -> None:
    text = str(two_workers())
    assert "4 calls of work, other" in text
    assert "1 failed" in text
    assert "71% busy" in text
    table, slow = text.split("slowest calls")
    assert [line.split()[0] for line in table.splitlines()[3:6]] == ["function", "work", "other"]
    assert "attempt 2" in slow
    assert "failed" in slow
    assert slow.splitlines()[2].split()[:2] == ["other", "0"]


def test_json_holds_every_call() -> None:
    whole = json.loads(two_workers().to_json())
    assert whole["calls"] == 4
    assert whole["workers"] == 2
    assert [row["function"] for row in whole["functions"]] == ["work", "other"]
    assert whole["records"][2]["failed"] is True
    assert whole["records"][2]["started"] == 102.0


def test_no_calls(tmp_path: Path) -> None:
    report = Report([], 2)
    assert str(report) == "no calls yet"
    assert "no calls" in report._repr_html_()
    assert report.rows() == []
    assert json.loads(report.to_json())["calls"] == 0
    for name in ("t.svg", "t.png"):
        report.save(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 100


def test_calls_without_times(tmp_path: Path) -> None:
    report = Report([record(0, (None,) * 5), record(1, (5.0, None, None, None, None))], 1)
    assert report.makespan == 0.0
    assert "2 calls" in str(report)
    report.save(tmp_path / "t.svg")


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


def test_svg_shows_calls_states_and_failures(tmp_path: Path) -> None:
    two_workers().save(tmp_path / "t.svg")
    svg = (tmp_path / "t.svg").read_text("utf-8")
    found = texts(svg)
    assert "4 calls of work, other" in found
    assert {"waiting", "running", "failed", "submitted", "started", "finished", "returned"} <= set(found)
    assert "prefers-color-scheme:dark" in svg
    strokes = {path.get("stroke") for path in ET.fromstring(svg).iter(f"{SVG}path")}
    assert timeline.COLOURS[timeline.FAILED] in strokes
    assert timeline.COLOURS[timeline.RUNNING] in strokes


def test_svg_escapes_names() -> None:
    report = Report([record(0, (0.0, 0.0, 1.0, 2.0, 2.0), label="<lambda> & 'co'")], 1)
    layout = timeline.lay_out([])
    assert texts(timeline.to_svg(layout, 1, *report._titles()))[0] == "1 call of <lambda> & 'co'"
    html = report._repr_html_()
    assert "<lambda>" not in html
    assert "<style>" not in html  # it would restyle the notebook


def test_png(tmp_path: Path) -> None:
    two_workers().save(str(tmp_path / "t.png"))
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="svg"):
        two_workers().save(tmp_path / "t.gif")


def test_svg_needs_no_extra_and_png_says_which(tmp_path: Path) -> None:
    code = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('matplotlib', 'numpy'):
            raise ImportError(name)
sys.meta_path.insert(0, Nothing())
from bursty.engine.report import Report
from bursty.engine.history import CallRecord
from bursty.values import CallStats
report = Report([CallRecord('f', 0, CallStats(0, 0, 1, 2, 2), False)], 1)
report.save('t.svg')
try:
    report.save('t.png')
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "bursty[plot]" in done.stdout
    assert (tmp_path / "t.svg").exists()
    assert not (tmp_path / "t.png").exists()


def many(count: int) -> list[CallRecord]:
    """Calls in waves on 8 workers, some failed."""
    return [
        record(n, (0.0, n // 8 * 0.1, n // 8 * 0.1 + 0.01, n // 8 * 0.1 + 0.1, n // 8 * 0.1 + 0.1),
               worker=f"w{n % 8}", failed=n % 1000 == 999)
        for n in range(count)
    ]  # fmt: skip


def test_50_000_calls_stay_small_and_failures_visible(tmp_path: Path) -> None:
    report = Report(many(50_000), 8)
    report.save(tmp_path / "t.svg")
    assert (tmp_path / "t.svg").stat().st_size < 1 << 20
    layout = timeline.lay_out(report._timed)
    assert layout.rows == timeline.MAX_ROWS
    assert len(layout.lines[timeline.FAILED]) == 50
    assert sum(map(len, layout.lines)) < 20 * timeline.MAX_ROWS
    report.save(tmp_path / "t.png")
    assert "50,000" in report._repr_html_()


times = st.lists(st.floats(0, 1e4), min_size=5, max_size=5)


@given(st.lists(st.tuples(times, st.booleans()), max_size=40), st.integers(1, 50))
def test_layout_keeps_every_call_within_the_picture(given_calls: list[tuple[list[float], bool]], rows: int) -> None:
    origin = min((at[0] for at, _ in given_calls), default=0.0)
    calls = [timeline.timed(CallStats(*at), failed, origin) for at, failed in given_calls]
    layout = timeline.lay_out(calls, rows)
    assert layout.rows == min(rows, len(calls))
    drawn = [0.0] * len(timeline.NAMES)
    for phase, lines in enumerate(layout.lines):
        for row, low, high in lines:
            assert 0 <= row < layout.rows
            assert 0 <= low < high <= layout.seconds
            drawn[phase] += high - low
    if layout.rows == len(calls):  # nothing was merged: every second of every call is there
        assert math.isclose(sum(drawn), sum(call.times[4] for call in calls) - sum(call.times[0] for call in calls),
                            rel_tol=1e-6, abs_tol=1e-6)  # fmt: skip
    area = sum((until - at) * count for (at, count), (until, _) in zip(layout.busy, layout.busy[1:], strict=False))
    assert math.isclose(area, sum(c.times[3] - c.times[2] for c in calls), rel_tol=1e-6, abs_tol=1e-6)
    ET.fromstring(timeline.to_svg(layout, 2, "t", "s"))


@given(st.floats(1e-6, 1e7), st.integers(2, 12))
def test_ticks_are_few_round_and_inside(limit: float, wanted: int) -> None:
    found = timeline.ticks(limit, wanted)
    assert found[0] == 0
    assert found[-1] <= limit * (1 + 1e-6) + 1e-9
    assert len(found) <= 2.5 * wanted + 2


def odd_fails(x: int) -> int:
    if x % 2:
        raise ValueError(x)
    return x


def test_report_of_an_executor(folder: Path) -> None:
    with Executor("local?workers=2", output="hide") as executor:
        list(executor.map(odd_fails, range(10), return_exceptions=True))
        futures = executor.submit_many(abs, range(5))
        assert [future.result() for future in futures] == list(range(5))
        report = executor.report()
        rows = {row["function"]: row for row in report.rows()}
        assert (rows["odd_fails"]["calls"], rows["odd_fails"]["failed"]) == (10, 5)
        assert (rows["abs"]["calls"], rows["abs"]["failed"]) == (5, 0)
        assert report.workers == 2
        assert "odd_fails" in str(report)
        report.save("timeline.svg")
        assert "failed" in texts(Path("timeline.svg").read_text("utf-8"))
