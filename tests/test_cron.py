"""Schedules: when they fire, over clock changes too, what is done about missed fires, and what is refused."""

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bursty.core.cron import Timetable, missed, parse_schedule
from bursty.errors import ConfigError

DAY = 86400.0
ZONES = [
    "UTC",
    "Europe/Paris",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Havana",
    "Asia/Kolkata",
    "Pacific/Apia",
]
# Around clock changes of these zones, and around nothing.
DAYS = ["2024-03-10", "2024-03-31", "2024-04-07", "2024-10-06", "2024-10-27", "2024-11-03", "2011-12-30", "2024-07-01"]


def at(text: str, zone: str = "UTC", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def local(times: list[float], zone: str) -> list[str]:
    return [datetime.fromtimestamp(time, ZoneInfo(zone)).strftime("%d %H:%M%z") for time in times]


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 2 * * *", ["30 02:30+0100", "31 03:00+0200", "01 02:30+0200"]),  # 02:30 does not come on the 31st
        ("0,15,30 2 * * *", ["30 02:00+0100", "30 02:15+0100", "30 02:30+0100", "31 03:00+0200", "01 02:00+0200"]),
        ("0 */8 * * *", ["30 00:00+0100", "30 08:00+0100", "30 16:00+0100", "31 00:00+0100", "31 08:00+0200"]),
    ],
)
def test_a_time_in_a_gap_runs_once_and_right_after_it(cron: str, expected: list[str]) -> None:
    table = parse_schedule(cron, None, "Europe/Paris")
    fires = table.fires_between(at("2024-03-29T23:59", "Europe/Paris"), math.inf, len(expected))
    assert local(fires, "Europe/Paris") == expected


def test_a_time_that_comes_twice_runs_once() -> None:
    for cron in ("30 2 * * *", "30 */2 * * *", "*/30 2 * * *", "30 2-2 * * *"):
        table = parse_schedule(cron, None, "Europe/Paris")
        fires = table.fires_between(at("2024-10-27T02:10", "Europe/Paris"), at("2024-10-27T03:00", "Europe/Paris"))
        assert local(fires, "Europe/Paris") == ["27 02:30+0200"]
        again = at("2024-10-27T02:10", "Europe/Paris", fold=1)
        assert table.fires_between(again, again + 3000) == []


def test_what_fires_every_hour_goes_on_through_the_repeated_one() -> None:
    start, end = at("2024-10-27T00:00", "Europe/Paris"), at("2024-10-28T00:00", "Europe/Paris")
    assert end - start == 25 * 3600
    for cron, fires in (("0 * * * *", 25), ("*/5 * * * *", 300), ("@hourly", 25), ("7 0-23 * * *", 25)):
        found = parse_schedule(cron, None, "Europe/Paris").fires_between(start - 1, end - 1)
        assert len(found) == fires
        assert {after - before for before, after in pairwise(found)} == {25 * 3600 / fires}


def hour_field(hours: list[int], style: str) -> str:
    return {"list": ",".join(map(str, hours)), "step": f"*/{hours[0] % 11 + 2}", "range": f"{min(hours)}-{max(hours)}"}[
        style
    ]


def hours_of(field: str) -> set[int]:
    if field.startswith("*/"):
        return set(range(0, 24, int(field[2:])))
    if "-" in field:
        first, last = map(int, field.split("-"))
        return set(range(first, last + 1))
    return set(map(int, field.split(",")))


def expected_fires(minutes: set[int], hours: set[int], zone: ZoneInfo, start: datetime, days: int) -> list[float]:
    """The rule, said slowly: each local time once, at its first coming or at the end of the gap that swallowed it."""
    found: set[float] = set()
    for step in range(days * 24 * 60):
        naive = start + timedelta(minutes=step)
        if naive.minute in minutes and naive.hour in hours:
            there = naive.replace(tzinfo=zone)
            while there.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != there.replace(tzinfo=None):
                there += timedelta(minutes=1)  # wall time: arithmetic within a zone
            found.add(there.timestamp())
    return sorted(found)


@given(
    st.sampled_from(ZONES),
    st.sampled_from(DAYS),
    st.sets(st.integers(0, 59), min_size=1, max_size=3),
    st.lists(st.integers(0, 23), min_size=1, max_size=4, unique=True),
    st.sampled_from(["list", "step", "range"]),
)
def test_crons_that_name_hours_run_each_local_time_once(
    zone: str, day: str, minutes: set[int], hours: list[int], style: str
) -> None:
    field = hour_field(hours, style)
    if hours_of(field) == set(range(24)):
        return
    table = parse_schedule(f"{','.join(map(str, minutes))} {field} * * *", None, zone)
    start = datetime.fromisoformat(day) - timedelta(days=1)
    expected = expected_fires(minutes, hours_of(field), ZoneInfo(zone), start, 4)
    first, last = (start + timedelta(days=1)).replace(tzinfo=UTC), (start + timedelta(days=3)).replace(tzinfo=UTC)
    window = [fire for fire in expected if first.timestamp() < fire <= last.timestamp()]
    assert table.fires_between(first.timestamp(), last.timestamp()) == window


CRONS = [
    "*/5 * * * *",
    "30 2 * * *",
    "0 */2 * * *",
    "15,45 1-3 * * 1-5",
    "0 0 L * *",
    "*/20 2 * * *",
    "0 0 1 1 *",
    "@daily",
]
# When clocks are put back in Paris, New York, Havana and on Lord Howe Island; and forward in Paris.
CHANGES = ["2024-10-27T01:00", "2024-11-03T06:00", "2024-11-03T05:00", "2024-04-06T15:00", "2024-03-31T01:00"]
TIMES = st.sampled_from(CHANGES).flatmap(
    lambda change: (
        st.integers(-5400, 5400).map(lambda seconds: at(change) + seconds)
        | st.integers(-36 * 3600, 36 * 3600).map(lambda seconds: at(change) + seconds)
    )
)
TABLES = st.one_of(
    st.builds(parse_schedule, st.sampled_from(CRONS), st.none(), st.sampled_from(ZONES)),
    st.builds(parse_schedule, st.none(), st.floats(1, 1e5) | st.integers(1, 10**6), st.just("UTC")),
)


@given(TABLES, st.lists(TIMES, min_size=2, max_size=5).map(sorted))
@example(parse_schedule(None, 1.1), [1.1 * 3, 1.1 * 9])
def test_windows_join_without_loss_or_repeat(table: Timetable, times: list[float]) -> None:
    """However often a scheduler looks, and wherever one stops and another begins, the fires are the same."""
    first, last = times[0], min(times[-1], times[0] + 36 * 3600)
    bounds = [time for time in times if time <= last] + [last]
    whole = table.fires_between(first, last, 10**6)
    parts = [table.fires_between(*pair, 10**6) for pair in pairwise(bounds)]
    assert [fire for part in parts for fire in part] == whole
    assert whole == sorted(set(whole))
    assert all(first < fire <= last for fire in whole)


@given(TABLES, TIMES)
def test_next_and_last_agree_with_the_window(table: Timetable, time: float) -> None:
    following = table.next_after(time)
    assert following > time
    assert table.fires_between(time, following) == [following]
    assert table.last_until(following) == following
    before = table.last_until(time)
    assert before is not None
    assert before <= time
    assert table.next_after(before) == following


def test_limit_gives_the_first_ones() -> None:
    table = parse_schedule("* * * * *", None)
    assert table.fires_between(0, DAY, 3) == [60, 120, 180]
    assert table.fires_between(0, 59) == []


def test_every_counts_from_the_epoch() -> None:
    table = parse_schedule(None, "90 s", "Europe/Paris")
    assert table.fires_between(1000, 1300) == [1080, 1170, 1260]
    assert table.fires_between(1000, 1e6) == parse_schedule(None, 90).fires_between(1000, 1e6)


@pytest.mark.parametrize(
    ("cron", "every", "words"),
    [
        ("*/5 * * * *", None, "every 5 minutes, Europe/Paris"),
        ("*/1 * * * *", None, "every minute, Europe/Paris"),
        ("0 */6 * * *", None, "every 6 hours, Europe/Paris"),
        ("0 9 * * 1-5", None, "at 09:00 on weekdays, Europe/Paris"),
        ("@daily", None, "at 00:00 every day, Europe/Paris"),
        ("  30  2 1 * *", None, "at 02:30 on the first day of every month, Europe/Paris"),
        (None, "5 min", "every 5 minutes"),
        (None, 3600, "every hour"),
        (None, 1.5, "every 1.5 s"),
        (None, "1 d", "every day"),
    ],
)
def test_described_in_plain_words(cron: str | None, every: str | float | None, words: str) -> None:
    assert parse_schedule(cron, every, "Europe/Paris").describe() == words


@pytest.mark.parametrize(
    ("cron", "every", "tz", "says"),
    [
        ("0 0 30 2 *", None, "UTC", "never fires"),
        ("0 0 31 2,4,6 *", None, "UTC", "never fires"),
        ("61 * * * *", None, "UTC", "minute field"),
        ("0 24 * * *", None, "UTC", "hour field"),
        ("0 0 32 * *", None, "UTC", "day-of-month field"),
        ("0 0 * 13 *", None, "UTC", "month field"),
        ("0 0 30 2 9", None, "UTC", "day-of-week field"),
        ("* * * *", None, "UTC", "4 fields"),
        ("* * * * * *", None, "UTC", "6 fields"),
        ("", None, "UTC", "0 fields"),
        ("@sometimes", None, "UTC", "@daily"),
        ("x" * 100_000, None, "UTC", "100000 characters"),
        ("* * * * *", None, "Europe/Pari", "'Europe/Paris'"),
        ("* * * * *", None, "Europe", "no time zone"),
        ("* * * * *", None, "../../etc/passwd", "no time zone"),
        ("* * * * *", None, "Mars\0", "no time zone"),
        ("* * * * *", "5 min", "UTC", "one of them"),
        (None, None, "UTC", "one of them"),
        (None, "0.2 s", "UTC", "less than a second"),
        (None, "soon", "UTC", "soon"),
        (None, math.nan, "UTC", "nan"),
    ],
)
def test_what_is_no_schedule_is_refused_in_words(
    cron: str | None, every: str | float | None, tz: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        parse_schedule(cron, every, tz)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("policy", "fires", "run", "skipped"),
    [
        ("once", [10, 20, 30], [30], [10, 20]),
        ("skip", [10, 20, 30], [], [10, 20, 30]),
        ("all", [10, 20, 30], [10, 20, 30], []),
        ("once", [10, 20, 95], [95], [10, 20]),  # the one on time stands for the missed ones
        ("skip", [10, 95, 99], [95, 99], [10]),
        ("all", [10, 95], [10, 95], []),
        ("once", [], [], []),
        ("once", [90], [90], []),
    ],
)
def test_missed_fires(policy: str, fires: list[float], run: list[float], skipped: list[float]) -> None:
    assert missed(fires, now=100, policy=policy, grace=10) == (run, skipped)


@given(st.lists(st.floats(0, 200), unique=True), st.sampled_from(["once", "skip", "all"]), st.floats(0, 100))
def test_every_fire_is_run_or_skipped(fires: list[float], policy: str, grace: float) -> None:
    due = missed(fires, 200, policy, grace)
    assert sorted([*due.run, *due.skipped]) == sorted(fires)
    assert {fire for fire in fires if fire >= 200 - grace} <= set(due.run)


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ConfigError, match="once, skip, all"):
        missed([1.0], 2.0, "twice")
