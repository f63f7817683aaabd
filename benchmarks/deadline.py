"""The deadline test: one flower, 100 ms, and requests among them that burn, crash or never end.

python benchmarks/deadline.py [--short] [--peers bursty,fastapi] [--scenarios python,mixed] [--seconds 40]

Requests come at random times, half as many as a server can answer, and go out whatever became of those before. A server
that ends is started again, and that is counted.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from harness import command, faults, hosting, report
from harness.envs import EnvFailed
from harness.faults import SCENARIOS, TITLES, Tally
from harness.loads import OpenLoop, closed_loop, request
from harness.peers import Peer, Workload
from harness.process import PeerFailed
from harness.rounds import Cell, Table
from harness.served import FOREST, NEEDS, SERVED, WAITING, Served
from harness.targets import SUBJECT, Verdict

SECONDS, SHORT_SECONDS = 40.0, 4.0
CAPACITY_SECONDS, SHORT_CAPACITY_SECONDS = 8.0, 2.0
CONNECTIONS = 64
OF_CAPACITY = 0.5
SEED = 4
CONTESTANTS = tuple(
    one for one in (*SERVED, WAITING) if not one.name.endswith("_batch") and one.name not in ("asgi", "litestar")
)
SHORT = (SUBJECT, "fastapi_wait")
HEADER: report.Row = (
    *("peer", "of capacity", "faults", "in time", "wrong", "errors", "fallbacks", "fresh"),
    *("p50", "p99", "p99.9", "most", "lag", "restarts", "note"),
)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_options(parser)
    known = [one.peer for one in CONTESTANTS]
    parser.add_argument("--peers", type=command.names_of(known), help=", ".join(peer.name for peer in known))
    named = [Workload(name, title, 0) for name, title in TITLES.items()]
    parser.add_argument("--scenarios", type=command.names_of(named), help=", ".join(SCENARIOS))
    parser.add_argument("--seconds", type=float, help="of each run")
    return parser.parse_args(arguments)


class Test:
    """All runs. Each has a server of its own, so that nothing of one run spoils the next."""

    def __init__(self, options: argparse.Namespace, truth: hosting.Truth, python_of: Callable[[Peer], Path]) -> None:
        self.short: bool = options.short
        self.seconds: float = options.seconds or (SHORT_SECONDS if options.short else SECONDS)
        self.truth = truth
        self.python_of = python_of
        self.table: Table = {}
        self.tallies: dict[tuple[str, str], Tally] = {}
        self.capacities: dict[str, float] = {}

    def run(self, served: Served, scenario: str) -> None:
        cell = self.table.setdefault(scenario, {}).setdefault(served.name, Cell())
        begin = time.monotonic()
        try:
            found = self._tally(served, scenario)
        except (PeerFailed, EnvFailed) as error:
            cell.reason = str(error)
            return
        self.tallies[scenario, served.name] = found
        cell.samples.append(found.late)
        cell.details.append(faults.plain(found))
        cell.spent.append(time.monotonic() - begin)

    def _tally(self, served: Served, scenario: str) -> Tally:
        host = hosting.Host(served, self.python_of(served.peer), self.truth, {"BURSTY_BENCH_FAULTS": "1"})
        try:
            host.ready()
            rate = OF_CAPACITY * self._capacity(host)
            number = SEED + list(SCENARIOS).index(scenario)
            kinds = SCENARIOS[scenario]
            shots = faults.plan(kinds, rate, self.seconds, len(self.truth.rows), os.cpu_count() or 1, number)
            return self._shoot(host, shots, rate)
        finally:
            host.stop()

    def _capacity(self, host: hosting.Host) -> float:
        """Requests a second without a deadline, measured once; later servers of the peer are only warmed up."""
        wire = host.served.wire
        bodies = [wire.prediction(row) for row in self.truth.rows]
        warm = SHORT_CAPACITY_SECONDS
        closed_loop(host.port, wire.path, bodies, CONNECTIONS, warm)
        if host.served.name not in self.capacities:
            seconds = SHORT_CAPACITY_SECONDS if self.short else CAPACITY_SECONDS
            pace = closed_loop(host.port, wire.path, bodies, CONNECTIONS, seconds)
            self.capacities[host.served.name] = 1 / pace.value
        return self.capacities[host.served.name]

    def _shoot(self, host: hosting.Host, shots: Sequence[faults.Shot], rate: float) -> Tally:
        wire = host.served.wire
        kinds = faults.requests_of(shots)
        numbers = {kind: number for number, kind in enumerate(kinds)}
        path = wire.timely or wire.path
        texts = [request(path, wire.prediction(self.truth.rows[row], fault)) for row, fault in kinds]
        planned = [(shot.due, numbers[shot.row, shot.fault]) for shot in shots]
        generator = OpenLoop(host.port, texts, planned, faults.PATIENCE)
        try:
            while generator.running:
                if host.gone:
                    host.again()
                time.sleep(0.05)
            answers = generator.answers()
        finally:
            generator.close()
        return faults.tally(answers, shots, wire, self.truth, rate=rate, restarts=host.starts - 1)


def rows(test: Test, scenario: str, peers: Sequence[Served]) -> list[report.Row]:
    return [row(one, test.table[scenario][one.name], test.tallies.get((scenario, one.name))) for one in peers]


def row(served: Served, cell: Cell, found: Tally | None) -> report.Row:
    if found is None:
        return (served.peer.title, "not run", *("",) * (len(HEADER) - 3), report.clean(cell.reason))
    shares = (found.in_time, found.wrong, found.errors, found.fallbacks, found.fresh)
    times = (found.p50, found.p99, found.p999, found.most, found.lag)
    return (
        served.peer.title,
        f"{found.rate:.0f} /s",
        f"{found.faults} of {found.requests}",
        *(report.show(share, "%") for share in shares),
        *(report.show(one) for one in times),
        str(found.restarts),
        "",
    )


def verdicts(test: Test, scenarios: Sequence[str], peers: Sequence[Served]) -> list[Verdict]:
    """Of bursty; and of the generator, where nothing but itself could hold it up."""
    found: list[Verdict] = []
    if SUBJECT in {one.name for one in peers}:
        for scenario in scenarios:
            found += faults.verdicts(scenario, test.tallies.get((scenario, SUBJECT)))
    lags = {one: tally.lag for (scenario, one), tally in test.tallies.items() if scenario == "none"}
    if lags:
        worst = max(lags, key=lambda one: lags[one])
        promise = "the generator sends 99.9% of the requests within 2 ms of their time"
        found.append(faults.judged("lag", promise, lags[worst], faults.MOST_LAG, f"the worst run: {worst}"))
    return found


def chosen(options: argparse.Namespace) -> tuple[list[Served], list[str]]:
    wanted = options.peers or (SHORT if options.short else [one.name for one in CONTESTANTS])
    scenarios = options.scenarios or (["mixed"] if options.short else list(SCENARIOS))
    return [one for one in CONTESTANTS if one.name in wanted], scenarios


def main(
    arguments: Sequence[str] | None = None,
    python_of: Callable[[Peer], Path] | None = None,
    truth: hosting.Truth | None = None,
) -> int:
    options = parse(arguments)
    peers, scenarios = chosen(options)
    python_of = python_of or command.python_of([one.peer for one in peers], options.short, NEEDS)
    run = command.Run(options, "deadline")
    test = Test(options, truth or hosting.truth(python_of(peers[0].peer)), python_of)
    run.facts |= {"scikit-learn": test.truth.version, "seconds of each run": test.seconds}
    for scenario in scenarios:
        command.say(TITLES[scenario])
        for served in peers:
            test.run(served, scenario)
            command.say(
                "  "
                + "  ".join(row(served, test.table[scenario][served.name], test.tallies.get((scenario, served.name))))
            )
    run.facts["capacity"] = ", ".join(f"{name} {each:.0f}/s" for name, each in test.capacities.items())
    more = [(TITLES[scenario], HEADER, rows(test, scenario, peers)) for scenario in scenarios]
    judged = verdicts(test, scenarios, peers)
    named = [one.peer for one in peers]
    title = f"The deadline test: {FOREST}, one flower, 100 ms"
    return run.finish(test.table, named, faults.WORKLOADS, judged, {}, title, more, shown=())


if __name__ == "__main__":
    command.end_in_order()
    sys.exit(main())
