"""Apps that don't come up, as long as a file says so."""

import os
from pathlib import Path
from typing import Any

from bursty import App

if Path(os.environ["MOUNT_FAULT"]).exists():
    raise RuntimeError("the database is not there")


def plain(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"mended"]


app = App("broken")
app.mount("/", plain, name="plain")
