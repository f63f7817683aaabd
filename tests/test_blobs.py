"""Blob stores of this machine: the suite on each, and what can go wrong with a folder."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bursty.errors import BlobNotFound, ConfigError, DigestMismatch, StoreError
from bursty.stores.blobs import FolderBlobs, MemoryBlobs
from bursty.stores.parts import ClientParts, PartStore, prune
from bursty.supervise.parts import part_key
from bursty.values import Ref
from conformance.blobstore import BlobStoreSuite

LARGE = 300_000
NOBODY = 65534


class TestMemoryBlobs(BlobStoreSuite):
    @pytest.fixture
    def store(self) -> MemoryBlobs:
        return MemoryBlobs()


class TestFolderBlobs(BlobStoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> FolderBlobs:
        return FolderBlobs(tmp_path / "deep" / "blobs")


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def run_python(code: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)  # type: ignore[call-overload]


@contextlib.contextmanager
def small_disk(path: Path, options: str = "size=1m") -> Iterator[None]:
    """A tmpfs of a megabyte at the path; skips where we may not mount."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"mode=0700,{options}", "tmpfs", str(path)], capture_output=True, check=False
    ) if os.geteuid() == 0 else None  # fmt: skip
    if mounted is None or mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_the_root_is_made_by_the_first_put_and_private(tmp_path: Path) -> None:
    root = tmp_path / "project" / ".bursty" / "blobs"
    store = FolderBlobs(root)
    assert store.head("a") is None
    assert not root.exists()
    store.put("a/b", b"1")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (root.parent, root, root / "a")] == [0o700] * 3
    assert stat.S_IMODE((root / "a" / "b").stat().st_mode) == 0o600
    assert store.url == str(root)


def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a folder away")
    os.chown(tmp_path, NOBODY, NOBODY)
    for use in (lambda: FolderBlobs(tmp_path).put("a", b"1"), lambda: FolderBlobs(tmp_path).get("a")):
        with pytest.raises(StoreError, match="belongs to another user"):
            use()
    assert files_in(tmp_path) == []


def test_a_folder_that_all_may_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(StoreError, match="writing of every user"):
        FolderBlobs(tmp_path).put("a", b"1")


def test_no_link_leads_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    store = FolderBlobs(tmp_path / "blobs")
    store.put("x", b"1")
    (tmp_path / "blobs" / "folder").symlink_to(outside)
    (tmp_path / "blobs" / "file").symlink_to(outside / "secret")
    for key in ("folder/secret", "file"):
        with pytest.raises(BlobNotFound):
            store.get(key)
        assert store.head(key) is None
        assert not store.delete(key)
    with pytest.raises(StoreError, match="can't write"):
        store.put("folder/new", b"2")
    store.put("file", b"3")
    assert [info.key for info in store.list()] == ["file", "x"]
    assert files_in(outside) == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"


def test_a_pipe_in_the_folder_is_no_blob_and_stops_nobody(tmp_path: Path) -> None:
    store = FolderBlobs(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BlobNotFound):
        store.get("pipe")


def test_a_blob_is_no_folder(tmp_path: Path) -> None:
    store = FolderBlobs(tmp_path)
    store.put("a", b"1")
    with pytest.raises(StoreError, match="use another key"):
        store.put("a/b", b"2")
    store.put("c/d", b"1")
    with pytest.raises(StoreError, match="use another key"):
        store.put("c", b"2")
    assert files_in(tmp_path) == [".bursty-lock", "a", "c/d"]


def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path):
        store, parts = FolderBlobs(tmp_path), PartStore(tmp_path)
        store.put("a", b"old")
        for write in (
            lambda: store.put("a", bytes(2 << 20)),
            lambda: store.put("new/b", (bytes(LARGE) for _ in range(10))),
            lambda: parts.put(bytes(2 << 20)),
        ):
            with pytest.raises(StoreError, match="No space left on device") as caught:
                write()
            assert str(tmp_path) in caught.value.message
            assert "Free some space" in caught.value.hint
        assert files_in(tmp_path) == [".bursty-lock", "a"]
        assert store.get("a") == b"old"
        (tmp_path / "filler").write_bytes(bytes((1 << 20) - 3 * 4096))
        with pytest.raises(StoreError):
            store.put("c", bytes(40_000))
        assert store.delete("a"), "a full disk must not keep anybody from deleting"


def test_a_limit_on_file_sizes(tmp_path: Path) -> None:
    done = run_python(
        """
        import resource, sys
        from bursty.errors import StoreError
        from bursty.stores.blobs import FolderBlobs
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        store = FolderBlobs(sys.argv[1])
        try:
            store.put("a", bytes(300_000))
        except StoreError as error:
            print(error)
        """,
        tmp_path,
    )
    assert "File too large" in done.stdout, done.stderr
    assert "ulimit -f" in done.stdout
    assert files_in(tmp_path) == []


def test_a_read_only_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path):
        FolderBlobs(tmp_path).put("a", b"1")
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)
        for key in ("a", "b/c"):
            with pytest.raises(StoreError, match="Read-only file system") as caught:
                FolderBlobs(tmp_path).put(key, b"2")
            assert "writable" in caught.value.hint
        assert FolderBlobs(tmp_path).get("a") == b"1"


def test_a_folder_without_the_right_to_write(tmp_path: Path) -> None:
    code = """
        import os, sys
        from bursty.errors import StoreError
        from bursty.stores.blobs import FolderBlobs
        root = sys.argv[1]
        if os.geteuid() == 0:
            os.chown(root, 65534, 65534)
            os.setgroups([]), os.setgid(65534), os.setuid(65534)
        os.chmod(".", 0o500)
        try:
            FolderBlobs("." if sys.argv[2] == "here" else "./blobs").put("a/b", b"1")
        except StoreError as error:
            print(error)
        os.chmod(".", 0o700)
    """
    for where in ("here", "below"):
        done = run_python(code, tmp_path, where, cwd=tmp_path)
        assert "Permission denied" in done.stdout, done.stderr
        assert "chmod" in done.stdout
    assert files_in(tmp_path) == []


def test_processes_share_a_counter(tmp_path: Path) -> None:
    FolderBlobs(tmp_path).put("counter", b"0")
    code = textwrap.dedent(
        """
        import sys
        sys.path.insert(0, sys.argv[2])
        from bursty.stores.blobs import FolderBlobs
        from conformance.blobstore import increment
        for _ in range(10):
            increment(FolderBlobs(sys.argv[1]), "counter")
        """
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)]
    writers = [subprocess.Popen(command) for _ in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    assert FolderBlobs(tmp_path).get("counter") == b"40"


def start_endless_put(root: Path) -> subprocess.Popen[str]:
    """A process in the middle of a put; it has written some of it when this returns."""
    code = """
        import sys
        from bursty.stores.blobs import FolderBlobs
        def pieces():
            yield bytes(1_000_000)
            print("writing", flush=True)
            sys.stdin.read()
        FolderBlobs(sys.argv[1]).put("a/b", pieces())
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(root)]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    return writer


def test_a_killed_writer_leaves_nothing_that_is_seen_or_stays(tmp_path: Path) -> None:
    store = FolderBlobs(tmp_path)
    with start_endless_put(tmp_path) as writer:
        assert list(store.list()) == []
        assert prune(store, older_than=-10).removed == 0, "it is being written"
        writer.send_signal(signal.SIGKILL)
        writer.wait(30)
    assert store.head("a/b") is None
    assert len(files_in(tmp_path)) == 1
    assert prune(store, older_than=3600).removed == 0, "it is young"
    assert prune(store, older_than=3600, now=time.time() + 7200) == (1, 1_000_000)
    assert files_in(tmp_path) == []


class TestParts:
    @pytest.fixture(params=["folder", "memory"])
    def parts(self, request: pytest.FixtureRequest, tmp_path: Path) -> PartStore:
        return PartStore(tmp_path if request.param == "folder" else MemoryBlobs())

    @pytest.mark.parametrize("size", [0, 1, 100_000, LARGE, (8 << 20) + 1])
    def test_gives_back_what_was_put(self, parts: PartStore, size: int) -> None:
        content = os.urandom(size)
        ref = parts.put(content)
        assert ref.size == size
        assert parts.put(memoryview(bytearray(content))) == ref
        assert bytes(parts.get(ref)) == content

    @pytest.mark.parametrize("size", [1000, LARGE])
    def test_every_get_is_the_callers_own(self, parts: PartStore, size: int) -> None:
        ref = parts.put(bytes(size))
        one, two = memoryview(parts.get(ref)), memoryview(parts.get(ref))
        one[5] = 7
        assert two[5] == 0
        assert memoryview(parts.get(ref))[5] == 0

    def test_missing(self, parts: PartStore) -> None:
        with pytest.raises(BlobNotFound, match="pruned"):
            parts.get(Ref("ab" * 32, 5))

    @pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "ab/" + "c" * 61])
    def test_a_digest_is_no_path(self, parts: PartStore, digest: str) -> None:
        with pytest.raises(StoreError, match="no SHA-256"):
            parts.get(Ref(digest, 5))


def test_client_parts_speak_as_hosts_do(tmp_path: Path) -> None:
    parts = ClientParts(tmp_path, 1000)
    digest, size = parts.put_part(b"12345")
    assert (parts.spill_bytes, size, bytes(parts.get_part(digest, size))) == (1000, 5, b"12345")
    with pytest.raises(ConfigError, match="memory://"):
        ClientParts("memory://", 1000).put_part(b"12345")


@pytest.mark.parametrize("size", [1000, LARGE])
def test_a_tampered_part_is_refused(tmp_path: Path, size: int) -> None:
    parts = PartStore(tmp_path)
    ref = parts.put(bytes(size))
    path = tmp_path / part_key(ref.digest)
    parts.get(ref)
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"!")
    with pytest.raises(DigestMismatch, match=ref.digest) as caught:
        parts.get(ref)
    assert "tampered" in caught.value.hint
    os.truncate(path, size - 1)
    with pytest.raises(DigestMismatch, match=f"{size - 1} bytes"):
        parts.get(ref)


def test_a_tampered_part_across_a_network_is_refused() -> None:
    store = MemoryBlobs()
    ref = PartStore(store).put(b"12345")
    for content in (b"12!45", b"1234", b"123456"):
        store.put(part_key(ref.digest), content)
        with pytest.raises(DigestMismatch):
            PartStore(store).get(ref)


def test_a_part_is_written_once_and_checked_once(tmp_path: Path) -> None:
    parts, content = PartStore(tmp_path), os.urandom(LARGE)
    ref = parts.put(content)
    path = tmp_path / part_key(ref.digest)
    before = path.stat()
    parts.put(content)
    after = path.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_parts_outlive_the_limit_on_open_files(tmp_path: Path) -> None:
    done = run_python(
        """
        import resource, sys
        from bursty.stores.parts import PartStore
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        parts = PartStore(sys.argv[1])
        ref = parts.put(bytes(300_000))
        kept = [parts.get(ref) for _ in range(300)]
        assert all(len(memoryview(buffer)) == 300_000 for buffer in kept)
        print("fine", len([open("/dev/null") for _ in range(30)]))
        """,
        tmp_path,
    )
    assert done.stdout == "fine 30\n", done.stderr


def test_prune_goes_by_the_last_put(tmp_path: Path) -> None:
    store, parts = FolderBlobs(tmp_path), PartStore(tmp_path)
    old, used = parts.put(b"old"), parts.put(b"used")
    store.put("runs/1", b"no spill")
    past = time.time() - 5000
    for ref in (old, used):
        os.utime(tmp_path / part_key(ref.digest), (past, past))
    parts.put(b"used")
    assert prune(store, older_than=3600) == (1, 3)
    assert bytes(parts.get(used)) == b"used"
    with pytest.raises(BlobNotFound):
        parts.get(old)
    assert prune(store, older_than=3600, now=time.time() + 7200) == (1, 4)
    assert [info.key for info in store.list()] == ["runs/1"]


def test_prune_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert prune(FolderBlobs(tmp_path / "none"), older_than=0) == (0, 0)


def test_what_workers_import_is_the_standard_library() -> None:
    done = run_python(
        """
        import sys
        import bursty.supervise.parts, bursty.stores.blobs
        heavy = {"obstore", "msgspec", "cloudpickle", "pydantic"}
        print({name.split(".")[0] for name in sys.modules} & heavy or "none")
        """
    )
    assert done.stdout == "none\n", done.stderr


def test_errors_name_the_place(tmp_path: Path) -> None:
    with pytest.raises(BlobNotFound) as caught:
        FolderBlobs(tmp_path).get("runs/7/table.csv")
    assert str(tmp_path) in str(caught.value)
