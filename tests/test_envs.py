"""Envs: what makes their identity, and building them with the real uv."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursty.errors import EnvError
from bursty.packaging.interpreters import find_python
from bursty.packaging.requirements import read_requirements
from bursty.packaging.resolve import UvBuilder, plan_env, prune_envs, worker_path
from bursty.ports import Builder, BuiltEnv
from bursty.values import Env

OLD, NEW = Env(["packaging==23.2"]), Env(["packaging==24.2"])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("envs") / "cache"


@pytest.fixture(scope="module")
def builder(cache: Path) -> UvBuilder:
    return UvBuilder(cache)


def identity(*arguments: object, **options: object) -> str:
    return plan_env(Env(*arguments, **options)).digest  # type: ignore[arg-type]


def run(built: BuiltEnv, code: str, path: str = "") -> str:
    """What the Env's interpreter prints, with nothing of ours around it but the import path."""
    variables = {"PYTHONPATH": path, "PATH": os.environ["PATH"]}
    return subprocess.check_output([built.python, "-c", code], text=True, env=variables, cwd=built.folder).strip()


def version_of_packaging(built: BuiltEnv) -> str:
    return run(built, "import packaging; print(packaging.__version__)")


class TestIdentity:
    def test_spelling_and_order_make_no_difference(self) -> None:
        assert identity(["Typing_Extensions==4.12.0", "packaging  ==  24.2"]) == identity(
            ["packaging == 24.2  # why", "", "typing.extensions==4.12.0", "packaging == 24.2"]
        )

    @given(st.permutations(["packaging==24.2", "idna", "numpy>=2", "zarr[remote]<4"]))
    def test_any_order(self, lines: list[str]) -> None:
        assert read_requirements(lines).lines == ("idna", "numpy>=2", "packaging==24.2", "zarr[remote]<4")

    def test_versions_and_pythons_make_one(self) -> None:
        mine = f"{sys.version_info.major}.{sys.version_info.minor}"
        assert identity(["packaging==24.2"], python=mine) == identity(["packaging==24.2"])
        assert identity(["packaging==24.2"], python="3.99") != identity(["packaging==24.2"])
        assert identity(["packaging==24.2"]) != identity(["packaging==23.2"])

    def test_a_file_is_its_content(self, folder: Path) -> None:
        (folder / "requirements.txt").write_text("idna\npackaging==24.2 \\\n  ; python_version > '3'\n")
        assert read_requirements("requirements.txt").lines == ("idna", "packaging==24.2 ; python_version > '3'")
        before = identity("requirements.txt")
        (folder / "renamed.txt").write_text("# the same\npackaging==24.2 ; python_version > '3'\nidna\n")
        assert identity("renamed.txt") == before
        (folder / "requirements.txt").write_text("idna\n")
        assert identity("requirements.txt") != before

    def test_nested_files_and_constraints(self, folder: Path) -> None:
        (folder / "deep").mkdir()
        (folder / "requirements.txt").write_text("-r deep/more.txt\n--constraint=deep/limits.txt\nidna\n--pre\n")
        (folder / "deep" / "more.txt").write_text("-r even-more.txt\n-r ../requirements.txt\n")
        (folder / "deep" / "even-more.txt").write_text("packaging\n")
        (folder / "deep" / "limits.txt").write_text("packaging<25\n")
        found = read_requirements("requirements.txt")
        assert (found.lines, found.constraints) == (("--pre", "idna", "packaging"), ("packaging<25",))
        before = identity("requirements.txt")
        (folder / "deep" / "limits.txt").write_text("packaging<24\n")
        assert identity("requirements.txt") != before

    def test_local_packages_are_read(self, folder: Path) -> None:
        (folder / "mine").mkdir()
        (folder / "mine" / "code.py").write_text("x = 1")
        before = identity(["./mine", "idna"])
        assert read_requirements(["./mine"]).lines == (str(folder / "mine"),)
        (folder / "mine" / "code.py").write_text("x = 22")
        assert identity(["./mine", "idna"]) != before

    def test_files_count_by_content_and_place(self, folder: Path) -> None:
        (folder / "data" / "__pycache__").mkdir(parents=True)
        (folder / "data" / "a.csv").write_text("1")
        before = identity(files=["data"])
        assert identity(files=["data/a.csv"]) == before
        (folder / "data" / "__pycache__" / "x.pyc").write_text("2")
        assert identity(files=["data"]) == before
        (folder / "data" / "a.csv").write_text("22")
        assert identity(files=["data"]) != before
        (folder / "a.csv").write_text("22")
        assert identity(files=["data/a.csv"]) != identity(files=["a.csv"])

    def test_a_link_that_leads_back_ends(self, folder: Path) -> None:
        (folder / "data").mkdir()
        (folder / "data" / "a.csv").write_text("1")
        (folder / "data" / "again").symlink_to(folder / "data")
        assert identity(files=["data"]) == identity(files=["data/a.csv"])


class TestMistakes:
    def test_a_string_is_a_path(self, folder: Path) -> None:
        with pytest.raises(EnvError, match=r"can't read the requirements file .*numpy") as caught:
            plan_env(Env("numpy"))
        assert "Env(['numpy'])" in caught.value.hint

    def test_a_nested_file_is_missing(self, folder: Path) -> None:
        (folder / "requirements.txt").write_text("-r none.txt\n")
        with pytest.raises(EnvError, match=r"none\.txt: No such file"):
            plan_env(Env("requirements.txt"))

    def test_a_file_is_missing(self, folder: Path) -> None:
        with pytest.raises(EnvError, match=f"{folder}/data.csv"):
            plan_env(Env(files=["data.csv"]))

    def test_two_files_for_one_place(self, folder: Path) -> None:
        for name in ("x", "y"):
            (folder / name).mkdir()
            (folder / name / "a.csv").write_text(name)
        with pytest.raises(EnvError, match=r"would both be a\.csv"):
            plan_env(Env(files=[str(folder / "x" / "a.csv"), str(folder / "y" / "a.csv")]))

    @pytest.mark.parametrize(("python", "words"), [("three", "a version such as"), ("3.8", r"3\.11 or newer")])
    def test_no_such_version(self, python: str, words: str) -> None:
        with pytest.raises(EnvError, match=words):
            plan_env(Env(python=python))

    def test_a_python_that_is_not_here(self, builder: UvBuilder) -> None:
        with pytest.raises(EnvError, match=r"no Python 3\.99 on this machine") as caught:
            builder.build(Env(python="3.99"))
        assert "uv python install 3.99" in caught.value.hint

    def test_a_requirement_that_does_not_exist(self, builder: UvBuilder, cache: Path) -> None:
        env = Env(["packaging==0.0.99"])
        with pytest.raises(EnvError, match=r"packaging==0\.0\.99") as caught:
            builder.build(env)
        assert "version" in caught.value.hint
        assert not (cache / "envs" / plan_env(env).digest[:32]).exists()

    def test_a_requirement_that_fights_with_ours(self, builder: UvBuilder) -> None:
        with pytest.raises(EnvError, match="cloudpickle==2") as caught:
            builder.build(Env(["cloudpickle==2.0.0"]))
        assert "Every Env also gets cloudpickle==" in caught.value.hint

    def test_passwords_are_not_told(self, builder: UvBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        told: list[str] = []
        with pytest.raises(EnvError) as caught:
            builder.build(
                Env(["--index-url http://me:hunter2@127.0.0.1:9/", "idna @ http://me:hunter2@127.0.0.1:9/idna.zip"]),
                say=told.append,
            )
        assert "hunter2" not in str(caught.value) + "".join(told)

    def test_a_cache_that_is_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "cache").write_text("a file")
        with pytest.raises(EnvError, match="Not a directory"):
            UvBuilder(tmp_path / "cache").build(Env())


class TestBuild:
    def test_conflicting_envs_live_side_by_side(self, builder: UvBuilder) -> None:
        port: Builder = builder
        told: list[str] = []
        old, new = port.build(OLD, say=told.append), port.build(NEW, say=told.append)
        assert [version_of_packaging(built) for built in (old, new)] == ["23.2", "24.2"]
        assert old.digest != new.digest
        assert old.folder is None
        assert "packaging==23.2" in told[0]
        assert "ready" in told[1]

    def test_the_second_time_it_is_there(self, builder: UvBuilder) -> None:
        told: list[str] = []
        first = builder.build(OLD)
        assert builder.build(OLD, say=told.append) == first
        assert told == []

    def test_every_env_gets_what_workers_need(self, builder: UvBuilder) -> None:
        code = "import cloudpickle, msgspec, pydantic, bursty.values; print(cloudpickle.__version__, bursty.__file__)"
        version, path = run(builder.build(OLD), code, builder.worker_path()).split()
        import cloudpickle

        assert version == cloudpickle.__version__
        assert path.startswith(builder.worker_path())

    def test_the_worker_path_shows_bursty_only(self, builder: UvBuilder, cache: Path) -> None:
        path = worker_path(cache)
        assert path == builder.worker_path() == worker_path(cache)
        assert os.listdir(path) == ["bursty"]
        code = "import bursty\ntry:\n import pytest\nexcept ImportError:\n print('fine')"
        assert run(builder.build(OLD), code, path) == "fine"

    def test_from_files(self, builder: UvBuilder, folder: Path) -> None:
        (folder / "requirements.txt").write_text("-r more.txt\n-c limits.txt\n")
        (folder / "more.txt").write_text("packaging>=23\n")
        (folder / "limits.txt").write_text("packaging<24\n")
        assert version_of_packaging(builder.build(Env("requirements.txt"))) == "23.2"

    def test_files_lie_in_the_working_folder(self, builder: UvBuilder, folder: Path) -> None:
        (folder / "data").mkdir()
        (folder / "data" / "a.csv").write_text("1,2")
        (folder / "run.sh").write_text("#!/bin/sh\n")
        (folder / "run.sh").chmod(0o755)
        built = builder.build(Env(files=["data", str(folder / "run.sh")]))
        assert run(built, "import os; print(open('data/a.csv').read(), os.access('run.sh', os.X_OK))") == "1,2 True"

    def test_another_python(self, builder: UvBuilder) -> None:
        try:
            find_python("3.12")
        except EnvError:
            pytest.skip("needs a Python 3.12 on this machine")
        built = builder.build(Env(["packaging==24.2"], python="3.12"))
        assert run(built, "import sys, cloudpickle, packaging; print(sys.version_info[:2])") == "(3, 12)"

    def test_a_half_built_one_is_built_anew(self, builder: UvBuilder, cache: Path) -> None:
        place = Path(builder.build(OLD).python).parents[2]
        (place / ".ready").unlink()
        (place / "venv" / "left-over").touch()
        told: list[str] = []
        assert version_of_packaging(builder.build(OLD, say=told.append)) == "23.2"
        assert told
        assert not (place / "venv" / "left-over").exists()

    def test_one_whose_interpreter_went_is_built_anew(self, builder: UvBuilder) -> None:
        python = Path(builder.build(OLD).python)
        python.unlink()
        python.symlink_to("/nowhere/python")
        assert version_of_packaging(builder.build(OLD)) == "23.2"

    def test_processes_build_once(self, tmp_path: Path) -> None:
        code = """
            import sys
            from bursty.packaging.resolve import UvBuilder
            from bursty.values import Env
            sys.stdin.read()
            print(UvBuilder(sys.argv[1]).build(Env(["packaging==24.2"]), say=print).python)
        """
        command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "cache")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        builders = [subprocess.Popen(command, **pipes) for _ in range(4)]  # type: ignore[call-overload]
        for process in builders:
            process.stdin.close()
        told = [process.stdout.read().splitlines() for process in builders]
        for process in builders:
            process.stdout.close()
            assert process.wait(60) == 0
        assert sum(line.startswith("building env") for lines in told for line in lines) == 1
        assert len({lines[-1] for lines in told}) == 1


class TestPrune:
    def test_goes_by_the_last_use(self, tmp_path: Path) -> None:
        place = Path(UvBuilder(tmp_path).build(Env()).python).parents[2]
        assert prune_envs(tmp_path, older_than=3600) == (0, 0)
        past = time.time() - 7200
        os.utime(place / "last-used", (past, past))
        count, size = prune_envs(tmp_path, older_than=3600)
        assert count == 1
        assert size > 100_000
        assert os.listdir(tmp_path / "envs") == []

    def test_spares_what_is_in_use(self, tmp_path: Path) -> None:
        builder = UvBuilder(tmp_path)
        built = builder.build(Env())
        later = time.time() + 7200
        assert prune_envs(tmp_path, older_than=3600, now=later) == (0, 0)
        assert Path(built.python).exists()
        del builder
        assert prune_envs(tmp_path, older_than=3600, now=later)[0] == 1

    def test_removes_what_was_half_built_and_dead_links(self, tmp_path: Path) -> None:
        (tmp_path / "envs" / "abc" / "venv").mkdir(parents=True)
        (tmp_path / "worker" / "def").mkdir(parents=True)
        (tmp_path / "worker" / "def" / "bursty").symlink_to("/nowhere/bursty")
        assert prune_envs(tmp_path, older_than=3600)[0] == 0
        assert prune_envs(tmp_path, older_than=3600, now=time.time() + 7200)[0] == 1
        assert os.listdir(tmp_path / "worker") == []

    def test_without_a_cache(self, tmp_path: Path) -> None:
        assert prune_envs(tmp_path / "none", older_than=0) == (0, 0)
