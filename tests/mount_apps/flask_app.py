"""A Flask app as people write them, mounted by the tests."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, jsonify, redirect, request, stream_with_context, url_for

from bursty import App

app = App("flasky")
web = Flask(__name__)
app.mount("/web", web, name="web", threads=4)


@web.get("/")
def hello() -> str:
    return "hello"


@web.get("/where")
def where() -> Any:
    return jsonify(
        script_root=request.script_root,
        path=request.path,
        url=url_for("item", name="a b", page=2),
        outside=url_for("hello", _external=True),
        query=request.args.to_dict(flat=False),
        full=request.full_path,
        method=request.method,
        remote=request.remote_addr,
        scheme=request.scheme,
        headers=dict(request.headers),
    )


@web.route("/items/<name>")
def item(name: str) -> str:
    return name


@web.get("/back")
def back() -> Any:
    return redirect(url_for("hello"))


@web.post("/form")
def form() -> Any:
    return jsonify(form=request.form.to_dict(flat=False), cookie=request.cookies.get("taste"))


@web.post("/echo")
def echo() -> Any:
    """The body back, piece by piece, as it comes."""

    @stream_with_context
    def pieces() -> Iterator[bytes]:
        while piece := request.stream.read(100_000):
            yield piece

    return Response(pieces(), mimetype="application/octet-stream")


@web.post("/upload")
def upload() -> Any:
    file = request.files["file"]
    size = 0
    while piece := file.stream.read(1 << 20):
        size += len(piece)
    return jsonify(size=size, name=file.filename)


@web.get("/download/<int:megabytes>")
def download(megabytes: int) -> Any:
    return Response(b"x" * 1_000_000 for _ in range(megabytes))


@web.get("/one/<int:megabytes>")
def one(megabytes: int) -> bytes:
    return b"y" * (megabytes * 1_000_000)


@web.post("/ignore")
def ignore() -> Any:
    return "not read", 413


@web.get("/memory")
def memory() -> Any:
    with open("/proc/self/status") as file:
        lines = [line for line in file if line.startswith(("VmHWM", "VmRSS"))]
    peak, now = (int(line.split()[1]) << 10 for line in lines)
    return jsonify(peak=peak, now=now, pid=os.getpid())


open_streams: list[int] = []


@web.get("/ticks")
def ticks() -> Any:
    """Never ends by itself."""

    def lines() -> Iterator[str]:
        open_streams.append(1)
        try:
            while True:
                yield "tick\n" * 1000
                time.sleep(0.01)
        finally:
            open_streams.pop()

    return Response(lines(), mimetype="text/plain")


@web.get("/streams")
def streams() -> Any:
    return jsonify(open=len(open_streams), threads=threading.active_count(), held=len(held))


@web.get("/die")
def die() -> Any:
    os._exit(3)


@web.get("/die-halfway")
def die_halfway() -> Any:
    def pieces() -> Iterator[bytes]:
        yield b"half of it"
        time.sleep(0.1)
        os._exit(3)

    return Response(pieces())


@web.get("/raise-halfway")
def raise_halfway() -> Any:
    def pieces() -> Iterator[bytes]:
        yield b"half of it"
        raise ValueError("the other half is lost")

    return Response(pieces())


@web.get("/bad")
def bad() -> Any:
    raise ValueError("a view that raises")


held: list[str] = []


@web.get("/hold")
def hold() -> str:
    """Until there is a file."""
    held.append(request.args["gate"])
    while not os.path.exists(request.args["gate"]):
        time.sleep(0.01)
    return "let go"


@web.get("/sleep/<float:seconds>")
def sleep(seconds: float) -> Any:
    time.sleep(seconds)
    return jsonify(thread=threading.current_thread().name, pid=os.getpid())


@web.get("/modules")
def modules() -> Any:
    return jsonify(sorted({name.partition(".")[0] for name in sys.modules}))


@web.get("/say/<text>")
def say(text: str) -> str:
    print(text)
    print(text.upper(), file=sys.stderr)
    web.logger.warning("logged %s", text)
    return "said"
