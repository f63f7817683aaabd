"""The command line of jobs: what people type, what they see, what programs get. What makes runs or waits for signals is
the real script; what only looks is called here."""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from bursty.cli import complete
from bursty.cli.main import app as commands
from bursty.cli.watch import Voice, Watch
from bursty.config import Settings
from bursty.core import runstate
from bursty.errors import BurstyError, ConfigError, InputsInvalid, StoreError
from bursty.records import RunQuery, RunRecord, RunStatus
from bursty.stage import Stage
from bursty.stores.memory import MemoryState
from labs import Lab, eventually

BURSTY = [sys.executable, "-c", "from bursty.cli import main; main()"]

APP = '''
import sys
import time
from typing import Annotated, Literal

from pydantic import Field

from bursty import App, File, Model, Run

app = App("shop")
FACTOR = 1


@app.job(title="Revenue forecast", timeout="1 h")
def forecast(run: Run, growth: Annotated[float, Field(ge=-1, le=5, title="Yearly growth")] = 0.05,
             scenario: Literal["base", "bull"] = "base", history: File | None = None, note: str = "") -> None:
    """What the shop will earn."""
    print("growth is", growth)
    print("to stderr", file=sys.stderr)
    rows = [{"year": 2026 + year, "value": FACTOR * (1 + growth) ** year} for year in range(5)]
    for _ in run.track(rows, "years"):
        pass
    run.metric("last", rows[-1]["value"])
    run.save_table("table", rows)
    run.save_file("notes.txt", (history.read_text() if history else "no history").encode())
    run.log("look at this", "warning")


@app.job
def boom(run: Run) -> None:
    raise ValueError("no luck [today]")


@app.job
def slow(run: Run, asks: bool = False) -> None:
    print("begun", flush=True)
    while asks and not run.cancelled:
        time.sleep(0.05)
    time.sleep(60)


@app.job
def learn(run: Run, accuracy: float = 0.5) -> None:
    Model("prices").save({"a": 1}, metrics={"accuracy": accuracy}, note="by hand")


@app.schedule("0 2 * * *", tz="Europe/Berlin")
def nightly(n: int = 3) -> None:
    print("n is", n)
'''


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out, self.err
        return json.loads(self.out)


class Project:
    """A folder with an app, and commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "app.py").write_text(APP)
        self.settings = Settings(home=str(folder / "home"), cache=str(folder.parent / "cache"), user="ann")
        names = ("home", "cache", "user")
        (folder / "bursty.toml").write_text("".join(f'{name} = "{getattr(self.settings, name)}"\n' for name in names))

    def start(self, line: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*BURSTY, *shlex.split(line)],
            cwd=self.folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def script(self, line: str, **environment: str) -> Done:
        """As a process of its own."""
        process = self.start(line, **environment)
        out, err = process.communicate(timeout=120)
        return Done(process.returncode, out, err)

    @contextlib.contextmanager
    def stage(self) -> Iterator[Stage]:
        with Stage(self.settings) as stage:
            yield stage

    def runs(self, **query: Any) -> list[RunRecord]:
        with self.stage() as stage:
            return list(stage.runs.list(RunQuery(**query)))

    def newest(self) -> str:
        return self.runs()[0].id


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "shop").mkdir()
    return Project(tmp_path / "shop")


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with runs, by two versions of its app: good, changed, failed. Tests only look at these."""
    folder = tmp_path_factory.mktemp("lived") / "shop"
    folder.mkdir()
    project = Project(folder)
    with project.stage() as stage:
        first, _ = stage.versions.take(project.folder / "app.py", "the first")
        (project.folder / "app.py").write_text(APP.replace("FACTOR = 1", "FACTOR = 3"))
        second, _ = stage.versions.take(project.folder / "app.py", "the second")
        (project.folder / "history.csv").write_text("a,b\n1,2\n")
        inputs = {"history": str(project.folder / "history.csv")}
        stage.runs.submit("shop", "forecast", {"growth": 0.5, **inputs}, version=first.digest, allow_paths=True)
        stage.runs.submit("shop", "forecast", {"growth": 0.25}, version=second.digest)
        stage.runs.submit("shop", "boom")
        stage.runs.submit("shop", "learn", {"accuracy": 0.75})
        from bursty.jobs.worker import WorkerPlan

        stage.worker(WorkerPlan()).run()
    return project


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """A command in this process. Raises its ``BurstyError``."""

    def run(project: Project, line: str) -> Done:
        monkeypatch.chdir(project.folder)
        capsys.readouterr()
        try:
            code = commands(shlex.split(line), standalone_mode=False)
        except SystemExit as ending:
            code = ending.code
        captured = capsys.readouterr()
        return Done(int(code or 0), captured.out, captured.err)

    return run


Call = Callable[[Project, str], Done]


def ends(project: Project) -> dict[str, str]:
    """The last eight digits of the newest run of each job."""
    return {run.job: run.id[-8:] for run in reversed(project.runs())}


# bursty run


def test_a_run_from_a_file(project: Project) -> None:
    (project.folder / "sales.csv").write_text("year,sales\n")
    done = project.script("run app.py::forecast --growth 0.07 --history sales.csv --set note=x --note 'for the board'")
    assert done.code == 0
    assert done.out == "growth is 0.07\nwarning: look at this\n", "stdout is what the job prints"
    assert "to stderr" in done.err
    assert "✓ forecast succeeded" in done.err
    assert "version 1" in done.err
    assert "table, 5 rows" in done.err
    assert "bursty runs download" in done.err
    [run] = project.runs()
    assert json.loads(run.inputs)["growth"] == 0.07
    assert json.loads(run.inputs)["note"] == "x"
    assert json.loads(run.inputs)["history"]["name"] == "sales.csv"
    with project.stage() as stage:
        assert [event.data for event in stage.runs.events(run.id) if event.kind == "note"] == [
            {"text": "for the board"}
        ]
        assert [version.message for version in stage.versions.list("shop")] == ["bursty run"]


def test_json_alone_is_on_stdout_and_the_same_content_is_the_same_version(project: Project) -> None:
    first = project.script("run app.py::forecast --json")
    again = project.script("run forecast --growth 1 --json")
    assert (first.code, again.code) == (0, 0)
    assert "growth is 0.05" in first.err
    assert first.json["status"] == "succeeded"
    assert first.json["digest"] == again.json["digest"]
    assert first.json["version"] == again.json["version"] == 1
    assert again.json["metrics"] == {"last": 16.0}
    assert [item["name"] for item in again.json["outputs"]] == ["table", "notes.txt"]
    assert again.json["created_by"] == "ann"


def test_a_run_that_fails(project: Project) -> None:
    done = project.script("run app.py::boom --quiet")
    assert done.code == 1
    assert done.out == ""
    assert "✗ boom failed" in done.err
    assert "ValueError: no luck [today]" in done.err
    assert project.script("run app.py::boom --json").json["error"].startswith("ValueError: no luck")


def test_a_run_that_is_quiet(project: Project) -> None:
    assert project.script("run app.py::forecast --quiet") == Done(0, "", "")


def test_nothing_is_queued_for_bad_inputs(lived: Project) -> None:
    before = len(lived.runs())
    done = lived.script("run app.py::forecast --growth 7 --grwth 1 --scenario bulll")
    assert done.code == 2
    assert done.out == ""
    for words in ("3 inputs", "--growth: must be at least -1", "'--growth'?", "'bull'?"):
        assert words in done.err
    assert "Traceback" not in done.err
    assert len(lived.runs()) == before
    with lived.stage() as stage:
        assert len(stage.versions.list("shop")) == 2, "and no version is registered for them"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("run --growth 1", "the job comes before its options"),
        ("run nowhere.py::forecast", "there is no file 'nowhere.py'"),
        ("run app.py", "app.py::forecast, app.py::boom"),
        ("run app.py::forcast", "Did you mean forecast?"),
        ("run app.py::forecast --version 1", "go with the name of a job alone"),
        ("run forcast", "Did you mean 'forecast'?"),
        ("run forecast --version 9", "no version '9'"),
        ("run forecast --app nobody", "there is no app 'nobody'"),
        ("runs show 12345678", "there is no run '12345678'"),
        ("runs list --status nope", "there is no status 'nope'"),
        ("runs list --version 9", "no version '9'"),
        ("runs logs 12345678", "there is no run"),
        ("runs cancel 12345678", "there is no run"),
        ("runs compare 12345678 12345678", "there is no run"),
        ("versions show 9", "no version '9'"),
        ("versions promote 9", "no version '9'"),
        ("versions back", "no version of 'shop' was current before"),
        ("models show nothing", "there is no model 'nothing'"),
        ("models promote prices 7", "has no version 7"),
        ("schedules pause nothing", "there is no schedule 'nothing'"),
        ("snapshot nowhere.py", "there is no file 'nowhere.py'"),
        ("snapshot", "which file declares the app?"),
        ("prune --older-than soon", "'soon' is no time"),
    ],
)
def test_mistakes_are_told_in_words(lived: Project, call: Call, line: str, words: str) -> None:
    with pytest.raises(BurstyError) as caught:
        call(lived, line)
    assert words in str(caught.value)


def test_a_job_of_several_apps_is_asked_for_with_its_app(project: Project, call: Call) -> None:
    (project.folder / "other").mkdir()
    (project.folder / "other" / "two.py").write_text(APP.replace('App("shop")', 'App("stall")'))
    (project.folder / "other" / "two.py").write_text(
        'from bursty import App\n\napp = App("stall")\n\n\n@app.job\ndef boom() -> None:\n    pass\n'
    )
    with project.stage() as stage:
        stage.versions.take(project.folder / "app.py")
        stage.versions.take(project.folder / "other" / "two.py")
    assert call(project, "run forecast --detach --json").json["app"] == "shop", "only one has it"
    with pytest.raises(ConfigError, match="several apps have a job 'boom': shop, stall"):
        call(project, "run boom --detach")
    assert call(project, "run boom --app stall --detach --json").json["app"] == "stall"
    with pytest.raises(ConfigError, match="no app has a job 'none'"):
        call(project, "run none --detach")
    with pytest.raises(ConfigError, match="there are several apps"):
        call(project, "versions show 1")


def test_help_of_a_job(lived: Project, call: Call) -> None:
    shown = call(lived, "run app.py::forecast --help").out
    for words in (
        *(
            "Revenue forecast",
            "What the shop will earn.",
            "--growth NUMBER",
            "Yearly growth; at least -1 and at most 5",
        ),
        *("--scenario base|bull", "--history FILE", "--set note=TEXT", "(default: 0.05)", "An attempt may take 1 h"),
    ):
        assert words in shown
    assert call(lived, "run forecast --help --version 1 --json").json["form"]["fields"][0]["name"] == "growth"
    assert "--detach" in call(lived, "run --help").out
    with lived.stage() as stage:
        assert len(stage.versions.list("shop")) == 2, "looking registers nothing"


def test_one_key_is_one_run(project: Project) -> None:
    first = project.script("run app.py::forecast --key monday --json").json
    again = project.script("run app.py::forecast --key monday --json").json
    assert first == again
    other = project.script("run app.py::forecast --key monday --growth 1 --json")
    assert (other.code, other.out) == (2, "")
    assert f"the key 'monday' belongs to run {first['id']} with other inputs" in other.err
    assert len(project.runs()) == 1


def test_a_run_is_left_to_a_worker(project: Project) -> None:
    queued = project.script("run app.py::forecast --detach --priority 3")
    assert queued.code == 0
    run = queued.out.strip()
    assert "is queued" in queued.err
    assert [item.priority for item in project.runs(status=RunStatus.QUEUED)] == [3]
    worked = project.script("worker")
    assert worked.code == 0
    assert f"forecast {run}: succeeded" in worked.err
    assert "1 run ended, nothing is left" in worked.err
    assert project.script(f"runs logs {run[-8:]}").out == "growth is 0.05\nto stderr\nwarning: look at this\n"
    assert project.script("worker --json").json == {
        "claimed": 0, "ended": 0, "retried": 0, "stale": 0, "left": 0,
    }  # fmt: skip


# Signals


@contextlib.contextmanager
def begun(project: Project, line: str) -> Generator["subprocess.Popen[str]"]:
    """A process whose run is under way."""
    process = project.start(line)
    try:
        eventually(lambda: process.poll() is None and (project.folder / "home" / "state.sqlite").exists())
        eventually(lambda: has_begun(project), 60)
        yield process
    finally:
        process.kill()
        process.communicate()


def has_begun(project: Project) -> bool:
    with project.stage() as stage:
        running = stage.runs.list(RunQuery(status=RunStatus.RUNNING))
        return any(line.text == "begun" for run in running for line in stage.runs.log(run.id))


def test_ctrl_c_cancels_the_run(project: Project) -> None:
    with begun(project, "run app.py::slow") as process:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "cancelling run" in err
    assert "slow cancelled" in err
    [run] = project.runs()
    assert run.status == RunStatus.CANCELLED


def test_a_second_ctrl_c_kills_a_run_that_takes_its_time(project: Project) -> None:
    with begun(project, "run app.py::slow --asks") as process:
        process.send_signal(signal.SIGINT)
        eventually(lambda: project.runs()[0].cancel_requested)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    [run] = project.runs()
    assert run.status == RunStatus.CANCELLED
    assert run.error == "cancelled while it ran"


def test_a_run_that_somebody_else_cancels(project: Project, call: Call) -> None:
    with begun(project, "run app.py::slow --json") as process:
        call(project, f"runs cancel {project.newest()}")
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert json.loads(out)["status"] == "cancelled"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_stopped_gives_its_run_back(project: Project, call: Call, number: signal.Signals) -> None:
    call(project, "run app.py::slow --detach")
    with begun(project, "worker --stay --slots 2") as process:
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"{number.name}: ending in good order" in err
    assert "1 left" in err
    [run] = project.runs()
    assert (run.status, run.owner) == (RunStatus.QUEUED, None)


def test_a_scheduler_ends_in_good_order(project: Project) -> None:
    process = project.start("scheduler")
    lines = iter(process.stderr or ())
    assert "scheduling: 0 schedules" in next(lines)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_logs_are_followed_until_the_run_is_over(project: Project, call: Call) -> None:
    call(project, "run app.py::forecast --detach")
    follower = project.start(f"runs logs -f {project.newest()}")
    assert follower.stderr is not None
    told = follower.stderr.readline()
    try:
        assert project.script("worker").code == 0
        out, err = follower.communicate(timeout=60)
    finally:
        follower.kill()
    assert out == "growth is 0.05\nto stderr\nwarning: look at this\n"
    assert "queued" in told
    assert "bursty worker makes it" in told
    assert "queued" not in err
    assert "succeeded" in err


class Away(MemoryState):
    """A store that can't be reached for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses = 0

    def get(self, run: str) -> RunRecord | None:
        if self.refuses:
            self.refuses -= 1
            raise StoreError("the database is away")
        return super().get(run)


def test_looking_on_outlasts_a_store_that_is_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = Away()
    lab = Lab(tmp_path, tmp_path / "cache", state)
    try:
        queued = lab.submit("good")
        state.refuses = 3
        ended = Watch(lab.stage, Voice(quiet=False)).follow(queued)
    finally:
        lab.close()
    assert ended.status == RunStatus.SUCCEEDED
    assert state.refuses == 0
    assert "growing by" in capsys.readouterr().out


# bursty runs


def test_runs_are_listed(lived: Project, call: Call) -> None:
    shown = call(lived, "runs list").out
    lines = shown.splitlines()
    assert lines[0].split() == ["run", "job", "status", "took", "version", "asked", "by"]
    assert [line.split()[1] for line in lines[1:]] == ["learn", "boom", "forecast", "forecast"]
    assert not [line for line in lines if line != line.rstrip()], "no spaces at the ends of lines in pipes"
    found = call(lived, "runs list --json").json
    assert [run["job"] for run in found] == ["learn", "boom", "forecast", "forecast"]
    assert [run["version"] for run in found] == [1, 1, 2, 1]


@pytest.mark.parametrize(
    ("options", "jobs"),
    [
        ("--job forecast", ["forecast", "forecast"]),
        ("--status failed", ["boom"]),
        ("--status open", []),
        ("--version 2", ["forecast"]),
        ("--by nobody", []),
        ("--by ann --limit 1", ["learn"]),
        ("--app other", []),
    ],
)
def test_runs_are_filtered(lived: Project, call: Call, options: str, jobs: list[str]) -> None:
    assert [run["job"] for run in call(lived, f"runs list {options} --json").json] == jobs


def test_the_next_page_of_runs(lived: Project, call: Call) -> None:
    first = call(lived, "runs list --limit 2")
    before = first.err.split()[-1]
    assert [run["job"] for run in call(lived, f"runs list --before {before} --json").json] == ["forecast", "forecast"]


def test_everything_about_a_run(lived: Project, call: Call) -> None:
    run = lived.runs(job="forecast")[-1].id
    shown = call(lived, f"runs show {run[-8:]}").out
    for words in (
        *("Revenue forecast", "✓ succeeded", run, "shop/forecast", "the first", "Yearly growth", "0.5", "history.csv"),
        *("last", "5.0625", "table, 5 rows", "submitted · ann", "started", "Scenario"),
    ):
        assert words in shown
    found = call(lived, f"runs show {run} --json").json
    assert found["inputs"]["growth"] == 0.5
    assert [event["kind"] for event in found["events"]] == ["submitted", "started", "succeeded"]
    assert {item["name"] for item in found["outputs"]} == {"table", "notes.txt"}


def test_everything_about_a_run_that_failed(lived: Project, call: Call) -> None:
    shown = call(lived, f"runs show {ends(lived)['boom']}").out
    assert "✗ failed" in shown
    assert "ValueError: no luck [today]" in shown


STEERING = """
from bursty import App, Run

app = App("shop")


@app.job(retries=1)
def steer(run: Run, fails: bool = True) -> None:
    run.save_file("half.txt", b"half", publish=True)
    if fails:
        raise ValueError("\\x1b[31mred\\x07, next\\n\\tline \\x9b")
"""


def test_a_run_that_failed_steers_no_terminal_and_published_nothing(project: Project, call: Call) -> None:
    (project.folder / "app.py").write_text(STEERING)
    made = project.script("run app.py::steer")
    run = project.newest()
    shown = call(project, f"runs show {run}").out
    for text in (made.err, shown):
        assert r"ValueError: \x1b[31mred\x07, next" in text
        assert r"line \x9b" in text
        assert not {"\x1b", "\x07", "\x9b"} & set(text)
        assert re.search(r"half\.txt +file, 4 B$", text, re.MULTILINE)
        assert " of 2" not in text, "failures and deaths of workers are counted apart"
    assert ", attempt 2 " in made.err
    assert re.search(r"^attempt +2$", shown, re.MULTILINE)
    assert [item["published"] for item in call(project, f"runs show {run} --json").json["outputs"]] == [False]
    good = project.script("run app.py::steer --no-fails")
    assert re.search(r"half\.txt +file, 4 B, published$", good.err, re.MULTILINE)
    assert call(project, "runs show last --json").json["outputs"][0]["published"] is True


def test_a_log_with_times_and_as_json(lived: Project, call: Call) -> None:
    run = lived.runs(job="forecast")[-1].id
    assert all(line[:4].isdigit() for line in call(lived, f"runs logs -t {run}").out.splitlines())
    lines = [json.loads(line) for line in call(lived, f"runs logs {run} --json").out.splitlines()]
    assert [(line["stream"], line["level"], line["text"]) for line in lines] == [
        ("stdout", "", "growth is 0.5"),
        ("stderr", "", "to stderr"),
        ("log", "warning", "look at this"),
    ]


def test_two_runs_are_compared(lived: Project, call: Call) -> None:
    new, old = (run.id for run in lived.runs(job="forecast"))
    found = call(lived, f"runs compare {old} {new} --json").json
    assert found["same"] is False
    assert (found["a"]["version"], found["b"]["version"]) == (1, 2)
    inputs = {item["name"]: item for item in found["inputs"]}
    assert (inputs["growth"]["a"], inputs["growth"]["b"], inputs["growth"]["title"]) == (0.5, 0.25, "Yearly growth")
    assert inputs["scenario"]["same"]
    [metric] = found["metrics"]
    assert metric == {
        "name": "last", "a": 5.0625, "b": 7.32421875, "delta": 2.26171875, "percent": pytest.approx(44.68, abs=0.01),
    }  # fmt: skip
    table = next(item for item in found["outputs"] if item["name"] == "table")
    assert table["table"]["changed"] == {"value": 5}
    shown = call(lived, f"runs compare {old} {new} --rows 2").out
    for words in ("Yearly growth", "5.0625", "7.32422", "+2.26172", "+44.7 %", "5 of 5 rows differ", "not set"):
        assert words in shown
    assert len([line for line in shown.splitlines() if "  value " in line]) == 3, "a mean and two rows"
    assert call(lived, f"runs compare {old} {old} --json").json["same"] is True
    assert "are the same" in call(lived, f"runs compare {old} {old}").out


def test_outputs_are_downloaded(lived: Project, call: Call, tmp_path: Path) -> None:
    run = lived.runs(job="forecast")[-1].id
    done = call(lived, f"runs download {run} -o {tmp_path}/all --json").json
    assert {Path(item["path"]).name for item in done} == {"table.csv", "notes.txt"}
    assert (tmp_path / "all" / "notes.txt").read_text() == "a,b\n1,2\n"
    assert pl.read_csv(tmp_path / "all" / "table.csv")["year"].to_list() == [2026, 2027, 2028, 2029, 2030]
    for form, read in (("parquet", pl.read_parquet), ("xlsx", None)):
        call(lived, f"runs download {run} table --as {form} -o {tmp_path}/{form}")
        assert os.listdir(tmp_path / form) == [f"table.{form}"]
        if read is not None:
            assert read(tmp_path / form / f"table.{form}").height == 5
    with pytest.raises(ConfigError, match="Known: csv, xlsx, parquet"):
        call(lived, f"runs download {run} --as docx")
    with pytest.raises(ConfigError, match="no output 'nothing'"):
        call(lived, f"runs download {run} nothing")
    with pytest.raises(ConfigError, match="has no outputs"):
        call(lived, f"runs download {ends(lived)['boom']}")


def test_a_download_is_no_part_of_the_next_version(project: Project, call: Call) -> None:
    first = project.script("run app.py::forecast --json").json
    call(project, f"runs download {first['id']}")
    assert (project.folder / f"forecast-{first['id'][-8:]}" / "table.csv").is_file()
    assert call(project, "run app.py::forecast --detach --json").json["digest"] == first["digest"]


def test_the_first_rows_of_a_table(lived: Project, call: Call) -> None:
    run = lived.runs(job="forecast")[-1].id
    shown = call(lived, f"runs preview {run} table --rows 2")
    assert [line.split() for line in shown.out.splitlines()] == [["year", "value"], ["2026", "1.0"], ["2027", "1.5"]]
    assert "and 3 more rows" in shown.err
    assert call(lived, f"runs preview {run} table --json").json["total"] == 5
    with pytest.raises(ConfigError, match="is no table"):
        call(lived, f"runs preview {run} notes.txt")


def test_notes_and_ratings(lived: Project, call: Call) -> None:
    run = ends(lived)["learn"]
    call(lived, f"runs note {run} 'the [good] one'")
    assert call(lived, f"runs rate {run} 4 'rather good' --json").json["rating"] == 4
    shown = call(lived, f"runs show {run}").out
    assert "ann: the [good] one" in shown
    assert "ann: ★★★★☆ rather good" in shown
    assert lived.script(f"runs rate {run} 6").code == 2


def test_a_run_is_made_again_with_changes(project: Project, call: Call) -> None:
    (project.folder / "sales.csv").write_text("1")
    call(project, "run app.py::forecast --growth 0.5 --history sales.csv --detach")
    (project.folder / "sales.csv").unlink()
    (project.folder / "app.py").write_text(APP.replace("FACTOR = 1", "FACTOR = 3"))
    call(project, "snapshot app.py -m second")
    first = project.newest()
    again = project.script(f"runs rerun {first[-8:]} --set growth=1 --json")
    assert again.code == 0
    assert again.json["metrics"] == {"last": 16.0}
    assert again.json["inputs"]["history"]["name"] == "sales.csv"
    assert again.json["rerun_of"] == first
    other = call(project, f"runs rerun {first} --version 2 --unset history --note why --detach --json").json
    assert (other["version"], other["inputs"]["history"]) == (2, None)
    with pytest.raises(InputsInvalid, match="at most 5"):
        call(project, f"runs rerun {first} --set growth=7 --detach")


def test_cancelling_and_taking_up_again(project: Project, call: Call) -> None:
    for _ in range(3):
        call(project, "run app.py::forecast --detach")
    first, second, third = (run.id for run in project.runs())
    assert [run["status"] for run in call(project, f"runs cancel {first[-8:]} {second} --json").json] == [
        "cancelled",
        "cancelled",
    ]
    with pytest.raises(ConfigError, match="cancelled; only lost ones"):
        call(project, f"runs retry {first}")
    with project.stage() as stage:
        lose(stage, third)
    assert call(project, f"runs retry {third} --json").json["status"] == "queued"
    assert "lost" in call(project, f"runs show {third}").out


def lose(stage: Stage, run: str) -> None:
    """Its worker dies until no attempt is left."""
    while (seen := stage.runs.get(run)).status != RunStatus.LOST:
        change = runstate.reap(seen, "tests", stage.state.skew) or runstate.claim("dead", -5, stage.state.skew, seen)
        stage.state.change(replace(change, run=seen.id))


# Versions, models, schedules


def test_versions_are_taken_promoted_and_taken_back(project: Project, call: Call) -> None:
    first = call(project, "snapshot app.py -m first --json").json
    assert (first["version"], first["is_current"], first["is_new"]) == (1, True, True)
    assert "version 1 was there already" in call(project, "snapshot app.py").out
    (project.folder / "app.py").write_text(APP + "\n# changed\n")
    (project.folder / ".env").write_text("SECRET=1")
    second = call(project, "snapshot app.py -m second")
    assert "version 2 is new" in second.out
    assert "bursty versions promote 2" in second.out
    assert "left out: .env" in second.err
    assert call(project, "versions promote 2 --json").json["is_current"]
    assert [(item["version"], item["is_current"]) for item in call(project, "versions list --json").json] == [
        (2, True),
        (1, False),
    ]
    assert "version 1 is current again" in call(project, "versions back").out
    shown = call(project, "versions show 1").out
    for words in ("shop version 1, the current one", "first", "forecast, boom, slow, learn, nightly", "not in git"):
        assert words in shown
    assert shown.count("promoted") == 2
    assert call(project, "versions back --json").json["version"] == 2
    listed = call(project, "versions").out.splitlines()
    assert [line.split()[0] for line in listed[1:]] == ["✓", "shop"]
    assert call(project, "versions --app shop --json").json == call(project, "versions list --json").json
    assert call(project, "versions --app other --json").json == []
    with pytest.raises(ConfigError, match=r"before 'back'(.|\n)*versions back"):
        call(project, "versions --json back")


def test_the_app_file_comes_from_the_settings(project: Project, call: Call) -> None:
    with (project.folder / "bursty.toml").open("a") as file:
        file.write('app = "app.py"\n')
    assert call(project, "snapshot --json -m here").json["version"] == 1


def test_models_are_listed_and_promoted(lived: Project, call: Call) -> None:
    assert "prices" in call(lived, "models").out
    [model] = call(lived, "models list --json").json
    assert call(lived, "models --json").json == [model]
    assert (model["name"], model["version"], model["is_current"]) == ("prices", 1, True)
    shown = call(lived, "models show prices").out
    assert "accuracy 0.75" in shown
    assert "by hand" in shown
    assert "is current" in call(lived, "models promote prices 1").out


def test_schedules_pause_resume_and_run_now(project: Project, call: Call) -> None:
    call(project, "snapshot app.py")
    shown = call(project, "schedules").out
    assert "shop/nightly/0" in shown
    assert "Europe/Berlin" in shown
    assert "paused" in call(project, "schedules pause nightly").out
    [listed] = call(project, "schedules list --json").json
    assert (listed["paused"], listed["next_at"], listed["cron"]) == (True, None, "0 2 * * *")
    assert call(project, "schedules --json").json == [listed]
    assert call(project, "schedules resume shop/nightly/0 --json").json["next_at"] is not None
    queued = call(project, "schedules run nightly --detach --json").json
    assert (queued["job"], queued["schedule"]) == ("nightly", "shop/nightly/0")
    done = call(project, "scheduler --once")
    assert "nothing was due" in done.err
    assert call(project, "scheduler --once --json").json == []


def test_a_scheduler_queues_what_is_due(project: Project, call: Call) -> None:
    (project.folder / "app.py").write_text(APP.replace('"0 2 * * *", tz="Europe/Berlin"', 'every="1 s", missed="all"'))
    call(project, "snapshot app.py")
    call(project, "scheduler --once")
    queued = eventually(lambda: call(project, "scheduler --once --json").json)
    assert {(run["job"], run["version"]) for run in queued} == {("nightly", 1)}
    assert all(run["key"].startswith("bursty:schedule shop/nightly/0@") for run in queued)
    assert {run["created_by"] for run in queued} == {"schedule shop/nightly/0"}


# Around


def test_nothing_is_there_yet(project: Project, call: Call) -> None:
    assert "no such runs" in call(project, "runs list").err
    assert "no versions yet" in call(project, "versions").err
    assert "no models yet" in call(project, "models").err
    assert "no current version declares" in call(project, "schedules").err
    assert call(project, "runs list --json").json == []


def test_prune_makes_no_stage_and_keeps_the_last_good_run(project: Project, call: Call) -> None:
    counted = call(project, "prune --dry-run --versions --json").json["removed"]
    assert {item["what"] for item in counted} >= {"runs", "versions", "uploads", "caches", "restored versions", "Envs"}
    assert not (project.folder / "home").exists()
    project.script("run app.py::boom")
    project.script("run app.py::forecast")
    dry = call(project, "prune --runs-older-than 1ms --dry-run --json").json["removed"]
    assert [item["count"] for item in dry if item["what"] == "runs"] == [1]
    real = call(project, "prune --runs-older-than 1ms --json").json["removed"]
    assert real == dry
    assert [run.job for run in project.runs()] == ["forecast"]
    assert call(project, f"runs download {project.newest()} --json").code == 0


def test_the_tab_key(lived: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(lived.folder)
    assert ("app.py::forecast", "") in complete.targets("app")
    assert complete.targets("app.py::fo") == [("app.py::forecast", "")]
    assert ("forecast", "Revenue forecast") in complete.targets("fore")
    assert dict(complete.runs(""))[ends(lived)["boom"]].startswith("boom, failed")
    assert [value for value, _ in complete.versions("")] == ["2", "1"]
    assert complete.apps("sh") == [("shop", "")]
    assert complete.models("") == [("prices", "")]
    assert [value for value, _ in complete.schedules("")] == ["shop/nightly/0"]
    monkeypatch.chdir(tmp_path)
    assert complete.runs("") == []
    assert os.listdir(tmp_path) == []


def test_the_tab_key_in_a_shell(lived: Project) -> None:
    shell = {"_BURSTY_COMPLETE": "complete_bash", "COMP_WORDS": "bursty run app.py::", "COMP_CWORD": "2"}
    script = "import sys; sys.argv[0] = 'bursty'; from bursty.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=lived.folder,
        env={**os.environ, **shell},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "app.py::forecast" in done.stdout
