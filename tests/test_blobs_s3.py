"""Blobs in object stores: the suite on an S3 server, and what can go wrong on the way there.

moto's server keeps conditions and checks no signatures; rclone's checks signatures and ignores conditions.
"""

import os
import pickle
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bursty.errors import BlobExists, BlobNotFound, ConfigError, DigestMismatch, MissingExtra, StoreError
from bursty.ports import BlobStore
from bursty.stores.objects import ObjectBlobs
from bursty.stores.parts import PartStore, prune
from bursty.stores.refusals import cause_of
from bursty.supervise.parts import part_key
from bursty.wiring import open_blobs
from conformance.blobstore import BlobStoreSuite, together
from servers import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server, aws_environ, free_port, moto, rclone_s3
from tcp_proxy import Proxy

MB = 1 << 20
LONG = 20 * MB
"""More than goes up in one request."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with moto(tmp_path_factory.mktemp("moto")) as started:
        yield started


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with rclone_s3(tmp_path_factory.mktemp("rclone")) as started:
        yield started


def use(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> None:
    """Nothing but this is known of AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> ObjectBlobs:
    """An empty store: each has a prefix of its own."""
    use(monkeypatch, server.environ)
    return ObjectBlobs(f"s3://{BUCKET}/team/{uuid.uuid4().hex}")


class TestObjectBlobsOnS3(BlobStoreSuite):
    @pytest.fixture
    def store(self, s3: ObjectBlobs) -> ObjectBlobs:
        return s3


class TestObjectBlobsInMemory(BlobStoreSuite):
    @pytest.fixture
    def store(self) -> ObjectBlobs:
        return ObjectBlobs("memory://")


def long_stream(letter: bytes = b"x", size: int = LONG) -> Iterator[bytes]:
    return (letter * MB for _ in range(size // MB))


def test_its_url_opens_the_same_store(s3: ObjectBlobs) -> None:
    s3.put("a/b", b"1")
    assert isinstance(open_blobs(s3.url), ObjectBlobs)
    assert open_blobs(s3.url).get("a/b") == b"1"
    assert open_blobs(s3.url + "/a/").get("b") == b"1"
    assert pickle.loads(pickle.dumps(s3)).get("a/b") == b"1"
    assert repr(s3) == f"ObjectBlobs('{s3.url}')"


def test_other_prefixes_are_other_stores(s3: ObjectBlobs) -> None:
    beside = ObjectBlobs(s3.url + "-beside")
    beside.put("a", b"1")
    assert list(s3.list()) == []
    assert s3.head("a") is None


class TestLongStreams:
    def test_conditions_hold(self, s3: ObjectBlobs) -> None:
        first = s3.put("a", long_stream(b"1"), if_absent=True)
        with pytest.raises(BlobExists):
            s3.put("a", long_stream(b"2"), if_absent=True)
        with pytest.raises(BlobExists):
            s3.put("a", long_stream(b"2"), if_match='"another"')
        assert s3.get("a") == b"1" * LONG
        second = s3.put("a", long_stream(b"3"), if_match=first)
        info = s3.head("a")
        assert info is not None
        assert (info.size, info.etag) == (LONG, second)
        assert [info.key for info in s3.list()] == ["a"]

    def test_one_of_many_writers_is_first(self, s3: ObjectBlobs) -> None:
        def write(number: int) -> bool:
            try:
                s3.put("a", long_stream(bytes([number]), 10 * MB), if_absent=True)
            except BlobExists:
                return False
            return True

        won = together(6, write)
        assert won.count(True) == 1
        assert s3.get("a") == bytes([won.index(True)]) * 10 * MB

    @pytest.mark.parametrize("if_absent", [False, True])
    def test_a_failing_source_leaves_nothing_in_the_bucket(
        self, s3: ObjectBlobs, server: S3Server, if_absent: bool
    ) -> None:
        def source() -> Iterator[bytes]:
            yield from long_stream()
            raise FileNotFoundError(2, "the source broke")

        with pytest.raises(FileNotFoundError, match="the source broke"):
            s3.put("a", source(), if_absent=if_absent)
        prefix = s3.url.partition(f"{BUCKET}/")[2]
        client = server.client
        assert client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["KeyCount"] == 0
        uploads = client.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix).get("Uploads", [])
        assert [upload for upload in uploads if upload["Key"].startswith(prefix)] == []

    def test_reading_asks_for_one_and_the_same_blob(self, s3: ObjectBlobs) -> None:
        size = 80 * MB
        s3.put("a", long_stream(b"1", size))
        pieces = s3.stream("a", chunk=5 * MB)
        assert next(pieces) == b"1" * 5 * MB
        s3.put("a", long_stream(b"2", size))
        with pytest.raises(StoreError, match="was replaced while it was read"):
            list(pieces)
        assert s3.get("a") == b"2" * size


def test_folders_made_in_a_console_are_no_blobs(s3: ObjectBlobs, server: S3Server) -> None:
    prefix = s3.url.partition(f"{BUCKET}/")[2]
    for folder in (f"{prefix}/", f"{prefix}/made/", f"{prefix}/used/"):
        server.client.put_object(Bucket=BUCKET, Key=folder, Body=b"")
    s3.put("used/a", b"")
    assert [info.key for info in s3.list()] == ["used/a"]
    assert [info.key for info in s3.list("used")] == ["used/a"]


def test_a_key_of_somebody_else_is_named(s3: ObjectBlobs, server: S3Server) -> None:
    server.client.put_object(Bucket=BUCKET, Key=s3.url.partition(f"{BUCKET}/")[2] + "/a//b", Body=b"")
    with pytest.raises(StoreError, match=r"a//b.*(?s:.*)Something else wrote it"):
        list(s3.list())


def test_what_killed_writers_left_is_swept_and_never_listed(s3: ObjectBlobs, server: S3Server) -> None:
    prefix = s3.url.partition(f"{BUCKET}/")[2]
    server.client.put_object(Bucket=BUCKET, Key=f"{prefix}/.bursty-tmp/0123", Body=b"half")
    s3.put("a", b"1")
    assert [info.key for info in s3.list()] == ["a"]
    written = max(info.modified for info in s3.list())
    assert s3.sweep(3600, written + 3000) == (0, 0)
    assert prune(s3, 3600, now=written + 4000) == (1, 4)
    assert s3.sweep(3600, written + 4000) == (0, 0)
    assert s3.get("a") == b"1"


class TestParts:
    def test_come_back_and_are_checked(self, s3: ObjectBlobs) -> None:
        parts = PartStore(s3)
        ref = parts.put(b"part" * 100_000)
        assert bytes(parts.get(ref)) == b"part" * 100_000
        s3.put(part_key(ref.digest), b"evil" * 100_000)
        with pytest.raises(DigestMismatch):
            parts.get(ref)

    def test_prune(self, s3: ObjectBlobs) -> None:
        refs = [PartStore(s3).put(bytes([number]) * 1000) for number in range(3)]
        s3.put("runs/1/table", b"kept")
        written = [info.modified for info in s3.list("spill")]
        assert prune(s3, 3600, now=max(written) + 3000).removed == 0
        assert prune(s3, 3600, now=max(written) + 4000) == (3, 3000)
        assert [info.key for info in s3.list()] == ["runs/1/table"]
        with pytest.raises(BlobNotFound):
            PartStore(s3).get(refs[0])


class TestSignatures:
    """On rclone's server, which checks them."""

    def test_the_right_key_opens(self, signed: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        use(monkeypatch, signed.environ)
        store = ObjectBlobs(f"s3://{BUCKET}/signed é~/{uuid.uuid4().hex}")
        store.put("a b/c=d+e", b"1")
        assert store.get("a b/c=d+e") == b"1"
        assert [info.key for info in store.list()] == ["a b/c=d+e"]
        assert store.delete("a b/c=d+e") is True

    @pytest.mark.parametrize(
        ("name", "value"), [("AWS_SECRET_ACCESS_KEY", "wrong-secret"), ("AWS_ACCESS_KEY_ID", "AKIAWRONG")]
    )
    def test_a_wrong_key_is_named_and_not_shown(
        self, signed: S3Server, monkeypatch: pytest.MonkeyPatch, name: str, value: str
    ) -> None:
        use(monkeypatch, {**signed.environ, name: value})
        store = ObjectBlobs(f"s3://{BUCKET}/x")
        for attempt in uses(store):
            with pytest.raises(StoreError, match="Check the credentials") as refused:
                attempt()
            shown = repr(refused.value) + repr(store)
            assert f"s3://{BUCKET}/x" in shown
            assert not any(secret in shown for secret in (value, ACCESS_KEY, SECRET_KEY))
            assert refused.value.__cause__ is None
            assert refused.value.__suppress_context__

    def test_a_profile_of_the_shared_files(
        self, signed: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        files = tmp_path / "credentials"
        files.write_text(f"[work]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n")
        environ = {**signed.environ, "AWS_SHARED_CREDENTIALS_FILE": str(files), "AWS_PROFILE": "work"}
        del environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]
        use(monkeypatch, environ)
        store = ObjectBlobs(f"s3://{BUCKET}/{uuid.uuid4().hex}")
        store.put("a", b"1")
        assert store.get("a") == b"1"
        monkeypatch.setenv("AWS_PROFILE", "gone")
        with pytest.raises(ConfigError, match="'gone'"):
            ObjectBlobs(f"s3://{BUCKET}/x")
        monkeypatch.delitem(sys.modules, "obstore.auth.boto3")
        monkeypatch.setitem(sys.modules, "boto3", None)  # as if it were not installed
        with pytest.raises(MissingExtra, match=r"bursty\[aws\]"):
            ObjectBlobs(f"s3://{BUCKET}/x")


def uses(store: BlobStore) -> list[Callable[[], object]]:
    return [
        lambda: store.put("a", b"1"),
        lambda: store.put("a", long_stream()),
        lambda: store.get("a"),
        lambda: list(store.stream("a")),
        lambda: store.head("a"),
        lambda: list(store.list()),
        lambda: store.delete("a"),
    ]


class TestRefusals:
    def test_a_bucket_that_is_not_there(self, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        use(monkeypatch, server.environ)
        store = ObjectBlobs("s3://no-such-bucket/x")
        for attempt in (lambda: store.put("a", b"1"), lambda: store.put("a", long_stream()),
                        lambda: store.put("a", b"1", if_absent=True), lambda: store.put("a", b"1", if_match="1"),
                        lambda: store.get("a"), lambda: list(store.list())):  # fmt: skip
            with pytest.raises(StoreError, match=r"no-such-bucket.*(?s:.*)Create it") as refused:
                attempt()
            assert type(refused.value) is StoreError

    def test_nobody_listens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        use(monkeypatch, aws_environ(f"http://127.0.0.1:{free_port()}"))
        store = ObjectBlobs(f"s3://{BUCKET}/x", retries=1)
        for attempt in uses(store):
            with pytest.raises(StoreError, match=r"no connection \(Connection refused\)"):
                attempt()

    @pytest.mark.parametrize(
        "url",
        ["s3://key:secret@bucket/x", "s3://bucket/x?token=secret", "s3://bucket#secret", "s3://", "ftp://bucket", "s3:///x",
         "memory://x"],
    )  # fmt: skip
    def test_urls_that_are_none(self, url: str) -> None:
        with pytest.raises(ConfigError) as refused:
            ObjectBlobs(url)
        assert "secret" not in str(refused.value)

    @pytest.mark.parametrize("url", ["gs://bucket/x", "az://container/x"])
    def test_other_clouds_open(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
        assert open_blobs(url).url == url

    def test_prefixes_are_keys(self) -> None:
        with pytest.raises(StoreError, match="is no key"):
            ObjectBlobs("s3://bucket/a/../b")

    def test_other_schemes(self) -> None:
        with pytest.raises(ConfigError, match=r"there is no blob store for ftp://…"):
            open_blobs("ftp://user:secret@host/x")

    @pytest.mark.parametrize(
        ("text", "cause"),
        [
            ("status code: 503 Service Unavailable: <Code>SlowDown</Code><Message>Be slow</Message><Key>secret</Key>",
             "SlowDown: Be slow"),
            ("GET https://host/x?sig=secret in 2ms - Server returned non-2xx status code: 403 Forbidden: ",
             "the store answers 403 Forbidden"),
            ("Something at https://host/x?sig=secret broke", "Something at https://host/x?… broke"),
            ("Error performing PUT http://169.254.169.254/latest/api/token",
             "there are no credentials in the environment, and this machine has none of its own"),
            ('said\n\nDebug source:\nkind: Timeout, source: "operation timed out"', "the store timed out"),
        ],
    )  # fmt: skip
    def test_causes(self, text: str, cause: str) -> None:
        assert cause_of(text) == cause


class TestBrokenConnections:
    """Through a proxy that cuts connections after so many bytes."""

    @pytest.fixture
    def proxy(self, server: S3Server) -> Iterator[Proxy]:
        with Proxy(server.port) as started:
            yield started

    @pytest.fixture
    def far(self, s3: ObjectBlobs, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> ObjectBlobs:
        """The store of ``s3``, through the proxy."""
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        return ObjectBlobs(s3.url, retries=3)

    def test_reads_go_on_where_they_were_cut(self, s3: ObjectBlobs, far: ObjectBlobs, proxy: Proxy) -> None:
        content = os.urandom(3 * MB)
        s3.put("a", content)
        proxy.cut(down=MB, connections=2)
        assert far.get("a") == content
        proxy.cut(down=MB, connections=2)
        assert b"".join(far.stream("a", MB)) == content
        assert proxy.cuts == 4

    def test_reads_that_never_end_are_errors(self, s3: ObjectBlobs, far: ObjectBlobs, proxy: Proxy) -> None:
        s3.put("a", os.urandom(3 * MB))
        proxy.cut(down=1000)
        with pytest.raises(StoreError, match="connection broke"):
            far.get("a")
        with pytest.raises(StoreError, match="connection broke"):
            list(far.stream("a"))

    @pytest.mark.parametrize("size", [MB, LONG])
    def test_writes_are_sent_again(self, s3: ObjectBlobs, far: ObjectBlobs, proxy: Proxy, size: int) -> None:
        proxy.cut(up=500_000, connections=2)
        far.put("a", long_stream(b"2", size))
        assert s3.get("a") == b"2" * size
        assert proxy.cuts == 2

    @pytest.mark.parametrize("size", [MB, LONG])
    @pytest.mark.parametrize("if_absent", [False, True])
    def test_no_blob_is_torn(self, s3: ObjectBlobs, far: ObjectBlobs, proxy: Proxy, size: int, if_absent: bool) -> None:
        old = None if if_absent else b"1" * MB
        if old:
            s3.put("a", old)
        proxy.cut(up=500_000)
        with pytest.raises(StoreError, match="connection broke"):
            far.put("a", long_stream(b"2", size), if_absent=if_absent)
        assert (s3.get("a") if s3.head("a") else None) == old

    def test_a_conditional_write_of_unknown_end_says_so(self, s3: ObjectBlobs, far: ObjectBlobs, proxy: Proxy) -> None:
        proxy.cut(down=10)
        with pytest.raises(StoreError, match="may have been written"):
            far.put("a", b"1", if_absent=True)
        assert s3.get("a") == b"1"


GROWTH = """
    import hashlib, sys
    from pathlib import Path
    from bursty.stores.objects import ObjectBlobs

    def peak():
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10

    url, size, if_absent = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"
    store = ObjectBlobs(url)
    store.put("small", b"1")
    before = peak()
    sent, received = hashlib.md5(), hashlib.md5()

    def pieces():
        for number in range(size >> 20):
            piece = number.to_bytes(4, "big") * (1 << 18)
            sent.update(piece)
            yield piece

    store.put("big", pieces(), if_absent=if_absent)
    for piece in store.stream("big"):
        received.update(piece)
    assert sent.digest() == received.digest(), "another content came back"
    print(peak() - before)
"""
"""Puts and reads a blob, and prints by how many bytes the peak of its memory grew."""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
@pytest.mark.parametrize("if_absent", [False, True])
def test_a_big_blob_passes_through_little_memory(s3: ObjectBlobs, if_absent: bool) -> None:
    size = 300 * MB
    command = [sys.executable, "-c", textwrap.dedent(GROWTH), s3.url, str(size), str(if_absent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 200 * MB
    s3.delete("big")
