"""The command line, as a user runs it: the real script, the real workers."""

import contextlib
import csv
import datetime as dt
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bursty.runtime.plain import NotPlain, to_json, to_plain

BURSTY = [sys.executable, "-c", "from bursty.cli import main; main()"]

APP = """
import datetime as dt
import os
import time
from pathlib import Path
from typing import Annotated, Optional

from bursty import App

app = App("tests")


class Own(Exception):
    pass


def square(x):
    return x * x


def kinds(n: Annotated[int, "how many"], f: float = 0.5, day: dt.date | None = None, flag: Optional[bool] = None,
          text="t", any: int = 3):
    return {"n": n, "f": f, "day": day, "flag": flag, "text": text, "any": any}


def picky(x: int):
    if x == 3:
        raise Own("three is bad")
    if x == 4:
        return object()
    if x == 5:
        os._exit(9)
    return float("nan") if x == 6 else x


def give(*args, **kwargs):
    return [list(args), kwargs]


def typed(i):
    return {"day": dt.date(2025, 1, i), "i": float(i), "many": [1, i], **({"late": "x"} if i > 2 else {})}


def logged(x):
    with open("calls.log", "a") as log:
        print(x, file=log)
    time.sleep(0.01)
    return x


def wide(x):
    return "y" * 1000


def noisy(x):
    print("noise", x)
    return x


def generator(x):
    yield x


@app.function(name="renamed", timeout="0.4 s", memory="1 GiB", retries=1)
def declared(x):
    with open("calls.log", "a") as log:
        print(x, file=log)
    if x == 2:
        time.sleep(30)
    if x == 3:
        raise Own("always")
    return x
"""


@dataclass
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def bursty(folder: Path) -> Callable[..., Done]:
    (folder / "app.py").write_text(APP)

    def run(*arguments: str, stdin: str | bytes = "", **options: Any) -> Done:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [*BURSTY, *arguments],
            input=data,
            capture_output=True,
            env=environment(**options.pop("env", {})),
            check=False,
            timeout=120,
            **options,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "XDG_CACHE_HOME": os.path.abspath("cache"), "COLUMNS": "200", **more}


def lines(path: str) -> list[Any]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def hidden() -> list[str]:
    """What a run that failed may not leave."""
    return [name for name in os.listdir() if name.startswith(".") and name != ".bursty"]


# Around the commands


def test_the_version_comes_without_what_commands_need(bursty: Callable[..., Done]) -> None:
    assert bursty("--version").out.startswith("bursty 0.")
    heavy = (
        "import sys; import bursty.cli.main; print(*sorted({'polars', 'pydantic', 'rich', 'tqdm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_help_shows_examples(bursty: Callable[..., Done]) -> None:
    assert "bursty map app.py::simulate" in bursty("--help").out
    assert "--resume" in bursty("map", "--help").out


def test_completion_is_there(bursty: Callable[..., Done]) -> None:
    assert "--install-completion" in bursty("--help").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["app.py", "in.jsonl", "-o", "o.jsonl"], "names no function"),
        (["no.py::f", "in.jsonl", "-o", "o.jsonl"], "there is no file 'no.py'"),
        (["no_such_module::f", "in.jsonl", "-o", "o.jsonl"], "can't be imported"),
        (["app.py::squre", "in.jsonl", "-o", "o.jsonl"], "Did you mean square?"),
        (["app.py::generator", "in.jsonl", "-o", "o.jsonl"], "return a list"),
        (["app.py::square", "no.jsonl", "-o", "o.jsonl"], "there is no file 'no.jsonl'"),
        (["app.py::square", "in.jsonl", "-o", "in.jsonl"], "would replace the inputs"),
        (["app.py::square", "in.jsonl", "-o", "./x/../in.jsonl"], "would replace the inputs"),
        (["app.py::square", "in.jsonl", "-o", "o.txt"], "--out-format"),
        (["app.py::square", "in.jsonl", "-o", "no/o.jsonl"], "there is no folder"),
        (["app.py::square", "in.csv", "-o", "o.jsonl"], "square() needs x"),
        (["app.py::square", "twice.csv", "-o", "o.jsonl"], "two columns named 'a'"),
        (["app.py::square", "in.jsonl", "-o", "o.jsonl", "--timeout", "3 moons"], "is no time"),
        (["app.py::square", "in.jsonl", "-o", "o.jsonl", "--backend", "moon"], "no backend"),
        (["app.py::square", "in.jsonl", "-o", "-", "--json"], "both want standard output"),
        (["app.py::square", "fake.parquet", "-o", "o.jsonl"], "can't be read as Parquet"),
        (["app.py::square", "in.jsonl"], "--output"),
    ],
    ids=lambda x: " ".join(x)[:50] if isinstance(x, list) else "",
)
def test_wrong_use_is_told_in_a_few_lines(bursty: Callable[..., Done], arguments: list[str], words: str) -> None:
    Path("x").mkdir()
    Path("in.jsonl").write_text("1\n2\n")
    Path("in.csv").write_text("a\n1\n")
    Path("twice.csv").write_text("a,a\n1,2\n")
    Path("fake.parquet").write_text("no")
    before = sorted(os.listdir())
    done = bursty("map", *arguments)
    assert done.code == 2
    assert words in done.err
    assert 'File "' not in done.err or "import" in words
    assert len(done.err.splitlines()) < 10
    assert set(os.listdir()) - set(before) <= {".bursty", "__pycache__", "cache"}
    assert Path("in.jsonl").read_text() == "1\n2\n"


def test_debug_shows_the_traceback(bursty: Callable[..., Done]) -> None:
    assert "Traceback" not in bursty("map", "app.py", "x", "-o", "y").err
    assert "Traceback" in bursty("--debug", "map", "app.py", "x", "-o", "y").err
    assert "Traceback" in bursty("map", "app.py", "x", "-o", "y", env={"BURSTY_DEBUG": "1"}).err


# bursty map: rows in


def test_json_rows_become_arguments(bursty: Callable[..., Done]) -> None:
    rows = ['{"a": 1}', "[1, 2]", '"text"', "", "null", '{"ü": [1.5]}', "12345678901234567890123"]
    done = bursty("map", "app.py::give", "-", "-o", "-", stdin="\ufeff" + "\n".join(rows))
    assert done.code == 0, done.err
    given = [json.loads(line) for line in done.out.splitlines()]
    assert [row["input"] for row in given] == [json.loads(row) for row in rows if row]
    assert [row["result"] for row in given][:4] == [[[], {"a": 1}], [[1, 2], {}], [["text"], {}], [[None], {}]]


def test_csv_cells_are_read_as_the_annotations_say(bursty: Callable[..., Done]) -> None:
    head = "n,f,day,flag,text,any,other\n"
    Path("in.csv").write_text(head + '1,2.5,2025-12-31,yes," a,b",4,z\n2,,,,,,\n x,1,,,,,\n1,,31.12.2025,,,,\n1,2\n')
    done = bursty("map", "app.py::kinds", "in.csv", "-o", "out.jsonl")
    assert done.code == 1
    assert "not passed to kinds()" in done.err
    results = [row["result"] for row in lines("out.jsonl")]
    assert results[0] == {"n": 1, "f": 2.5, "day": "2025-12-31", "flag": True, "text": " a,b", "any": 4}
    assert results[1] == {"n": 2, "f": 0.5, "day": None, "flag": None, "text": "", "any": 3}
    failures = lines("out.jsonl.failures.jsonl")
    assert [(f["row"], f["line"]) for f in failures] == [(3, 4), (4, 5), (5, 6)]
    assert [f["message"][:16] for f in failures] == ["column 'n': ' x'", "column 'day': '3", "it has 2 cells, "]


def test_text_that_is_no_utf8_fails_its_row_alone(bursty: Callable[..., Done]) -> None:
    Path("in.csv").write_bytes(b"text,n\nok,1\n\xe9t\xe9,2\n")
    assert bursty("map", "app.py::kinds", "in.csv", "-o", "out.csv").code == 1
    assert "not UTF-8" in lines("out.csv.failures.jsonl")[0]["message"]
    done = bursty("map", "app.py::square", "-", "-o", "out.jsonl", stdin=b'"\xe9"\n3\n{"a":\n')
    assert done.code == 1
    assert [row["result"] for row in lines("out.jsonl")] == [9]
    assert [row["row"] for row in lines("out.jsonl.failures.jsonl")] == [1, 3]


def test_an_empty_input_gives_an_empty_output(bursty: Callable[..., Done]) -> None:
    Path("in.csv").write_text("n\n")
    assert bursty("map", "app.py::kinds", "in.csv", "-o", "out.csv").code == 0
    assert Path("out.csv").read_text() == "n\n"
    assert bursty("map", "app.py::kinds", "in.csv", "-o", "out.parquet").code == 0
    assert pl.read_parquet("out.parquet").height == 0


# bursty map: rows out


@pytest.mark.parametrize("source", ["in.jsonl", "in.csv", "in.parquet"])
def test_a_dict_becomes_columns(bursty: Callable[..., Done], source: str) -> None:
    Path("app.py").write_text(APP.replace("def typed(i)", "def typed(i: int)"))
    frame = pl.DataFrame({"i": [1, 2, 3]})
    {".jsonl": frame.write_ndjson, ".csv": frame.write_csv, ".parquet": frame.write_parquet}[Path(source).suffix](
        source
    )
    assert bursty("map", "app.py::typed", source, "-o", "out.csv").code == 0
    with open("out.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["i", "day", "result.i", "many", "late"]
    assert rows[1] == ["1", "2025-01-01", "1.0", "[1, 1]", ""]
    assert rows[3][-1] == "x"
    assert bursty("map", "app.py::typed", source, "-o", "out.parquet").code == 0
    out = pl.read_parquet("out.parquet")
    assert out.schema["day"] == pl.Date
    assert out["result.i"].to_list() == [1.0, 2.0, 3.0]
    assert out["late"].to_list() == [None, None, "x"]
    assert out.schema["i"] == (pl.String if source == "in.csv" else pl.Int64)


def test_rows_that_fail_go_to_a_file_of_their_own(bursty: Callable[..., Done]) -> None:
    Path("in.jsonl").write_text("".join(f"{i}\n" for i in range(8)))
    done = bursty("map", "app.py::picky", "in.jsonl", "-o", "out.jsonl", "--json", "--workers", "2")
    assert done.code == 1, done.err
    summary = json.loads(done.out)
    assert (summary["rows"], summary["succeeded"], summary["failed"], summary["nulls"]) == (8, 5, 3, 1)
    assert [row["input"] for row in lines("out.jsonl")] == [0, 1, 2, 6, 7]
    own, unfit, lost = lines("out.jsonl.failures.jsonl")
    assert (own["row"], own["input"], own["error"], own["message"]) == (4, 3, "app.Own", "three is bad")
    assert own["traceback"].startswith("Traceback")
    assert 'raise Own("three is bad")' in own["traceback"]
    assert "result is an object" in unfit["message"]
    assert lost["error"] == "WorkerLost"
    assert "exited with code 9" in lost["message"]
    shown = bursty("map", "app.py::picky", "in.jsonl", "-o", "out.jsonl").err
    assert "3 of 8 rows failed" in shown
    assert "three is bad" in shown
    Path("in.jsonl").write_text("1\n")
    assert bursty("map", "app.py::picky", "in.jsonl", "-o", "out.jsonl").code == 0
    assert not Path("out.jsonl.failures.jsonl").exists()


def test_what_calls_print_does_not_mix_with_results(bursty: Callable[..., Done]) -> None:
    done = bursty("map", "app.py::noisy", "-", "-o", "-", stdin="1\n2\n")
    assert [json.loads(line)["result"] for line in done.out.splitlines()] == [1, 2]
    assert "noise 1" in done.err


def test_what_the_app_declares_holds(bursty: Callable[..., Done]) -> None:
    done = bursty("map", "app.py::renamed", "-", "-o", "out.jsonl", stdin="1\n2\n3\n")
    assert done.code == 1
    kinds = {row["input"]: row["error"] for row in lines("out.jsonl.failures.jsonl")}
    assert kinds == {2: "CallTimeout", 3: "app.Own"}
    calls = Path("calls.log").read_text().split()
    assert (calls.count("2"), calls.count("3")) == (2, 2)
    Path("calls.log").unlink()
    bursty("map", "app.py::declared", "-", "-o", "out.jsonl", "--retries", "0", stdin="3\n")
    assert Path("calls.log").read_text().split() == ["3"]


def test_a_module_that_fails_to_import_is_one_error(bursty: Callable[..., Done]) -> None:
    Path("broken.py").write_text("def helper():\n    return 1 / 0\n\nhelper()\n")
    done = bursty("map", "broken.py::helper", "-", "-o", "out.jsonl", stdin="1\n2\n3\n")
    assert done.code == 2
    assert done.err.count("ZeroDivisionError") == 1
    assert "line 4, in <module>" in done.err
    assert "bursty/" not in done.err
    assert not Path("out.jsonl").exists()


def test_a_module_by_name(bursty: Callable[..., Done]) -> None:
    Path("package").mkdir()
    Path("package/part.py").write_text("def half(x):\n    return x / 2\n")
    assert '"result": 1.5' in bursty("map", "package.part::half", "-", "-o", "-", stdin="3").out


def test_a_hundred_thousand_rows_stream(bursty: Callable[..., Done]) -> None:
    """100 MB of rows; the client never holds them all."""
    with open("in.jsonl", "w") as file:
        for number in range(100_000):
            file.write(json.dumps(["x" * 1000, number]) + "\n")
    Path("app.py").write_text("def size(text, number):\n    return len(text) + number\n")
    # The kernel counts what a process was before its exec, so a small one must start it.
    launch = "import os,resource,subprocess,sys;code=subprocess.call(sys.argv[2:]);"
    launch += "open(sys.argv[1],'w').write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss));sys.exit(code)"
    command = [*BURSTY, "map", "app.py::size", "in.jsonl", "-o", "-"]
    with open("out.jsonl", "wb") as out, open("err.txt", "wb") as err:
        code = subprocess.call([sys.executable, "-c", launch, "peak.txt", *command], stdout=out, stderr=err)
    assert code == 0, Path("err.txt").read_text()
    with open("out.jsonl") as file:
        results = [json.loads(line)["result"] for line in file]
    assert results == [1000 + number for number in range(100_000)]
    assert int(Path("peak.txt").read_text()) < 250 << 10


def test_limit(bursty: Callable[..., Done]) -> None:
    assert len(bursty("map", "app.py::square", "-", "-o", "-", "--limit", "3", stdin="1\n" * 50).out.splitlines()) == 3


# Ends before its time


def start_logged(rows: int, *options: str) -> subprocess.Popen[str]:
    """A map in a session of its own, of which some calls were made."""
    Path("in.jsonl").write_text("".join(f"{i}\n" for i in range(rows)))
    command = [*BURSTY, "map", "app.py::logged", "in.jsonl", "-o", "out.jsonl", "--workers", "2", *options]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment()
    )
    until(lambda: Path("calls.log").exists() and len(Path("calls.log").read_text().split()) > 30, process)
    return process


def until(condition: Callable[[], bool], process: subprocess.Popen[str] | None = None, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()[1]
        time.sleep(0.005)


def nobody_left(session: int) -> bool:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                return False
    return True


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_map_that_is_ended_leaves_nothing(bursty: Callable[..., Done], number: int, code: int) -> None:
    process = start_logged(5000)
    began = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert time.monotonic() - began < 5  # about 0.5 s on an idle machine
    assert process.returncode == code
    assert "Traceback" not in err
    if number == signal.SIGINT:
        assert "interrupted after" in err
    assert not Path("out.jsonl").exists()
    assert hidden() == []
    if sys.platform == "linux":
        until(lambda: nobody_left(process.pid), seconds=5)


def test_resume_makes_only_the_calls_that_are_missing(bursty: Callable[..., Done]) -> None:
    process = start_logged(300, "--resume", "night")
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "--resume night" in err
    before = len(Path("calls.log").read_text().split())
    done = bursty("map", "app.py::logged", "in.jsonl", "-o", "out.jsonl", "--resume", "night")
    assert done.code == 0, done.err
    assert [row["result"] for row in lines("out.jsonl")] == list(range(300))
    after = len(Path("calls.log").read_text().split())
    assert after - before < 290
    assert bursty("map", "app.py::logged", "in.jsonl", "-o", "out.jsonl", "--resume", "night").code == 0
    assert len(Path("calls.log").read_text().split()) == after
    Path("app.py").write_text(APP.replace("    time.sleep(0.01)\n", ""))
    changed = bursty("map", "app.py::logged", "in.jsonl", "-o", "out.jsonl", "--resume", "night")
    assert changed.code == 2
    assert "another name" in changed.err


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet"])
def test_a_full_disk_leaves_what_was_there(bursty: Callable[..., Done], name: str) -> None:
    Path(name).write_text("what was there")
    limit = 3 << 20  # more than the workers' shared memory

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    rows = "".join(f"{i}\n" for i in range(6000))
    app = APP.replace('"y" * 1000', "os.urandom(500).hex()")
    Path("app.py").write_text(app)
    done = bursty("map", "app.py::wide", "-", "-o", name, stdin=rows, preexec_fn=fill)
    assert done.code == 2, done.err
    assert "can't be written" in done.err
    assert "Traceback" not in done.err
    assert Path(name).read_text() == "what was there"
    assert hidden() == []


def test_a_reader_that_leaves_ends_the_map(bursty: Callable[..., Done]) -> None:
    shell = f'"{sys.executable}" -c "from bursty.cli import main; main()" map app.py::wide - -o - 2>err.txt | head -1'
    done = subprocess.run(shell, shell=True, input=b"1\n" * 20000, capture_output=True, check=False, timeout=60)
    assert json.loads(done.stdout)["input"] == 1
    assert Path("err.txt").read_text() == ""


# The other commands


def test_init_writes_a_project_that_runs(bursty: Callable[..., Done]) -> None:
    done = bursty("init", "prices")
    assert done.code == 0
    assert "cd prices" in done.out
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", "."],
        cwd="prices",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in tests.stdout, tests.stdout + tests.stderr
    mapped = bursty("map", "app.py::simulate", "inputs.csv", "-o", "prices.csv", cwd="prices")
    assert mapped.code == 0, mapped.err
    assert pl.read_csv("prices/prices.csv").columns == ["seed", "growth", "price"]
    script = subprocess.run([sys.executable, "app.py"], cwd="prices", capture_output=True, text=True, check=True)
    assert "in 9 of 10 cases" in script.stdout


def test_init_replaces_nothing(bursty: Callable[..., Done]) -> None:
    Path("mine").mkdir()
    Path("mine/README.md").write_text("mine")
    done = bursty("init", "mine")
    assert done.code == 2
    assert "README.md" in done.err
    assert os.listdir("mine") == ["README.md"]


def test_prune_removes_what_is_old_and_says_how_much(bursty: Callable[..., Done]) -> None:
    assert json.loads(bursty("prune", "--json").out)["bytes"] == 0
    assert not Path(".bursty").exists()
    bursty("map", "app.py::square", "-", "-o", "-", "--resume", "kept", stdin="1\n2\n")
    assert json.loads(bursty("prune", "--json").out)["bytes"] == 0
    dry = json.loads(bursty("prune", "--older-than", "1 ms", "--dry-run", "--json").out)
    assert {item["what"]: item["count"] for item in dry["removed"] if item["count"]} == {"results kept for --resume": 1}
    real = json.loads(bursty("prune", "--older-than", "1 ms", "--json").out)
    assert real == {**dry, "dry_run": False}
    assert "0 B" in bursty("prune", "--older-than", "1 ms").out
    assert bursty("prune", "--older-than", "x").code == 2


def test_demo_writes_its_picture(bursty: Callable[..., Done]) -> None:
    pytest.importorskip("matplotlib")
    done = bursty("demo", "--out", "forecast", "--paths", "200")
    assert done.code == 0, done.err
    assert sorted(os.listdir("forecast")) == ["forecast.csv", "forecast.png"]


# Results as plain data


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float64(1.5), "1.5"),
        (np.int32(3), "3"),
        (np.bool_(True), "true"),
        (np.arange(4).reshape(2, 2), "[[0, 1], [2, 3]]"),
        (np.datetime64("2025-01-02"), '"2025-01-02T00:00:00"'),
        (np.datetime64("NaT"), "null"),
        ({1: (2, 3), "d": dt.date(2025, 1, 2)}, '{"1": [2, 3], "d": "2025-01-02"}'),
        ({"s": {3, 1, 2}, "x": Decimal("1.10")}, '{"s": [1, 2, 3], "x": "1.10"}'),
        (pl.DataFrame({"a": [1, 2]}), '[{"a": 1}, {"a": 2}]'),
        (dt.timedelta(seconds=90), "90.0"),
        ("é", '"é"'),
    ],
    ids=repr,
)
def test_results_become_json(value: Any, text: str) -> None:
    assert to_json(value) == (text, 0)


def test_nan_becomes_null_and_is_counted() -> None:
    assert to_json([float("nan"), np.array([1.0, np.inf])]) == ("[null, [1.0, null]]", 2)
    assert np.isnan(to_plain(np.float64("nan")))


def test_what_has_no_form_is_named_with_its_path() -> None:
    with pytest.raises(NotPlain, match=r"result\['model'\]\[1\] is an object"):
        to_json({"model": [1, object()]})
    with pytest.raises(NotPlain, match="bytes"):
        to_json({"a": b"x"})
    knot: list[Any] = []
    knot.append(knot)
    with pytest.raises(NotPlain, match="contains itself"):
        to_json(knot)
    with pytest.raises(NotPlain):
        to_json("\ud800")
    assert to_plain({"a": b"x", "d": dt.date(2025, 1, 2)}) == {"a": b"x", "d": dt.date(2025, 1, 2)}
