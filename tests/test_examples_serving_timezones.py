"""The Flask app that tells the time: served as its page says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from test_examples_jobs import EXAMPLES, Shown, first_commands
from test_examples_serving import Served, served


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return Shown("timezones", tmp_path_factory.mktemp("timezones"))


@pytest.fixture(scope="module")
def server(shown: Shown) -> Iterator[Served]:
    with served(shown, first_commands("timezones")[0].strip()) as server:
        yield server


def test_the_time_here_and_there_as_the_page_asks_for_it(shown: Shown, server: Served) -> None:
    commands = [line.strip() for line in first_commands("timezones")]
    assert commands[0] == "bursty serve examples/timezones/app.py"
    seen = [server.curl(line, shown.folder).json() for line in commands[1:]]
    assert [answer["zone"] for answer in seen] == ["UTC", "Asia/Kathmandu"]
    for answer in seen:
        told = datetime.fromisoformat(answer["now"])
        assert abs(told - datetime.now(UTC)) < timedelta(minutes=10)
        assert told.utcoffset() == told.astimezone(ZoneInfo(answer["zone"])).utcoffset()


def test_a_page_for_people(server: Served) -> None:
    page = server.client.get("/", params={"zone": "Europe/Paris"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "in Europe/Paris." in page.text
    assert 'action="/"' in page.text


def test_a_zone_that_there_is_not(server: Served) -> None:
    answer = server.client.get("/now", params={"zone": "Middle-earth/Shire"})
    assert answer.status_code == 404
    assert "Middle-earth/Shire" in answer.text


def test_the_app_knows_nothing_of_bursty() -> None:
    """It runs where nobody has bursty."""
    text = (EXAMPLES / "timezones" / "clock.py").read_text(encoding="utf-8")
    assert "import bursty" not in text
    assert "from bursty" not in text
    code = "from clock import web; print(web.test_client().get('/now').get_json()['zone'])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(EXAMPLES, "timezones"), capture_output=True, text=True, check=True
    )
    assert done.stdout == "UTC\n"


def test_its_page_tells_its_story() -> None:
    page = (EXAMPLES / "timezones" / "README.md").read_text(encoding="utf-8")
    assert all(words in page for words in ("story it serves", "By hand", "Now"))
    assert "(timezones/README.md)" in (EXAMPLES / "README.md").read_text(encoding="utf-8")
