"""Nothing but ASGI and msgspec: what is left when a framework is taken away. The forest runs in the event loop."""

from collections.abc import Awaitable, Callable
from typing import Any

import forest
import msgspec
from structs import Item, Row, Scores, measures

Message = dict[str, Any]


MODEL = forest.Forest()
ITEMS = msgspec.json.Decoder(Item)
ROWS = msgspec.json.Decoder(Row)
ENCODER = msgspec.json.Encoder()


def echo(body: bytes) -> bytes:
    return ENCODER.encode(ITEMS.decode(body))


def predict(body: bytes) -> bytes:
    row = ROWS.decode(body)
    found = MODEL.one(measures(row), row.fault)
    return ENCODER.encode(Scores(found))


ROUTES = {"/echo": echo, "/predict": predict}


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    try:
        status, answer = 200, ROUTES[scope["path"]](body)
    except (KeyError, msgspec.MsgspecError) as error:
        status, answer = 400, str(error).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
