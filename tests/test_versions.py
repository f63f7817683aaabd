"""Versions: what makes their identity, and running them from the blob store alone."""

import os
import shutil
import stat
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bursty import ConfigError, Env, EnvError
from bursty.errors import BlobNotFound
from bursty.packaging.place import remove_tree
from bursty.packaging.restore import prune_versions
from bursty.packaging.sweep import sweep_versions
from version_shop import APP, PINNED, Shop, files_of, invoke, look, shop

__all__ = ["shop"]


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
        assert set(manifest["env_of"]) == {"price", "total", "around", "price_then"}
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

    def test_a_call_of_one_version_makes_a_call_of_another(self, shop: Shop) -> None:
        one = shop.take()
        shop.write(helper="FACTOR = 1000")
        two = shop.take()
        shutil.rmtree(shop.project)
        assert shop.call(one, "price_then", two.digest, 3) == (30, 3000)

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


RESTORE = """
import os, sys
from bursty import Env
from bursty.packaging.restore import VersionBuilder
from bursty.stores.blobs import FolderBlobs
folder, version, how = sys.argv[1:]

class Blobs(FolderBlobs):
    def stream(self, key, chunk=8 << 20):
        for data in super().stream(key, 1 if how == "stuck" else chunk):
            yield data
            if how == "stuck":
                print("begun", flush=True)
                sys.stdin.read()

builder = VersionBuilder(lambda: Blobs(folder + "/blobs"), folder + "/other")
env = Env(["packaging==23.2"])
print(sorted(os.listdir(builder.build_version(version, env, say=print).folder)))
"""


def restoring(shop: Shop, version: str, how: str) -> list[str]:
    return [sys.executable, "-c", RESTORE, str(shop.folder), version, how]


class TestSharing:
    def test_eight_processes_restore_at_once(self, shop: Shop) -> None:
        shop.write(app=PINNED.format(version="23.2"))
        one = shop.take()

        def restore(_number: int) -> list[str]:
            command = restoring(shop, one.digest, "at once")
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.splitlines()

        with ThreadPoolExecutor(8) as pool:
            said = list(pool.map(restore, range(8)))
        assert [lines[-1] for lines in said] == ["['app.py', 'helper.py']"] * 8
        assert sum(line.startswith("building env") for lines in said for line in lines) == 1

    def test_a_restore_that_is_killed_halfway(self, shop: Shop) -> None:
        shop.write(app=PINNED.format(version="23.2"))
        one = shop.take()
        command = restoring(shop, one.digest, "stuck")
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            process.kill()
        assert (shop.folder / "other" / "sources").exists()
        built = shop.builder("other").build_version(one.digest, Env(["packaging==23.2"]))
        assert sorted(os.listdir(built.folder)) == ["app.py", "helper.py"]

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
