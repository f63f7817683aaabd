"""Jobs that the tests of the worker run: good ones and bad ones."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

from pydantic import Field

from bursty import App, File, Model, Run

app = App("lab")


@app.function
def double(number: int) -> int:
    return 2 * number


@app.job(title="A good one")
def good(run: Run, growth: Annotated[float, Field(ge=-1, le=5)] = 0.5) -> None:
    print("growing by", growth)
    total = sum(run.track(double.map(range(20)), "doubling"))
    run.metric("total", total * growth)
    run.save_table("years", [{"year": year, "value": growth * year} for year in range(5)])
    run.save_file("note.txt", b"hello")
    run.log("a warning", "warning")


@app.job(retries=2)
def failing(run: Run) -> None:
    raise ValueError(f"attempt {run.attempt} failed")


@app.job
def fails_deep() -> None:
    import json

    json.loads("{", object_hook=None, parse_float=None, cls=Deep, depth=20)


class Deep:
    def __init__(self, depth: int, **_: object) -> None:
        self.depth = depth

    def decode(self, text: str) -> None:
        exec(compile("def f(n):\n    return f(n - 1) if n else 1 / 0\nf(20)", "/lib/deep.py", "exec"), {})


@app.job(retries=1)
def second_time_lucky(run: Run) -> None:
    if run.attempt == 1:
        raise ValueError("not yet")
    run.metric("attempt", run.attempt)


@app.job(timeout=0.5)
def slow(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)


@app.job
def patient(path: str) -> None:
    """Runs until it is killed."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)


@app.job
def cooperative(run: Run, path: str) -> None:
    """Ends by itself when it is to be cancelled."""
    assert not run.cancelled
    Path(path).write_text(str(os.getpid()))
    while not run.cancelled:
        time.sleep(0.05)
    run.log("tidied up")
    run.publish("half.txt", b"half of it")


@app.job
def ends(how: str) -> None:
    if how == "exit":
        sys.exit(3)
    if how == "hard":
        os._exit(4)
    if how == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)


@app.job
def garbage(run: Run) -> None:
    sys.stdout.buffer.write(bytes(range(256)) * 100 + b"\n")
    os.write(1, b"\xff\xfe\x00 past Python\n")
    run.log("\x1b[31mred\x00 text")


@app.job
def loud(megabytes: int) -> None:
    line = "x" * ((1 << 20) - 1)
    for _ in range(megabytes):
        print(line)
    print("the end")


@app.job
def loud_in_c(megabytes: int) -> None:
    subprocess.run(f"head -c {megabytes << 20} /dev/zero | tr '\\0' 'y'; echo; echo the end", shell=True, check=True)


@app.job
def leaves_children(path: str) -> None:
    """A child that stays, and a daemon: forked twice, in a session of its own."""
    child = subprocess.Popen(["sleep", "300"])
    code = (
        "import os, sys, time\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        "time.sleep(300)\n"
    )
    subprocess.run([sys.executable, "-c", code, path + ".daemon"], check=True)
    while not (os.path.exists(path + ".daemon") and os.path.getsize(path + ".daemon")):
        time.sleep(0.01)
    Path(path).write_text(str(child.pid))


@app.job
def big_output(run: Run, megabytes: int) -> None:
    with open(run.folder.parent / "big", "wb") as file:
        file.truncate(megabytes << 20)
    run.save_file("big.bin", run.folder.parent / "big")
    (run.folder.parent / "big").unlink()
    run.metric("peak", _peak())


@app.job
def big_input(run: Run, data: File) -> None:
    size = 0
    with data.open() as file:
        while piece := file.read(1 << 20):
            size += len(piece)
    run.metric("size", size)
    run.metric("peak", _peak())


def _peak() -> int:
    """This process's own high-water mark in bytes (``ru_maxrss`` counts what it was forked from)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError


@app.job
def fills_the_disk(run: Run) -> None:
    with open(run.folder / "full", "wb") as file:
        while True:
            file.write(b"x" * (1 << 20))


@app.job
def secretive() -> None:
    password = os.environ["DATABASE_PASSWORD"]
    print("connecting with", password)
    raise RuntimeError(f"no connection with {password}")


@app.job
def publishes(run: Run, items: str, fail: bool = False) -> None:
    run.publish("items.txt", items.encode())
    if fail:
        raise RuntimeError("scoring failed")


@app.job
def remembers(run: Run, fail: bool = False) -> None:
    last = run.last_good("count.json")
    count = json.loads(last.read_text()) + 1 if last else 1
    run.save_json("count", count)
    run.metric("count", count)
    if fail:
        raise RuntimeError("no")


@app.job
def caches(run: Run, log: str) -> None:
    def fetch() -> list[int]:
        with open(log, "a") as file:
            file.write("fetched\n")
        return [1, 2, 3]

    run.metric("sum", sum(run.cache(["history", 2025], fetch, max_age="1 h")))


@app.job
def trains(run: Run) -> None:
    run.metric("version", Model("classifier").save({"weights": [1.0, 2.0]}, metrics={"accuracy": 0.9}))
    run.metric("weight", Model("classifier").load()["weights"][1])


@app.job
def predicts(run: Run) -> None:
    run.metric("weight", Model("classifier").load()["weights"][0])
    run.metric("model", Model("classifier").version())


@app.job(retries=1)
def starts_another(run: Run) -> None:
    run.start("good", growth=0.25)
    if run.attempt == 1:
        raise ValueError("again")


@app.job(idempotent=False)
def once(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)


@app.job
def returns() -> dict[str, float]:
    return {"answer": 42.0}


@app.job
def noop(number: int = 0) -> None:
    pass


@app.job
def caches_strange(run: Run, log: str) -> None:
    def fetch() -> object:
        with open(log, "a") as file:
            file.write("fetched\n")
        return Unopenable()

    run.cache("strange", fetch)


class Unopenable:
    def __reduce__(self) -> tuple[object, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise AttributeError("this version has no such class")


@app.job
def tells(password: str) -> None:
    print("connecting with", password)
    raise RuntimeError(f"no connection with {password}")


@app.job
def measures(run: Run, count: int) -> None:
    for number in range(count):
        run.metric(f"metric {number}", number)


@app.function(timeout=0.3)
def sleepy() -> None:
    time.sleep(30)


@app.job
def raises(what: str) -> None:
    import concurrent.futures

    if what == "timeout":
        sleepy.submit().result()  # type: ignore[attr-defined]
    if what == "cancelled":
        raise concurrent.futures.CancelledError
    if what == "pickle":
        raise Poison


class Poison(Exception):
    """Whoever opens it runs code."""

    def __reduce__(self) -> tuple[object, ...]:
        return _poison, (os.getpid(),)


def _poison(maker: int) -> Exception:
    if os.getpid() != maker:
        os.environ["OPENED"] = "by the worker"
    return Poison()


@app.job
def talks(run: Run, lines: int) -> None:
    for number in range(lines):
        run.log(f"{number:06d} " + "x" * 10_000)
    run.log("\udcff is no text")


@app.job
def nulls(megabytes: int) -> None:
    for _ in range(megabytes):
        os.write(1, bytes(1 << 20))


@app.job
def uses_a_forkserver(run: Run) -> None:
    """Its pool is left open: the pool's processes are strays."""
    pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("forkserver"))
    run.metric("sum", sum(pool.map(abs, range(-3, 3))))
    run.metric("pid", os.getpid())
    run.save_json("workers", sorted(pool._processes))
