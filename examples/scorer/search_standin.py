"""A stand-in for a search service: it answers those requests of the official Elasticsearch client that this example
makes, over HTTP on this machine. It is no search service: items lie in a list, and any other request is refused.

    python examples/scorer/search_standin.py [PORT]     # a new item every second

Answered: information, documents one by one and in bulk, searches with a range, a sort, a size and search_after. It
breaks on demand: ``curl -X PUT 127.0.0.1:PORT/_standin/error`` (500 for everything), ``silence`` (no answer at all),
``none`` (well again).
"""

import itertools
import json
import random
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

INFORMATION = {
    "name": "stand-in",
    "cluster_name": "stand-in",
    "cluster_uuid": "stand-in",
    "version": {"number": "9.0.0", "build_flavor": "default"},
    "tagline": "You Know, for Search",
}
FAULTS = ("none", "error", "silence")
CHECKS = {"gte": lambda a, b: a >= b, "gt": lambda a, b: a > b, "lte": lambda a, b: a <= b, "lt": lambda a, b: a < b}

Answer = tuple[int, dict[str, Any]]


class SearchStandIn(ThreadingHTTPServer):
    """``fault``: one of ``FAULTS``. ``requests``: method and path of what was asked."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.fault = "none"
        self.requests: list[str] = []
        self.closing = threading.Event()
        self._indices: dict[str, dict[str, dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def add(self, index: str, item: dict[str, Any]) -> None:
        with self._lock:
            self._indices.setdefault(index, {})[item["id"]] = item

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        match method, *path.strip("/").split("/"):
            case "PUT", "_standin", fault if fault in FAULTS:
                self.fault = fault
                return 200, {"fault": fault}
            case _ if self.fault == "error":
                return failure(500, "stand_in_fault", "the stand-in was told to fail")
            case (("GET" | "HEAD"), ""):
                return 200, INFORMATION
            case (("PUT" | "POST"), index, "_doc", number):
                self.add(index, {**json.loads(body), "id": number})
                return 201, {"_index": index, "_id": number, "result": "created"}
            case (("PUT" | "POST"), "_bulk"):
                return self.bulk(body)
            case (("GET" | "POST"), index, "_search"):
                return self.search(index, json.loads(body or b"{}"))
        return failure(400, "stand_in", f"the stand-in does not answer {method} {path}")

    def bulk(self, body: bytes) -> Answer:
        lines = map(json.loads, body.splitlines())
        done = []
        for action, item in zip(lines, lines, strict=True):
            where = action["index"]
            self.add(where["_index"], {**item, "id": where["_id"]})
            done.append({"index": {**where, "status": 201}})
        return 200, {"errors": False, "items": done}

    def search(self, index: str, body: dict[str, Any]) -> Answer:
        with self._lock:
            if index not in self._indices:
                return failure(404, "index_not_found_exception", f"no such index [{index}]")
            items = list(self._indices[index].values())
        sorts = [next(iter(part.items())) for part in body.get("sort", [])]
        if set(body.get("query", {})) != {"range"} or any(direction != "asc" for _, direction in sorts):
            return failure(400, "parsing_exception", "the stand-in knows range queries and ascending sorts alone")
        [(field, bounds)] = body["query"]["range"].items()
        found = [item for item in items if all(CHECKS[name](item[field], bound) for name, bound in bounds.items())]
        keys = {item["id"]: [item[name] for name, _ in sorts] for item in found}
        found.sort(key=lambda item: keys[item["id"]])
        if (after := body.get("search_after")) is not None:
            found = [item for item in found if keys[item["id"]] > after]
        hits = [{"_index": index, "_id": item["id"], "_source": item, "sort": keys[item["id"]]} for item in found]
        total = {"value": len(found), "relation": "eq"}
        return 200, {"timed_out": False, "hits": {"total": total, "hits": hits[: body.get("size", 10)]}}


def failure(status: int, kind: str, reason: str) -> Answer:
    return status, {"error": {"type": kind, "reason": reason}, "status": status}


class Handler(BaseHTTPRequestHandler):
    server: SearchStandIn
    protocol_version = "HTTP/1.1"

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        self.server.requests.append(f"{self.command} {path}")
        if self.server.fault == "silence" and not path.startswith("/_standin/"):
            self.server.closing.wait()
            return
        status, answer = self.server.answer(self.command, path, body)
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("X-Elastic-Product", "Elasticsearch")  # without it the client refuses the answer
        self.send_header("Content-Type", "application/vnd.elasticsearch+json;compatible-with=9")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_POST = do_PUT = handle_one  # noqa: N815 (the names that http.server looks for)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def open_search(port: int = 0) -> Iterator[SearchStandIn]:
    search = SearchStandIn(port)
    thread = threading.Thread(target=search.serve_forever, daemon=True)
    thread.start()
    try:
        yield search
    finally:
        search.closing.set()
        search.shutdown()
        search.server_close()
        thread.join()


def bottles(seed: int = 0) -> Iterator[dict[str, Any]]:
    """Wines in random order, again and again, as items."""
    from sklearn.datasets import load_wine

    wine, rng = load_wine(), random.Random(seed)
    for number in itertools.count(1):
        row = wine.data[rng.randrange(len(wine.data))].tolist()
        yield {"id": f"bottle-{number:06}", "features": dict(zip(wine.feature_names, row, strict=True))}


if __name__ == "__main__":
    with open_search(int(sys.argv[1]) if len(sys.argv) > 1 else 9209) as search:
        print(f"A stand-in for a search service, at {search.url}; Ctrl-C ends it.")
        for item in bottles():
            search.add("items", {**item, "arrived_at": datetime.now(UTC).isoformat()})
            search.closing.wait(1)
