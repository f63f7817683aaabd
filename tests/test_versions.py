"""Versions: what makes their identity, what they hold, and running them from the blob store alone."""

import gzip
import io
import os
import platform
import shutil
import stat
import subprocess
import sys
import tarfile
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bursty import ConfigError, Env, EnvError, Executor
from bursty.errors import BlobNotFound, DigestMismatch
from bursty.packaging.interpreters import find_python
from bursty.packaging.lock import without_password
from bursty.packaging.manifest import canonical, digest_of
from bursty.packaging.place import remove_tree
from bursty.packaging.restore import VersionBuilder, prune_versions
from bursty.packaging.snapshot import Snapshot, take_snapshot
from bursty.packaging.sweep import sweep_versions
from bursty.packaging.tarball import pack, unpack
from bursty.runtime.describe import describe
from bursty.runtime.execute import resolve
from bursty.stores.blobs import FolderBlobs
from bursty.values import WorkerSpec

APP = """
import sys
from bursty import App, Executor
from helper import FACTOR
app = App("shop")

@app.function
def price(n: int) -> int:
    return FACTOR * n

@app.function
def total(n: int) -> int:
    return sum(price.map(range(n)))

@app.function
def around(n: int) -> tuple[int, int]:
    return n, sum(Executor().map(double, range(n)))

def double(n: int) -> int:
    return 2 * FACTOR * n
"""

PINNED = """
from bursty import App, Env
app = App("pinned", env=Env(["packaging=={version}"]))

@app.function
def version() -> str:
    import packaging
    return packaging.__version__
"""


def by_value() -> tuple[Callable[..., Any], Callable[[], Any]]:
    """Functions that travel by value, for a version has no module of the client's."""

    def invoke(reference: str, *args: Any) -> Any:
        return resolve(reference)(*args)

    def look() -> tuple[str, list[str], list[int]]:
        """Working folder, import path, modes of the files there."""
        modes = [os.stat(name).st_mode & 0o777 for name in os.listdir() if os.path.isfile(name)]
        return os.getcwd(), sys.path, modes

    return invoke, look


invoke, look = by_value()


class Shop:
    """A project in a folder, a blob store, a cache, and an executor that describes and runs its versions."""

    def __init__(self, folder: Path, executor: Executor) -> None:
        self.folder = folder
        self.project = folder / "project"
        self.cache = folder / "cache"
        self.blobs = FolderBlobs(folder / "blobs")
        self.executor = executor

    def write(self, **files: str) -> Path:
        """Write ``name`` as ``name.py``; the path of the app."""
        self.project.mkdir(exist_ok=True)
        for name, text in files.items():
            (self.project / f"{name}.py").write_text(textwrap.dedent(text))
        return self.project / "app.py"

    def take(self, target: str | Path | None = None, **options: Any) -> Snapshot:
        target = target or self.project / "app.py"
        return take_snapshot(target, blobs=self.blobs, cache=self.cache, describe=self.describe, **options)

    def describe(self, spec: WorkerSpec, target: str) -> Any:
        return self.running(spec.version, spec.env).submit(describe, target).result(120)

    def running(self, version: str | None, env: Env | None = None) -> Executor:
        return self.executor.options(version=version, env=env)

    def call(self, snapshot: Snapshot, name: str, *args: Any, env: Env | None = None) -> Any:
        return self.running(snapshot.digest, env).submit(invoke, f"app:{name}", *args).result(120)

    def builder(self, cache: str = "cache") -> VersionBuilder:
        return VersionBuilder(lambda: self.blobs, self.folder / cache)


@pytest.fixture
def shop(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setenv("BURSTY_CACHE", str(folder / "cache"))
    monkeypatch.setenv("BURSTY_BLOBS", str(folder / "blobs"))
    with Executor("local?workers=2", output="hide") as executor:
        made = Shop(folder, executor)
        made.write(app=APP, helper="FACTOR = 10")
        yield made


def files_of(snapshot: Snapshot) -> list[str]:
    return [name for name, _, _ in snapshot.manifest["source"]["files"]]


class TestIdentity:
    def test_the_same_content_is_the_same_version(self, shop: Shop) -> None:
        first = shop.take()
        os.utime(shop.project / "helper.py", (1, 1))
        (shop.project / "__pycache__").mkdir(exist_ok=True)
        (shop.project / "__pycache__" / "helper.pyc").write_bytes(b"x")
        moved = shop.folder / "elsewhere"
        shutil.copytree(shop.project, moved)
        second, third = shop.take(), shop.take(moved / "app.py")
        assert first.digest == second.digest == third.digest
        assert [first.is_new, second.is_new, third.is_new] == [True, False, False]
        assert first.manifest == second.manifest

    def test_content_names_and_modes_make_another(self, shop: Shop) -> None:
        digests = [shop.take().digest]
        (shop.project / "helper.py").chmod(0o755)
        digests.append(shop.take().digest)
        (shop.project / "data.csv").write_text("1")
        digests.append(shop.take().digest)
        (shop.project / "data.csv").write_text("2")
        digests.append(shop.take().digest)
        assert len(set(digests)) == 4

    def test_what_it_says(self, shop: Shop) -> None:
        manifest = shop.take().manifest
        assert (manifest["app"], manifest["target"], manifest["path"]) == ("shop", "app.py", ["."])
        assert files_of(shop.take()) == ["app.py", "helper.py"]
        assert set(manifest["env_of"]) == {"price", "total", "around"}
        [env] = manifest["envs"].values()
        assert env["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
        assert any(line.startswith("cloudpickle==") for line in env["lock"])
        assert not any(line.startswith("bursty==") for line in env["lock"])


class TestRunning:
    def test_two_versions_side_by_side_after_the_source_is_gone(self, shop: Shop) -> None:
        one = shop.take()
        shop.write(helper="FACTOR = 1000")
        two = shop.take()
        shutil.rmtree(shop.project)
        answers = [(shop.call(one, "total", n), shop.call(two, "total", n)) for n in (3, 4)]
        assert answers == [(30, 3000), (60, 6000)], "calls inside calls run the version of the call around them"
        assert (shop.call(one, "around", 3), shop.call(two, "around", 3)) == ((3, 60), (3, 6000))

    def test_from_the_blob_store_alone(self, shop: Shop) -> None:
        one = shop.take()
        shutil.rmtree(shop.project)
        remove_tree(shop.cache)
        assert shop.call(one, "total", 3) == 30

    def test_it_sees_its_own_files_and_no_others(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        (shop.folder / "stray").mkdir()
        (shop.folder / "stray" / "straying.py").write_text("")
        monkeypatch.setenv("PYTHONPATH", str(shop.folder / "stray"))
        monkeypatch.syspath_prepend(str(shop.folder / "stray"))
        shop.write(app="import straying\n" + textwrap.dedent(APP))
        with pytest.raises(ConfigError, match="No module named 'straying'"):
            shop.take()

    def test_its_folder_is_read_only(self, shop: Shop) -> None:
        one = shop.take()
        place, path, modes = shop.running(one.digest).submit(look).result(120)
        assert Path(place).is_relative_to(shop.cache)
        assert str(shop.project) not in path
        assert set(modes) == {0o444}
        assert not os.stat(place).st_mode & stat.S_IWUSR

    def test_a_package_in_folders(self, shop: Shop) -> None:
        (shop.project / "pyproject.toml").write_text("")
        for name in ("src/shopping", "apps"):
            (shop.project / name).mkdir(parents=True)
        (shop.project / "src" / "shopping" / "__init__.py").write_text("FACTOR = 7")
        text = textwrap.dedent(APP).replace("from helper", "from shopping")
        (shop.project / "apps" / "main.py").write_text(text)
        one = shop.take(shop.project / "apps" / "main.py")
        assert (one.manifest["target"], one.manifest["path"]) == ("apps/main.py", ["apps", ".", "src"])
        assert shop.running(one.digest).submit(invoke, "main:total", 3).result(120) == 21


class TestEnvs:
    """With the real uv."""

    def pinned(self, shop: Shop, version: str, more: str = "") -> Snapshot:
        shop.write(app=PINNED.format(version=version) + more)
        return shop.take()

    def test_two_versions_with_other_pins(self, shop: Shop) -> None:
        check = "import packaging\nassert packaging.__version__ == {!r}\n"
        old = self.pinned(shop, "23.2", check.format("23.2"))
        new = self.pinned(shop, "24.2", check.format("24.2"))
        shutil.rmtree(shop.project)
        env = [Env([f"packaging=={version}"]) for version in ("23.2", "24.2")]
        assert shop.call(old, "version", env=env[0]) == "23.2"
        assert shop.call(new, "version", env=env[1]) == "24.2"
        [locked] = old.manifest["envs"].values()
        [line] = [line for line in locked["lock"] if line.startswith("packaging")]
        assert line.startswith("packaging==23.2 --hash=sha256:")
        with pytest.raises(EnvError, match="only Envs that"):
            shop.call(old, "version", env=env[1])

    def test_from_its_pack_without_an_index(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        one = self.pinned(shop, "23.2")
        monkeypatch.setenv("UV_OFFLINE", "1")
        monkeypatch.setenv("UV_CACHE_DIR", str(shop.folder / "no-packages"))
        built = shop.builder("other").build_version(one.digest, Env(["packaging==23.2"]))
        code = "import packaging, pydantic, msgspec, cloudpickle; print(packaging.__version__)"
        assert subprocess.check_output([built.python, "-c", code], text=True) == "23.2\n"
        assert built.python.startswith(str(shop.folder / "other"))

    def test_from_its_lock_without_its_pack(self, shop: Shop) -> None:
        one = self.pinned(shop, "23.2")
        next((shop.folder / "blobs" / "envs").iterdir()).unlink()
        built = shop.builder("other").build_version(one.digest, Env(["packaging==23.2"]))
        code = "import packaging; print(packaging.__version__)"
        assert subprocess.check_output([built.python, "-c", code], text=True) == "23.2\n"

    def test_a_changed_pack_is_refused(self, shop: Shop) -> None:
        one = self.pinned(shop, "23.2")
        pack = next((shop.folder / "blobs" / "envs").iterdir())
        data = gzip.decompress(pack.read_bytes()).replace(b"23.2", b"23.3")
        pack.write_bytes(gzip.compress(data))
        with pytest.raises(DigestMismatch):
            shop.builder("other").build_version(one.digest, Env(["packaging==23.2"]))
        assert not list((shop.folder / "other" / "envs").glob("*/venv"))

    def test_another_machine_takes_the_same_version(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        one = self.pinned(shop, "23.2")
        other = Shop(shop.folder, shop.executor)
        other.cache, other.blobs = shop.folder / "other", FolderBlobs(shop.folder / "more blobs")
        monkeypatch.setattr(other, "describe", lambda spec, target: one.manifest["describe"])
        two = other.take()
        assert two.manifest["envs"] == one.manifest["envs"]
        assert (two.digest, two.is_new) == (one.digest, True)

    def test_a_lock_that_is_not_what_runs_here(self, shop: Shop) -> None:
        """As when a version of one machine runs on another one, which has other packages."""
        one = shop.take()
        [(name, env)] = one.manifest["envs"].items()
        wanted = ("annotated-types", "cloudpickle", "msgspec", "pydantic", "pydantic-core", "typing-")
        lock = [line for line in env["lock"] if line.startswith(wanted)]
        manifest = {**one.manifest, "envs": {name: {**env, "lock": lock}}}
        digest = digest_of(manifest)
        shop.blobs.put(f"versions/{digest}/manifest.json", canonical(manifest))
        assert shop.running(digest).submit(invoke, "app:total", 3).result(120) == 30
        assert shop.running(digest).submit(look).result(120)[1][-1].endswith("site-packages")
        with pytest.raises(ModuleNotFoundError, match="numpy"):
            shop.running(digest).submit(invoke, "numpy:array", 3).result(120)

    def test_files_of_an_env(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(shop.project)
        (shop.folder / "far.txt").write_text("far")
        (shop.project / "near.txt").write_text("near")
        files = [str(shop.folder / "far.txt"), "near.txt"]
        shop.write(
            app=f"""
            from bursty import App, Env
            app = App("filed")
            @app.function(env=Env(["packaging==23.2"], files={files!r}))
            def read(name): return open(name).read()
            @app.function
            def here(name): return open(name).read()
            """
        )
        one = shop.take()
        shutil.rmtree(shop.project)
        (shop.folder / "far.txt").unlink()
        env = Env(["packaging==23.2"], files=files)
        assert [shop.call(one, "read", name, env=env) for name in ("far.txt", "near.txt")] == ["far", "near"]
        assert shop.call(one, "here", "near.txt") == "near"
        with pytest.raises(FileNotFoundError):
            shop.call(one, "here", "far.txt")
        assert len(one.manifest["files"]) == 1

    def local_package(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "pyproject.toml").write_text(
            '[build-system]\nrequires = ["uv_build"]\nbuild-backend = "uv_build"\n'
            '[project]\nname = "mine"\nversion = "1.5"\n[tool.uv.build-backend]\nmodule-root = ""\n'
        )
        (folder / "mine").mkdir()
        (folder / "mine" / "__init__.py").write_text("VALUE = 'mine'")

    @pytest.mark.parametrize("edit", ["", "-e "])
    def test_a_package_of_this_machine(self, shop: Shop, edit: str) -> None:
        folder = shop.project / "mine" if edit else shop.folder / "mine"
        self.local_package(folder)
        requirement = f"{edit}{folder}"
        shop.write(
            app=f"""
            from bursty import App, Env
            import mine
            app = App("local", env=Env([{requirement!r}]))
            @app.function
            def value(): return mine.VALUE
            """
        )
        (shop.project / "requirements.txt").touch()
        one = shop.take()
        shutil.rmtree(shop.project)
        shutil.rmtree(folder, ignore_errors=True)
        remove_tree(shop.cache / "envs")
        assert shop.call(one, "value", env=Env([requirement])) == "mine"
        [locked] = one.manifest["envs"].values()
        assert locked["local"] == ([] if edit else ["mine==1.5"])
        if not edit:
            next((shop.folder / "blobs" / "envs").iterdir()).unlink()
            with pytest.raises(EnvError, match=r"no index has mine==1\.5"):
                shop.builder("other").build_version(one.digest, Env([requirement]))

    def test_an_editable_package_from_elsewhere(self, shop: Shop) -> None:
        self.local_package(shop.folder / "mine")
        shop.write(app=f"from bursty import App, Env\napp = App('a', env=Env(['-e {shop.folder / 'mine'}']))")
        with pytest.raises(EnvError, match=r"editable packages from outside of the project .*mine \("):
            shop.take()

    def test_installed_from_elsewhere(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        info = shop.folder / "site" / "mine-1.5.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.5\n")
        url = (shop.folder / "mine").as_uri()
        (info / "direct_url.json").write_text(f'{{"url": "{url}", "dir_info": {{"editable": true}}}}')
        monkeypatch.syspath_prepend(str(shop.folder / "site"))
        with pytest.raises(EnvError, match=r"from files of this machine: mine \(from .*/mine\)"):
            shop.take()
        (info / "direct_url.json").write_text(f'{{"url": "{shop.project.as_uri()}/lib", "dir_info": {{}}}}')
        shop.write(app=APP)
        (shop.project / "lib" / "src").mkdir(parents=True)
        (shop.project / "lib" / "src" / "x.py").touch()
        assert shop.take().manifest["path"] == [".", "lib", "lib/src"]

    def test_another_python(self, shop: Shop) -> None:
        minor = "3.12" if sys.version_info[:2] != (3, 12) else "3.11"
        try:
            find_python(minor)
        except EnvError:
            pytest.skip(f"no Python {minor} here")
        env = Env(python=minor)
        shop.write(
            app=f"""
            import sys
            from bursty import App, Env
            ENV = Env(python="{minor}")
            app = App("other", env=ENV)
            @app.function(name=f"python{{sys.version_info.minor}}")
            def where(): ...
            """
        )
        one = shop.take()
        assert list(one.manifest["env_of"]) == [f"python{minor.split('.')[1]}"]
        assert shop.running(one.digest, env).submit(platform.python_version).result(120).startswith(minor)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("--index-url https://me:secret@host/simple", "--index-url https://host/simple"),
        ("--index-url https://token@host/simple", "--index-url https://host/simple"),
        ("git+ssh://git@host/mine.git", "git+ssh://git@host/mine.git"),
        ("git+ssh://git:secret@host/mine.git", "git+ssh://git@host/mine.git"),
        ("https://host/a@b", "https://host/a@b"),
    ],
)
def test_locks_hold_no_passwords(text: str, clean: str) -> None:
    assert without_password(text) == clean


class TestWords:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("\nFACTOR = = 1", r"SyntaxError: invalid syntax .*\(helper\.py, line 2\)"),
            ("FACTOR = 1\nimport json\njson.loads('{')", r"JSONDecodeError: Expecting .*\(helper\.py, line 3\)"),
            ("from bursty import App\nApp('')", r"ConfigError: '' can't be the name of an app \(helper\.py, line 2\)"),
            (
                "class Odd(Exception):\n  def __init__(self, a, b): ...\nraise Odd(1, 2)",
                r"Odd: .*\(helper\.py, line 3\)",
            ),
            ("import sys\nsys.exit(3)", r"CallExited: "),
            ("import os\nos._exit(3)", r"WorkerLost: "),
        ],
    )
    def test_a_module_that_fails(self, shop: Shop, text: str, words: str) -> None:
        shop.write(helper=text)
        with pytest.raises(ConfigError, match=rf"/app\.py can't be imported from its version: {words}"):
            shop.take()
        assert list(shop.blobs.list("versions")) == []

    def test_a_module_that_is_left_out(self, shop: Shop) -> None:
        (shop.project / ".burstyignore").write_text("helper.py\n")
        with pytest.raises(ConfigError, match="No module named 'helper'") as caught:
            shop.take()
        assert caught.value.hint == "helper.py is no part of the version: a line of .burstyignore."

    def test_a_module_that_git_ignores(self, shop: Shop) -> None:
        subprocess.run(["git", "init", "-q", str(shop.project)], check=True)
        (shop.project / ".gitignore").write_text("helper.py\n")
        with pytest.raises(ConfigError, match="No module named 'helper'") as caught:
            shop.take()
        assert caught.value.hint == "helper.py is no part of the version: git ignores it."

    def test_a_module_that_is_nowhere(self, shop: Shop) -> None:
        shop.write(helper="import nowhere.deep")
        with pytest.raises(ConfigError, match=r"No module named 'nowhere'.*\(helper\.py, line 1\)") as caught:
            shop.take()
        assert "Put 'nowhere' into the app's requirements" in caught.value.hint

    def test_no_such_file(self, shop: Shop) -> None:
        with pytest.raises(ConfigError, match=r"no file .*nothing\.py"):
            shop.take(shop.project / "nothing.py")

    @pytest.mark.parametrize(
        ("text", "words"), [("x = 1", "declares no App"), (APP + "other = App('b')", "several Apps")]
    )
    def test_not_one_app(self, shop: Shop, text: str, words: str) -> None:
        shop.write(app=text)
        with pytest.raises(ConfigError, match=words):
            shop.take()

    def test_no_such_version(self, shop: Shop) -> None:
        with pytest.raises(BlobNotFound, match="no version 000000000000 in the blob store"):
            shop.running("0" * 64).submit(invoke, "app:price", 1)
        with pytest.raises(ConfigError, match="is no version"):
            shop.running("../../secrets").submit(invoke, "app:price", 1)

    def test_an_env_that_is_not_locked(self, shop: Shop) -> None:
        one = shop.take()
        with pytest.raises(EnvError, match="only Envs that its functions and jobs declare"):
            shop.call(one, "price", 1, env=Env(["packaging==23.2"]))


class TestSource:
    def test_what_never_goes_into_a_version(self, shop: Shop) -> None:
        for name in (".env", "key.pem", "deep/id_rsa", ".venv/pyvenv.cfg", ".venv/lib/x.py", "node_modules/x.js",
                     ".bursty/token", "deep/__pycache__/x.pyc", ".env.example", "deep/data.csv"):  # fmt: skip
            (shop.project / name).parent.mkdir(parents=True, exist_ok=True)
            (shop.project / name).write_text("x")
        one = shop.take()
        assert files_of(one) == [".env.example", "app.py", "deep/data.csv", "helper.py"]
        secret = "it may hold a secret"
        assert one.left_out == ((".env", secret), ("deep/id_rsa", secret), ("key.pem", secret))

    def test_git_says_what_belongs(self, shop: Shop) -> None:
        def git(*arguments: str) -> None:
            subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
                           cwd=shop.project, check=True, capture_output=True)  # fmt: skip

        git("init", "-q")
        (shop.project / ".gitignore").write_text("out/\n*.log\n")
        (shop.project / "out").mkdir()
        (shop.project / "out" / "big.bin").write_text("x")
        (shop.project / "tracked.log").write_text("x")
        (shop.project / "gone.txt").write_text("x")
        git("add", "-f", ".gitignore", "app.py", "helper.py", "tracked.log", "gone.txt")
        git("commit", "-q", "-m", "one")
        clean = shop.take()
        (shop.project / "gone.txt").unlink()
        (shop.project / "näw name.txt").write_text("x")
        assert files_of(shop.take()) == [".gitignore", "app.py", "helper.py", "näw name.txt", "tracked.log"]
        assert clean.commit is not None
        assert len(clean.commit) == 40
        assert shop.take().commit == clean.commit + "+"

    def test_an_app_that_git_ignores(self, shop: Shop) -> None:
        subprocess.run(["git", "init", "-q", str(shop.folder)], check=True)
        (shop.folder / ".gitignore").write_text("project/\n")
        assert {"project/app.py", "project/helper.py"} <= set(files_of(shop.take()))

    @pytest.mark.parametrize(
        ("lines", "left"),
        [
            ("*.csv", ["app.py", "b/c/d.txt", "b/e.txt", "helper.py"]),
            ("*.csv\n!b/a.csv", ["app.py", "b/a.csv", "b/c/d.txt", "b/e.txt", "helper.py"]),
            ("b/", ["a.csv", "app.py", "helper.py"]),
            ("/a.csv\n# b", ["app.py", "b/a.csv", "b/c/d.txt", "b/e.txt", "helper.py"]),
            ("b/**/*.txt", ["a.csv", "app.py", "b/a.csv", "helper.py"]),
            ("**/c", ["a.csv", "app.py", "b/a.csv", "b/e.txt", "helper.py"]),
            ("[ab].csv\n?.txt", ["app.py", "helper.py"]),
            ("b/*", ["a.csv", "app.py", "helper.py"]),
            ("*", []),
        ],
    )
    def test_burstyignore(self, shop: Shop, lines: str, left: list[str]) -> None:
        (shop.project / "b" / "c").mkdir(parents=True)
        for name in ("a.csv", "b/a.csv", "b/e.txt", "b/c/d.txt"):
            (shop.project / name).write_text("x")
        (shop.project / ".burstyignore").write_text(lines + "\n.burstyignore\n")
        if not left:
            with pytest.raises(ConfigError, match=r"app\.py can't be part of its own version"):
                shop.take()
        else:
            assert files_of(shop.take()) == left

    def test_links(self, shop: Shop) -> None:
        (shop.project / "link.py").symlink_to("helper.py")
        shop.write(app=APP.replace("from helper", "from link"))
        one = shop.take()
        shutil.rmtree(shop.project)
        assert shop.call(one, "price", 2) == 20
        shop.write(app=APP, helper="FACTOR = 1")
        (shop.project / "out").symlink_to("../blobs")
        with pytest.raises(ConfigError, match=r"project/out is a link that leads out of the project"):
            shop.take()

    def test_too_large(self, shop: Shop) -> None:
        for number in range(7):
            (shop.project / f"file-{number}.bin").write_bytes(b"x" * 1000 * number)
        with pytest.raises(ConfigError, match=r"may hold .*file-6\.bin .*file-2\.bin") as caught:
            shop.take(limit=20_000)
        assert "file-1.bin" not in str(caught.value)

    def test_a_file_in_the_home_folder(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(shop.project))
        with pytest.raises(ConfigError, match="lies directly in"):
            shop.take()
        (shop.project / "requirements.txt").write_text("")
        (shop.project / "mine").mkdir()
        (shop.project / "mine" / "app.py").write_text(APP.replace("from helper import FACTOR", "FACTOR = 5"))
        assert files_of(shop.take(shop.project / "mine" / "app.py")) == ["app.py"]


class TestTampering:
    def stored(self, shop: Shop, kind: str) -> Path:
        return next((shop.folder / "blobs" / kind).rglob("*.*"))

    @pytest.mark.parametrize("kind", ["versions", "sources"])
    def test_changed_blobs_are_refused(self, shop: Shop, kind: str) -> None:
        one = shop.take()
        path = self.stored(shop, kind)
        data = gzip.decompress(path.read_bytes()) if kind == "sources" else path.read_bytes()
        data = data.replace(b"helper", b"hejper", 1)
        path.write_bytes(gzip.compress(data) if kind == "sources" else data)
        with pytest.raises(DigestMismatch):
            shop.builder("other").build_version(one.digest)
        assert not list((shop.folder / "other").rglob("*.py")), "nothing was unpacked"

    @pytest.mark.parametrize("damage", [b"", b"no archive", b"\x1f\x8b\x08\x00"])
    def test_damaged_archives(self, shop: Shop, damage: bytes) -> None:
        one = shop.take()
        self.stored(shop, "sources").write_bytes(damage)
        with pytest.raises(DigestMismatch):
            shop.builder("other").build_version(one.digest)

    def test_a_missing_archive(self, shop: Shop) -> None:
        one = shop.take()
        self.stored(shop, "sources").unlink()
        with pytest.raises(BlobNotFound):
            shop.builder("other").build_version(one.digest)
        shop.take()
        assert shop.builder("other").build_version(one.digest).folder

    def test_a_damaged_manifest_in_the_cache(self, shop: Shop) -> None:
        one = shop.take()
        (shop.cache / "versions" / f"{one.digest}.json").write_text("{}")
        with pytest.raises(DigestMismatch, match="is not the one that was stored"):
            shop.builder().build_version(one.digest)


def hostile(*members: tuple[str, bytes, str]) -> bytes:
    """An archive with (name, type, link)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, kind, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, link, 4 if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(b"evil") if member.size else None)
    return file.getvalue()


REG, SYM, LNK = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize(
    "members",
    [
        [("../evil", REG, "")],
        [("a/../../evil", REG, "")],
        [("/{folder}/evil", REG, "")],
        [("link", SYM, "../outside")],
        [("link", SYM, "/etc/passwd")],
        [("link", SYM, ".."), ("link/evil", REG, "")],
        [("a/b", SYM, ".."), ("c", SYM, "a/b/../..")],
        [("hard", LNK, "../outside")],
        [("device", tarfile.CHRTYPE, "")],
        [("pipe", tarfile.FIFOTYPE, "")],
    ],
    ids=lambda members: members[0][0] + str(len(members)),
)
def test_hostile_archives(folder: Path, members: list[tuple[str, bytes, str]]) -> None:
    import hashlib

    (folder / "outside").write_text("mine")
    data = hostile(*((name.format(folder=folder), kind, link) for name, kind, link in members))
    target = folder / "place" / "tree"
    target.parent.mkdir()
    with pytest.raises((DigestMismatch, OSError)):
        unpack([gzip.compress(data)], hashlib.sha256(data).hexdigest(), len(data), target)
    assert (folder / "outside").read_text() == "mine"
    assert not (folder / "evil").exists()
    assert not (folder / "place" / "evil").exists()


def test_an_archive_that_grows(folder: Path) -> None:
    packed = pack({"a": b"x"}, folder / "small.tar.gz")
    bomb = gzip.compress(bytes(64 << 20))
    with pytest.raises(DigestMismatch, match="more than"):
        unpack([bomb], packed.digest, packed.size, folder / "tree")
    assert sorted(os.listdir(folder)) == ["small.tar.gz"]


def test_archives_have_the_same_bytes(folder: Path) -> None:
    (folder / "a").write_text("1")
    (folder / "l").symlink_to("a")
    entries: dict[str, Path | bytes] = {"z/a": folder / "a", "b": b"2", "z/l": folder / "l"}
    first = pack(entries, folder / "one")
    os.utime(folder / "a", (5, 5))
    second = pack(dict(reversed(entries.items())), folder / "two")
    assert first == second
    assert (folder / "one").read_bytes() == (folder / "two").read_bytes()
    unpack([(folder / "one").read_bytes()], first.digest, first.size, folder / "tree")
    assert (folder / "tree" / "z" / "l").read_text() == "1"


RESTORE = """
import sys
from bursty.packaging.manifest import canonical, digest_of
from bursty.packaging.place import remove_tree
from bursty.packaging.restore import VersionBuilder
from bursty.stores.blobs import FolderBlobs
builder = VersionBuilder(lambda: FolderBlobs(sys.argv[1]), sys.argv[2])
built = builder.build_version(sys.argv[3])
print(sorted(p.name for p in __import__("pathlib").Path(built.folder).iterdir()), built.folder)
"""


class TestSharing:
    def test_eight_processes_restore_at_once(self, shop: Shop) -> None:
        one = shop.take()
        command = [sys.executable, "-c", RESTORE, str(shop.folder / "blobs"), str(shop.folder / "other"), one.digest]

        def restore(_number: int) -> str:
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout

        with ThreadPoolExecutor(8) as pool:
            said = set(pool.map(restore, range(8)))
        assert len(said) == 1
        assert said.pop().startswith("['app.py', 'helper.py']")

    def test_two_take_the_same_at_once(self, shop: Shop) -> None:
        with ThreadPoolExecutor(4) as pool:
            taken = list(pool.map(lambda _: shop.take(), range(4)))
        assert len({snapshot.digest for snapshot in taken}) == 1
        assert sum(snapshot.is_new for snapshot in taken) == 1

    def test_what_is_in_use_is_not_pruned(self, shop: Shop) -> None:
        one = shop.take()
        assert shop.call(one, "price", 1) == 10
        assert prune_versions(shop.cache, 0, now=1e12) == (0, 0), "the executor uses it"
        holder = shop.builder("other")
        folder = Path(holder.build_version(one.digest).folder or "")
        assert prune_versions(shop.folder / "other", 0, now=1e12) == (0, 0)
        del holder
        count, size = prune_versions(shop.folder / "other", 0, now=1e12)
        assert (count, size > 0, folder.exists()) == (1, True, False)
        assert shop.builder("other").build_version(one.digest).folder == str(folder)

    def test_sweeping_the_blob_store(self, shop: Shop) -> None:
        shop.write(app=PINNED.format(version="23.2"))
        one = shop.take()
        shop.write(app=APP)
        two = shop.take()
        assert sweep_versions(shop.blobs, {two.digest}, 3600) == (0, 0), "too young"
        count, size = sweep_versions(shop.blobs, {two.digest}, 3600, now=time.time() + 7200)
        assert (count, size > 0) == (1, True), "a manifest; archives stay for some time"
        count, _ = sweep_versions(shop.blobs, {two.digest}, 0, now=time.time() + 30 * 86_400)
        assert count == 2
        with pytest.raises(BlobNotFound):
            shop.builder("other").build_version(one.digest)
        assert shop.builder("other").build_version(two.digest).folder
        shop.write(app=PINNED.format(version="23.2"))
        assert shop.take().digest == one.digest
        assert shop.builder("other").build_version(one.digest, Env(["packaging==23.2"])).folder

    def test_what_killed_snapshots_left_is_pruned(self, shop: Shop) -> None:
        shop.take()
        (shop.cache / "versions" / "taking-x").mkdir()
        (shop.cache / "versions" / "taking-x" / "source.tar.gz").touch()
        prune_versions(shop.cache, 3600)
        assert (shop.cache / "versions" / "taking-x").exists()
        prune_versions(shop.cache, 3600, now=time.time() + 7200)
        assert list((shop.cache / "versions").iterdir()) == []
        assert shop.call(shop.take(), "price", 1) == 10

    def test_what_a_killed_restore_left_is_made_anew(self, shop: Shop) -> None:
        one = shop.take()
        folder = Path(shop.builder("other").build_version(one.digest).folder or "")
        (folder.parent / ".ready").unlink()
        folder.chmod(0o755)
        (folder / "app.py").unlink()
        assert sorted(os.listdir(shop.builder("other").build_version(one.digest).folder)) == ["app.py", "helper.py"]
