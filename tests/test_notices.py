"""What people are told of runs and schedules."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursty.core.notices import render
from bursty.records import Notice

RUN = "0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
FAILED: dict[str, Any] = {
    "event": "failed",
    "job": "forecast",
    "app": "revenue",
    "run": RUN,
    "attempt": 2,
    "max_attempts": 3,
    "version": "5f2c" * 16,
    "created_by": "anna",
    "started_at": 1_700_000_000.0,
    "finished_at": 1_700_000_192.5,
    "error": 'Traceback (most recent call last):\n  File "job.py", line 3, in forecast\nValueError: no data',
    "inputs": {"growth": 0.07, "scenario": "base", "tags": ["a", "é"], "history": None},
}


def test_a_failed_run() -> None:
    assert render(FAILED) == Notice(
        "forecast failed (run 0193…3f4a5b)",
        "The job forecast of revenue failed at attempt 2.\n"
        f"Look at it: bursty runs show {RUN}\n"
        "\n"
        f"Run: {RUN}\n"
        "Version: 5f2c5f2c5f2c\n"
        "Asked for by: anna\n"
        "Duration: 3 min 12 s, until 2023-11-14 22:16:32 UTC\n"
        "Inputs:\n"
        "  growth: 0.07\n"
        "  scenario: base\n"
        '  tags: ["a", "é"]\n'
        "  history: null\n"
        "Error:\n"
        "  Traceback (most recent call last):\n"
        '    File "job.py", line 3, in forecast\n'
        "  ValueError: no data",
        "failure",
        "",
    )


@pytest.mark.parametrize(
    ("event", "title", "kind"),
    [
        ("failed", "forecast failed", "failure"),
        ("timed_out", "forecast took too long", "failure"),
        ("lost", "forecast was lost", "failure"),
        ("succeeded", "forecast succeeded", "success"),
        ("cancelled", "forecast was cancelled", "warning"),
    ],
)
def test_each_end(event: str, title: str, kind: str) -> None:
    notice = render({**FAILED, "event": event, "last_good": None})
    assert (notice.title, notice.kind) == (f"{title} (run 0193…3f4a5b)", kind)
    assert notice.body.startswith(f"The job {title.replace('forecast', 'forecast of revenue')} at attempt 2.")
    assert ("Published: nothing" in notice.body) == (event != "succeeded")


@pytest.mark.parametrize("url", ["https://example.org/bursty", "https://example.org/bursty/"])
def test_a_link_when_there_are_pages(url: str) -> None:
    notice = render({**FAILED, "url": url})
    assert notice.link == f"https://example.org/bursty/runs/{RUN}"
    assert f"Look at it: {notice.link}\n" in notice.body
    assert "bursty runs show" not in notice.body


def test_what_stays_published() -> None:
    good = {"run": "0192-good", "finished_at": 1_700_000_000}
    assert (
        "Still published: the outputs of run 0192-good of 2023-11-14 22:13:20 UTC."
        in render({**FAILED, "last_good": good}).body
    )
    assert "no run of this job has succeeded yet" in render({**FAILED, "last_good": None}).body
    assert "ublished" not in render(FAILED).body


def test_only_what_is_known_is_said() -> None:
    notice = render({"event": "lost", "job": "j", "run": "r1"})
    assert notice.body == "The job j was lost.\nLook at it: bursty runs show r1\n\nRun: r1"
    assert notice.title == "j was lost (run r1)"


def test_inputs_as_json_text() -> None:
    assert render({**FAILED, "inputs": json.dumps(FAILED["inputs"])}) == render(FAILED)


def test_much_is_cut() -> None:
    inputs = {f"n{number}": "x" * 5000 for number in range(50)}
    error = "\n".join(f"line {number} " + "y" * 300 for number in range(500))
    body = render({**FAILED, "inputs": inputs, "error": error}).body
    assert len(body) < 8000
    assert f"  n0: {'x' * 200}…\n" in body
    assert "  … and 30 more\n" in body
    assert "Error (its end):" in body
    assert body.endswith("line 499 " + "y" * 300)


def test_a_line_without_end_of_an_error_keeps_its_end() -> None:
    body = render({**FAILED, "error": "z" * 100_000 + " the end"}).body
    assert body.endswith(" the end")
    assert len(body) < 3000


class TestSecrets:
    def test_are_masked_everywhere(self) -> None:
        secret = "hunter2-hunter2"
        event = {
            **FAILED,
            "created_by": secret,
            "error": f"OperationalError: postgresql://scott:{secret}@db",
            "inputs": {"url": f"https://x/{secret}", "nested": {"list": [secret]}},
        }
        notice = render(event, [secret])
        assert secret not in notice.title + notice.body
        assert "postgresql://scott:***@db" in notice.body
        assert "nested: {" in notice.body

    def test_inputs_called_like_secrets(self) -> None:
        body = render({**FAILED, "inputs": {"api_key": "k", "password": {"a": 1}, "author": "anna"}}).body
        assert "  api_key: ***\n  password: ***\n  author: anna\n" in body

    @given(st.integers(150, 210), st.integers(1900, 2010), st.randoms())
    def test_none_is_cut_in_half(self, before: int, after: int, chance: random.Random) -> None:
        secret = "".join(chance.choices("abcdefghij", k=30))
        event = {**FAILED, "inputs": {"v": "-" * before + secret + "-" * 50}, "error": secret + "=" * after}
        body = render(event, [secret]).body
        assert not [secret[i : i + 6] for i in range(25) if secret[i : i + 6] in body]


class TestMissed:
    def test_one(self) -> None:
        event = {"event": "missed", "schedule": "refresh", "job": "score", "first": 1_700_000_000, "policy": "skip"}
        assert render(event) == Notice(
            "refresh missed a fire",
            "The schedule refresh should have run score at 2023-11-14 22:13:20 UTC, and no scheduler was there to do "
            "it.\nThese fires are skipped.\nLook at it: bursty schedules",
            "warning",
        )

    def test_many(self) -> None:
        event = {"event": "missed", "schedule": "refresh", "job": "score", "count": 3, "first": 0, "last": 600}
        notice = render({**event, "policy": "once", "url": "https://example.org"})
        assert notice.title == "refresh missed 3 fires"
        assert "at 1970-01-01 00:00:00 UTC and 2 times more until 1970-01-01 00:10:00 UTC, and" in notice.body
        assert "It is run once now." in notice.body
        assert notice.link == "https://example.org/schedules"
