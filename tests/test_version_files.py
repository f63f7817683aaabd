"""What a version holds of a project, and archives that nobody need trust."""

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from bursty import ConfigError
from bursty.errors import BlobNotFound, DigestMismatch
from bursty.packaging.tarball import pack, unpack
from version_shop import APP, Shop, files_of, shop

__all__ = ["shop"]


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
