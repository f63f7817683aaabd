"""What object stores answer when they refuse, and what that means for the reader. Pure functions of obstore's text."""

from __future__ import annotations

import html
import re

from bursty.errors import StoreError

_CODE = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
_STATUS = re.compile(r"status code: (\d{3}[ \w]*)")
_SOURCE = re.compile(r'(?:message|error): "((?:[^"\\]|\\.)*)"')
_QUERY = re.compile(r"\?[^\s'\"]*")

_HINTS = (
    (r"NoSuchBucket|ContainerNotFound", "Create it, or correct the name in the URL."),
    (
        r"SlowDown|TooManyRequests|ServerBusy|Throttl|RequestLimitExceeded|\b(429|503)\b",
        "The store asks for fewer requests, also after pauses: try again later, or with fewer workers at once.",
    ),
    (
        r"AuthorizationHeaderMalformed|PermanentRedirect|IllegalLocationConstraint|\b(301|307)\b",
        "Is the region right? Set AWS_REGION to the bucket's.",
    ),
    (
        r"Signature|InvalidAccessKeyId|Token|AccessDenied|Authenti|Authoriz|TimeTooSkewed|\b(401|403)\b|no credentials",
        "Check the credentials (the profile, or AWS_ACCESS_KEY_ID and so on), and that they may read, write and list.",
    ),
    (r"invalid path", "Something else wrote it: remove it, or give bursty a prefix of its own."),
    (r"plain HTTP", "Set AWS_ALLOW_HTTP=true if that is meant; what you store then travels unencrypted."),
    (
        r"no connection|broke|timed out",
        "Is the network up, and the endpoint right (AWS_ENDPOINT_URL, when set)? Try again later.",
    ),
)
_UNSURE = "It may have been written all the same: look before you write again."


def is_missing_bucket(text: str) -> bool:
    """Whether "not found" is about the bucket and not about the blob."""
    return any(code in text for code in ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist"))


def refusal(what: str, key: str, url: str, text: str, conditional: bool = False) -> StoreError:
    """The error for obstore's ``text`` on doing ``what`` with ``key``. Quotes of the server's answer only what holds no
    keys, tokens or signatures. ``conditional``: a put that was not repeated."""
    cause = cause_of(text)
    hint = next((hint for pattern, hint in _HINTS if re.search(pattern, cause)), "")
    if conditional and re.search("broke|timed out", cause):
        hint = f"{_UNSURE} {hint}"
    return StoreError(f"can't {what} {key!r} in {url}: {cause}" if key else f"can't {what} {url}: {cause}", hint)


def cause_of(text: str) -> str:
    """Why, in a few words."""
    said, _, debug = text.partition("\n\nDebug source:")
    if "169.254.169.254" in said or "metadata.google.internal" in said:
        return "there are no credentials in the environment, and this machine has none of its own"
    if code := _CODE.search(said):
        message = _MESSAGE.search(said)
        return html.unescape(f"{code[1]}: {message[1]}" if message else code[1])
    if status := _STATUS.search(said):
        return f"the store answers {status[1].strip()}"
    if "BadScheme" in debug or "URL scheme is not allowed" in debug:
        return "its endpoint speaks plain HTTP, which was not asked for"
    sources = _SOURCE.findall(debug)
    detail = f" ({sources[-1]})" if sources else ""
    if "kind: Connect" in debug:
        return f"there is no connection{detail}"
    if "kind: Timeout" in debug or "TimedOut" in debug:
        return f"the store timed out{detail}"
    if re.search(r"kind: (Interrupted|Request|Decode|Body)|IncompleteMessage|UnexpectedEof|ConnectionReset", debug):
        return f"the connection broke{detail}"
    return _QUERY.sub("?…", said.strip().partition("\n")[0])
