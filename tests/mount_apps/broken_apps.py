"""Apps that don't come up, as long as a file says so."""

import os
from pathlib import Path
from typing import Any

from bursty import App

imports = vars(os)["imports"] = vars(os).get("imports", 0) + 1  # what a process has done before stays in it
if Path(os.environ["MOUNT_FAULT"]).exists():
    raise RuntimeError("the database is not there")


def plain(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"mended, by a first import" if imports == 1 else b"mended"]


app = App("broken")
app.mount("/", plain, name="plain")
