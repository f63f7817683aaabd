"""``App`` and the public names: declarations, and declared functions on the ambient executor."""

import json
import pickle
import subprocess
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bursty
from bursty import App, CallTimeout, ConfigError, Env, Executor
from bursty.runtime import describe

app = App("tests", env=Env(files=["never-read"]))
plain = App("plain-1_a")

PUBLIC = {
    "App",
    "BackendError",
    "Batching",
    "BurstyError",
    "CallError",
    "CallExited",
    "CallFuture",
    "CallStats",
    "CallTimeout",
    "ConfigError",
    "Default",
    "Env",
    "EnvError",
    "Executor",
    "File",
    "FunctionSpec",
    "InputsInvalid",
    "Log",
    "MemoryLimit",
    "Model",
    "RemoteError",
    "ResumeMismatch",
    "Run",
    "RunQuery",
    "RunRecord",
    "RunStatus",
    "SerializationError",
    "Settings",
    "Stage",
    "StoreError",
    "Table",
    "Unit",
    "WorkerLost",
}


@plain.function
def double(value: int) -> int:
    """Twice the value."""
    return 2 * value


@plain.function(retries=2)
def flaky(path: str, good_on: int) -> int:
    """Raises until it was called ``good_on`` times."""
    with open(path, "a") as file:
        file.write("x")
    tries = len(Path(path).read_text())
    if tries < good_on:
        raise OSError("not yet")
    return tries


@plain.function(timeout="200 ms")
def wait_for_ever() -> None:
    import threading

    threading.Event().wait()


@plain.function(memory="300 MiB", idempotent=False)
def lost(path: str) -> None:
    """Notes that it was called, and takes its worker with it."""
    import os

    with open(path, "a") as file:
        file.write("x")
    os._exit(9)


@plain.function(memory="150 MiB")
def allocate(size: int) -> int:
    return len(b"x" * size)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("app"))
        executor = Executor("local?workers=2", output="hide")
    yield executor
    executor.kill()


class TestPublicNames:
    def test_they_are_pinned(self) -> None:
        assert set(bursty.__all__) == PUBLIC
        assert bursty.__all__ == sorted(bursty.__all__)
        assert len(bursty.__all__) == len(PUBLIC)

    def test_each_is_there_and_listed(self) -> None:
        for name in PUBLIC:
            assert getattr(bursty, name).__name__ == name
        assert set(dir(bursty)) >= PUBLIC | {"__version__"}

    def test_they_are_listed_before_they_are_loaded(self) -> None:
        code = "import bursty, sys; print(len(set(bursty.__all__) - set(dir(bursty))), 'bursty.app' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["0", "False"]

    def test_another_name_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
            bursty.Nothing  # type: ignore[attr-defined]  # noqa: B018


class TestDeclaring:
    @pytest.mark.parametrize("name", ["a", "Sales-2024_x", "größe"])
    def test_names(self, name: str) -> None:
        assert App(name).name == name

    @pytest.mark.parametrize("name", ["", "a b", "a/b", "-", "../up", "a.b"])
    def test_names_that_can_not_be(self, name: str) -> None:
        with pytest.raises(ConfigError, match="name of an app") as caught:
            App(name)
        assert "letters" in caught.value.hint

    def test_it_returns_the_same_function(self) -> None:
        def work(value: int) -> int:
            return value + 1

        mine = App("mine")
        assert mine.function(work) is work
        assert mine.function(name="again", retries=1)(work) is work
        assert work(1) == 2
        assert set(mine.functions) == {"work", "again"}

    def test_two_of_one_name_are_refused(self) -> None:
        mine = App("mine")
        mine.function(name="double")(lambda: 1)
        with pytest.raises(ConfigError, match=r"'mine' has two functions named 'double'") as caught:
            mine.function(name="double")(flaky)
        assert "name=" in caught.value.hint
        assert list(mine.functions) == ["double"]
        assert flaky.__bursty__.retries == 2, "what was refused changed nothing"

    def test_options_are_parsed(self) -> None:
        mine = App("mine", env=Env(["numpy"]))
        own = Env(["pandas"])

        @mine.function(
            memory="2 GiB", timeout="10 min", retries=3, idempotent=True, cpu=2, gpu=1, name="other", env=own
        )
        def work() -> None: ...

        @mine.function
        def bare() -> None: ...

        spec = work.__bursty__
        assert (spec.name, spec.module, spec.qualname.rpartition(".")[2]) == ("other", __name__, "work")
        assert (spec.memory, spec.timeout, spec.retries, spec.idempotent) == (2 << 30, 600.0, 3, True)
        assert (spec.cpu, spec.gpu, spec.env) == (2, 1, own)
        spec = bare.__bursty__
        assert (spec.memory, spec.timeout, spec.retries, spec.idempotent) == (None, None, None, None)
        assert spec.env == Env(["numpy"])

    @pytest.mark.parametrize(
        "options",
        [{"memory": "much"}, {"memory": 0}, {"timeout": "soon"}, {"timeout": -1}, {"retries": -1}, {"timeout": "nan"}],
    )
    def test_options_that_make_no_sense(self, options: dict[str, object]) -> None:
        mine = App("mine")
        with pytest.raises(ConfigError):
            mine.function(**options)(lambda: 1)  # type: ignore[call-overload]
        assert not mine.functions

    def test_an_option_that_is_not_there(self) -> None:
        with pytest.raises(ConfigError, match="retry"):
            App("mine").function(retry=3)(lambda: 1)  # type: ignore[call-overload]

    @pytest.mark.parametrize("thing", [int, len, 7, types.SimpleNamespace()])
    def test_only_functions(self, thing: object) -> None:
        with pytest.raises(ConfigError, match="needs a function"):
            App("mine").function(thing)  # type: ignore[call-overload]

    def test_it_is_itself(self) -> None:
        assert double(4) == 8
        assert double.__doc__ == "Twice the value."
        assert pickle.loads(pickle.dumps(double)) is double
        assert len(pickle.dumps(double)) < 100
        assert repr(plain).startswith("App('plain-1_a', functions=['double'")


class TestCalling:
    def test_inside_with(self, folder: Path) -> None:
        with Executor("local?workers=1", output="hide") as executor:
            future = double.submit(1)
            assert future.result(60) == 2
            assert list(double.map(range(100))) == [2 * n for n in range(100)]
            assert list(double.starmap([(1,), (2,)])) == [2, 4]
            assert [f.result(60) for f in double.submit_many([5, 6])] == [10, 12]
            assert list(double.map([1, "a", None], return_exceptions=True))[:2] == [2, "aa"]
            assert len(executor.report().calls) == 108

    def test_the_innermost_executor_is_the_ambient_one(self, folder: Path) -> None:
        with Executor("local?workers=1", output="hide") as outer:
            with Executor("local?workers=1", output="hide") as inner:
                assert double.submit(1).result(60) == 2
            assert double.submit(2).result(60) == 4
            assert (len(outer.report().calls), len(inner.report().calls)) == (1, 1)

    def test_without_one_it_is_the_default(self, folder: Path) -> None:
        (folder / "mine.py").write_text(
            textwrap.dedent("""
            from bursty import App
            app = App("mine")
            @app.function
            def double(value): return 2 * value
            if __name__ == "__main__":
                print(double.submit(4).result(), *double.map([1, 2]), *double.starmap([(3,)]),
                      *(future.result() for future in double.submit_many([5])))
                from bursty import wiring
                print(wiring.default_executor() is wiring.default_executor(), wiring.default_executor().workers)
            """)
        )
        (folder / "bursty.toml").write_text('backend = "local?workers=3"')
        done = subprocess.run([sys.executable, "mine.py"], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == ["8 2 4 6 10", "True 3"]

    def test_retries_hold_and_the_executor_wins(self, shared: Executor, tmp_path: Path) -> None:
        assert shared.submit(flaky, str(tmp_path / "a"), 3).result(60) == 3
        with pytest.raises(OSError, match="not yet"):
            shared.submit(flaky, str(tmp_path / "b"), 4).result(60)
        with pytest.raises(OSError, match="not yet"):
            shared.options(retries=0).submit(flaky, str(tmp_path / "c"), 2).result(60)
        assert shared.options(retries=3).submit(flaky, str(tmp_path / "d"), 4).result(60) == 4
        assert [len((tmp_path / name).read_text()) for name in "abcd"] == [3, 3, 1, 4]

    def test_timeout_holds_and_the_executor_wins(self, shared: Executor) -> None:
        with pytest.raises(CallTimeout, match="200 ms"):
            shared.submit(wait_for_ever).result(60)
        with pytest.raises(CallTimeout, match="300 ms"):
            shared.options(timeout=0.3).submit(wait_for_ever).result(60)

    def test_memory_holds_and_the_executor_wins(self, shared: Executor) -> None:
        with pytest.raises((bursty.MemoryLimit, MemoryError)):
            shared.submit(allocate, 400 << 20).result(60)
        assert shared.options(memory="2 GiB").submit(allocate, 400 << 20).result(60) == 400 << 20

    def test_idempotent_holds_and_the_executor_wins(self, shared: Executor, tmp_path: Path) -> None:
        for name, executor, runs in (("a", shared, 1), ("b", shared.options(idempotent=True), 2)):
            with pytest.raises(bursty.WorkerLost):
                executor.submit(lost, str(tmp_path / name)).result(60)
            assert len((tmp_path / name).read_text()) == runs


class TestDescribe:
    def test_a_module_with_an_app(self, shared: Executor, tmp_path: Path) -> None:
        file = tmp_path / "described_app.py"
        file.write_text(
            textwrap.dedent("""
            from bursty import App, Env
            app = App("sales", env=Env(["numpy"], python="3.12", files=["data"]))
            @app.function(memory="1 GiB", retries=1)
            def simulate(seed): ...
            @app.function(name="other", env=Env("requirements.txt"))
            def second(seed): ...
            def helper(): ...
            def _hidden(): ...
            """)
        )
        found = shared.submit(describe, str(file)).result(60)
        assert json.loads(json.dumps(found)).keys() == {"module", "apps", "functions"}
        assert "described_app" not in sys.modules, "only workers import user modules"
        assert (found["module"], found["functions"]) == ("described_app", ["simulate", "second", "helper"])
        [about] = found["apps"]
        first, second = json.loads(json.dumps(about["functions"]))
        assert about["name"] == "sales"
        assert (first["name"], first["memory"], first["retries"], first["timeout"]) == ("simulate", 1 << 30, 1, None)
        assert first["env"] == {"requirements": ["numpy"], "python": "3.12", "files": ["data"]}
        assert (second["name"], second["qualname"]) == ("other", "second")
        assert second["env"]["requirements"] == "requirements.txt"

    def test_a_file_that_is_not_there(self) -> None:
        with pytest.raises(FileNotFoundError, match="there is no file"):
            describe("nowhere/none.py")


class TestJobs:
    def test_a_job_stays_the_function(self) -> None:
        app = App("a")

        @app.job(title="Forecast", timeout="2 h", retries=1, notify=["succeeded"])
        def forecast(run: bursty.Run, growth: float = 0.5) -> float:
            """In words."""
            return growth

        assert forecast(bursty.Run("1"), growth=0.25) == 0.25
        job = app.jobs["forecast"]
        assert (job.title, job.description, job.notify) == ("Forecast", "In words.", ("succeeded",))
        assert (job.function.timeout, job.function.retries) == (7200.0, 1)

    def test_schedules(self) -> None:
        app = App("a")

        @app.schedule("*/5 * * * *", tz="Europe/Paris", overlap="queue")
        @app.schedule(every="1 h", inputs={"deep": True})
        def refresh(deep: bool = False) -> None: ...

        first, second = app.jobs["refresh"].schedules
        assert (first.every, dict(first.inputs)) == (3600.0, {"deep": True})
        assert (second.cron, second.tz, second.overlap) == ("*/5 * * * *", "Europe/Paris", "queue")

    def test_what_is_described(self) -> None:
        app = App("a")

        @app.job
        def forecast(run: bursty.Run, growth: float = 0.5) -> None: ...

        [job] = app.__bursty_describe__()["jobs"]
        assert [field["name"] for field in job["form"]["fields"]] == ["growth"]
        assert json.loads(json.dumps(job)) == job

    @pytest.mark.parametrize(
        ("declare", "words"),
        [
            (lambda app: app.job(lambda: None).start and app.job(name="<lambda>")(lambda: None), "two jobs"),
            (lambda app: app.job(colour="red")(len.__call__), "needs a function"),
            (lambda app: app.job(colour="red")(lambda: None), "colour"),
            (lambda app: app.job(notify=["sometimes"])(lambda: None), "notify"),
            (lambda app: app.schedule(), "either a cron"),
            (lambda app: app.schedule("* * * * *", every=5), "either a cron"),
            (lambda app: app.schedule("* * * * *", overlap="maybe"), "overlap"),
            (lambda app: app.schedule("* * * * *", missed="maybe"), "missed"),
            (lambda app: app.endpoint(lambda: None), "needs a path"),
        ],
    )
    def test_what_is_refused(self, declare: Any, words: str) -> None:
        with pytest.raises(ConfigError, match=words):
            declare(App("a"))
