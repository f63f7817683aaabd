"""The page that shows and tries what is served: HTML without anything from elsewhere, readable without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import NamedTuple

import msgspec

from bursty.endpoints import EndpointInfo, MountSpec
from bursty.serving.openapi import openapi
from bursty.serving.openapi_parts import ITEM_WORDS, fallback_words
from bursty.serving.page_words import Row, curl_example, laid_out, python_example, rows_of
from bursty.units import format_bytes, format_seconds

POLICY = (
    b"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY = (
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
)


TOKEN = "A token is needed, except on the server's own machine."


class Static(NamedTuple):
    """A response that is always the same."""

    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def pages(
    infos: Sequence[EndpointInfo], mounts: Sequence[MountSpec], *, title: str, version: str, is_local: bool = False
) -> dict[str, Static]:
    """By their paths: the page, what belongs to it, and the OpenAPI document. For the rest see ``openapi``."""
    assets = files("bursty.serving") / "static"
    document = msgspec.json.encode(openapi(infos, title=title, version=version, is_local=is_local))
    return {
        "/docs": _static(b"text/html; charset=utf-8", docs(infos, mounts, title=title, version=version).encode()),
        "/docs/style.css": _static(b"text/css; charset=utf-8", (assets / "docs.css").read_bytes()),
        "/docs/script.js": _static(b"text/javascript; charset=utf-8", (assets / "docs.js").read_bytes()),
        "/openapi.json": _static(b"application/json", document),
    }


def _static(media_type: bytes, body: bytes) -> Static:
    length = (b"content-length", b"%d" % len(body))
    return Static(((b"content-type", media_type), length, *SECURITY), body)


def docs(infos: Sequence[EndpointInfo], mounts: Sequence[MountSpec], *, title: str, version: str) -> str:
    """The page. Links are relative, so that it also works behind a proxy that puts a path in front."""
    many = f"{len(infos)} endpoint{'s' * (len(infos) != 1)}"
    contents = "".join(
        f'<li><a href="#{_anchor(info)}"><span class="path">{escape(info.spec.path)}</span> '
        f'<span class="quiet">{escape(_title(info))}</span></a></li>'
        for info in infos
    )
    needs_token = any(info.spec.auth != "public" for info in infos)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/style.css">
<script src="docs/script.js" defer></script>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<p class="quiet">{escape(version)} · {many} · <a href="openapi.json">OpenAPI</a></p>
</header>
<nav aria-label="Endpoints"><ul>{contents}</ul></nav>
<main>
{_token() if needs_token else ""}
{"".join(map(_endpoint, infos))}
{_mounts(mounts)}
{_server(has_labels=any(info.spec.log for info in infos))}
</main>
</body>
</html>
"""


def _anchor(info: EndpointInfo) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", f"at{info.spec.path}").rstrip("-")


def _title(info: EndpointInfo) -> str:
    """Nothing, where it only repeats the path."""
    return "" if info.spec.title.casefold() in info.spec.path.casefold() else info.spec.title


def _token() -> str:
    return """<form class="token" hidden>
<label for="token">Token</label>
<input id="token" type="password" autocomplete="off" spellcheck="false" aria-describedby="token-about">
<p class="quiet" id="token-about">Sent with what is tried below, kept nowhere; not needed on the server's machine.</p>
</form>"""


def _endpoint(info: EndpointInfo) -> str:
    spec, anchor = info.spec, _anchor(info)
    methods = "".join(f'<span class="method">{method}</span>' for method in info.schema["methods"])
    told = "".join(f"<p>{escape(part)}</p>" for part in spec.description.split("\n\n") if part.strip())
    response = laid_out(info.schema["examples"]["response"])
    return f"""<section id="{anchor}" aria-labelledby="{anchor}-h">
<h2 id="{anchor}-h">{methods}<span class="path">{escape(spec.path).replace("/", "/<wbr>")}</span></h2>
<p class="title">{escape(_title(info))}</p>
{told}
<ul class="facts">{_facts(info)}</ul>
<h3>Fields</h3>
{_table(rows_of(info))}
<h3>Example</h3>
<div class="examples">
{_code("curl", curl_example(info, "http://localhost:8000"))}
{_code("Python", python_example(info, "http://localhost:8000"))}
{_code("Answer", response)}
</div>
{_try(info)}
</section>
"""


def _facts(info: EndpointInfo) -> str:
    spec = info.spec
    facts = [f"Answers within <strong>{format_seconds(spec.deadline)}</strong>{escape(fallback_words(spec))}."]
    if info.schema["lists"]:
        facts.append(
            escape(ITEM_WORDS[info.schema["layout"]])
            .replace("`error`", "<code>error</code>")
            .replace("`errors`", "<code>errors</code>")
            .replace("`result`", "<code>result</code>")
        )
    facts.append("Public: no token is needed." if spec.auth == "public" else TOKEN)
    if spec.log is not None:
        kept = f"Answers are logged, kept for {spec.log.keep / 86400:g} days"
        facts.append(f"{kept}{'' if spec.log.inputs else ', without inputs'}.")
    facts.append(f"Bodies up to {format_bytes(spec.max_body)}.")
    return "".join(f"<li>{fact}</li>" for fact in facts)


def _table(rows: Sequence[Row]) -> str:
    """Columns that would say the same, or nothing, of all are left out."""
    if not rows:
        return '<p class="quiet">None: nothing is asked.</p>'
    columns: list[tuple[str, list[str]]] = [
        ("What", [escape(row.type) for row in rows]),
        ("Needed", [_need(row) for row in rows]),
    ]
    if len({row.place for row in rows}) > 1:
        columns.append(("Where", [row.place for row in rows]))
    if any(row.description for row in rows):
        columns.append(("About", [escape(row.description) for row in rows]))
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("Name", *(head for head, _ in columns)))
    lines = "".join(
        f'<tr><th scope="row"><code>{escape(row.name)}</code></th>'
        + "".join(f"<td>{cells[number]}</td>" for _, cells in columns)
        + "</tr>"
        for number, row in enumerate(rows)
    )
    return f'<div class="wide" tabindex="0"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'


def _need(row: Row) -> str:
    if row.required:
        return "yes"
    return f"default <code>{escape(row.default)}</code>" if row.default is not None else "no"


def _code(label: str, text: str) -> str:
    code = f'<pre tabindex="0"><code>{escape(text)}</code></pre>'
    return f'<figure class="{label.lower()}"><figcaption>{label}</figcaption>{code}</figure>'


def _try(info: EndpointInfo) -> str:
    """Shown by the script."""
    anchor, schema = _anchor(info), info.schema
    inputs = "".join(
        f'<label for="{anchor}-{escape(one["name"])}">{escape(one["name"])}</label>'
        f'<input id="{anchor}-{escape(one["name"])}" data-path="{escape(one["name"])}" required '
        f'value="{escape(str(one.get("example") or ""))}">'
        for one in schema["parameters"]
        if one["in"] == "path"
    )
    if schema["body"] != "none":
        body = escape(laid_out(schema["examples"]["request"]))
        rows = min(body.count("\n") + 1, 16)
        inputs += (
            f'<label for="{anchor}-body">Body (JSON)</label>'
            f'<textarea id="{anchor}-body" data-body rows="{rows}" spellcheck="false">{body}</textarea>'
        )
    path = escape(info.spec.path)
    return f"""<form class="try" data-path-template="{path}" aria-label="Try {path}" hidden>
<h3>Try it</h3>
{inputs}
<button type="submit">Send</button>
<div class="result" role="status" aria-live="polite"></div>
</form>"""


def _mounts(mounts: Sequence[MountSpec]) -> str:
    if not mounts:
        return ""
    lines = "".join(
        f'<li><a href=".{escape(mount.path)}"><span class="path">{escape(mount.path)}</span></a></li>'
        for mount in mounts
    )
    return f'<section aria-labelledby="apps"><h2 id="apps">Web apps</h2><ul>{lines}</ul></section>'


def _server(*, has_labels: bool) -> str:
    labels = ("POST", "/labels", "takes what was true, by prediction id or business key")
    facts = (
        *((labels,) if has_labels else ()),
        ("GET", "/health", "whether the server is alive"),
        ("GET", "/ready", "whether its workers are"),
        ("GET", "/metrics", "numbers for Prometheus"),
    )
    lines = "".join(
        f'<li><span class="method">{method}</span><span class="path">{path}</span> {words}</li>'
        for method, path, words in facts
    )
    return f'<section aria-labelledby="server"><h2 id="server">Also here</h2><ul class="also">{lines}</ul></section>'
