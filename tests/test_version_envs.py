"""Versions and their Envs: locked, packed, restored, with the real uv."""

import gzip
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bursty import Env, EnvError
from bursty.errors import DigestMismatch
from bursty.packaging.interpreters import find_python
from bursty.packaging.lock import without_password
from bursty.packaging.manifest import canonical, digest_of
from bursty.packaging.place import remove_tree
from bursty.packaging.snapshot import Snapshot
from bursty.stores.blobs import FolderBlobs
from version_shop import APP, PINNED, Shop, invoke, look, shop

__all__ = ["shop"]


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
        assert shop.call(old, "inside", env=env[0]) == ["23.2"] * 2, "calls inside are in the Env of the call around"
        assert shop.call(new, "inside", env=env[1]) == ["24.2"] * 2
        [locked] = old.manifest["envs"].values()
        [line] = [line for line in locked["lock"] if line.startswith("packaging")]
        assert line.startswith("packaging==23.2 --hash=sha256:")
        with pytest.raises(EnvError, match="only Envs that"):
            shop.call(old, "version", env=env[1])

    def test_a_requirements_file_of_the_project(self, shop: Shop) -> None:
        (shop.project / "requirements.txt").write_text("packaging==23.2\n")
        shop.write(app=PINNED.replace('["packaging=={version}"]', '"requirements.txt"'))
        one = shop.take()
        assert not Path("requirements.txt").exists()
        shutil.rmtree(shop.project)
        assert shop.call(one, "inside", env=Env("requirements.txt")) == ["23.2"] * 2

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
