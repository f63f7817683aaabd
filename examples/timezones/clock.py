"""A web app that tells the time: plain Flask, which knows nothing of bursty. `flask --app clock run` serves it, too."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

from flask import Flask, abort, render_template_string, request

web = Flask(__name__)

PAGE = """<!doctype html>
<title>The time in {{ zone }}</title>
<h1>{{ now.strftime("%H:%M") }}</h1>
<p>It is {{ now.strftime("%A, %-d %B %Y") }} in {{ zone }}.
<form action="{{ url_for('page') }}">
  <input name="zone" value="{{ zone }}" list="zones"> <button>Show</button>
  <datalist id="zones">{% for each in zones %}<option>{{ each }}{% endfor %}</datalist>
</form>
"""


@web.get("/")
def page() -> str:
    zone = asked_zone()
    return render_template_string(PAGE, zone=zone, now=now_in(zone), zones=sorted(available_timezones()))


@web.get("/now")
def now() -> dict[str, str]:
    zone = asked_zone()
    return {"zone": zone, "now": now_in(zone).isoformat(timespec="seconds")}


def asked_zone() -> str:
    zone = request.args.get("zone", "UTC")
    if zone not in available_timezones():
        abort(404, f"There is no time zone {zone}.")
    return zone


def now_in(zone: str) -> datetime:
    return datetime.now(UTC).astimezone(ZoneInfo(zone))
