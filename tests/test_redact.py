"""Secrets in texts: whole or in pieces, plain or encoded."""

import base64
import itertools
import json
from urllib.parse import quote, quote_plus

from hypothesis import given
from hypothesis import strategies as st

from bursty.core.redact import MASK, Redactor, secret_values

SECRETS = st.lists(
    st.text("abc", min_size=6, max_size=12) | st.text("ab\n", min_size=6, max_size=9), min_size=1, max_size=5
)
"""Of few letters, so that secrets begin alike, overlap and contain each other."""


def in_pieces(redactor: Redactor, pieces: list[str]) -> str:
    return "".join([*map(redactor.feed, pieces), redactor.flush()])


class TestStream:
    @given(SECRETS, st.data())
    def test_any_cut_gives_the_same_text(self, secrets: list[str], data: st.DataObject) -> None:
        pieces = data.draw(st.lists(st.sampled_from(secrets) | st.text("abcd\n", max_size=8), max_size=12))
        text = "".join(pieces)
        whole = Redactor(secrets).redact(text)
        assert in_pieces(Redactor(secrets), pieces) == whole
        assert in_pieces(Redactor(secrets), list(text)) == whole
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
        edges = [0, *cuts, len(text)]
        cut = [text[start:stop] for start, stop in itertools.pairwise(edges)]
        assert in_pieces(Redactor(secrets), cut) == whole

    @given(SECRETS, st.data())
    def test_no_secret_survives(self, secrets: list[str], data: st.DataObject) -> None:
        pieces = data.draw(st.lists(st.sampled_from(secrets) | st.text("abcd\n", max_size=8), max_size=12))
        shown = in_pieces(Redactor(secrets), pieces)
        assert not [secret for secret in secrets if secret in shown]
        assert (MASK in shown) == any(secret in "".join(pieces) for secret in secrets)

    @given(st.lists(st.text(), max_size=5))
    def test_what_holds_no_secret_stays(self, pieces: list[str]) -> None:
        assert in_pieces(Redactor([]), pieces) == "".join(pieces)
        assert in_pieces(Redactor(["no such secret \u2603"]), pieces) == "".join(pieces)

    def test_only_what_may_be_a_secret_is_held_back(self) -> None:
        redactor = Redactor(["password1", "password123"])
        assert redactor.feed("a line\n") == "a line\n"
        assert redactor.feed("it is pass") == "it is "
        assert redactor.feed("word1") == ""
        assert redactor.feed("!\n") == "***!\n"
        assert redactor.feed("password12") == ""
        assert redactor.flush() == "***2"
        assert redactor.flush() == ""

    def test_the_longest_counts(self) -> None:
        assert Redactor(["secret", "secret-and-more"]).redact("secret-and-more, secret") == "***, ***"


class TestForms:
    @given(st.text(min_size=6, max_size=20).filter(lambda text: "*" not in text), st.binary(max_size=4), st.binary())
    def test_encoded_secrets(self, secret: str, before: bytes, after: bytes) -> None:
        redactor = Redactor([secret])
        raw = secret.encode()
        for shown in (
            secret,
            quote(secret),
            quote(secret, safe=""),
            quote_plus(secret),
            json.dumps(secret),
            repr(secret),
        ):
            assert secret not in redactor.redact(shown)
            assert MASK in redactor.redact(f"<{shown}>")
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            assert MASK in redactor.redact(encode(before + raw + after).decode())

    def test_a_basic_login(self) -> None:
        login = base64.b64encode(b"scott:tiger-tiger").decode()
        shown = Redactor(["tiger-tiger"]).redact(f"Authorization: Basic {login}")
        assert shown == "Authorization: Basic c2NvdHQ6***I="  # scott: and the last two bits

    def test_lines_of_a_long_secret(self) -> None:
        key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\n-----END KEY-----\n"
        redactor = Redactor([key])
        assert redactor.redact("MIIEvQIBADANBgkqhkiG9w0\n") == "***\n"
        assert redactor.redact(f"[{key}]") == "[***]"
        assert redactor.redact(json.dumps({"key": key})) == '{"key": "***"}'

    def test_short_values_are_left_alone(self) -> None:
        assert Redactor(["", "a", "12345"]).redact("a 12345") == "a 12345"


class TestEnvironment:
    def test_by_name(self) -> None:
        names = [
            "DB_PASSWORD", "MYSQL_PASSWD", "GITHUB_TOKEN", "OPENAI_API_KEY", "APIKEY", "AWS_SECRET_ACCESS_KEY",
            "AWS_ACCESS_KEY_ID", "CLIENT_SECRET", "my_credentials", "SLACK_WEBHOOK_URL", "SSH_PRIVATE_KEY",
        ]  # fmt: skip
        environ = {name: f"value of {name}" for name in names}
        assert secret_values(environ) == list(environ.values())

    def test_what_only_sounds_like_a_secret(self) -> None:
        environ = {
            "TOKENIZERS_PARALLELISM": "disabled-for-now", "MAX_TOKENS": "100000", "TOKEN_CHECKS": "disabled",
            "SECRET_FILE": "/run/secrets/db", "PWD": "/home/someone", "PATH": "/usr/bin:/bin", "API_KEY": "short",
            "HOME_URL": "https://example.org/a:b@c",
        }  # fmt: skip
        assert secret_values(environ) == []

    def test_passwords_in_urls(self) -> None:
        environ = {
            "DATABASE_URL": "postgresql://scott:ti%2Fger-1@db:5432/x",
            "CACHE": "redis://:only-password@cache",
            "PGDSN": "host=db user=scott password='it is long' dbname=x",
            "ODBC": "Driver=x;Password=semicolon-1;Server=y",
            "SHORT": "amqp://a:b@c",
        }
        expected = ["ti%2Fger-1", "ti/ger-1", "only-password", "it is long", "semicolon-1"]
        assert secret_values(environ) == expected
        shown = Redactor(secret_values(environ)).redact(" ".join(environ.values()))
        assert not [value for value in expected if value in shown]
        assert "postgresql://scott:***@db:5432/x" in shown
