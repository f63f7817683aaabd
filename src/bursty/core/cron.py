"""When a schedule fires. Pure: time is passed in, as seconds since the epoch; zoneinfo alone reads the zones' data.

cronsim does the arithmetic of cron. What it does when clocks are changed we settle so:

- A cron that fires in every hour (``*/5 * * * *``, ``0 * * * *``) goes by the real clock: an hour that is repeated is
  an hour like any other.
- A cron that names hours (``30 2 * * *``, ``0 */6 * * *``) runs once for each local time that it names: once when the
  time comes twice, and right after the gap when it does not come at all; times of one gap make one fire.
- ``every=`` counts from the epoch, whoever counts: all schedulers agree on the fires, and clock changes don't matter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from difflib import get_close_matches
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from bursty.errors import ConfigError
from bursty.units import format_seconds, parse_seconds

POLICIES = ("once", "skip", "all")
_NAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS = "minute hour day-of-month month day-of-week"
_LOOK_BACK = (3600.0, 86400.0, 32 * 86400.0, 366 * 86400.0, 8 * 366 * 86400.0, 50 * 366 * 86400.0)
_SOME_DAY = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Timetable:
    """When a schedule fires: a cron in a zone, or ``every`` so many seconds since the epoch. See ``parse_schedule``."""

    cron: str | None
    every: float | None
    tz: str = "UTC"

    def fires_between(self, after: float, until: float, limit: int = 1000) -> list[float]:
        """The first ``limit`` fires with ``after < fire <= until``, in order."""
        found: list[float] = []
        for fire in islice(self._fires(after), limit):
            if fire > until:
                break
            found.append(fire)
        return found

    def next_after(self, time: float) -> float:
        """The first fire after ``time``; ``inf`` when there is none within 50 years."""
        return next(self._fires(time), math.inf)

    def last_until(self, time: float) -> float | None:
        """The newest fire at ``time`` or before, at most 50 years back."""
        if self.every is not None:
            return _last_multiple(self.every, time)
        for span in _LOOK_BACK:
            found = None
            for fire in self._fires(time - span):
                if fire > time:
                    break
                found = fire
            if found is not None:
                return found
        return None

    def describe(self) -> str:
        """In plain words: ``at 09:00 on weekdays, Europe/Paris``."""
        if self.every is not None:
            return f"every {_plain_span(self.every)}"
        return f"{_in_words(self.cron or '')}, {self.tz}"

    def _fires(self, after: float) -> Iterator[float]:
        if self.every is not None:
            return _multiples(self.every, after)
        return _cron_fires(self.cron or "", _zone(self.tz), after)


class Due(NamedTuple):
    """What to do about fires whose time has come."""

    run: list[float]
    skipped: list[float]


def missed(fires: Sequence[float], now: float, policy: str = "once", grace: float = 60.0) -> Due:
    """Which of the due ``fires`` are run, now that they are seen.

    A fire seen within ``grace`` seconds is on time and always run. Of those that were missed (no scheduler was there),
    ``"skip"`` runs none, ``"all"`` each, ``"once"`` the newest, and only when no fire on time stands for it.
    """
    late = [fire for fire in fires if fire < now - grace]
    on_time = [fire for fire in fires if fire >= now - grace]
    match policy:
        case "all":
            chosen = late
        case "once" if late and not on_time:
            chosen = [max(late)]
        case "once" | "skip":
            chosen = []
        case _:
            raise ConfigError(f"there is no policy {policy!r} for missed fires", f"Known: {', '.join(POLICIES)}.")
    return Due(sorted([*chosen, *on_time]), sorted(fire for fire in late if fire not in set(chosen)))


def parse_schedule(cron: str | None, every: str | float | None = None, tz: str = "UTC") -> Timetable:
    """A timetable of a cron of five fields (or ``@daily`` …), or of ``every`` (``"5 min"``, or seconds; at least 1).

    ``tz``: a name such as ``Europe/Paris``, for cron. Raises ``ConfigError`` for what is no schedule, for a zone that
    does not exist, and for a cron that never fires.
    """
    if (cron is None) == (every is None):
        raise ConfigError("a schedule needs a cron or every=, one of them", 'Say "*/5 * * * *", or every="5 min".')
    zone = _zone(tz)
    if every is not None:
        seconds = parse_seconds(every)
        if seconds is None or seconds < 1:
            raise ConfigError(f"every={every!r} is less than a second", "Schedules fire once a second at most.")
        return Timetable(None, seconds, tz)
    text = " ".join(cron.split()) if isinstance(cron, str) else repr(cron)
    if len(text) > 200:
        raise ConfigError(f"the cron {text[:40]!r}… is {len(text)} characters long", 'Like "*/5 * * * *".')
    _check_cron(text, zone)
    return Timetable(text, None, tz)


def _check_cron(text: str, zone: tzinfo) -> None:
    expression = _NAMES.get(text.lower(), text)
    if text.startswith("@") and expression is text:
        raise ConfigError(f"{text!r} is no cron", f"Known names: {', '.join(_NAMES)}.")
    if (count := len(expression.split())) != 5:
        raise ConfigError(f"the cron {text!r} has {count} fields and needs five: {_FIELDS}", 'Like "*/5 * * * *".')
    try:
        next(_cron_fires(text, zone, _SOME_DAY.timestamp()))
    except CronSimError as error:
        if _never(expression):
            raise _never_fires(text) from None
        field = str(error).removeprefix("Bad ")
        raise ConfigError(f"the cron {text!r} is wrong in its {field} field", f"The fields are: {_FIELDS}.") from None
    except StopIteration:
        raise _never_fires(text) from None


def _never(expression: str) -> bool:
    """Whether it would be right but for its days, as 30 February."""
    minute, hour, _, month, weekday = expression.split()
    try:
        CronSim(f"{minute} {hour} 1 {month} {weekday}", _SOME_DAY)
        CronSim(f"{minute} {hour} {expression.split()[2]} * {weekday}", _SOME_DAY)
    except CronSimError:
        return False
    return True


def _never_fires(text: str) -> ConfigError:
    return ConfigError(f"the cron {text!r} never fires: no month has such a day", "Look at its days and months.")


def _zone(name: str) -> tzinfo:
    if name in ("UTC", "Etc/UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError, TypeError):  # no such zone; a folder of zones; no name at all
        zones = available_timezones()
    if not zones:
        raise ConfigError(f"the time zone {name!r} can't be read: this machine has no zones", "pip install tzdata")
    near = get_close_matches(str(name)[:40], zones, 1)
    hint = f"Did you mean {near[0]!r}?" if near else "Name it like Europe/Paris, or UTC."
    raise ConfigError(f"there is no time zone {str(name)[:40]!r}", hint)


def _cron_fires(cron: str, zone: tzinfo, after: float) -> Iterator[float]:
    expression = _NAMES.get(cron.lower(), cron)
    last = after
    for moment in CronSim(_by_local_time(expression), datetime.fromtimestamp(math.floor(after), zone)):
        fire = moment.timestamp()
        # Of a time that comes twice the first is meant, which may have passed; times in a gap move to its end.
        if fire > last:
            last = fire
            yield fire


def _by_local_time(expression: str) -> str:
    """Have cronsim run a cron that names hours once for each local time: a field with a star would go by the clock."""
    minute, hour, *days = expression.split()
    if hour in ("*", "*/1", "0-23"):
        return " ".join([minute, "*", *days])
    return " ".join([_starless(minute, 59), _starless(hour, 23), *days])


def _starless(field: str, most: int) -> str:
    return re.sub(r"(^|,)\*", rf"\g<1>0-{most}", field)


def _multiples(every: float, after: float) -> Iterator[float]:
    count = math.floor(after / every) - 1  # floats: the quotient may be off by one either way
    while True:
        count += 1
        if count * every > after:
            yield count * every


def _last_multiple(every: float, time: float) -> float:
    count = math.floor(time / every) + 1
    while count * every > time:
        count -= 1
    return count * every


def _plain_span(seconds: float) -> str:
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds % size == 0:
            count = int(seconds // size)
            return name if count == 1 else f"{count} {name}s"
    return format_seconds(seconds)


def _in_words(cron: str) -> str:
    expression = _NAMES.get(cron.lower(), cron)
    for pattern, size, name in ((r"\*/(\d+) \* \* \* \*", 60, "minute"), (r"0 \*/(\d+) \* \* \*", 24, "hour")):
        step = re.fullmatch(pattern, expression)
        if step and size % int(step[1]) == 0:
            return f"every {name}" if step[1] == "1" else f"every {int(step[1])} {name}s"
    text = CronSim(expression, _SOME_DAY).explain()
    text = text.replace("on Monday through Friday", "on weekdays")
    return text[:1].lower() + text[1:]
