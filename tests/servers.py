"""Real servers for tests: each on loopback, a private port, its data in a temporary folder, stopped by process id."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import boto3

ACCESS_KEY = "bursty-test-key"
SECRET_KEY = "bursty-test-secret"
BUCKET = "test-bucket"
READY_SECONDS = 60


class S3Server(NamedTuple):
    """An S3 server with the bucket ``BUCKET``; ``environ``: the variables by which clients find it."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        return aws_environ(self.url)

    @property
    def client(self) -> Any:
        """boto3's, to look at what our code did."""
        return cast(Any, boto3).client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )


def aws_environ(url: str) -> dict[str, str]:
    """The variables by which AWS clients find a server on loopback; no file of the user's is read."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def free_port() -> int:
    """A port of loopback that was free a moment ago: start the server at once, and again when it was taken."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(
    command: Callable[[int], Sequence[str]], is_ready: Callable[[int], bool], folder: Path, **popen: Any
) -> Generator[tuple[int, int]]:
    """Run ``command(port)`` until the block ends; give its port and process id once ``is_ready(port)``."""
    log = folder / f"server-{os.urandom(4).hex()}.log"
    for _ in range(5):
        port = free_port()
        with open(log, "ab") as output:
            process: subprocess.Popen[Any] = subprocess.Popen(
                command(port), cwd=folder, stdout=output, stderr=output, **popen
            )
        try:
            if wait_until(partial(_is_up, process, partial(is_ready, port))) and process.poll() is None:
                yield port, process.pid
                return
        finally:
            stop(process)
    raise RuntimeError(f"the server did not start:\n{log.read_text(errors='replace')[-4000:]}")


def _is_up(process: subprocess.Popen[Any], is_ready: Callable[[], bool]) -> bool:
    return process.poll() is not None or is_ready()


def stop(process: subprocess.Popen[Any]) -> None:
    """End a server, by force when it takes its time."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(condition: Callable[[], bool], seconds: float = READY_SECONDS) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def answers_http(port: int, path: str = "/") -> bool:
    """Whether something speaks HTTP there, be it to refuse."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@contextmanager
def moto(folder: Path) -> Generator[S3Server]:
    """moto's server: S3 (conditions kept, signatures not checked), with ``BUCKET`` in it, DynamoDB and more."""
    command = [sys.executable, str(Path(__file__).with_name("moto_server.py"))]
    with running(lambda port: [*command, str(port)], lambda port: answers_http(port, "/moto-api/"), folder) as found:
        server = S3Server(*found)
        server.client.create_bucket(Bucket=BUCKET)
        yield server


@contextmanager
def rclone_s3(folder: Path) -> Generator[S3Server]:
    """``rclone serve s3`` (checks signatures, ignores conditions) over a temporary folder that holds ``BUCKET``."""
    root = folder / "rclone"
    (root / BUCKET).mkdir(parents=True)
    rclone = Path(sys.executable).parent / "rclone"
    options = ["--config", os.devnull, "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--vfs-cache-mode", "off"]
    with running(
        lambda port: [str(rclone), "serve", "s3", str(root), "--addr", f"127.0.0.1:{port}", *options],
        answers_http,
        folder,
    ) as found:
        yield S3Server(*found)
