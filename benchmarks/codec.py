"""1,000 records of 8 fields, from the bytes of a request to the bytes of its answer, each record validated by itself.

python benchmarks/codec.py [--short] [--strict] [--rounds 100]

All in one process, in turns: what an endpoint's worker does with a request, beside what msgspec, pydantic and FastAPI
do with the same bytes. The function gives back what it gets. The table says, too, whether an invalid record spoils the
others.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fastapi
import msgspec
import pydantic
from harness import report

from bursty import App
from bursty.core.answers import pack_request, unpack_answer
from bursty.runtime.endpoint import Endpoint

RECORDS = 1000
ROUNDS, SHORT_ROUNDS, TURN = 100, 5, 7
LIMIT = 0.6e-3
HEADER: report.Row = ("", "median", "least", "most", "times msgspec", "a bad record")


class Struct(msgspec.Struct):
    id: int
    price: float
    name: str
    paid: bool
    category: str
    weight: float
    count: int
    note: str | None


class Model(pydantic.BaseModel):
    id: int
    price: float
    name: str
    paid: bool
    category: str
    weight: float
    count: int
    note: str | None


app = App("codec")
web = fastapi.FastAPI()


@app.endpoint("/structs", log=False)
def structs(items: list[Struct]) -> list[Struct]:
    return items


@app.endpoint("/logged")
def logged(items: list[Struct]) -> list[Struct]:
    return items


@app.endpoint("/models", log=False)
def models(items: list[Model]) -> list[Model]:
    return items


@web.post("/models")
async def fastapi_models(items: list[Model]) -> list[Model]:
    return items


def body_of(count: int) -> bytes:
    return msgspec.json.encode(
        [
            Struct(i, i * 1.25, f"record {i}", i % 2 == 0, "books", i / 7, i * 3, None if i % 10 else "seldom")
            for i in range(count)
        ]
    )


def by_bursty(name: str) -> Callable[[bytes], bytes]:
    endpoint = Endpoint.of(app, name)
    endpoint.warm()

    def answer(body: bytes) -> bytes:
        found = memoryview(endpoint.answer(pack_request(b"", body)))  # a large answer reaches the server as a view
        return bytes(unpack_answer(found).body)

    return answer


def by_msgspec() -> Callable[[bytes], bytes]:
    decoder, encoder = msgspec.json.Decoder(list[Struct]), msgspec.json.Encoder()
    return lambda body: encoder.encode(structs(decoder.decode(body)))


def by_pydantic() -> Callable[[bytes], bytes]:
    adapter = pydantic.TypeAdapter(list[Model])
    return lambda body: adapter.dump_json(models(adapter.validate_json(body)))


def by_fastapi(runner: asyncio.Runner) -> Callable[[bytes], bytes]:
    """One ASGI call: no server, no client."""
    headers = [(b"content-type", b"application/json")]
    scope: dict[str, Any] = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST"}
    scope |= {"scheme": "http", "path": "/models", "raw_path": b"/models", "query_string": b"", "root_path": ""}
    scope |= {"server": ("localhost", 80), "client": ("localhost", 1), "headers": headers}

    async def ask(body: bytes) -> bytes:
        parts: list[bytes] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            parts.append(message.get("body", b""))

        await web({**scope}, receive, send)
        return b"".join(parts)

    loop = runner.get_loop()
    return lambda body: loop.run_until_complete(ask(body))


def measure(contenders: dict[str, Callable[[bytes], bytes]], body: bytes, rounds: int) -> dict[str, list[float]]:
    """Seconds: of each round, the least of one turn, as whatever else the machine does only adds to it.

    In each round everybody has one turn, in an order by lot. Nobody begins with the garbage of another, or with the
    processor's caches full of another's data.
    """
    expected = msgspec.json.decode(body)
    for name, answer in contenders.items():
        if msgspec.json.decode(answer(body)) != expected:
            raise AssertionError(f"{name} gives another answer")
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    lot = random.Random(1)
    gc.freeze()
    for _ in range(rounds):
        for name in lot.sample(list(contenders), len(contenders)):
            gc.collect()
            samples[name].append(min(seconds(contenders[name], body) for _ in range(TURN)))
    return samples


def seconds(answer: Callable[[bytes], bytes], body: bytes) -> float:
    started = time.perf_counter()
    answer(body)
    return time.perf_counter() - started


def row(name: str, samples: Sequence[float], base: float, isolated: bool) -> report.Row:
    median = statistics.median(samples)
    spoils = "fails alone" if isolated else "fails all"
    shown = (report.show(median), report.show(min(samples)), report.show(max(samples)))
    return (name, *shown, f"{median / base:.2f}", spoils)


def ratio(samples: dict[str, list[float]], name: str, other: str) -> float:
    return statistics.median(one / two for one, two in zip(samples[name], samples[other], strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer rounds: proves that it runs")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--output", type=Path, default=report.RESULTS, help="folder of the results")
    parser.add_argument("--strict", action="store_true", help="exit with 1 unless every target is met")
    options = parser.parse_args(arguments)
    facts = {**report.machine_facts(), "msgspec": msgspec.__version__, "pydantic": pydantic.VERSION}
    facts |= {"fastapi": fastapi.__version__}
    with asyncio.Runner() as runner:
        contenders = {
            "bursty, msgspec types": by_bursty("structs"),
            "the same, and its log rows": by_bursty("logged"),
            "msgspec alone": by_msgspec(),
            "bursty, pydantic types": by_bursty("models"),
            "pydantic alone": by_pydantic(),
            "FastAPI, one ASGI call": by_fastapi(runner),
        }
        rounds = options.rounds or (SHORT_ROUNDS if options.short else ROUNDS)
        samples = measure(contenders, body_of(RECORDS), rounds)
    base = statistics.median(samples["msgspec alone"])
    rows = [row(name, found, base, "bursty" in name or "same" in name) for name, found in samples.items()]
    own, against = statistics.median(samples["bursty, msgspec types"]), "pydantic alone"
    times = ratio(samples, "bursty, pydantic types", against)
    targets = [
        ("PASS" if own <= LIMIT else "MISS", f"msgspec types: at most {report.show(LIMIT)}", report.show(own)),
        ("PASS" if times <= 1 else "MISS", "pydantic types: no slower than pydantic itself", f"{times:.2f} times"),
    ]
    title = f"{RECORDS:,} records of 8 fields, validated one by one and answered ({rounds} rounds of {TURN})"
    print(f"{title}\n{report.text_table(HEADER, rows)}\n\n{report.text_table(('', 'target', 'found'), targets)}")
    page = [
        f"# {title}",
        "",
        report.markdown_table(HEADER, rows),
        "",
        report.markdown_table(("", "target", "found"), targets),
    ]
    page += ["", *(f"- {line}" for line in report.facts_lines(facts))]
    medians = {name: statistics.median(found) for name, found in samples.items()}
    data = {"facts": facts, "seconds": medians, "targets": targets, "samples": samples}
    report.write("codec-short" if options.short else "codec", options.output, data, "\n".join(page))
    return int(options.strict and any(target[0] != "PASS" for target in targets))


if __name__ == "__main__":
    sys.exit(main())
