"""The benchmarks of servers: answers are judged rightly, the generators wait for nobody, whoever fails is a row."""

import dataclasses
import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Callable
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
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


sys.path.insert(0, str(BENCHMARKS))
try:
    envs, faults, hosting, loads, process, served, serve_targets, targets, report = (
        importlib.import_module(f"harness.{name}")
        for name in (
            *("envs", "faults", "hosting", "loads", "process"),
            *("served", "serve_targets", "targets", "report"),
        )
    )
    bench_serve, bench_deadline = (script(BENCHMARKS / f"{name}.py") for name in ("serve", "deadline"))
finally:
    sys.path.remove(str(BENCHMARKS))
load = script(BENCHMARKS / "serving" / "load.py")

ROWS = [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]
TRUE = [[0.25, 0.25, 0.5], [1.0, 0.0, 0.0]]

# A server that knows the truth, and behaves as badly as it is told to.
FAKE = """
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
port, behaviour = int(sys.argv[1]), sys.argv[2]
truth = json.loads((Path(os.environ["BURSTY_BENCH_FOREST"]) / "truth.json").read_text())
known = dict(zip(map(tuple, truth["rows"]), truth["probabilities"]))
if behaviour == "dies":
    sys.exit("no port for me")
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def log_message(self, *words):
        pass
    def do_POST(self):
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, head = 200, {}
        if self.path == "/echo":
            status = 200 if isinstance(said.get("count"), int) or behaviour == "careless" else 422
        else:
            fault = said.pop("fault", None)
            said = {"probabilities": known[tuple(said.values())]}
            if fault == "segfault":
                os._exit(1)
            if fault == "loop" and behaviour == "stalls":
                time.sleep(60)
            if fault and self.path == "/timely":
                said, head = {"probabilities": [1 / 3] * 3}, {"Bursty-Answer": "default"}
            elif fault and behaviour == "lies":
                said = {"probabilities": [0.0, 0.0, 1.0]}
            if behaviour == "wrong":
                said = {"probabilities": [0.0, 0.0, 1.0]}
        body = json.dumps(said).encode()
        self.send_response(status)
        for name, value in {**head, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
class Server(ThreadingHTTPServer):
    request_queue_size = 128
Server(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def truth(tmp_path: Path):
    found = {"version": "1", "rows": ROWS, "probabilities": TRUE}
    (tmp_path / "truth.json").write_text(json.dumps(found))
    return hosting.Truth(tmp_path)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envs, "ENVS", tmp_path / "envs")
    monkeypatch.setattr(loads, "WRK", None)


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., object]:
    program = tmp_path / "server.py"
    program.write_text(FAKE)

    def make(name: str, behaviour: str = "good", timely: bool = False, only: tuple[str, ...] = ()):
        peer = dataclasses.replace(served.SERVED[0].peer, name=name, title=name.title(), only=only)
        command = (Path(sys.executable).name, str(program), "{port}", behaviour)
        return served.Served(peer, command, served.TIMELY if timely else served.PLAIN)

    return make


def this_python(peer: object) -> Path:
    return Path(sys.executable)


# What is sent, and when


@given(st.floats(20, 2000), st.integers(1, 64), st.sampled_from(list(faults.SCENARIOS)))
def test_faults_burn_no_more_than_their_share(rate: float, cores: int, scenario: str) -> None:
    rates = faults.fault_rates(faults.SCENARIOS[scenario], rate, cores)
    assert sum(each * faults.COST[kind] for kind, each in rates.items()) <= faults.SHARE_OF_CPU * cores * (1 + 1e-9)
    assert all(0 < each <= faults.MOST_OF_REQUESTS * rate for each in rates.values())


def test_a_plan_is_the_same_each_time_and_holds_what_its_rates_say() -> None:
    shots = faults.plan(faults.SCENARIOS["mixed"], 300, 40, 150, 2, seed=1)
    assert shots == faults.plan(faults.SCENARIOS["mixed"], 300, 40, 150, 2, seed=1)
    assert [shot.due for shot in shots] == sorted(shot.due for shot in shots)
    assert len(shots) == pytest.approx(300 * 40, rel=0.05)
    counts = {kind: sum(shot.fault == kind for shot in shots) for kind in faults.COST}
    assert counts == {"python": 8, "c": 8, "segfault": 3, "loop": 4}
    assert all(shot.fault is None for shot in faults.plan((), 300, 4, 150, 2, seed=1))


def test_a_short_plan_still_has_every_fault() -> None:
    shots = faults.plan(faults.SCENARIOS["mixed"], 100, 1, 150, 2, seed=1)
    assert {shot.fault for shot in shots} == {None, *faults.COST}


# What comes back

ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
]


@pytest.mark.parametrize(
    ("answer", "status", "body"), [(ANSWERS[0], 200, b"hello"), (ANSWERS[1], 503, b""), (ANSWERS[2], 200, b"hello")]
)
def test_an_answer_is_complete_with_its_last_byte(answer: bytes, status: int, body: bytes) -> None:
    for end in range(len(answer)):
        assert load.complete(answer[:end]) is None
    found = load.complete(answer)
    assert (found[0], found[2]) == (status, body)


def answered(body: object, *, status: int = 200, head: str = "", due: float = 1.0, took: float | None = 0.01):
    done = None if took is None else due + took
    return loads.Answer(due, 0, due + 0.0001, done, status, f"HTTP/1.1 {status} OK\r\n{head}", json.dumps(body))


DEFAULT = {"probabilities": [1 / 3, 1 / 3, 1 / 3]}
MARK = "Bursty-Answer: default"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (answered({"probabilities": TRUE[0]}), "fresh"),
        (answered({"probabilities": TRUE[0]}, head="bursty-answer: fresh"), "fresh"),
        (answered({"probabilities": TRUE[0]}, head="bursty-answer: cached"), "fallback"),
        (answered({"probabilities": TRUE[1]}), "wrong"),
        (answered({"probabilities": [0.25]}), "wrong"),
        (answered({"probabilities": "0.25"}), "wrong"),
        (answered([]), "wrong"),
        (answered(DEFAULT), "wrong"),
        (answered(DEFAULT, head=MARK), "fallback"),
        (answered({**DEFAULT, "fallback": True}), "fallback"),
        (answered({"probabilities": TRUE[1]}, head=MARK), "wrong"),
        (answered(DEFAULT, status=504), "error"),
        (answered(None, status=0, took=None), "error"),
    ],
)
def test_an_answer_is_right_or_marked_or_wrong(answer: object, kind: str, truth: object) -> None:
    assert faults.kind_of(answer, 0, served.PLAIN, truth) == kind


@pytest.mark.parametrize("one", [served.PLAIN, served.LISTED, served.BENTO_BATCH, served.TENSORS])
def test_each_way_to_ask_says_the_row_and_the_fault(one: object) -> None:
    asked = one.prediction(ROWS[0], "loop").decode()
    assert re.findall(r"\d\.\d", asked) == ["1.0", "2.0", "3.0", "4.0"]
    assert '"fault": "loop"' in asked
    assert "fault" not in one.prediction(ROWS[0]).decode()
    assert "\n" not in asked


def test_a_tally_counts_what_came_in_time(truth: object) -> None:
    right = {"probabilities": TRUE[0]}
    answers = [
        answered(right, due=0.0, took=0.119),
        answered(right, due=1.0, took=0.121),
        answered(DEFAULT, due=2.0, head=MARK),
        answered(DEFAULT, due=3.0, head=MARK),
        answered(right, due=4.0, status=500),
        answered(DEFAULT, due=5.0),
    ]
    shots = [faults.Shot(float(number), 0, "loop" if number == 2 else None) for number in range(8)]
    found = faults.tally(answers[::-1], shots, served.PLAIN, truth, rate=1.0, restarts=3)
    assert (found.requests, found.faults, found.restarts) == (8, 1, 3)
    assert found.in_time == 100 * 3 / 8, "one right, two marked; what never came is late, too"
    assert found.late == 100 * 5 / 8
    assert found.wrong == 100 / 8
    assert found.errors == 100 * 3 / 8
    assert found.fallbacks == 100 * 2 / 8
    assert found.fresh == pytest.approx(100 / 7)
    assert found.most == faults.PATIENCE
    assert found.lag == pytest.approx(0.0001)


GOOD = faults.Tally(250.0, 10_000, 32, 99.9, 0.0, 0.0, 3.0, 95.0, 0.01, 0.02, 0.03, 0.04, 0.001, 0)


@pytest.mark.parametrize(
    ("change", "statuses"),
    [
        ({}, ["PASS", "PASS", "PASS"]),
        ({"in_time": 99.88}, ["MISS", "PASS", "PASS"]),
        ({"wrong": 0.01}, ["PASS", "MISS", "PASS"]),
        ({"fresh": 94.9}, ["PASS", "PASS", "MISS"]),
    ],
)
def test_each_promise_can_be_broken(change: dict[str, float], statuses: list[str]) -> None:
    assert [one.status for one in faults.verdicts("mixed", dataclasses.replace(GOOD, **change))] == statuses
    assert {one.status for one in faults.verdicts("mixed", None)} == {"UNKNOWN"}


# The generator


def test_requests_go_out_at_their_time_whatever_became_of_those_before(fake: Callable[..., object], truth) -> None:
    host = hosting.Host(fake("slow", "stalls"), Path(sys.executable), truth)
    try:
        host.ready()
        wire = served.PLAIN
        texts = [loads.request(wire.path, wire.prediction(ROWS[0], fault)) for fault in ("loop", None, "segfault")]
        planned = [(0.01 * number, 0 if number < 10 else 1) for number in range(20)] + [(0.5, 2), (2.0, 1)]
        answers = sorted(loads.OpenLoop(host.port, texts, planned, 3.0).answers(), key=lambda one: one.due)
    finally:
        host.stop()
    assert [one.due for one in answers] == [due for due, _ in planned]
    assert all(one.sent is not None and one.sent >= one.due for one in answers)
    assert [one.status for one in answers] == [0] * 10 + [200] * 10 + [0, 0], "stalled, answered, ended, and refused"
    assert all((one.done is None) == (one.status == 0) for one in answers)


# Servers


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("dies", "ended with code 1 as it started: no port for me"),
        ("wrong", "is wrong about flower 0"),
        ("careless", "does not refuse what is no item"),
    ],
)
def test_a_server_that_is_not_right_is_not_measured(
    behaviour: str, reason: str, fake: Callable[..., object], truth: object
) -> None:
    host = hosting.Host(fake("bad", behaviour), Path(sys.executable), truth)
    try:
        with pytest.raises(process.PeerFailed, match=reason):
            host.ready()
    finally:
        host.stop()


def test_nothing_of_a_server_stays_and_it_can_be_started_again(fake: Callable[..., object], truth: object) -> None:
    host = hosting.Host(fake("good"), Path(sys.executable), truth)
    try:
        host.ready()
        host.again()
        host.ready()
        assert host.starts == 2
    finally:
        host.stop()
    assert process.descendants(host._mark) == []
    assert not Path(host._scratch).exists()


def test_all_peers_are_pinned_and_the_same_forest_is_for_all() -> None:
    versions: set[str] = set()
    for one in (*served.SERVED, served.WAITING):
        text = (BENCHMARKS / "peers" / f"{one.peer.env}.txt").read_text()
        if one.peer.env == "bursty_serve":
            text = (ROOT / "requirements.lock").read_text()
        else:
            assert re.findall(r"^(?!#|[A-Za-z0-9._-]+==\S+$).+", text, re.MULTILINE) == [], one.name
        versions.update(re.findall(r"^scikit-learn==(\S+)", text, re.MULTILINE))
    assert len(versions) == 1


# Whole runs


def test_servers_are_judged_beside_each_other(
    fake: Callable[..., object],
    truth: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen = (fake("bursty"), fake("bursty_batch", only=("forest",)), fake("fastapi"), fake("litserve", "wrong"))
    monkeypatch.setattr(bench_serve, "SERVED", chosen)
    monkeypatch.setattr(bench_serve, "WARM_SECONDS", 0.1)
    arguments = ["--seconds", "0.3", "--rounds", "1", "--connections", "1,64", "--output", str(tmp_path / "out")]
    assert bench_serve.main(arguments, this_python, truth) == 0
    said = capsys.readouterr().out
    assert re.search(r"Litserve +(not run +){6}is wrong about flower 0", said)
    assert re.search(r"(PASS|MISS) +forest 1 p50 +\S+ \S+ +\S+ \S+ +\d+% +within 1.15 times FastAPI's\n", said)
    assert re.search(r"UNKNOWN +echo 64 .*litserve", said)
    data = json.loads((tmp_path / "out" / "serve.json").read_text())
    assert set(data["workloads"]["forest 64"]) == {"bursty", "bursty_batch", "fastapi", "litserve"}
    assert set(data["workloads"]["echo 64"]) == {"bursty", "fastapi", "litserve"}
    assert data["workloads"]["echo 64"]["bursty"]["details"][0]["requests"] > 0
    assert "| peer | 1: /s | 1: p50 |" in (tmp_path / "out" / "serve.md").read_text()


def test_the_deadline_test_counts_the_dead_and_the_wrong(
    fake: Callable[..., object],
    truth: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen = (fake("bursty", timely=True), fake("liar", "lies"), fake("dead", "dies"))
    monkeypatch.setattr(bench_deadline, "CONTESTANTS", chosen)
    for name in ("CAPACITY_SECONDS", "SHORT_CAPACITY_SECONDS"):
        monkeypatch.setattr(bench_deadline, name, 0.3)
    arguments = ["--seconds", "1", "--scenarios", "none,python,segfault", "--output", str(tmp_path / "out")]
    assert bench_deadline.main(arguments, this_python, truth) == 0
    said = capsys.readouterr().out
    assert re.search(r"Dead +not run .*no port for me", said)
    data = json.loads((tmp_path / "out" / "deadline.json").read_text())
    tallies = {
        (scenario, name): cell["details"][0]
        for scenario, row in data["workloads"].items()
        for name, cell in row.items()
        if cell["details"]
    }
    assert {name for _, name in tallies} == {"bursty", "liar"}
    assert tallies["python", "bursty"]["fallbacks"] > 0
    assert tallies["python", "liar"]["wrong"] > 0
    assert {one["wrong"] for (_, name), one in tallies.items() if name == "bursty"} == {0.0}
    restarts = {key: one["restarts"] for key, one in tallies.items()}
    assert restarts == {key: int(key[0] == "segfault") for key in tallies}, "a segfault ends the whole server"
    assert [one["workload"] for one in data["verdicts"]] == [*("late", "wrong", "stale") * 3, "lag"]


@pytest.mark.parametrize("arguments", [["--peers", "nobody"], ["--workloads", "nothing"]])
def test_unknown_names_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench_serve.parse(arguments)
    assert "unknown: no" in capsys.readouterr().err


def series(values: dict[tuple[str, str], float]):
    return targets.Series({key: [value] for key, value in values.items()}, {})


MET = {
    ("forest 1 p50", "bursty"): 1.14, ("forest 1 p50", "bursty_batch"): 1.0, ("forest 1 p50", "fastapi"): 1.0,
    **{(f"forest {count}{metric}", name): value for count in (8, 64) for metric in ("", " p99")
       for name, value in (("bursty_batch", 0.19), ("bursty", 1.0), ("fastapi", 1.0), ("mosec_batch", 0.2))},
    ("echo 64", "bursty"): 0.19, ("echo 64", "fastapi"): 0.2,
    **{("echo 64", name): 1.0 for name in ("bentoml", "litserve", "mlserver")},
}  # fmt: skip


def test_targets_that_are_met_pass_and_each_can_be_missed() -> None:
    assert {targets.judge(one, series(MET)).status for one in serve_targets.TARGETS} == {"PASS"}
    for one in serve_targets.TARGETS:
        worse = {**MET, (one.workload, one.subject): 9.0}
        assert targets.judge(one, series(worse)).status == "MISS", one.promise


def test_the_best_without_batching_sets_the_limit() -> None:
    [one] = [one for one in serve_targets.TARGETS if "best that does not batch" in one.promise]
    better = {**MET, ("forest 64", "asgi"): 0.9}
    assert targets.judge(one, series(better)).limit == pytest.approx(0.18)
    assert targets.judge(one, series(better)).status == "MISS"
    assert targets.judge(one, series({("forest 64", "bursty_batch"): 1.0})).status == "UNKNOWN"


def test_shares_are_shown_as_percent() -> None:
    assert report.show(99.9, "%") == "99.90%"
