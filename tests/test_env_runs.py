"""Envs in use: real calls on workers of their own Python and packages."""

import importlib
import sys
import textwrap
import threading
import types
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest

from bursty import Env, EnvError, Executor, SerializationError
from bursty.packaging.interpreters import find_python
from env_functions import NEW, OLD, importable, new, old, where


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder, and the cache of Envs, of all tests here."""
    folder = tmp_path_factory.mktemp("env_runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("BURSTY_CACHE", str(folder / "cache"))
        (folder / "modules").mkdir()
        patch.syspath_prepend(str(folder / "modules"))
        yield folder


@pytest.fixture(scope="module")
def shared(home: Path) -> Iterator[Executor]:
    executor = Executor("local?workers=2", output="hide")
    yield executor
    executor.kill()


@pytest.fixture
def module(home: Path, request: pytest.FixtureRequest) -> Iterator[types.ModuleType]:
    """A module of the user's, importable here and on workers."""
    name = f"users_{request.node.originalname}"
    (home / "modules" / f"{name}.py").write_text(
        textwrap.dedent("""
        import sys
        from bursty import Executor
        def version(): return sys.version_info[:2]
        def square(number): return number * number
        def apply(function, value): return function(value)
        def make(): return lambda: 1
        def packages(number):
            import packaging
            return number, packaging.__version__
        def nested(count):
            with Executor() as executor:
                return list(executor.map(square, range(count))), list(executor.map(packages, range(2)))
        def read(name):
            with open(name) as file:
                return file.read()
        """)
    )
    importlib.invalidate_caches()
    yield __import__(name)
    del sys.modules[name]


class TestConflicts:
    def test_two_maps_interleaved_and_single_calls(self, shared: Executor) -> None:
        pairs = zip_longest(shared.map(old, range(40)), shared.map(new, range(40)))
        assert list(pairs) == [((n, "23.2"), (n, "24.2")) for n in range(40)]
        futures = [shared.submit(fn, n) for n in range(6) for fn in (old, new)]
        assert [f.result(120)[1] for f in futures] == ["23.2", "24.2"] * 6

    def test_as_methods_of_the_functions(self, home: Path) -> None:
        with Executor("local?workers=1", output="hide"):
            first, second = old.submit(1), new.submit(2)
            assert (first.result(120), second.result(120)) == ((1, "23.2"), (2, "24.2"))
            assert [v for _, v in old.map(range(3))] == ["23.2"] * 3

    def test_the_executors_env_wins(self, shared: Executor) -> None:
        assert shared.options(env=NEW).submit(old, 1).result(120) == (1, "24.2")

    def test_a_future_passes_between_envs(self, shared: Executor) -> None:
        assert shared.submit(new, shared.submit(old, 3)).result(120) == ((3, "23.2"), "24.2")  # type: ignore[arg-type]


class TestInside:
    def test_it_has_bursty_and_not_the_clients_packages(self, shared: Executor, home: Path) -> None:
        executor = shared.options(env=OLD)
        names = ["bursty", "packaging", "cloudpickle", "msgspec", "pydantic", "pytest", "numpy", "polars", "hypothesis"]
        assert importable(names) == names, "here are all of them"
        assert executor.submit(importable, names).result(120) == names[:5]
        import bursty

        prefix, file, version = executor.submit(where).result(120)
        assert prefix != sys.prefix
        assert Path(prefix).is_relative_to(home / "cache")
        assert Path(file).resolve() == Path(bursty.__file__).resolve()
        assert version == bursty.__version__

    def test_nested_calls_run_in_the_env_too(self, shared: Executor, module: types.ModuleType) -> None:
        squares, packages = shared.options(env=OLD).submit(module.nested, 20).result(120)
        assert squares == [n * n for n in range(20)]
        assert [number for number, _ in packages] == [0, 1]

    def test_files_lie_in_its_folder(
        self, shared: Executor, home: Path, module: types.ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (home / "data").mkdir()
        (home / "data" / "a.txt").write_text("inside")
        (home / "b.txt").write_text("beside")
        (home / "c.txt").write_text("not given")
        executor = shared.options(env=Env(["packaging==23.2"], files=["data", "b.txt"]))
        assert list(executor.map(module.read, ["data/a.txt", "b.txt"])) == ["inside", "beside"]
        with pytest.raises(FileNotFoundError, match=r"c\.txt"):
            executor.submit(module.read, "c.txt").result(120)
        assert shared.submit(module.read, "c.txt").result(120) == "not given"


class TestAnotherPython:
    @pytest.fixture
    def executor(self, shared: Executor) -> Executor:
        try:
            find_python("3.12")
        except EnvError:
            pytest.skip("needs a Python 3.12 on this machine")
        if sys.version_info[:2] == (3, 12):
            pytest.skip("runs on another Python than 3.12")
        return shared.options(env=Env(python="3.12"))

    def test_functions_of_a_module(self, executor: Executor, module: types.ModuleType) -> None:
        assert executor.submit(module.version).result(120) == (3, 12)
        assert list(executor.map(module.square, range(50))) == [n * n for n in range(50)]
        assert executor.submit(module.apply, module.square, 3).result(120) == 9

    def test_functions_by_value_are_refused(self, executor: Executor, module: types.ModuleType) -> None:
        for attempt in (
            lambda: executor.submit(lambda: 1),
            lambda: executor.map(lambda n: n, [1]),
            lambda: executor.submit_many(lambda n: n, [1]),
        ):
            with pytest.raises(SerializationError, match=r"by value from Python .* to 3\.12") as caught:
                attempt()
            assert "module" in caught.value.hint
        assert executor.submit(module.square, 3).result(120) == 9

    def test_arguments_by_value_are_refused(self, executor: Executor, module: types.ModuleType) -> None:
        with pytest.raises(SerializationError, match=r"by value from Python .* to 3\.12"):
            executor.submit(module.apply, lambda n: n, 1)
        with pytest.raises(SerializationError, match=r"by value from Python .* to 3\.12"):
            list(executor.starmap(module.apply, [(lambda n: n, 1)]))


class TestMistakes:
    def test_a_requirement_that_can_not_be_had(self, shared: Executor) -> None:
        bad = shared.options(env=Env(["packaging==0.0.99"]))
        for attempt in (
            lambda: bad.submit(importable, []),
            lambda: bad.map(importable, [[]]),
            lambda: bad.submit_many(importable, [[]]),
        ):
            with pytest.raises(EnvError, match=r"packaging==0\.0\.99"):
                attempt()
        assert shared.submit(importable, ["bursty"]).result(60) == ["bursty"]
        assert shared.submit(old, 1).result(120) == (1, "23.2")

    def test_a_file_that_is_not_there(self, shared: Executor) -> None:
        with pytest.raises(EnvError, match=r"none\.csv"):
            shared.options(env=Env(files=["none.csv"])).submit(importable, [])
        with pytest.raises(EnvError, match=r"requirements.*none\.txt"):
            shared.options(env=Env("none.txt")).submit(importable, [])
        assert shared.submit(importable, ["bursty"]).result(60) == ["bursty"]

    def test_a_package_that_the_env_lacks(self, shared: Executor) -> None:
        def need() -> None:
            import numpy as np  # noqa: F401

        with pytest.raises(ModuleNotFoundError, match="numpy"):
            shared.options(env=OLD).submit(need).result(120)


THREADED = """
import os, queue, threading
_questions, _answers = queue.Queue(), queue.Queue()
def _serve():
    while True:
        _answers.put(_questions.get() * 2)
threading.Thread(target=_serve, daemon=True).start()
imported_in = os.getpid()
def ask(number):
    _questions.put(number)
    return _answers.get(timeout=30), imported_in == os.getpid()
"""


@pytest.mark.parametrize("env", [None, OLD], ids=["own", "env"])
def test_a_module_that_starts_a_thread(home: Path, env: Env | None) -> None:
    """Forked from a zygote that has imported it, workers would wait for a thread that they don't have."""
    name = f"threaded_{'own' if env is None else 'env'}"
    (home / "modules" / f"{name}.py").write_text(THREADED)
    importlib.invalidate_caches()
    threads = threading.active_count()
    found = __import__(name)
    assert threading.active_count() == threads + 1
    with Executor("local?workers=2", output="hide", env=env) as executor:
        assert list(executor.map(found.ask, range(20))) == [(2 * n, True) for n in range(20)]
        assert executor.submit(importable, ["bursty"]).result(60) == ["bursty"]
    del sys.modules[name]
