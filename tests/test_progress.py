"""The progress bar, in a real terminal and where there is none."""

import codecs
import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bursty import Executor
from bursty.engine.progress import Progress
from conformance.backend import PATIENCE, touch, wait_until

HEAD = """
    import os, signal, sys
    from pathlib import Path
    from bursty import Executor
    def gate(path):
        while not os.path.exists(path):
            signal.sigtimedwait([], 0.01)
"""
BAR = re.compile(r"(\w+): +(\d+)%\|")


class Terminal:
    """A script on a pseudo-terminal of 100 columns, and the text that it has shown."""

    def __init__(self, script: Path, *, stdout_too: bool) -> None:
        self.master, terminal = pty.openpty()
        termios.tcsetwinsize(terminal, (30, 100))
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            cwd=script.parent,
            stdin=subprocess.DEVNULL,
            stdout=terminal if stdout_too else subprocess.DEVNULL,
            stderr=terminal,
        )
        os.close(terminal)
        self.text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def read(self) -> bool:
        """Read what is there; ``False`` when the terminal has closed."""
        if not select.select([self.master], [], [], 0.05)[0]:
            return True
        with contextlib.suppress(OSError):
            if data := os.read(self.master, 1 << 16):
                self.text += self._decoder.decode(data)
                return True
        return False

    def until(self, condition: Callable[[str], Any]) -> None:
        def look() -> bool:
            is_open = self.read()
            return bool(condition(self.text)) or not is_open

        wait_until(look, "the terminal's text")
        assert condition(self.text), self.text

    def finish(self) -> int:
        wait_until(lambda: not self.read(), "the terminal's end")
        return self.process.wait(PATIENCE)

    def screen(self) -> list[str]:
        """Lines as a person sees them at the end: what a carriage return overwrote is gone."""
        lines: list[str] = []
        for line in self.text.replace("\r\n", "\n").split("\n"):
            shown = ""
            for piece in line.replace("\x1b[A", "").split("\r"):
                shown = piece + shown[len(piece) :]
            lines.append(shown.rstrip())
        return lines

    @property
    def percents(self) -> list[int]:
        return [int(number) for _, number in BAR.findall(self.text)]


@contextlib.contextmanager
def terminal(folder: Path, code: str, *, stdout_too: bool = True) -> Iterator[Terminal]:
    script = folder / "script.py"
    script.write_text(textwrap.dedent(HEAD) + textwrap.dedent(code))
    found = Terminal(script, stdout_too=stdout_too)
    try:
        yield found
    finally:
        found.process.kill()
        found.process.wait()
        os.close(found.master)


class TestTerminal:
    def test_a_map_draws_rate_failures_and_retries(self, folder: Path) -> None:
        code = """
            def work(number):
                tries = Path(f"tries-{number}")
                tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
                if number == 3:
                    raise ValueError("always")
                if number == 4 and tries.read_text() == "x":
                    raise ValueError("once")
                if number == 11:
                    gate("go")
                return number
            if __name__ == "__main__":
                with Executor("local?workers=2", retries=1) as executor:
                    found = list(executor.map(work, range(12), return_exceptions=True))
                print("found", sum(isinstance(value, ValueError) for value in found))
        """
        with terminal(folder, code) as shown:
            shown.until(lambda text: "failed=1" in text and "retries=2" in text)
            assert max(shown.percents) < 100, "one call is not done"
            touch("go")
            assert shown.finish() == 0
        assert "found 1" in shown.screen()
        last = [line for line in shown.screen() if BAR.search(line)][-1]
        assert re.match(r"work: 100%\|.*\| 12/12 \[.*(call/s|s/call), failed=1, retries=2\]$", last), last

    def test_a_worker_that_is_lost_counts_as_a_retry(self, folder: Path) -> None:
        code = """
            def work(number):
                if number == 1 and not os.path.exists("died"):
                    Path("died").touch()
                    os._exit(9)
                if number == 2:
                    gate("go")
            if __name__ == "__main__":
                with Executor("local?workers=2", retries=1) as executor:
                    list(executor.map(work, range(3)))
        """
        with terminal(folder, code) as shown:
            shown.until(lambda text: "retries=1" in text and "2/3" in text)
            touch("go")
            assert shown.finish() == 0
        assert "failed=" not in shown.text

    def test_lines_of_calls_do_not_tear_it(self, folder: Path) -> None:
        code = """
            def work(number):
                for line in range(5):
                    print(f"line {line} of {number}", "x" * 200, "end")
                    print(f"error {line} of {number}", file=sys.stderr)
                if number == 0:
                    gate("go")
            if __name__ == "__main__":
                with Executor("local?workers=2") as executor:
                    list(executor.map(work, range(40)))
        """
        with terminal(folder, code) as shown:
            shown.until(lambda text: "39/40" in text and text.count("error 4 of") == 40)
            touch("go")
            assert shown.finish() == 0
        seen = shown.screen()
        for number in range(40):
            for line in range(5):
                assert f"[work {number}] line {line} of {number} {'x' * 200} end" in seen
                assert f"[work {number}] error {line} of {number}" in seen
        assert [line for line in seen if BAR.search(line) and "[work" in line] == []
        assert "40/40" in [line for line in seen if BAR.search(line)][-1]

    def test_after_ctrl_c_it_does_not_say_that_all_is_done(self, folder: Path) -> None:
        code = """
            def work(number):
                if number > 2:
                    gate("never")
            if __name__ == "__main__":
                with Executor("local?workers=2") as executor:
                    list(executor.map(work, range(10)))
        """
        with terminal(folder, code) as shown:
            shown.until(lambda text: "3/10" in text)
            os.kill(shown.process.pid, signal.SIGINT)
            assert shown.finish() != 0
        assert max(shown.percents) == 30
        assert "failed" not in shown.text
        assert "KeyboardInterrupt" in shown.text
        assert "Exception ignored" not in shown.text

    def test_an_iterator_has_no_total_until_its_end(self, folder: Path) -> None:
        code = """
            def work(number):
                return number
            def inputs():
                yield from range(20)
                gate("go")
                yield from range(20)
            if __name__ == "__main__":
                with Executor("local?workers=2") as executor:
                    print("found", len(list(executor.map(work, inputs(), buffersize=4))))
        """
        with terminal(folder, code) as shown:
            shown.until(lambda text: re.search(r"work: \d+call ", text))
            assert not shown.percents
            touch("go")
            assert shown.finish() == 0
        assert "found 40" in shown.screen()
        assert "40/40" in shown.text

    def test_quick_maps_draw_nothing(self, folder: Path) -> None:
        """Also not later, while calls of others run."""
        code = """
            if __name__ == "__main__":
                with Executor("local?workers=1") as executor:
                    executor.submit(abs, 1).result()
                    for _ in range(3):
                        list(executor.map(abs, range(10)))
                    list(executor.map(gate, ["go"]))
        """
        with terminal(folder, code) as shown:
            shown.until(lambda text: "gate: " in text)  # so a bar of the others would be there by now
            touch("go")
            assert shown.finish() == 0
        assert "1/1" in shown.text
        assert "abs" not in shown.text

    @pytest.mark.parametrize(("option", "drawn"), [("None", True), ("True", True), ("False", False)])
    def test_options_in_a_terminal(self, folder: Path, option: str, drawn: bool) -> None:
        code = f"""
            def work(number):
                if number:
                    gate("go")
            if __name__ == "__main__":
                with Executor("local?workers=2", progress={option}) as executor:
                    results = executor.map(work, range(2))
                    next(results)
                    Path("one").touch()
                    list(results)
        """
        with terminal(folder, code, stdout_too=False) as shown:
            shown.until(lambda text: "1/2" in text if drawn else os.path.exists("one"))
            touch("go")
            assert shown.finish() == 0
        assert ("2/2" in shown.text) == drawn
        assert drawn or not shown.text


class TestNoTerminal:
    @pytest.mark.parametrize(("option", "drawn"), [(None, False), (True, True), (False, False)])
    def test_options(self, folder: Path, capfd: pytest.CaptureFixture[str], option: bool | None, drawn: bool) -> None:
        with Executor("local?workers=2", output="hide", progress=option) as executor:
            results = executor.map(pow, range(3), [2] * 3, progress=option)
            assert list(results) == [0, 1, 4]
            assert list(executor.map(slow, [1], progress=None)) == [1]
        assert ("slow: 100%" in capfd.readouterr().err) == drawn

    def test_a_program_that_only_imports_ipykernel_is_no_notebook(self) -> None:
        import ipykernel.kernelapp
        import IPython

        assert ipykernel.kernelapp
        assert IPython.get_ipython() is None
        assert not Progress("work", 5, None).shown

    def test_the_maps_own_option_wins(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        with Executor("local?workers=2", output="hide", progress=True) as executor:
            assert list(executor.map(slow, [1], progress=False)) == [1]
        assert capfd.readouterr().err == ""


def slow(number: int) -> int:
    """Longer than the bar waits before it is drawn."""
    threading.Event().wait(1.2)
    return number


def test_two_threads_draw_one_bar(capfd: pytest.CaptureFixture[str]) -> None:
    bar = Progress("work", 5, True)
    threads = [threading.Thread(target=bar.look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bar.close()
    bar.close()
    bar.look()
    assert not bar.shown
    assert capfd.readouterr().err.count("100%") == 0
