"""Puts the Flask app of clock.py online as it is."""

from clock import web

from bursty import App

app = App("timezones")

app.mount("/", web, auth="public")
