"""Notices to people, by Apprise: Slack, Teams, e-mail, webhooks and all else that it knows, each named by a URL."""

from __future__ import annotations

import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any
from urllib.parse import unquote

from bursty.core.redact import MASK, Redactor
from bursty.errors import ConfigError, MissingExtra, NoticeFailed
from bursty.records import Notice

TIMEOUT = 20.0
"""Seconds that all services together get for a notice."""
REMEMBERED = 1000
"""Notices that reached some of their services, so that the next try goes to the others only."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


class AppriseNotifier:
    """Sends every notice to all ``urls``, as Apprise writes them (``slack://…``, ``mailtos://…``, ``json://…``).

    Errors and Apprise's own log lines name a service by its scheme and host, never by a token or password.
    Raises ``ConfigError`` for a URL that Apprise does not understand, ``MissingExtra`` when it is not installed.
    """

    def __init__(self, urls: Sequence[str], *, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._redactor = Redactor(url_secrets(urls))
        _mask_logs(urls)
        try:
            apprise: Any = import_module("apprise")
        except ImportError as error:
            raise MissingExtra.of("apprise", "notify", "sending notices") from error
        self._services = [_Service(apprise, url, number) for number, url in enumerate(urls, 1)]
        self._lock = threading.Lock()
        self._reached: OrderedDict[Notice, set[int]] = OrderedDict()

    def send(self, notice: Notice) -> None:
        """As the port says. Services are asked at the same time; one that hangs does not hold up the others."""
        with self._lock:
            reached = self._reached.setdefault(notice, set())
            self._reached.move_to_end(notice)
            while len(self._reached) > REMEMBERED:
                self._reached.popitem(last=False)
        problems = self._send_to(
            [service for service in self._services if service.number not in reached], notice, reached
        )
        if problems:
            words = "; ".join(problems)
            raise NoticeFailed(
                f"the notice {notice.title!r} did not reach {len(problems)} of {len(self._services)} services: {words}",
                "Check the Apprise URLs (the setting notify, or BURSTY_NOTIFY), and whether the service is there.",
            )
        with self._lock:
            self._reached.pop(notice, None)

    def _send_to(self, services: Iterable[_Service], notice: Notice, reached: set[int]) -> list[str]:
        answers: dict[int, str] = {}
        done = threading.Condition()

        def ask(service: _Service) -> None:
            problem = self._redactor.redact(service.send(notice))
            with done:
                answers[service.number] = problem
                if not problem:
                    reached.add(service.number)
                done.notify_all()

        asked = list(services)
        for service in asked:
            # Daemons: nobody waits for a service that never answers.
            threading.Thread(target=ask, args=(service,), name="bursty-notice", daemon=True).start()
        with done:
            done.wait_for(lambda: len(answers) == len(asked), self._timeout)
            late = f"no answer within {self._timeout:g} seconds"
            problems = {service: answers.get(service.number, late) for service in asked}
        return [f"{service.label} ({problem})" for service, problem in problems.items() if problem]


class _Service:
    """One URL. ``label``: which one, for people."""

    def __init__(self, apprise: Any, url: str, number: int) -> None:
        self.number = number
        plugin = apprise.Apprise.instantiate(url)
        if plugin is None:
            scheme = _SCHEME.match(url)
            raise ConfigError(
                f"URL {number} for notices ({scheme[1] + '://' + MASK if scheme else 'without a scheme'}) is none that "
                "Apprise understands",
                "See https://appriseit.com for how each service's URL is written.",
            )
        self.label = _label(url, plugin)
        self._types = {
            kind: getattr(apprise.NotifyType, kind.upper()) for kind in ("success", "failure", "warning", "info")
        }
        self._format = apprise.NotifyFormat.TEXT
        self._apprise = apprise.Apprise()
        self._apprise.add(plugin)

    def send(self, notice: Notice) -> str:
        """What went wrong; nothing when it was taken."""
        kind = self._types[notice.kind]
        try:
            result = self._apprise.notify(notice.body, notice.title, kind, self._format)
        except Exception as error:  # of any of some hundred plugins: it is told, and the notice is tried again
            return f"{type(error).__name__}: {error}"
        return "" if result else _reason(result)


def _reason(result: Any) -> str:
    """Apprise 2 keeps what the service logged."""
    entries: Any = result.logs() if hasattr(result, "logs") else ()
    words = [str(getattr(entry, "message", "")) for entry in entries]
    return " ".join(word for word in words if word) or "it did not take the notice"


def _label(url: str, plugin: Any) -> str:
    """The scheme, and the host where that is one: in some URLs a token stands in its place."""
    scheme = _SCHEME.match(url)
    label = scheme[1].lower() if scheme else str(plugin.service_name)
    host = plugin.template_tokens.get("host")
    if host is None or host.get("private") or not plugin.host:
        return label
    return f"{label} at {plugin.host}{f':{plugin.port}' if plugin.port else ''}"


def url_secrets(urls: Iterable[str]) -> list[str]:
    """What no text may show of Apprise URLs: logins, hosts that are tokens, long pieces of paths and options.

    Apprise alone knows which of these are secret, and not for all services: some that are not are among them.
    """
    found: set[str] = set()
    for url in urls:
        login, _, place = url.partition("://")[2].rpartition("@")
        host, _, rest = place.partition("/")
        found |= {
            url,
            *re.split("[:/]", login),
            *(piece for piece in re.split(r"[/?&=,#\s]+", rest) if len(piece) >= 8),
        }
        if "." not in host and len(host) >= 8:  # a token
            found.add(host)
    return [*found, *map(unquote, found)]


class _Masks(logging.Filter):
    """Keeps secrets of URLs out of log lines, of Apprise and of what it sends with."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._secrets: set[str] = set()
        self._redactor = Redactor(())

    def hide(self, secrets: Iterable[str]) -> None:
        with self._lock:
            self._secrets |= set(secrets)
            self._redactor = Redactor(self._secrets)

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._redactor.redact(record.getMessage()), ()
        if record.exc_info:
            record.exc_text = self._redactor.redact(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return True


_masks = _Masks()


def _mask_logs(urls: Iterable[str]) -> None:
    _masks.hide(url_secrets(urls))
    for name in ("apprise", "urllib3.connectionpool"):
        logging.getLogger(name).addFilter(_masks)  # the same one is added once
