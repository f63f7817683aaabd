"""A Starlette app whose startup fails, as long as a file says so."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from bursty import App


@asynccontextmanager
async def lifespan(_app: Any) -> AsyncIterator[None]:
    if os.path.exists(os.environ["MOUNT_FAULT"]):  # noqa: ASYNC240
        raise RuntimeError("the model is not there")
    yield


async def hello(_request: Any) -> PlainTextResponse:
    return PlainTextResponse("started")


app = App("starting")
app.mount("/", Starlette(routes=[Route("/", hello)], lifespan=lifespan), name="root")
