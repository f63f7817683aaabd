"""FastAPI, Starlette and bare ASGI apps."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

from fastapi import BackgroundTasks, FastAPI, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from bursty import App

happened: list[str] = []


@contextlib.asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    happened.append("startup")
    yield {"model": "loaded once"}
    print("shutdown was run", flush=True)


fast = FastAPI(lifespan=lifespan)


class Item(BaseModel):
    name: str
    price: float


@fast.post("/items")
def double(item: Item) -> Item:
    return Item(name=item.name, price=2 * item.price)


@fast.get("/where")
def where(request: Request) -> dict[str, Any]:
    return {
        "root": request.scope["root_path"],
        "url": str(request.url),
        "item": str(request.url_for("double")),
        "model": request.state.model,
        "happened": happened,
    }


@fast.get("/stream")
async def stream() -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        for number in range(1000):
            yield f"line {number}\n"

    return StreamingResponse(lines())


@fast.get("/endless")
async def endless() -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        happened.append("began")
        try:
            while True:
                yield "tick\n" * 1000
                await asyncio.sleep(0.01)
        finally:
            happened.append("ended")

    return StreamingResponse(lines())


@fast.post("/background")
async def background(tasks: BackgroundTasks) -> str:
    async def later() -> None:
        await asyncio.sleep(0.05)
        happened.append("background")

    tasks.add_task(later)
    return "soon"


@fast.post("/size")
async def size(request: Request) -> int:
    return sum([len(piece) async for piece in request.stream()])


@fast.get("/raises")
async def raises() -> None:
    raise ValueError("an async view that raises")


@fast.get("/die")
async def die() -> None:
    os._exit(3)


@fast.get("/sleep/{seconds}")
async def sleep(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "slept"


@fast.websocket("/echo")
async def fast_echo(socket: WebSocket) -> None:
    await socket.accept(subprotocol="echo" if "echo" in socket.scope["subprotocols"] else None)
    while True:
        await socket.send_text(await socket.receive_text())


async def echo(socket: WebSocket) -> None:
    """Text and bytes back, until told to do something else."""
    await socket.accept(headers=[(b"x-greeting", b"hello")])
    happened.append("opened")
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                happened.append(f"closed {message['code']}")
                return
            if message.get("bytes") is not None:
                await socket.send_bytes(message["bytes"])
            elif message["text"] == "bye":
                await socket.close(4001, "as you wish")
                return
            elif message["text"] == "raise":
                raise ValueError("a socket that raises")
            elif message["text"] == "die":
                os._exit(3)
            else:
                await socket.send_text(message["text"])
    except WebSocketDisconnect:
        happened.append("closed while it sent")


async def refused(socket: WebSocket) -> None:
    await socket.close(4003)


async def denied(socket: WebSocket) -> None:
    await socket.send_denial_response(PlainTextResponse("members only", 402))


leaked: list[asyncio.Task[Any]] = []


async def leaky(socket: WebSocket) -> None:
    """Leaves a task behind that goes on listening."""
    await socket.accept()
    leaked.append(asyncio.create_task(socket.receive()))
    await asyncio.sleep(0)
    await socket.close(4002)


async def chatter(socket: WebSocket) -> None:
    """Never listens."""
    await socket.accept()
    try:
        while True:
            await socket.send_text("x" * 10_000)
            if pause := float(socket.query_params["pause"]):
                await asyncio.sleep(pause)
    except WebSocketDisconnect:
        happened.append(f"nobody listens {socket.query_params['name']}")


async def tell(_request: Any) -> PlainTextResponse:
    return PlainTextResponse(" ".join(happened))


star = Starlette(
    routes=[
        Route("/happened", tell),
        WebSocketRoute("/echo", echo),
        WebSocketRoute("/refused", refused),
        WebSocketRoute("/denied", denied),
        WebSocketRoute("/chatter", chatter),
        WebSocketRoute("/leaky", leaky),
    ]
)


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Misbehaves as its path says."""
    if scope["type"] != "http":
        raise ValueError("only HTTP here")
    headers: list[tuple[bytes, bytes]] = []
    status = 200
    match scope["path"].rpartition("/")[2]:
        case "split":
            headers = [(b"x-a", b"1\r\nx-injected: 2")]
        case "name":
            headers = [(b"x a", b"1")]
        case "hop":
            headers = [(b"Connection", b"close, X-Own"), (b"x-own", b"1"), (b"Transfer-Encoding", b"chunked")]
        case "status":
            status = 999
        case "nothing":
            return
        case "body-first":
            await send({"type": "http.response.body", "body": b"early"})
        case "late":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
            await send({"type": "http.response.body", "body": b"short"})
            return
        case "receive":
            seen = [(await receive())["type"] for _ in range(1)]
            headers = [(b"x-seen", " ".join(seen).encode())]
        case "after":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"done"})
            happened.append((await receive())["type"])
            return
        case _:
            pass
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"bare"})


app = App("asgis")
app.mount("/fast", fast, name="fast")
app.mount("/star", star, name="star")
app.mount("/bare", bare, name="bare")
