"""A DynamoDB for tests: moto's, in a process of its own on loopback; and a proxy before it that has troubles.

moto's transactions are not isolated from other requests, and take back a failed one by putting the whole table of
before in place, other writers' work included. So here one request is served at a time, and a failed transaction takes
back its own items only. Some of moto's work (on whole tables, on each answer) is done faster.
"""

import copy
import http.client
import http.server
import json
import os
import socket
import struct
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from servers import answers_http, aws_environ, running


@contextmanager
def dynamo_server(folder: Path) -> Iterator[str]:
    """The URL of a DynamoDB without tables, until the block ends."""
    environ = {**os.environ, **aws_environ(""), "PYTHONPATH": str(Path(__file__).parent)}
    with running(
        lambda port: [sys.executable, __file__, str(port)],
        lambda port: answers_http(port, "/moto-api/"),
        folder,
        env=environ,
    ) as (port, _):
        yield f"http://127.0.0.1:{port}"


def serve(port: int) -> None:
    """Be the server."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, run_simple

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept

        def log_request(self, *_arguments: object) -> None:
            """Not every request."""

    mend_moto()
    application = DomainDispatcherApplication(create_backend_app)
    lock = threading.Lock()

    def one_at_a_time(environ: dict[str, Any], start_response: Any) -> Any:
        with lock:
            return application(environ, start_response)

    run_simple("127.0.0.1", port, one_at_a_time, threaded=True, request_handler=Handler)


def mend_moto() -> None:
    """As the module says."""
    from moto import backends
    from moto.core.serialize import BaseJSONSerializer
    from moto.dynamodb.models import DynamoDBBackend
    from moto.dynamodb.models.dynamo_type import Item
    from moto.dynamodb.models.table import SecondaryIndex, Table

    whole = DynamoDBBackend.transact_write_items

    def transact(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
        found = []
        for operation in transact_items:
            (write,) = operation.values()
            table = self.get_table(write["TableName"])
            attributes = write.get("Key") or write["Item"]
            key = {name: attributes[name] for name in (table.hash_key_attr, table.range_key_attr)}
            found.append((table, key, copy.deepcopy(self.get_item(write["TableName"], key))))
        try:
            whole(self, transact_items)
        except Exception:
            for table, key, item in found:
                hash_value, range_value = self.get_keys_value(table, key)
                if item is not None:
                    table.items[hash_value][range_value] = item
                else:
                    table.items[hash_value].pop(range_value, None)
            raise

    DynamoDBBackend.transact_write_items = transact

    def project(self: SecondaryIndex, item: Item) -> Item:
        kept = {*self.table_key_attrs, *self.schema_key_attrs, *self.projection["NonKeyAttributes"]}
        found = Item(item.hash_key, item.range_key, attrs={})
        for name in kept & item.attrs.keys():
            dict.__setitem__(found.attrs, name, item.attrs[name])
        return found

    any_map = BaseJSONSerializer._serialize_type_map

    def as_it_is(self: Any, serialized: Any, value: Any, shape: Any, key: str) -> None:
        """Items without binary attributes are in their final form."""
        done = shape.value.name == "AttributeValue"
        (self._default_serialize if done else partial(any_map, self))(serialized, value, shape, key)

    services = tuple(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: services
    BaseJSONSerializer._serialize_type_map = as_it_is
    Table.__deepcopy__ = lambda self, _memo: self
    Table.all_items = lambda self: [item for part in self.items.values() for item in part.values()]  # query sorts
    SecondaryIndex.project = project


Trouble = Literal[
    "throttle", "conflict", "throttle transaction", "too large", "break before", "break after", "error after"
]


class TroubledProxy(http.server.ThreadingHTTPServer):
    """Passes requests on to a server, but for those that ``troubles`` says something of; ``with`` it to run it.

    ``troubles[operation]``: what befalls the next requests of this operation, one each; ``None``: nothing.
    - ``throttle``: answered as DynamoDB does when there are too many; nothing is passed on.
    - ``conflict``, ``throttle transaction``, ``too large``: a transaction cancelled for that reason, and not passed on.
    - ``break before``, ``break after``: the connection breaks before the request was passed on, or after.
    - ``error after``: an internal error of the server, although the request was passed on.

    ``lagging``: indexes are read as they were when they were last read without this.
    """

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target.removeprefix("http://")
        self.troubles: dict[str, deque[Trouble | None]] = {}
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.lagging = False
        self.read: dict[str, tuple[int, bytes]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def plan(self, operation: str, *troubles: Trouble | None) -> None:
        self.troubles.setdefault(operation, deque()).extend(troubles)

    def bodies(self, operation: str) -> list[dict[str, Any]]:
        """What was asked of this operation so far."""
        return [body for name, body in self.seen if name == operation]

    def __enter__(self) -> "TroubledProxy":
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """A client that went away is no news here."""


_CANCELLED = {
    "conflict": {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"},
    "throttle transaction": {"Code": "ThrottlingError", "Message": "Throughput exceeds the current capacity"},
    "too large": {"Code": "ValidationError", "Message": "Item size to update has exceeded the maximum allowed size"},
}


class _Handler(http.server.BaseHTTPRequestHandler):
    server: TroubledProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        operation = self.headers["X-Amz-Target"].partition(".")[2]
        planned = self.server.troubles.get(operation)
        self.server.seen.append((operation, json.loads(body)))
        trouble = planned.popleft() if planned else None
        if trouble == "throttle":
            self._refuse(400, "ProvisionedThroughputExceededException", {})
        elif trouble in _CANCELLED:
            reasons = [_CANCELLED[trouble], {"Code": "None"}]
            self._refuse(400, "TransactionCanceledException", {"CancellationReasons": reasons})
        elif trouble == "break before":
            self._reset()
        else:
            answer = self._lag(body) if operation == "Query" else self._pass_on(body)
            if trouble == "break after":
                self._reset()
            elif trouble == "error after":
                self._refuse(500, "InternalServerError", {})
            else:
                self._answer(*answer)

    def _lag(self, body: bytes) -> tuple[int, bytes]:
        request = json.loads(body)
        where = f"{request.get('IndexName')} {request['ExpressionAttributeValues'][':0']} {request.get('Limit')}"
        if not (self.server.lagging and "IndexName" in request):
            self.server.read[where] = self._pass_on(body)
        return self.server.read[where]

    def _pass_on(self, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.server.target, timeout=30)
        try:
            connection.request("POST", self.path, body, dict(self.headers))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _refuse(self, status: int, code: str, more: dict[str, Any]) -> None:
        kind = f"com.amazonaws.dynamodb.v20120810#{code}"
        self._answer(status, json.dumps({"__type": kind, "message": "a test's trouble", **more}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Quietly."""


if __name__ == "__main__":
    serve(int(sys.argv[1]))
