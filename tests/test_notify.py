"""Notices by Apprise, to servers on loopback.

Slack and Teams are played by a stand-in: Apprise talks to their real host names by HTTPS, through a proxy of the test's
that takes what they would take. The real services are not asked.
"""

import contextlib
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from bursty.errors import ConfigError, NoticeFailed
from bursty.notify import AppriseNotifier
from bursty.records import Notice
from listeners import Mail, Web, certificate_of, closed_port, mail, silent, web

NOTICE = Notice("forecast failed (run 0193…c0ffee)", "Error:\n  <b>5 < 6 & 7</b> <!channel> *x* _y_", "failure")
TOKEN = "s3cret-token-in-path"
SLACK = "T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
PASSWORD = "pa55-word-of-url"


@pytest.fixture
def server() -> Generator[Web]:
    with web() as running:
        yield running


@pytest.fixture
def post() -> Generator[Mail]:
    with mail() as running:
        yield running


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Callable[[str], Web]]:
    """Plays a host of the internet by HTTPS."""
    with contextlib.ExitStack() as stack:

        def play(host: str) -> Web:
            certificate = certificate_of([host], tmp_path)
            proxy = stack.enter_context(web(certificate))
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
            for name in ("HTTPS_PROXY", "https_proxy"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            for name in ("NO_PROXY", "no_proxy"):
                monkeypatch.delenv(name, raising=False)
            return proxy

        yield play


def hook(port: int) -> str:
    return f"json://someone:{PASSWORD}@127.0.0.1:{port}/{TOKEN}"


def letters(port: int) -> str:
    return (
        f"mailto://127.0.0.1:{port}?smtp=127.0.0.1&mode=insecure&from=bursty@example.org"
        "&to=anna@example.org,bob@example.org"
    )


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


def refused(notifier: AppriseNotifier, notice: Notice = NOTICE) -> str:
    with pytest.raises(NoticeFailed) as caught:
        notifier.send(notice)
    for secret in (TOKEN, PASSWORD, "someone"):
        assert secret not in str(caught.value)
        assert secret not in repr(caught.value)
    return caught.value.message


class TestDelivery:
    def test_a_webhook(self, server: Web) -> None:
        AppriseNotifier([hook(server.port)]).send(NOTICE)
        ((path, headers, _),) = server.requests
        assert path == f"/{TOKEN}"
        assert headers["Authorization"].startswith("Basic ")
        (body,) = server.bodies
        assert (body["title"], body["message"], body["type"]) == (NOTICE.title, NOTICE.body, "failure")

    @pytest.mark.parametrize("kind", ["success", "failure", "warning", "info"])
    def test_kinds(self, kind: Any, server: Web) -> None:
        AppriseNotifier([hook(server.port)]).send(Notice("t", "b", kind))
        assert [body["type"] for body in server.bodies] == [kind]

    def test_e_mail(self, post: Mail) -> None:
        AppriseNotifier([letters(post.port)]).send(NOTICE)
        wait_for(lambda: len(post.to) == 2)
        assert sorted(post.to) == ["anna@example.org", "bob@example.org"]
        message = post.messages[0]
        texts = [part.get_payload(decode=True) for part in message.walk() if not part.is_multipart()]
        assert any(
            b"5 &lt; 6 &amp; 7" in text or b"<b>5 < 6 & 7</b>" in text for text in texts if isinstance(text, bytes)
        )
        assert "bursty@example.org" in str(message["From"])

    def test_to_all(self, server: Web, post: Mail) -> None:
        AppriseNotifier([hook(server.port), letters(post.port), hook(server.port)]).send(NOTICE)
        assert len(server.requests) == 2
        assert len(post.messages) == 2

    def test_to_nobody(self) -> None:
        AppriseNotifier([]).send(NOTICE)

    @pytest.mark.parametrize("url", [f"slack://{SLACK}/#alerts", f"https://hooks.slack.com/services/{SLACK}"])
    def test_slack(self, url: str, stand_in: Callable[[str], Web]) -> None:
        slack = stand_in("hooks.slack.com")
        notifier = AppriseNotifier([url])
        notifier.send(NOTICE)
        ((path, headers, _),) = slack.requests
        assert (headers["Host"], path) == ("hooks.slack.com", f"/services/{SLACK}")
        (attachment,) = slack.bodies[0]["attachments"]
        assert attachment["title"] == NOTICE.title
        assert "<!channel>" not in attachment["text"], "nobody is called by what stands in an error"
        assert "5 &lt; 6 &amp; 7" in attachment["text"]
        slack.status = 404
        message = refused(notifier, Notice("another", "notice"))
        assert not [piece for piece in SLACK.split("/") if piece in message]

    def test_teams(self, stand_in: Callable[[str], Web]) -> None:
        teams = stand_in("flows.example.org")
        notifier = AppriseNotifier([f"workflows://flows.example.org:443/{TOKEN}/{PASSWORD}"])
        notifier.send(NOTICE)
        ((path, headers, body),) = teams.requests
        assert headers["Host"].partition(":")[0] == "flows.example.org"
        assert (TOKEN in path, PASSWORD in path) == (True, True)
        assert NOTICE.title.encode() in body or json.dumps(NOTICE.title)[1:-1].encode() in body
        teams.status = 401
        assert "workflows at flows.example.org:443" in refused(notifier)


class TestFailure:
    def test_then_recovery(self, server: Web) -> None:
        notifier = AppriseNotifier([hook(server.port)])
        server.status = 500
        message = refused(notifier)
        assert message.startswith(
            f"the notice {NOTICE.title!r} did not reach 1 of 1 services: json at 127.0.0.1:{server.port}"
        )
        assert "500" in message
        server.status = 200
        notifier.send(NOTICE)
        assert len(server.requests) == 2

    def test_of_one_is_not_the_others(self, server: Web, post: Mail) -> None:
        dead = closed_port()
        notifier = AppriseNotifier([hook(server.port), hook(dead), letters(post.port)])
        message = refused(notifier)
        assert f"1 of 3 services: json at 127.0.0.1:{dead} (" in message
        assert str(server.port) not in message
        refused(notifier)
        assert len(server.requests) == 1, "who got it does not get it again"
        assert len(post.messages) == 2
        refused(notifier, Notice("another", "notice"))
        assert len(server.requests) == 2

    def test_a_delivered_notice_may_be_sent_again(self, server: Web) -> None:
        notifier = AppriseNotifier([hook(server.port)])
        notifier.send(NOTICE)
        notifier.send(NOTICE)
        assert len(server.requests) == 2

    def test_mail_refused(self, post: Mail) -> None:
        post.refuse = True
        notifier = AppriseNotifier([letters(post.port)])
        assert "mailto at 127.0.0.1" in refused(notifier)
        post.refuse = False
        notifier.send(NOTICE)
        assert len(post.messages) == 2

    @pytest.mark.parametrize("url", [hook, letters])
    def test_a_server_that_never_answers(self, url: Callable[[int], str], server: Web) -> None:
        with silent() as port:
            notifier = AppriseNotifier([url(port), hook(server.port)], timeout=0.5)
            message = refused(notifier)
        assert "1 of 2 services" in message
        assert "no answer within 0.5 seconds" in message
        assert len(server.requests) == 1

    def test_from_many_threads(self, server: Web) -> None:
        notifier = AppriseNotifier([hook(server.port)])
        threads = [threading.Thread(target=notifier.send, args=(Notice(f"t{n}", "b"),)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(body["title"] for body in server.bodies) == [f"t{n}" for n in range(8)]


class TestSecrets:
    @pytest.mark.parametrize(
        "url",
        [
            f"bogus://user:{PASSWORD}@host/{TOKEN}",
            f"slack://{TOKEN}",
            f"{PASSWORD} {TOKEN}",
            f"mailto://:{PASSWORD}@/{TOKEN}",
            "",
            f"json://[::{PASSWORD}/{TOKEN}",
        ],
    )
    def test_a_bad_url_is_refused_without_telling_it(
        self, url: str, caplog: pytest.LogCaptureFixture, server: Web
    ) -> None:
        caplog.set_level(logging.DEBUG)
        with pytest.raises(ConfigError, match="URL 2 for notices") as caught:
            AppriseNotifier([hook(server.port), url])
        for text in (str(caught.value), caplog.text):
            assert PASSWORD not in text
            assert TOKEN not in text

    def test_logs_do_not_tell(self, caplog: pytest.LogCaptureFixture, server: Web) -> None:
        caplog.set_level(logging.DEBUG)
        notifier = AppriseNotifier([hook(server.port), hook(closed_port())])
        refused(notifier)
        assert "apprise" in {record.name for record in caplog.records}
        assert "urllib3.connectionpool" in {record.name for record in caplog.records}
        assert PASSWORD not in caplog.text
        assert TOKEN not in caplog.text
        assert "/***" in caplog.text


def test_without_apprise() -> None:
    script = (
        "import sys; sys.modules['apprise'] = None\n"
        "from bursty.errors import MissingExtra\n"
        "from bursty.notify import AppriseNotifier\n"
        "try: AppriseNotifier(['json://127.0.0.1'])\n"
        "except MissingExtra as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == (
        "sending notices needs the package 'apprise'\n  What to do: pip install \"bursty[notify]\"\n"
    )
