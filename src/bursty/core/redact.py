"""Known secrets out of texts: logs and notices show ``***`` where a secret's value stood.

This helps against slips, such as a connection URL in a traceback. It can't stop a program that means to tell: a secret
that is cut, reversed or encrypted goes through.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus, unquote

MASK = "***"
MIN_LENGTH = 6
"""Of a secret: shorter values are found everywhere."""
MIN_LINE = 16
"""Of a line of a longer secret, such as a private key, that is hidden by itself."""

_SECRET_NAME = re.compile(
    "SECRET|TOKEN(?!IZ)|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL|WEBHOOK"
)
_PLACE_NAME = re.compile("_(FILE|PATH|DIR|FOLDER)$")
_PLAIN_VALUE = re.compile(r"\d{1,11}|true|false|enabled|disabled|default|none", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#:@]*:([^\s/?#]+)@", re.IGNORECASE)
_DSN_PASSWORD = re.compile(r"\bpassword\s*=\s*('(?:[^'\\]|\\.)*'|[^\s;&]+)", re.IGNORECASE)


class Redactor:
    """Replaces secrets in text, also when it comes in pieces: any cut gives the same text as the whole.

    Each secret is also found URL-quoted, as JSON and Python literals write it, and in base64, by itself or inside of
    something longer (``user:password``). Those below ``MIN_LENGTH`` characters are left alone.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        found = {form for secret in secrets if len(secret) >= MIN_LENGTH for form in _forms(secret)}
        self._forms = sorted(found, key=lambda form: (-len(form), form))
        self._heads = {form[:MIN_LENGTH] for form in self._forms}
        self._longest = len(self._forms[0]) if self._forms else 0
        self._lines = not any("\n" in form for form in self._forms)
        self._pattern = re.compile(_any_of(sorted(found)) or r"(?!)")
        self._held = ""

    def redact(self, text: str) -> str:
        """A whole text at once; pieces that were fed are not touched."""
        return self._pattern.sub(MASK, text)

    def feed(self, text: str) -> str:
        """What is certain so far; the rest, which may be the beginning of a secret, is held back."""
        text = self._held + text
        done: list[str] = []
        at = 0
        while True:
            hold = self._doubtful(text, at)
            match = self._pattern.search(text, at)
            if match is None or match.start() >= hold:
                done.append(text[at:hold])
                self._held = text[hold:]
                return "".join(done)
            done += [text[at : match.start()], MASK]
            at = match.end()

    def flush(self) -> str:
        """What was held back: nothing more comes."""
        text, self._held = self._held, ""
        return self.redact(text)

    def _doubtful(self, text: str, at: int) -> int:
        """From where on the text may be the beginning of a secret of which the end has not come."""
        size = len(text)
        start = max(at, size - self._longest + 1)
        if self._lines:  # none goes on behind the end of a line
            start = max(start, text.rfind("\n") + 1)
        for place in range(start, size):
            head = text[place : place + MIN_LENGTH]
            if len(head) == MIN_LENGTH and head not in self._heads:
                continue
            rest = text[place:]
            if any(len(form) > len(rest) and form.startswith(rest) for form in self._forms):
                return place
        return size


def _any_of(texts: list[str]) -> str:
    """A pattern for the longest of these (sorted) that begins at a place: branches where they differ, so that a
    place where none begins costs little, however many they are."""
    parts: list[str] = []
    for _, group in itertools.groupby((text for text in texts if text), key=lambda text: text[0]):
        same = list(group)
        shared = sum(
            1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(same[0], same[-1], strict=False))
        )
        parts.append(re.escape(same[0][:shared]) + _any_of([text[shared:] for text in same]))
    if not parts:
        return ""
    return f"(?:{'|'.join(parts)})" + ("?" if "" in texts else "")


def _forms(secret: str) -> Iterator[str]:
    lines = [line.strip() for line in secret.splitlines()]
    for text in {secret, secret.strip(), *(line for line in lines if len(line) >= MIN_LINE)}:
        forms = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]}
        data = text.encode("utf-8", "surrogatepass")
        forms |= {quote(data), quote(data, safe=""), quote_plus(data)}
        forms |= set(_base64_forms(data))
        yield from (form for form in forms if len(form) >= MIN_LENGTH)


def _base64_forms(data: bytes) -> Iterator[str]:
    """At each of the three places where the bytes may begin: the characters that they alone decide."""
    for before in range(3):
        text = base64.b64encode(bytes(before) + data + bytes(3)).decode()
        stable = text[-(-8 * before // 6) : 8 * (before + len(data)) // 6]
        yield stable
        yield stable.replace("+", "-").replace("/", "_")


def is_secret_name(name: str) -> bool:
    """Whether what is called so is likely to be a secret."""
    return bool(_SECRET_NAME.search(name.upper())) and not _PLACE_NAME.search(name.upper())


def secret_values(environ: Mapping[str, str]) -> list[str]:
    """Values of environment variables that look like secrets: by the variable's name, or as a URL's password."""
    found: dict[str, None] = {}
    for name, value in environ.items():
        if is_secret_name(name):
            found[value] = None
        for password in _URL_PASSWORD.findall(value):
            found |= dict.fromkeys((password, unquote(password)))
        for password in _DSN_PASSWORD.findall(value):
            found[password.strip("'")] = None
    return [value for value in found if len(value) >= MIN_LENGTH and not _PLAIN_VALUE.fullmatch(value)]


def secret_inputs(inputs: str) -> list[str]:
    """Values of a run's inputs (their JSON) whose names look like those of secrets."""
    values: dict[str, object] = json.loads(inputs)
    found = [value for name, value in values.items() if is_secret_name(name) and isinstance(value, str)]
    return [value for value in found if len(value) >= MIN_LENGTH]
