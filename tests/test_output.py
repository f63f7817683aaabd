"""What calls print: lines, labels, limits; to the client's streams or to a function."""

import io
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursty import Executor
from bursty.engine.output import CALL_LIMIT, LINE_LIMIT, OutputMode, Printer
from bursty.values import Output


class Shown:
    """A printer, and what it wrote."""

    def __init__(self, mode: OutputMode = "show") -> None:
        self.lines: list[tuple[str, str]] = []
        self.printer = Printer(mode, lambda stream, text: self.lines.append((stream, text)))

    def take(self, text: str, label: str = "f 0", seq: int | None = 0, worker: int = 1, stream: str = "stdout") -> None:
        self.printer.take(label, Output(worker, seq, stream, text))

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.lines)


class TestLines:
    def test_pieces_become_lines(self) -> None:
        shown = Shown()
        for piece in ("a", "b\nc", "\n", "\nd"):
            shown.take(piece)
        assert shown.text == "[f 0] ab\n[f 0] c\n[f 0] \n"
        shown.printer.flush()
        assert shown.text.endswith("[f 0] d\n")
        shown.printer.flush()
        assert len(shown.lines) == 4

    @given(st.lists(st.text("ab\n", max_size=5)))
    def test_however_it_is_cut(self, pieces: list[str]) -> None:
        shown = Shown()
        for piece in pieces:
            shown.take(piece)
        shown.printer.flush()
        whole = "".join(pieces)
        lines = whole.removesuffix("\n").split("\n") if whole else []
        assert shown.text == "".join(f"[f 0] {line}\n" for line in lines)

    def test_streams_and_workers_are_kept_apart(self) -> None:
        shown = Shown()
        shown.take("out ")
        shown.take("err ", stream="stderr")
        shown.take("other ", "f 1", worker=2)
        shown.take("of 0\n")
        shown.take("of 0\n", stream="stderr")
        shown.take("of 1\n", "f 1", worker=2)
        assert shown.lines == [
            ("stdout", "[f 0] out of 0\n"),
            ("stderr", "[f 0] err of 0\n"),
            ("stdout", "[f 1] other of 1\n"),
        ]

    def test_the_next_call_begins_a_line(self) -> None:
        shown = Shown()
        shown.take("no end")
        shown.take("next\n", "f 1", 1)
        assert shown.text == "[f 0] no end\n[f 1] next\n"

    def test_the_next_call_of_the_same_label_too(self) -> None:
        shown = Shown()
        shown.take("no end", seq=0)
        shown.take("next\n", seq=1)
        assert shown.text == "[f 0] no end\n[f 0] next\n"

    def test_a_worker_that_is_gone_is_flushed_alone(self) -> None:
        shown = Shown()
        shown.take("one", worker=1)
        shown.take("two", "f 1", worker=2)
        shown.printer.flush(2)
        assert shown.text == "[f 1] two\n"


class TestLimits:
    def test_a_line_without_end_is_cut(self) -> None:
        shown = Shown()
        for _ in range(3 * LINE_LIMIT // 1000):
            shown.take("x" * 1000)
        shown.printer.flush()
        assert [len(text) - len("[f 0] \n") for _, text in shown.lines][:2] == [LINE_LIMIT, LINE_LIMIT]
        assert shown.text.count("x") == 3 * LINE_LIMIT // 1000 * 1000

    def test_a_call_that_prints_without_end(self) -> None:
        shown = Shown()
        for _ in range(4 * CALL_LIMIT // 1000):
            shown.take("x" * 999 + "\n")
        assert shown.text.count("x") <= CALL_LIMIT
        assert shown.text.count("is not shown") == 1
        shown.take("fine\n", "f 1", 1)
        assert shown.text.endswith("[f 1] fine\n")

    def test_each_call_has_a_limit_of_its_own(self) -> None:
        shown = Shown()
        for seq in range(8):  # single submits: all are the first call of their block
            shown.take("x" * (CALL_LIMIT // 4) + "\n", seq=seq)
        shown.printer.flush()
        assert "not shown" not in shown.text
        assert shown.text.count("x") == 2 * CALL_LIMIT


class TestModes:
    def test_hide(self) -> None:
        shown = Shown("hide")
        shown.take("a\n")
        shown.printer.flush()
        assert shown.lines == []

    def test_a_function_gets_pieces_as_they_come(self) -> None:
        said: list[tuple[str, str, str]] = []
        shown = Shown(lambda *what: said.append(what))
        shown.take("a")
        shown.take("b\n", "f 1", 1, stream="stderr")
        assert said == [("f 0", "stdout", "a"), ("f 1", "stderr", "b\n")]
        assert shown.lines == []

    def test_a_function_that_raises_is_told_of_once(self) -> None:
        said: list[str] = []

        def listen(label: str, stream: str, text: str) -> None:
            said.append(text)
            raise LookupError("in my function")

        shown = Shown(listen)
        shown.take("a")
        shown.take("b")
        assert said == ["a", "b"]
        [(stream, text)] = shown.lines
        assert stream == "stderr"
        assert "LookupError: in my function" in text


class Odd(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


class TestStreams:
    @pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("closed"), OSError(5, "gone")])
    def test_a_terminal_that_is_gone(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        monkeypatch.setattr(sys, "stdout", Odd(error))
        monkeypatch.setattr(sys, "stderr", None)
        printer = Printer("show")
        printer.take("f 0", Output(1, 0, "stdout", "a\n"))
        printer.take("f 0", Output(1, 0, "stderr", "a\n"))

    def test_a_terminal_that_knows_few_characters(self, monkeypatch: pytest.MonkeyPatch) -> None:
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii", write_through=True))
        Printer("show").take("f 0", Output(1, 0, "stdout", "grün\nred\n"))
        assert raw.getvalue() == b"[f 0] gr\\xfcn\n[f 0] red\n"

    def test_while_tqdm_is_being_imported(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(sys.modules, "tqdm", types.ModuleType("tqdm"))
        Printer("show").take("f 0", Output(1, 0, "stdout", "a\n"))
        assert capsys.readouterr().out == "[f 0] a\n"


def speak(number: int) -> int:
    print("said", number)
    print("whispered", number, file=sys.stderr)
    print("no end", end="")
    return number


class TestRuns:
    def test_show(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        with Executor("local?workers=1", output="show") as executor:
            assert list(executor.map(speak, [7, 8])) == [7, 8]
            assert executor.submit(speak, 9).result(60) == 9
        out, err = capfd.readouterr()
        assert out.splitlines() == [
            "[speak 0] said 7",
            "[speak 0] no end",
            "[speak 1] said 8",
            "[speak 1] no end",
            "[speak 0] said 9",
            "[speak 0] no end",
        ]
        assert [line for line in err.splitlines() if "whispered" in line] == [
            "[speak 0] whispered 7",
            "[speak 1] whispered 8",
            "[speak 0] whispered 9",
        ]

    def test_hide(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        with Executor("local?workers=1", output="hide") as executor:
            assert list(executor.map(speak, [7, 8])) == [7, 8]
        assert capfd.readouterr() == ("", "")

    def test_a_function_that_raises_ruins_no_call(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        def listen(label: str, stream: str, text: str) -> None:
            raise LookupError("in my function")

        with Executor("local?workers=1", output=listen) as executor:
            assert list(executor.map(speak, range(20))) == list(range(20))
        assert capfd.readouterr().err.count("LookupError: in my function") == 1

    def test_who_reads_the_output_may_stop(self, folder: Path) -> None:
        script = folder / "script.py"
        script.write_text(
            textwrap.dedent("""
            import sys
            from bursty import Executor
            def speak(number):
                print("x" * 10_000)
                return number
            if __name__ == "__main__":
                with Executor("local?workers=1") as executor:
                    print(sum(executor.map(speak, range(100))), file=sys.stderr)
            """)
        )
        with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read().splitlines()[0] == b"4950"
