"""What ``bursty prune`` removes of runs, and above all what it leaves."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bursty.changes import EventDraft
from bursty.core import runstate
from bursty.core.runstate import Ending
from bursty.jobs.artefacts import (
    Artefact,
    Manifest,
    prefix_of,
    published_key,
    read_manifest,
    upload_key,
    write_manifest,
)
from bursty.jobs.prune import UPLOAD_SECONDS, Prune, Pruned
from bursty.jobs.versions import APP, VERSION, Versions
from bursty.packaging.manifest import archive_key, manifest_key
from bursty.records import OutboxDraft, RunQuery, RunRecord
from bursty.stores.blobs import MemoryBlobs
from bursty.stores.memory import MemoryState
from bursty.values import Buffer

DAY = 86400.0
AGE = 10 * DAY
"""What the tests prune by."""


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = 1_000 * DAY

    def time(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class DatedBlobs(MemoryBlobs):
    """Blobs that were modified when the clock says so."""

    def __init__(self, clock: Hand) -> None:
        super().__init__()
        self.clock = clock

    def put(
        self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        etag = super().put(key, data, if_absent=if_absent, if_match=if_match)
        content, info = self._blobs[key]
        self._blobs[key] = content, replace(info, modified=self.clock.at)
        return etag

    def sizes(self) -> dict[str, int]:
        return {info.key: info.size for info in self.list()}


@dataclass(frozen=True)
class Made:
    """A run to be there. ``ago``: days since it ended (or was asked for). ``end``: ``None`` while it runs."""

    job: str
    end: str | None
    ago: int
    uploads: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    version: int = 0
    waits: bool = False


class World:
    """A stage in memory: what is in it, and a prune of it."""

    def __init__(self) -> None:
        self.clock = Hand()
        self.now = self.clock.at
        self.state = MemoryState(self.clock)
        self.blobs = DatedBlobs(self.clock)
        self.versions = Versions(self.state, self.blobs, "", lambda *_: {}, "ann")
        self.count = 0

    def days_ago(self, days: float) -> None:
        self.clock.at = self.now - days * DAY

    def upload(self, content: int, days: float) -> str:
        self.days_ago(days)
        digest = hashlib.sha256(str(content).encode()).hexdigest()
        self.blobs.put(upload_key(digest), str(content).encode())
        return digest

    def run(self, made: Made) -> RunRecord:
        self.days_ago(made.ago)
        self.count += 1
        files = [{"upload": digest_of(number), "name": "f", "size": 1} for number in made.uploads]
        run = RunRecord(f"{self.count:036d}", "shop", made.job, version(made.version), json.dumps({"files": files}))
        run, _ = self.state.submit(run, EventDraft("submitted", "ann"))
        if made.end is None:
            return run
        [run] = self.state.claim("me", 60, 1)
        prefix = prefix_of(run.id, 1)
        self.blobs.put(f"{prefix}/log/000001.jsonl", b"{}")
        artefacts = [Artefact(name, "file", f"{prefix}/files/{name}", 1, "") for name in made.names]
        for item in artefacts:
            self.blobs.put(item.key, b"x")
        write_manifest(self.blobs, Manifest(run.id, 1, artefacts))
        outbox = [OutboxDraft("notice")] if made.waits else []
        [ended] = self.state.change(runstate.finish(run, Ending(made.end, output=prefix), outbox))
        assert ended is not None
        assert ended.is_final
        return ended

    def version(self, number: int, days: float, *, declares: str = "") -> None:
        self.days_ago(days)
        manifest = {
            "source": {"key": archive_key("sources", f"s{number}")},
            "files": {},
            "envs": {"e": {"packed": {"key": archive_key("envs", f"e{number // 2}")}}},
            "describe": {"apps": [], "declares": declares},
        }
        for key in (manifest["source"]["key"], manifest["envs"]["e"]["packed"]["key"]):
            self.blobs.put(key, b"archive")
        self.blobs.put(manifest_key(version(number)), json.dumps(manifest).encode())
        data = {"number": number, "message": "", "created_at": self.clock.at, "created_by": "ann", "commit": None}
        document = {**data, "python": "3.11", "jobs": []}
        self.state.put_document(VERSION, f"shop/{version(number)}", document, rev=0)
        self.state.put_document(APP, "shop", {"newest": 9, "current": None}, rev=0)

    def promote(self, number: int) -> None:
        self.days_ago(30)
        self.versions.promote("shop", version(number))

    def read(self, digest: str) -> Mapping[str, Any]:
        return json.loads(self.blobs.get(manifest_key(digest)))

    def prune(self, *, dry_run: bool = False, versions: bool = False) -> dict[str, Pruned]:
        self.clock.at = self.now
        work = Prune(self.state, self.blobs, self.versions, self.read, dry_run=dry_run, now=self.now)
        return {item.what: item for item in work.run(AGE, AGE, versions=versions)}

    def runs(self) -> list[RunRecord]:
        return list(self.state.find(RunQuery(limit=1000)))


def digest_of(content: int) -> str:
    return hashlib.sha256(str(content).encode()).hexdigest()


def version(number: int) -> str:
    return f"{number:064x}"


MADE = st.builds(
    Made,
    job=st.sampled_from(["forecast", "refresh"]),
    end=st.sampled_from(["succeeded", "succeeded", "failed", "cancelled", None]),
    ago=st.integers(0, 30),
    uploads=st.lists(st.integers(0, 4), max_size=2).map(tuple),
    names=st.lists(st.sampled_from(["items.json", "table", "log"]), max_size=2, unique=True).map(tuple),
    version=st.integers(0, 4),
    waits=st.booleans(),
)


@given(
    runs=st.lists(MADE, max_size=12).map(lambda runs: sorted(runs, key=lambda made: (made.end is None, -made.ago))),
    uploads=st.dictionaries(st.integers(0, 6), st.integers(0, 30)),
    promoted=st.lists(st.integers(0, 4), max_size=3),
    also_versions=st.booleans(),
)
@settings(max_examples=200)
def test_what_is_needed_stays_and_what_is_old_goes(
    runs: list[Made], uploads: dict[int, int], promoted: list[int], also_versions: bool
) -> None:
    world = World()
    for number in range(5):
        world.version(number, 30)
    for number in promoted:
        world.promote(number)
    for content, ago in uploads.items():
        world.upload(content, ago)
    for made in runs:
        world.run(made)
    world.blobs.put(published_key("shop", "forecast", "items.json"), b"published")
    world.blobs.put("models/m/0001/abc", b"model")
    before, rows_before = world.blobs.sizes(), world.runs()
    needed = must_stay(rows_before, world)

    counted = world.prune(dry_run=True, versions=also_versions)
    assert world.blobs.sizes() == before, "a dry run removes nothing"
    assert world.runs() == rows_before
    assert world.prune(versions=also_versions) == counted, "and counts what a real one removes"

    rows, blobs = world.runs(), world.blobs.sizes()
    assert {run.id for run in rows} == needed
    assert sum(before.values()) - sum(blobs.values()) == sum(item.bytes for item in counted.values())
    assert {key for key in before if key.startswith(("published/", "models/"))} <= blobs.keys()
    for run in rows:
        assert all(key in blobs for key in before if key.startswith(f"runs/{run.id}/"))
        uploaded = [upload_key(file["upload"]) for file in json.loads(run.inputs)["files"]]
        assert all(key in blobs for key in uploaded if key in before)
        assert_version_is_whole(world, run.version)
    assert not [key for key in blobs if key.startswith("runs/") and key.split("/")[1] not in needed]
    used = {digest for run in rows for digest in (file["upload"] for file in json.loads(run.inputs)["files"])}
    for content, ago in uploads.items():
        assert (upload_key(digest_of(content)) in blobs) == (digest_of(content) in used or ago * DAY <= AGE)
    current = list(dict.fromkeys([version(number) for number in promoted[::-1]]))[:2]
    known = {item.key.rpartition("/")[2] for item in world.state.documents(VERSION)}
    wanted = {run.version for run in rows} | set(current) if also_versions else {version(n) for n in range(5)}
    assert known == wanted
    for digest in known:
        assert_version_is_whole(world, digest)
    archives = {key for digest in known for key in archives_of(world, digest)}
    assert {key for key in blobs if key.startswith(("sources/", "envs/"))} == archives
    assert sum(item.count for item in world.prune(versions=also_versions).values()) == 0, "a second one finds nothing"


def must_stay(runs: list[RunRecord], world: World) -> set[str]:
    """By the rules, told in another way than the code has them. ``runs``: the newest first."""
    stay = {run.id for run in runs if not run.is_final or (run.finished_at or 0) >= world.now - AGE}
    stay |= {run.id for run in runs if world.state.outbox(run.id)}
    for job in ("forecast", "refresh"):
        good = [run for run in runs if run.job == job and run.status == "succeeded"]
        stay |= {run.id for run in good[:1]}
        for name in ("items.json", "table", "log"):
            having = [run for run in good if any(a.name == name for a in read_manifest(world.blobs, run).artefacts)]
            stay |= {run.id for run in having[:1]}
    return stay


def archives_of(world: World, digest: str) -> set[str]:
    manifest = world.read(digest)
    return {manifest["source"]["key"], manifest["envs"]["e"]["packed"]["key"]}


def assert_version_is_whole(world: World, digest: str) -> None:
    assert all(world.blobs.head(key) for key in archives_of(world, digest))


def test_blobs_that_a_killed_prune_left_go_next_time() -> None:
    world = World()
    old = world.run(Made("forecast", "failed", 30, names=("a",)))
    assert world.state.delete_runs([old.id]) == 1
    assert world.prune()["runs"].bytes > 0
    assert not list(world.blobs.list("runs"))


def test_blobs_of_an_attempt_that_writes_now_stay() -> None:
    world = World()
    world.days_ago(0)
    world.blobs.put("runs/unknown/1/log/000001.jsonl", b"{}")
    world.prune()
    assert world.blobs.head("runs/unknown/1/log/000001.jsonl")


def test_a_run_that_is_taken_up_again_meanwhile_keeps_its_blobs() -> None:
    world = World()
    run = world.run(Made("forecast", "failed", 30))
    delete = world.state.delete_runs
    world.state.delete_runs = lambda ids: delete([])  # what a store does that sees it open again
    world.prune()
    assert world.state.get(run.id) is not None
    assert list(world.blobs.list(f"runs/{run.id}"))


def test_caches_go_by_age_and_their_blobs_with_them() -> None:
    world = World()
    for name, ago in (("old", 30), ("new", 1)):
        world.days_ago(ago)
        world.blobs.put(f"cache/shop/{name}", b"12345")
        world.state.put_document("cache", f"shop/{name}", {"blob": f"cache/shop/{name}", "digest": ""}, rev=0)
    world.days_ago(30)
    world.blobs.put("cache/shop/nobodys", b"1")
    assert world.prune()["caches"] == Pruned("caches", 1, 6)
    assert [info.key for info in world.blobs.list("cache")] == ["cache/shop/new"]
    assert [item.key for item in world.state.documents("cache")] == ["shop/new"]


def test_an_upload_that_may_be_asked_for_now_stays_whatever_the_age() -> None:
    world = World()
    digest = world.upload(1, (UPLOAD_SECONDS - 60) / DAY)
    other = world.upload(2, (UPLOAD_SECONDS + 60) / DAY)
    world.clock.at = world.now
    Prune(world.state, world.blobs, world.versions, world.read, now=world.now).run(1.0, 1.0)
    assert world.blobs.head(upload_key(digest))
    assert not world.blobs.head(upload_key(other))


def test_an_upload_that_a_schedule_or_a_default_names_stays() -> None:
    world = World()
    digest = world.upload(1, 30)
    world.version(1, 30, declares=digest)
    assert world.prune()["uploads"].count == 0
    assert world.prune(versions=True)["uploads"].count == 1, "unless its version goes, too"


def test_a_run_asked_for_while_its_version_goes_keeps_it() -> None:
    world = World()
    world.version(0, 30)
    world.version(1, 30)
    world.promote(0)
    delete = world.state.delete_document

    def slow(kind: str, key: str, *, rev: int) -> bool:
        done = delete(kind, key, rev=rev)
        world.state.submit(RunRecord("new", "shop", "forecast", version(1)), EventDraft("submitted", "ann"))
        return done

    world.state.delete_document = slow
    assert world.prune(versions=True)["versions"].count == 0
    assert world.state.document(VERSION, f"shop/{version(1)}")
    assert_version_is_whole(world, version(1))


def test_many_runs_are_looked_through_in_pages() -> None:
    world = World()
    for _ in range(2500):
        world.count += 1
        run = RunRecord(f"{world.count:036d}", "shop", "forecast", version(0))
        world.days_ago(30)
        world.state.submit(run, EventDraft("submitted", "ann"))
    for run in world.state.claim("me", 60, 2500):
        world.state.change(runstate.finish(run, Ending("failed")))
    assert world.prune()["runs"] == Pruned("runs", 2500, 0)
    assert world.runs() == []
