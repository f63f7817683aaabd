"""The benchmarks' harness: whoever fails is a row, medians and ratios are right, and nothing stays behind."""

import contextlib
import dataclasses
import importlib
import importlib.util
import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"


def script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sys.path.insert(0, str(BENCHMARKS))
try:
    envs, peers, process, report, rounds, targets, command, queues, servers = (
        importlib.import_module(f"harness.{name}")
        for name in ("envs", "peers", "process", "report", "rounds", "targets", "command", "queues", "servers")
    )
    bench_map, bench_memory, bench_queue, bench_run = (
        script(BENCHMARKS / f"{name}.py") for name in ("map", "memory", "queue", "run")
    )
finally:
    sys.path.remove(str(BENCHMARKS))
work = script(BENCHMARKS / "drivers" / "work.py")
memory_use = script(BENCHMARKS / "drivers" / "memory_use.py")

MAP = peers.Workload("map", "a map", 100)
CALL = peers.Workload("call", "a call", 10)
COLD = peers.Workload("cold", "a cold start", 1)

# A driver that takes as long as its inputs say, or behaves as badly as they say.
FAKE = """
import json, os, sys, time
behaviour = {behaviour!r}
if sys.argv[1:2] == ["--cold"]:
    print("{{}}" if behaviour.get("cold") != "error" else '{{"error": "OSError: no"}}', flush=True)
    sys.exit()
count = 0
for line in sys.stdin:
    question = json.loads(line)
    what = behaviour.get(question.get("workload", question["do"]), 1.0)
    answer = {{"asked": question}} if question["do"] == "run" else {{}}
    if question["do"] == "run":
        if isinstance(what, list):
            what, count = what[count % len(what)], count + 1
        if what == "hang":
            if os.fork() == 0:
                os.setsid()
            time.sleep(60)
        if what == "die":
            print("it hurts", file=sys.stderr)
            os._exit(3)
        answer.update(value=what, seconds=1.0)
    if what == "garbage":
        print("hello", flush=True)
        continue
    if what == "error":
        answer = {{"error": "ValueError: not today"}}
    print(json.dumps(answer), flush=True)
"""


def fake(folder: Path, name: str, /, behaviour: dict[str, object] | None = None, **options: object):
    driver = folder / f"{name}_driver.py"
    driver.write_text(FAKE.format(behaviour=behaviour or {}))
    return peers.Peer(name, name.title(), "none", driver=str(driver), **options)


def this_python(peer: object) -> Path:
    return Path(sys.executable)


@pytest.fixture
def session(tmp_path: Path):
    session = rounds.Session(this_python, tmp_path / "logs", sample_seconds=1.0, warm=False)
    yield session
    session.close()


# Turns


@given(st.integers(1, 7), st.integers(0, 50))
def test_everybody_has_one_turn_in_a_round_and_the_order_changes(count: int, number: int) -> None:
    names = list(range(count))
    assert sorted(rounds.order(names, number)) == names
    if count > 1:
        assert rounds.order(names, 2 * number) == rounds.order(names, 2 * number + 1)[::-1]


@given(st.integers(1, 7))
def test_everybody_begins_and_ends_as_often_as_the_others(count: int) -> None:
    orders = [rounds.order(list(range(count)), number) for number in range(2 * count)]
    for end in (0, -1):
        assert sorted(order[end] for order in orders) == sorted([*range(count), *range(count)])


def test_nobody_at_all_is_no_error() -> None:
    assert rounds.order([], 3) == []


def test_slow_work_is_sampled_as_often_as_the_budget_allows() -> None:
    assert rounds.Cell().affords_another(1.0)
    assert rounds.Cell(spent=[20.0]).affords_another(45.0)
    assert not rounds.Cell(spent=[20.0, 20.0]).affords_another(45.0)


def test_the_median_is_taken_over_rounds(session, tmp_path: Path) -> None:
    table = session.measure([fake(tmp_path, "good", {"map": [5.0, 1.0, 2.0, 9.0, 3.0]})], [MAP], 5)
    assert table["map"]["good"].samples == [5.0, 1.0, 2.0, 9.0, 3.0]
    assert table["map"]["good"].value == 3.0


def test_a_workload_is_sampled_no_more_often_than_it_says(session, tmp_path: Path) -> None:
    once = peers.Workload("call", "a call", 10, rounds=1)
    table = session.measure([fake(tmp_path, "good")], [MAP, once], 3)
    assert [len(table[name]["good"].samples) for name in ("map", "call")] == [3, 1]


def test_each_round_has_inputs_of_its_own(session, tmp_path: Path) -> None:
    table = session.measure([fake(tmp_path, "good")], [MAP], 3)
    assert [detail["asked"]["seed"] for detail in table["map"]["good"].details] == [0, 1, 2]


def test_the_first_sample_follows_a_warm_up(tmp_path: Path) -> None:
    session = rounds.Session(this_python, tmp_path / "logs")
    table = session.measure([fake(tmp_path, "good", {"map": [7.0, 1.0, 2.0, 3.0]})], [MAP], 3)
    assert table["map"]["good"].samples == [1.0, 2.0, 3.0]


def test_fewer_calls_are_scaled_up_and_the_row_says_so(session, tmp_path: Path) -> None:
    table = session.measure([fake(tmp_path, "slow", {"map": 2.0}, calls={"map": 20})], [MAP], 1)
    assert table["map"]["slow"].value == 10.0
    assert table["map"]["slow"].details[0]["asked"]["calls"] == 20
    assert "20 calls" in table["map"]["slow"].note


def test_the_same_workload_is_not_measured_twice(session, tmp_path: Path) -> None:
    table = session.measure([fake(tmp_path, "good", {"map": 4.0}, same={"call": "map"})], [MAP, CALL], 2)
    assert table["call"]["good"].value == 4.0
    assert "same as map" in table["call"]["good"].note


def test_who_takes_no_part_has_no_row(session, tmp_path: Path) -> None:
    table = session.measure([fake(tmp_path, "good", only=("call",)), fake(tmp_path, "other")], [MAP, CALL], 1)
    assert set(table["map"]) == {"other"}
    assert set(table["call"]) == {"good", "other"}


# Failures


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("error", r"^ValueError: not today$"),
        ("die", r"ended with code 3: it hurts"),
        ("hang", r"timed out after 1 s"),
        ("garbage", r"answered b'hello'"),
    ],
)
def test_a_failure_is_a_reason_and_the_rest_is_measured(session, tmp_path: Path, what: str, reason: str) -> None:
    bad = fake(tmp_path, "bad", {"map": what, "call": 2.0})
    table = session.measure([bad, fake(tmp_path, "good")], [MAP, CALL], 2)
    assert re.search(reason, table["map"]["bad"].reason)
    assert table["map"]["bad"].value is None
    assert table["call"]["bad"].samples == [2.0, 2.0]
    assert len(table["map"]["good"].samples) == 2


def test_a_peer_that_fails_later_keeps_its_value_and_bursty_does_not(session, tmp_path: Path) -> None:
    both = [fake(tmp_path, name, {"map": [1.0, "die"]}) for name in ("bad", "bursty")]
    table = session.measure(both, [MAP], 2)
    series = report.series_of(table, [])
    assert [one.of("map", "bad") for one in series.rounds()] == [1.0]
    with pytest.raises(targets.Unmeasured, match="bursty did not run"):
        series.shares("map", lambda one: one.of("map", "bad"))
    rows = report.workload_rows(MAP, both, table["map"])
    assert all("then failed: its driver ended with code 3" in row[-1] for row in rows)


def test_who_does_not_start_has_the_reason_in_all_its_rows(session, tmp_path: Path) -> None:
    table = session.measure([fake(tmp_path, "bad", {"start": "error"})], [MAP, CALL], 2)
    for row in table.values():
        assert row["bad"].reason == "did not start: ValueError: not today"


def test_who_fails_again_and_again_is_left_alone(session, tmp_path: Path) -> None:
    many = [peers.Workload(name, name, 1) for name in "abcde"]
    table = session.measure([fake(tmp_path, "bad", dict.fromkeys("abcde", "die"))], many, 1)
    assert all("ended with code 3" in row["bad"].reason for row in table.values())


def test_what_does_not_install_is_a_row(tmp_path: Path) -> None:
    def python_of(peer: object) -> Path:
        raise envs.EnvFailed("did not install: no such release")

    session = rounds.Session(python_of, tmp_path / "logs")
    table = session.measure([fake(tmp_path, "bad")], [MAP, COLD], 1)
    assert {row["bad"].reason for row in table.values()} == {"did not install: no such release"}


def test_a_reason_not_to_run_is_a_row(session, tmp_path: Path) -> None:
    table = session.measure([fake(tmp_path, "good", skip={"map": "takes for ever"})], [MAP], 1)
    assert table["map"]["good"].reason == "takes for ever"


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_nothing_that_a_driver_began_stays(tmp_path: Path) -> None:
    driver = process.Driver(Path(sys.executable), fake(tmp_path, "bad", {"map": "hang"}).script, tmp_path / "log")
    with pytest.raises(process.PeerFailed, match="timed out"):
        driver.ask(0.5, do="run", workload="map")
    assert len(process.descendants(driver.mark)) == 2
    driver.kill()
    end = time.monotonic() + 2
    while process.descendants(driver.mark) and time.monotonic() < end:
        time.sleep(0.01)
    assert process.descendants(driver.mark) == []


def test_a_cold_start_is_timed_and_may_fail(session, tmp_path: Path) -> None:
    good, bad = fake(tmp_path, "good"), fake(tmp_path, "bad", {"cold": "error"})
    table = session.measure([good, bad], [COLD], 2)
    assert len(table["cold"]["good"].samples) == 2
    assert all(0 < value < 10 for value in table["cold"]["good"].samples)
    assert table["cold"]["bad"].reason == "OSError: no"


# The real drivers, those that need no package


def test_a_real_driver_does_what_is_asked(session) -> None:
    chosen = [peer for peer in peers.PEERS if peer.name in ("ppe", "pool", "bare")]
    few = [peers.Workload(name, name, 20) for name in ("map", "futures", "call")]
    table = session.measure(chosen, [*few, COLD], 1)
    problems = {(name, peer): cell.reason for name, row in table.items() for peer, cell in row.items() if cell.reason}
    assert problems == {}
    assert set(table["futures"]) == {"ppe", "pool", "bare"}
    assert session.facts["ppe"]["version"]


def test_wrong_values_are_an_error_and_prints_do_no_harm(session, tmp_path: Path) -> None:
    driver = tmp_path / "liar.py"
    driver.write_text(
        "import serve\n"
        "class Liar(serve.Peer):\n"
        "    def start(self, workers):\n        print('loud', flush=True)\n        return {}\n"
        "    def map(self, function, inputs):\n        return inputs[:-1]\n"
        "serve.main(Liar)\n"
    )
    table = session.measure([peers.Peer("liar", "Liar", "none", driver=str(driver))], [MAP, CALL], 1)
    assert table["map"]["liar"].reason == "AssertionError: the values that came back are not those expected"
    assert table["call"]["liar"].reason == "NotImplementedError"


@given(st.lists(st.floats(0.001, 10), min_size=1, max_size=50), st.integers(1, 5))
def test_no_schedule_beats_the_ideal(times: list[float], workers: int) -> None:
    ideal = work.ideal_makespan(times, workers)
    assert ideal * (1 - 1e-9) <= work.greedy_makespan(times, workers) <= 2 * ideal


def test_uneven_work_is_the_same_for_all_and_the_target_can_be_met() -> None:
    uneven = next(one for one in peers.WORKLOADS if one.name == "uneven")
    for seed in range(uneven.rounds):
        times = work.durations(uneven.calls, seed)
        assert times == work.durations(uneven.calls, seed)
        assert sum(times) == pytest.approx(work.UNEVEN_SECONDS)
        assert max(times) > 30 * sorted(times)[len(times) // 2]
        assert work.greedy_makespan(times, peers.WORKERS) <= 1.05 * work.ideal_makespan(times, peers.WORKERS)


def test_the_peak_of_memory_is_seen_after_it_has_passed() -> None:
    before = memory_use.reset_peak()
    block = b"x" * 60_000_000
    del block
    assert memory_use.peak() - before > 50_000_000


# Targets

MET = {
    "map": {"bursty": 0.008, "ppe": 1.0, "ppe_best": 0.005, "joblib": 0.05, "pool": 0.001},
    "futures": {"bursty": 0.1, "bare": 0.05},
    "call": {"bursty": 0.0005, "ppe": 0.0004},
    "arrays": {"bursty": 0.2, "ppe": 0.3, "joblib": 0.4, "pool": 0.1},
    "uneven": {"bursty": 1.05, "joblib": 1.06},
    "cold": {"bursty": 0.2, "ppe": 0.05, "joblib": 0.9, "pool": 0.05},
}


def series(rounds_: list[dict[str, dict[str, float]]], missing: dict[tuple[str, str], str] | None = None):
    keys = [(name, peer) for name, row in rounds_[0].items() for peer in row]
    samples = {(name, peer): [one[name][peer] for one in rounds_ if peer in one[name]] for name, peer in keys}
    return targets.Series(samples, missing or {}, aside=["pool", "bare"])


def statuses(medians: dict[str, dict[str, float]], missing: dict[tuple[str, str], str] | None = None) -> list[str]:
    return [targets.judge(target, series([medians], missing)).status for target in targets.TARGETS]


def changed(workload: str, peer: str, value: float) -> dict[str, dict[str, float]]:
    return {**MET, workload: {**MET[workload], peer: value}}


def test_targets_that_are_met_pass() -> None:
    assert set(statuses(MET)) == {"PASS"}


@pytest.mark.parametrize(
    ("workload", "peer", "value", "missed"),
    [
        ("map", "bursty", 0.051, 3),
        ("map", "ppe", 0.159, 1),
        ("map", "joblib", 0.008, 1),
        ("map", "ppe_best", 0.0039, 1),
        ("futures", "bursty", 0.109, 1),
        ("call", "bursty", 0.00053, 1),
        ("arrays", "joblib", 0.19, 1),
        ("uneven", "bursty", 1.101, 2),
        ("uneven", "joblib", 1.05, 1),
        ("cold", "joblib", 0.19, 1),
        ("cold", "ppe", 0.01, 0),
        ("arrays", "pool", 0.01, 0),
    ],
)
def test_each_target_can_be_missed(workload: str, peer: str, value: float, missed: int) -> None:
    assert statuses(changed(workload, peer, value)).count("MISS") == missed


def test_the_limit_itself_is_kept_where_the_promise_says_at_most() -> None:
    assert set(statuses(changed("map", "ppe", 0.16))) == {"PASS"}


def test_who_did_not_run_decides_nothing() -> None:
    row = {peer: value for peer, value in MET["map"].items() if peer != "joblib"}
    assert statuses({**MET, "map": row}, {("map", "joblib"): "did not install"}).count("UNKNOWN") == 1
    without = {name: {peer: v for peer, v in row.items() if peer != "bursty"} for name, row in MET.items()}
    assert set(statuses(without)) == {"UNKNOWN"}


FASTEST = targets.Target("cold", "faster", None, strict=True)


def test_every_peer_means_the_nearest_of_those_that_ran() -> None:
    samples = {("cold", "bursty"): [1.0], ("cold", "joblib"): [2.0], ("cold", "dask"): [4.0], ("cold", "pool"): [0.1]}
    verdict = targets.judge(FASTEST, targets.Series(samples, {("cold", "ray"): "no"}, ["pool"]))
    assert (verdict.status, verdict.limit, verdict.share) == ("PASS", 2.0, 0.5)
    assert verdict.note == "the nearest: joblib, without ray"
    assert targets.judge(FASTEST, targets.Series({("cold", "bursty"): [1.0]}, {})).status == "UNKNOWN"


def test_rounds_are_compared_with_themselves() -> None:
    """A machine that becomes busy, and a peer that was only sampled while it was quiet."""
    samples = {("cold", "bursty"): [1.0, 9.0, 9.0], ("cold", "joblib"): [2.0, 18.0, 18.0], ("cold", "ray"): [2.5]}
    verdict = targets.judge(FASTEST, targets.Series(samples, {}))
    assert (verdict.status, verdict.share, verdict.note) == ("PASS", 0.5, "the nearest: joblib")
    assert report.times(rounds.Cell([2.5]), [1.0, 9.0, 9.0]) == "2.50"


@pytest.mark.parametrize(("samples", "status"), [([10, 149], "PASS"), ([10, 11, 151], "MISS"), ([], "UNKNOWN")])
def test_memory_is_judged_by_its_worst_round(samples: list[float], status: str) -> None:
    assert bench_memory.judge(rounds.Cell(samples)).status == status


# Environments


def fake_uv(folder: Path, fail: bool = False) -> str:
    """Makes the folders and notes each call."""
    uv = folder / "uv"
    lines = ["#!/bin/sh", f'echo "$@" >>"{folder}/calls"']
    lines += ['echo "no such release" >&2; exit 1'] if fail else ['[ "$1" != venv ] || mkdir -p "$6/bin"']
    uv.write_text("\n".join(lines) + "\n")
    uv.chmod(uv.stat().st_mode | stat.S_IXUSR)
    return str(uv)


def test_an_environment_is_built_once_for_the_same_file(tmp_path: Path) -> None:
    uv, wanted = fake_uv(tmp_path), tmp_path / "peer.txt"
    wanted.write_text("one==1\n")
    first = envs.ensure(wanted, tmp_path / "envs", uv)
    assert envs.ensure(wanted, tmp_path / "envs", uv) == first
    assert len((tmp_path / "calls").read_text().splitlines()) == 2
    wanted.write_text("one==2\n")
    assert envs.ensure(wanted, tmp_path / "envs", uv) != first
    assert not first.parent.exists(), "the old one makes room"


def test_constraints_and_projects_are_part_of_the_hash(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    parts = [tmp_path / "lock.txt", tmp_path / "project" / "pyproject.toml"]
    wanted = tmp_path / "peer.txt"
    wanted.write_text("-c lock.txt\n-e project\n")
    seen = set()
    for version in "12":
        for part in parts:
            for other in parts:
                other.touch()
            part.write_text(version)
            seen.add(envs.digest(wanted))
    assert len(seen) == 4


def test_an_environment_that_fails_says_why_and_is_tried_again(tmp_path: Path) -> None:
    wanted = tmp_path / "peer.txt"
    wanted.write_text("one==1\n")
    with pytest.raises(envs.EnvFailed, match="did not install: no such release"):
        envs.ensure(wanted, tmp_path / "envs", fake_uv(tmp_path, fail=True))
    with pytest.raises(envs.EnvFailed, match=r"did not install: .*no-uv"):
        envs.ensure(wanted, tmp_path / "envs", str(tmp_path / "no-uv"))
    assert envs.ensure(wanted, tmp_path / "envs", fake_uv(tmp_path))


def test_every_peer_is_pinned() -> None:
    for peer in (*peers.PEERS, *queues.QUEUES):
        lines = (BENCHMARKS / "peers" / f"{peer.env}.txt").read_text().splitlines()
        pinned = r"#|-[ce] |[A-Za-z0-9._-]+==\S+$"
        if "-c ../../requirements.lock" in lines:
            pinned += r"|[A-Za-z0-9._\[\]-]+$"
        loose = [line for line in lines if line and not re.match(pinned, line)]
        assert loose == [], peer.name
        assert (BENCHMARKS / "drivers" / peer.script).exists()


# Reports


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (123.4, "s", "123 s"),
        (1.234, "s", "1.23 s"),
        (0.0456, "s", "45.6 ms"),
        (0.000246, "s", "246 µs"),
        (0.0000012, "s", "1.20 µs"),
        (1.0345, "x", "1.034×"),
        (12.34, "MB", "12.3 MB"),
        (0.0025, "/s", "400 /s"),
    ],
)
def test_values_are_shown_with_three_digits(value: float, unit: str, text: str) -> None:
    assert report.show(value, unit) == text


def test_ratios_are_against_bursty(tmp_path: Path) -> None:
    subject, other = fake(tmp_path, "bursty"), fake(tmp_path, "other")
    cells = {"bursty": rounds.Cell([2.0, 1.0, 3.0]), "other": rounds.Cell([30.0, 10.0])}
    rows = report.workload_rows(MAP, [subject, other], cells)
    assert [row[1:5] for row in rows] == [
        ("2.00 s", "1.00 s – 3.00 s", "1.00", "3"),
        ("20.0 s", "10.0 s – 30.0 s", "12.5", "2"),
    ]
    del cells["bursty"]
    assert report.workload_rows(MAP, [other], cells)[0][3] == "?"


def test_files_name_no_folder_of_this_machine(tmp_path: Path) -> None:
    data = {"reason": f"{ROOT}/x and {Path.home()}/y"}
    for file in report.write("result", tmp_path, data, str(data)):
        assert str(ROOT) not in file.read_text()
        assert str(Path.home()) not in file.read_text()


def test_a_whole_run_prints_failures_and_writes_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [
        fake(tmp_path, "bursty", {"map": 0.001, "call": 1.0}),
        fake(tmp_path, "ppe", {"map": 1.0, "call": "die"}),
        fake(tmp_path, "joblib", {"start": "error"}),
    ]
    monkeypatch.setattr(bench_map, "PEERS", chosen)
    monkeypatch.setattr(envs, "ENVS", tmp_path)
    arguments = ["--workloads", "map,call", "--rounds", "3", "--output", str(tmp_path / "out")]
    assert bench_map.main(arguments, this_python) == 0
    assert bench_map.main([*arguments, "--strict"], this_python) == 1
    said = capsys.readouterr().out
    assert re.search(r"Ppe +1.00 s .* 1000 +3\n", said)
    assert re.search(r"Ppe +not run .*ended with code 3: it hurts", said)
    assert re.search(r"Joblib +not run .*did not start: ValueError: not today", said)
    assert re.search(r"PASS +map +1.00 ms +50.0 ms +2% +at least 20 times", said)
    assert re.search(r"UNKNOWN +map .*\(joblib did not run\)", said)
    data = json.loads((tmp_path / "out" / "map.json").read_text())
    assert data["workloads"]["map"]["ppe"]["samples"] == [1.0, 1.0, 1.0]
    assert {"date", "cores", "python", "commit"} <= set(data["facts"])
    assert "| Ppe | 1.00 s |" in (tmp_path / "out" / "map.md").read_text()


def test_a_run_in_which_bursty_fails_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envs, "ENVS", tmp_path)
    monkeypatch.setattr(bench_map, "PEERS", [fake(tmp_path, "bursty", {"call": [1.0, "error"]}), fake(tmp_path, "ppe")])
    arguments = ["--rounds", "2", "--output", str(tmp_path), "--workloads"]
    assert bench_map.main([*arguments, "map"], this_python) == 0
    assert bench_map.main([*arguments, "map,call"], this_python) == 1


def test_memory_runs_in_a_new_process_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = {"memory": [20.0, 999.0]}
    monkeypatch.setattr(envs, "ENVS", tmp_path)
    monkeypatch.setattr(bench_memory, "BURSTY", fake(tmp_path, "bursty", samples))
    assert bench_memory.main(["--output", str(tmp_path), "--strict"], this_python) == 0
    data = json.loads((tmp_path / "memory.json").read_text())
    assert data["workloads"]["memory"]["bursty"]["samples"] == [20.0, 20.0, 20.0]


# Queues


def run_queues(
    folder: Path, monkeypatch: pytest.MonkeyPatch, behaviour: dict[str, dict[str, object]], *more: str
) -> int:
    """The benchmark on fakes of these queues, without servers."""
    chosen = [
        dataclasses.replace(peer, driver=fake(folder, peer.name, behaviour[peer.name]).driver, arguments=())
        for peer in queues.QUEUES
        if peer.name in behaviour
    ]
    monkeypatch.setattr(bench_queue, "QUEUES", chosen)
    monkeypatch.setattr(envs, "ENVS", folder)
    arguments = ["--rounds", "3", "--output", str(folder / "out"), *more]
    return bench_queue.main(arguments, this_python, lambda: contextlib.nullcontext({"redis": "not installed"}))


def test_queues_are_judged_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    behaviour: dict[str, dict[str, object]] = {
        "bursty": {"drain": [9.0, 0.002, 0.001, 0.002], "list": 0.010},
        "bursty_sqlite": {"drain": 0.004, "list": 0.030},
        "procrastinate": {"drain": [9.0, 0.003, 0.004, 0.003]},
        "rq": {"drain": 0.02},
    }
    assert run_queues(tmp_path, monkeypatch, behaviour, "--workloads", "drain,list") == 0
    said = capsys.readouterr().out
    assert re.search(r"bursty on PostgreSQL +500 /s +1000 /s – 500 /s +1.00 +3\n", said)
    assert re.search(r"procrastinate on PostgreSQL +333 /s .* 1.50 +3\n", said)
    assert re.search(r"rq on Redis, Worker +50.0 /s .*of 200 calls\n", said)
    assert re.search(r"PASS +drain +500 /s +333 /s +67%", said)
    assert re.search(r"PASS +list +10.0 ms +20.0 ms +50% +.* on PostgreSQL", said)
    assert re.search(r"MISS +list +30.0 ms +20.0 ms +150% +.* on SQLite", said)
    assert "- redis: not installed" in (tmp_path / "out" / "queue.md").read_text()


@pytest.mark.parametrize("name", ["bursty", "bursty_sqlite"])
def test_a_database_on_which_bursty_fails_is_a_failure(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaviour: dict[str, dict[str, object]] = {"bursty": {}, "bursty_sqlite": {}, "huey": {"drain": "error"}}
    assert run_queues(tmp_path, monkeypatch, behaviour, "--workloads", "drain") == 0
    behaviour[name] = {"drain": "error"}
    assert run_queues(tmp_path, monkeypatch, behaviour, "--workloads", "drain") == 1


def test_slow_starts_and_filters_have_tables_of_their_own() -> None:
    cells = {"bursty": rounds.Cell([0.01, 0.02], [{"p95": 0.05}, {"p95": 0.07}])}
    shown = bench_queue.derived({"start": cells}, queues.workloads(short=False))
    assert [workload.name for workload in shown] == ["start", "p95", "drain", "list"]
    table = {"start": cells, "list": {"bursty": rounds.Cell([0.3], [{"filters": {"job": 0.1, "app": 0.3}}])}}
    bench_queue.derived(table, queues.workloads(short=True))
    assert table["p95"]["bursty"].samples == [0.05, 0.07]
    [(_, header, rows)] = bench_queue.lists(table, queues.QUEUES)
    assert header == ("filter", "bursty on PostgreSQL")
    assert rows == [("job", "100 ms"), ("app", "300 ms")]


def test_the_benchmark_of_queues_hides_no_module_that_it_needs() -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "queue.py", "--help"], capture_output=True, text=True, check=False
    )
    assert "--workloads" in done.stdout, done.stderr


@pytest.mark.skipif(not Path("/usr/lib/postgresql").exists(), reason="needs Debian's postgresql")
def test_servers_run_and_end() -> None:
    with servers.running() as facts:
        assert facts["postgresql"].endswith("its own settings")
        url = os.environ["BURSTY_BENCH_POSTGRES"]
        port = int(url.rpartition(":")[2])
        socket.create_connection(("127.0.0.1", port), 5).close()
    assert "BURSTY_BENCH_POSTGRES" not in os.environ
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)


@pytest.mark.parametrize("arguments", [["--peers", "nobody"], ["--workloads", "nothing"]])
def test_unknown_names_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for benchmark in (bench_map, bench_queue):
        with pytest.raises(SystemExit):
            benchmark.parse(arguments)
        assert "unknown: no" in capsys.readouterr().err


def test_run_knows_its_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench_run.main(["nothing"])
    assert "there is no benchmark nothing" in capsys.readouterr().err
    assert all((BENCHMARKS / f"{name}.py").exists() for name in bench_run.BENCHMARKS)
