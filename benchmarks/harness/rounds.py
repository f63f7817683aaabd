"""Take turns: in every round each peer does each workload once, and who begins changes from round to round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.envs import EnvFailed
from harness.peers import WORKERS, Peer, Workload
from harness.process import Driver, PeerFailed

START_SECONDS = 90.0
SAMPLE_SECONDS = 90.0
BUDGET_SECONDS = 45.0
MOST_STARTS = 3


@dataclass
class Cell:
    """What one peer gave for one workload: samples, and the reason why there are none or no more."""

    samples: list[float] = field(default_factory=list)
    details: list[dict[str, Any]] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)
    reason: str = ""
    note: str = ""

    @property
    def value(self) -> float | None:
        return statistics.median(self.samples) if self.samples else None

    def affords_another(self, budget: float) -> bool:
        """A slow workload is sampled less often: as long as one more like the last stays within the budget."""
        return not self.spent or sum(self.spent) + self.spent[-1] <= budget


Table = dict[str, dict[str, Cell]]
"""Workload -> peer -> cell."""


def order(peers: Sequence[Peer], number: int) -> list[Peer]:
    """Forwards and backwards in turn, and begun one further after both."""
    turn = number // 2 % len(peers) if peers else 0
    rotated = [*peers[turn:], *peers[:turn]]
    return rotated[::-1] if number % 2 else rotated


class Session:
    """The drivers of all peers, and what they gave so far."""

    def __init__(
        self,
        python_of: Callable[[Peer], Path],
        logs: Path,
        *,
        sample_seconds: float = SAMPLE_SECONDS,
        budget: float = BUDGET_SECONDS,
        warm: bool = True,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.python_of = python_of
        self.logs = logs
        self.sample_seconds = sample_seconds
        self.budget = budget
        self.warm = warm
        self.say = say
        self.table: Table = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self._drivers: dict[str, Driver] = {}
        self._starts: dict[str, int] = {}
        self._dead: dict[str, str] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def measure(self, peers: Sequence[Peer], workloads: Sequence[Workload], rounds: int) -> Table:
        try:
            for number in range(rounds):
                self.say(f"round {number + 1} of {rounds}")
                self._round(order(peers, number), workloads, number)
        finally:
            self.close()
        for peer in peers:
            self._copy_same(peer)
        return self.table

    def _round(self, peers: Sequence[Peer], workloads: Sequence[Workload], number: int) -> None:
        for workload in workloads:
            if number >= workload.rounds:
                continue
            for peer in peers:
                if peer.takes_part(workload.name):
                    self._turn(peer, workload, number)

    def _turn(self, peer: Peer, workload: Workload, number: int) -> None:
        cell = self.cell(workload.name, peer.name)
        cell.reason = cell.reason or peer.skip.get(workload.name, "") or self._dead.get(peer.name, "")
        if cell.reason or workload.name in peer.same or not cell.affords_another(self.budget):
            return
        try:
            answer = self._sample(peer, workload, number, first=not cell.samples)
        except (PeerFailed, EnvFailed) as error:
            cell.reason = str(error)
            self.say(f"  {peer.title}, {workload.name}: {error}")
            if isinstance(error, EnvFailed):
                self._dead[peer.name] = cell.reason
            elif error.fatal:
                self._drop(peer.name, cell.reason)
            return
        asked = peer.calls.get(workload.name, workload.calls)
        scale = 1.0 if workload.unit == "/s" else workload.calls / asked
        if asked != workload.calls:
            cell.note = f"{'scaled up from' if scale > 1 else 'of'} {asked} calls"
        cell.samples.append(answer["value"] * scale)
        cell.details.append(answer)
        cell.spent.append(answer.pop("took"))

    def _sample(self, peer: Peer, workload: Workload, number: int, *, first: bool) -> dict[str, Any]:
        if workload.name == "cold":
            return self._cold(peer)
        driver = self._driver(peer)
        calls = peer.calls.get(workload.name, workload.calls)
        if first and self.warm:
            self._ask(driver, workload, max(2, calls // 10), seed=1000)
        return self._ask(driver, workload, calls, seed=number)

    def _ask(self, driver: Driver, workload: Workload, calls: int, seed: int) -> dict[str, Any]:
        begin = time.monotonic()
        answer = driver.ask(self.sample_seconds, do="run", workload=workload.name, calls=calls, seed=seed)
        return {**answer, "took": time.monotonic() - begin}

    def _cold(self, peer: Peer) -> dict[str, Any]:
        python = self.python_of(peer)
        driver = Driver(python, peer.script, self.logs / f"{peer.name}.log", "--cold", str(WORKERS))
        try:
            driver.listen(START_SECONDS)
            seconds = time.perf_counter() - driver.begun
            driver.finish()
            return {"value": seconds, "took": seconds}
        finally:
            driver.kill()

    def _driver(self, peer: Peer) -> Driver:
        if peer.name not in self._drivers:
            self._starts[peer.name] = self._starts.get(peer.name, 0) + 1
            driver = Driver(self.python_of(peer), peer.script, self.logs / f"{peer.name}.log", *peer.arguments)
            self._drivers[peer.name] = driver
            try:
                self.facts[peer.name] = driver.ask(START_SECONDS, do="start", workers=WORKERS)
            except PeerFailed as error:
                self._drop(peer.name, error.reason)
                self._dead[peer.name] = f"did not start: {error.reason}"
                raise PeerFailed(self._dead[peer.name], fatal=True) from None
        return self._drivers[peer.name]

    def _drop(self, name: str, reason: str) -> None:
        """End its driver; the next workload gets a new one, unless that happens again and again."""
        driver = self._drivers.pop(name, None)
        if driver:
            driver.kill()
        if self._starts.get(name, 0) >= MOST_STARTS:
            self._dead.setdefault(name, reason)

    def _copy_same(self, peer: Peer) -> None:
        for name, other in peer.same.items():
            if name in self.table and peer.name in self.table.get(other, {}):
                source = self.table[other][peer.name]
                note = f"the same as {other}" + (f", {source.note}" if source.note else "")
                self.table[name][peer.name] = Cell(source.samples, source.details, source.spent, source.reason, note)

    def cell(self, workload: str, peer: str) -> Cell:
        return self.table.setdefault(workload, {}).setdefault(peer, Cell())

    def close(self) -> None:
        for name in list(self._drivers):
            self._drivers.pop(name).close()
