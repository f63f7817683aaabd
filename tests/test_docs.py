"""The pages tell the truth: their code runs as it stands, and prints what they say.

In README.md and docs/, each page is run in an empty folder, its blocks in order:

- ``python``: a script, run by itself; one that begins with ``# name.py`` is saved there for the blocks after it. The
  block must succeed. A ``text`` block right behind it is what it prints to stdout.
- ``console``: lines that begin with ``$`` are commands; what is below each is all that it prints. One that shows
  nothing must succeed, whatever it prints.
- ``python notest``, ``sh`` and all others are only shown.

In a command, ``RUN1``, ``RUN2``, … are the ids of the runs that the page has asked for, in order. In what is printed,
``...`` stands for anything. ``bursty serve … &`` goes on until ``kill %1`` or the end of the page, on a port of its own
that the page calls 8000; what it prints is what it has printed when it is ready.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from servers import stop, wait_until

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# (\w+\.py)\n")
PORT = "127.0.0.1:8000"
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Step(NamedTuple):
    """A command of a page and what it prints; ``None``: the page doesn't say."""

    line: int
    command: str
    printed: str | None
    stderr_too: bool = False


def steps_of(text: str, folder: Path) -> list[Step]:
    """What a page asks to be run, its scripts written to the folder."""
    found: list[Step] = []
    blocks = list(BLOCK.finditer(text))
    for number, block in enumerate(blocks):
        kind, content = block[1], block[2]
        line = text.count("\n", 0, block.start()) + 1
        if kind == "python":
            after = blocks[number + 1] if number + 1 < len(blocks) else None
            follows = after is not None and after[1] == "text" and not text[block.end() : after.start()].strip()
            named = NAMED.match(content)
            name = named[1] if named else f"block_{number}.py"
            (folder / ".blocks").mkdir(exist_ok=True)
            source = folder / ".blocks" / f"{number}.py"
            source.write_text(content, encoding="utf-8")
            put = f"cp .blocks/{number}.py {name} && exec python {name}"
            found.append(Step(line, put, after[2] if after and follows else None))
        elif kind == "console":
            found += commands_of(content, line)
    return found


def commands_of(content: str, line: int) -> list[Step]:
    """``$`` lines and what is below each."""
    found: list[Step] = []
    for offset, part in enumerate(re.split(r"^\$ ", content, flags=re.MULTILINE)[1:]):
        command, _, printed = part.partition("\n")
        while command.endswith("\\"):
            more, _, printed = printed.partition("\n")
            command = command[:-1] + more.strip()
        found.append(Step(line + offset + 1, command, printed if printed.strip() else None, stderr_too=True))
    return found


def fits(printed: str, shown: str) -> bool:
    """Whether it is what the page shows, where ``...`` is anything, and the width of spaces doesn't count."""

    def trimmed(text: str) -> str:
        return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())

    pattern = ".*?".join(map(re.escape, trimmed(shown).split("...")))
    return re.fullmatch(pattern, trimmed(printed), re.DOTALL) is not None


def environment(folder: Path) -> dict[str, str]:
    tools = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": tools + os.pathsep + os.environ["PATH"],
        "XDG_CACHE_HOME": str(folder.with_name(f"{folder.name}.cache")),  # no part of the page's project
        "COLUMNS": "120",
        "MPLBACKEND": "Agg",
        "PYTHONIOENCODING": "utf-8",
    }


def with_ids(command: str, folder: Path) -> str:
    """The command about runs of this page, as a reader types it."""
    if not re.search(r"\bRUN\d\b", command):
        return command
    with contextlib.closing(sqlite3.connect(folder / ".bursty" / "state.sqlite")) as state:
        ids = [row[0] for row in state.execute("SELECT id FROM bursty_runs ORDER BY id")]
    return re.sub(r"\bRUN(\d)\b", lambda found: ids[int(found[1]) - 1], command)


class Reader:
    """Types what a page says, in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server: subprocess.Popen[str] | None = None
        self.port = PORT

    def type(self, command: str, *, stderr_too: bool) -> tuple[int, str, str]:
        """Exit code, what it printed, what it printed to stderr beside."""
        if command.endswith(" &") and "bursty serve" in command:
            return 0, self.serve(command[:-2]), ""
        if command == "kill %1":
            return self.stop(), "", ""
        done = subprocess.run(
            ["bash", "-c", with_ids(command, self.folder).replace(PORT, self.port)],
            cwd=self.folder,
            env=environment(self.folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if stderr_too else subprocess.PIPE,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        return done.returncode, ANSI.sub("", done.stdout).replace(self.port, PORT), done.stderr or ""

    def serve(self, command: str) -> str:
        self.stop()
        log = self.folder.with_name(f"{self.folder.name}.log")
        with log.open("w") as output:
            self.server = subprocess.Popen(
                ["bash", "-c", f"{command} --port 0"],
                cwd=self.folder,
                env={**environment(self.folder), "COLUMNS": "200"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                text=True,
            )
        server = self.server
        assert wait_until(lambda: "ready after" in log.read_text() or server.poll() is not None), log.read_text()
        found = re.search(r" at http://(127\.0\.0\.1:\d+)", log.read_text())
        assert found is not None, log.read_text()
        self.port = found[1]
        return log.read_text().replace(self.port, PORT)

    def stop(self) -> int:
        server, self.server = self.server, None
        if server is None:
            return 0
        stop(server)
        return server.returncode


@pytest.fixture
def reader(folder: Path) -> Iterator[Reader]:
    found = Reader(folder)
    yield found
    found.stop()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_runs_as_it_stands(page: Path, reader: Reader) -> None:
    for step in steps_of(page.read_text(encoding="utf-8"), reader.folder):
        code, said, beside = reader.type(step.command, stderr_too=step.stderr_too)
        where = f"{page.relative_to(ROOT)}:{step.line}: {step.command}\n"
        if not step.stderr_too or step.printed is None:
            assert code == 0, where + said + beside
        if step.printed is not None:
            assert fits(said, step.printed), f"{where}prints\n{said}\n{beside}\nand not\n{step.printed}"


def test_the_pages_are_run_at_all(tmp_path: Path) -> None:
    steps = {page.name: steps_of(page.read_text(encoding="utf-8"), tmp_path) for page in PAGES}
    assert len(steps["README.md"]) >= 1
    assert len(steps["tutorial.md"]) >= 6
    assert sum(map(len, steps.values())) >= 30


def test_every_page_can_be_reached_from_the_index() -> None:
    start = ROOT / "docs" / "index.md"
    reached, pending = {start}, [start]
    while pending:
        page = pending.pop()
        for target in re.findall(r"\]\(([^)#\s]+\.md)", page.read_text(encoding="utf-8")):
            other = (page.parent / target).resolve()
            if other.is_relative_to(ROOT / "docs") and other not in reached:
                reached.add(other)
                pending.append(other)
    assert set(ROOT.joinpath("docs").rglob("*.md")) == reached


def test_pictures_are_small() -> None:
    pictures = sorted((ROOT / "docs" / "images").glob("*.png"))
    assert pictures
    assert all(picture.stat().st_size < 150_000 for picture in pictures)


@pytest.mark.parametrize(
    ("printed", "shown", "expected"),
    [("a\nb\n", "a\nb", True), ("a\nb\n", "a\n...", True), ("took 3 s\n", "took ... s", True), ("a\n", "b", False)],
)
def test_dots_stand_for_anything(printed: str, shown: str, expected: bool) -> None:
    assert fits(printed, shown) is expected
