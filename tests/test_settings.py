"""Settings and their sources, backend URLs, sizes and times."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bursty import ConfigError, Executor, Settings
from bursty.config import load_settings
from bursty.stores.blobs import FolderBlobs, MemoryBlobs
from bursty.units import BYTES, SECONDS, format_bytes, format_seconds, parse_bytes, parse_seconds
from bursty.wiring import open_backend, open_blobs


def write(folder: Path, text: str, name: str = "bursty.toml") -> None:
    (folder / name).write_text(text)


class TestPrecedence:
    def test_defaults(self, folder: Path) -> None:
        found = load_settings(folder, {})
        assert found == Settings()
        assert (found.backend, found.home) == ("local", ".bursty")
        assert found.blobs_url == str(folder / ".bursty" / "blobs")

    def test_each_source_beats_those_below(self, folder: Path) -> None:
        write(folder, 'backend = "file"\nhome = "file"\n[stage.prod]\nbackend = "stage"\n')
        environment = {"BURSTY_BACKEND": "environment"}
        sources = [
            ({}, None, {}, "file"),
            ({}, "prod", {}, "stage"),
            ({"BURSTY_STAGE": "prod"}, None, {}, "stage"),
            ({"BURSTY_STAGE": "other"}, "prod", {}, "stage"),
            (environment, "prod", {}, "environment"),
            (environment, "prod", {"backend": "given"}, "given"),
            (environment, None, {"backend": ""}, "environment"),
        ]
        for variables, stage, given_here, expected in sources:
            found = load_settings(folder, variables, stage, **given_here)
            assert (found.backend, found.home) == (expected, "file")

    @pytest.mark.parametrize("name", ["backend", "home", "blobs", "cache"])
    def test_every_setting_has_a_variable_and_a_key(self, folder: Path, name: str) -> None:
        write(folder, f'{name} = "file"')
        assert getattr(load_settings(folder, {}), name) == "file"
        assert getattr(load_settings(folder, {"BURSTY_" + name.upper(): "there"}), name) == "there"

    def test_pyproject(self, folder: Path) -> None:
        write(folder, '[tool.bursty]\nbackend = "py"\n[tool.bursty.stage.x]\nhome = "stage"\n', "pyproject.toml")
        assert load_settings(folder, {}).backend == "py"
        assert load_settings(folder, {}, "x") == Settings(backend="py", home="stage")
        write(folder, 'home = "toml"')
        assert load_settings(folder, {}) == Settings(home="toml"), "bursty.toml comes before pyproject.toml"

    def test_the_nearest_file_above_counts(self, folder: Path) -> None:
        write(folder, 'backend = "top"')
        (folder / "a" / "b").mkdir(parents=True)
        write(folder / "a", "[project]\nname = 'unrelated'\n", "pyproject.toml")
        assert load_settings(folder / "a" / "b", {}).backend == "top"
        write(folder / "a", "", "bursty.toml")
        assert load_settings(folder / "a" / "b", {}).backend == "local", "an empty bursty.toml counts"

    def test_the_cache_is_the_users(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
        assert Settings().cache_folder == "/caches/bursty"
        assert Settings(cache="mine").cache_folder == "mine"
        assert Settings(blobs="memory://").blobs_url == "memory://"

    def test_an_executor_reads_them(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(folder, 'backend = "local?workers=3"')
        with Executor() as executor:
            assert executor.workers == 3
        monkeypatch.setenv("BURSTY_BACKEND", "local?workers=4")
        with Executor() as executor:
            assert executor.workers == 4
        with Executor("local?workers=5") as executor:
            assert executor.workers == 5

    def test_they_are_frozen(self) -> None:
        with pytest.raises(AttributeError):
            Settings().backend = "other"  # type: ignore[misc]


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("bakend = 'local'", "unknown settings: bakend"),
            ("b = 1\na = 1", "unknown settings: a, b"),
            ("[stage.prod]\nbakend = 'x'", "unknown settings: bakend"),
            ("backend = ", "can't be read"),
            ("backend = 3", "must be text: backend"),
            ("backend = ['local']", "must be text: backend"),
            ("stage = 'prod'", "stage must be a table"),
            ("[stage]\nprod = 3", r"stage\.prod must be a table"),
        ],
    )
    def test_files(self, folder: Path, text: str, words: str) -> None:
        write(folder, text)
        with pytest.raises(ConfigError, match=words):
            load_settings(folder, {}, "prod")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("[tool]\nbursty = 'x'", "bursty of .*pyproject.toml must be a table"),
            ("tool = 3", "tool of .*pyproject.toml must be a table"),
            ("[tool.bursty", "pyproject.toml can't be read"),
            ("[tool.bursty]\nworkers = 3", "unknown settings: workers"),
        ],
    )
    def test_pyproject(self, folder: Path, text: str, words: str) -> None:
        write(folder, text, "pyproject.toml")
        with pytest.raises(ConfigError, match=words):
            load_settings(folder, {})

    def test_text_that_is_no_utf8(self, folder: Path) -> None:
        (folder / "bursty.toml").write_bytes(b'backend = "\xff"')
        with pytest.raises(ConfigError, match="can't be read"):
            load_settings(folder, {})

    def test_the_hint_names_what_is_known(self, folder: Path) -> None:
        write(folder, "bakend = 'local'")
        with pytest.raises(ConfigError) as caught:
            load_settings(folder, {})
        assert "backend, blobs, cache, home" in caught.value.hint

    def test_an_executor_tells(self, folder: Path) -> None:
        write(folder, "bakend = 'local'")
        with pytest.raises(ConfigError, match="bakend"):
            Executor()


class TestUrls:
    @pytest.mark.parametrize(
        "url",
        [
            "",
            "locl",
            "LOCAL",
            "local:abc",
            "local://host",
            "local/x",
            "http://[broken",
            "ray://host:1",
            "local?workers=0",
            "local?workers=-1",
            "local?workers=two",
            "local?workers=",
            "local?workers",
            "local?workers=1.5",
            "local?workers=²",
            "local?wrokers=2",
            "local?workers=2&x=1",
        ],
    )
    def test_bad_ones(self, folder: Path, url: str) -> None:
        with pytest.raises(ConfigError) as caught:
            open_backend(url, blobs=str(folder), builder=None)
        assert repr(url) in str(caught.value)

    def test_an_executor_refuses_them(self, folder: Path) -> None:
        with pytest.raises(ConfigError, match="'nowhere://'"):
            Executor("nowhere://")

    def test_good_ones(self, folder: Path) -> None:
        for url, workers in (("local?workers=7", 7), ("local?workers=1", 1), ("local://?workers=2", 2)):
            backend = open_backend(url, blobs=str(folder), builder=None)
            assert backend.traits.workers == workers
            backend.close()

    def test_blobs(self, folder: Path) -> None:
        assert isinstance(open_blobs("memory://"), MemoryBlobs)
        assert isinstance(open_blobs(str(folder / "blobs")), FolderBlobs)
        with pytest.raises(ConfigError, match="ftp://"):
            open_blobs("ftp://host")


numbers = st.floats(0.001, 1e6).map(lambda number: round(number, 3)).filter(bool)
spaces = st.sampled_from(["", " ", "  "])


class TestUnits:
    @given(numbers, st.sampled_from(sorted(BYTES)), spaces, st.booleans())
    def test_sizes(self, number: float, unit: str, space: str, upper: bool) -> None:
        text = f"{space}{number:f}{space}{unit.upper() if upper else unit}{space}"
        expected = int(number * BYTES[unit])
        if expected:
            assert parse_bytes(text) == pytest.approx(expected, abs=1)
        else:
            with pytest.raises(ConfigError, match="at least one byte"):
                parse_bytes(text)

    @given(numbers, st.sampled_from(sorted(SECONDS)), spaces)
    def test_times(self, number: float, unit: str, space: str) -> None:
        assert parse_seconds(f"{number:f}{space}{unit}") == pytest.approx(number * SECONDS[unit])

    @given(st.integers(1, 2**60))
    def test_numbers_are_exact(self, number: int) -> None:
        assert parse_bytes(number) == number
        assert parse_seconds(number) == float(number)

    @given(st.text())
    def test_any_text_is_a_value_or_a_config_error(self, text: str) -> None:
        for parse in (parse_bytes, parse_seconds):
            try:
                value = parse(text)
            except ConfigError:
                continue
            assert value is not None
            assert 0 < value < 2**63

    @given(st.from_regex(r"[0-9.e+-]{1,8} ?(ms|s|min|h|d|b|kib|gib|tib)?", fullmatch=True))
    def test_so_is_text_that_is_nearly_right(self, text: str) -> None:
        self.test_any_text_is_a_value_or_a_config_error.hypothesis.inner_test(self, text)

    @pytest.mark.parametrize(
        "value", [0, -1, "0 s", "0", float("nan"), float("inf"), "1e999", 10**30, True, [1], b"1", "1 parsec", "one"]
    )
    def test_what_makes_no_sense(self, value: object) -> None:
        for parse in (parse_bytes, parse_seconds):
            with pytest.raises(ConfigError):
                parse(value)  # type: ignore[arg-type]

    def test_examples(self) -> None:
        assert parse_bytes("2 GiB") == 2 << 30
        assert parse_bytes("1.5kb") == 1500
        assert parse_bytes(None) is None
        assert parse_seconds("10 min") == 600
        assert parse_seconds("2h") == 7200
        assert parse_seconds("250 ms") == 0.25
        assert parse_seconds(None) is None

    @given(st.integers(1, 2**50))
    def test_sizes_there_and_back(self, size: int) -> None:
        assert parse_bytes(format_bytes(size)) == pytest.approx(size, rel=0.06)

    @given(st.floats(1e-6, 1e6))
    @example(4485.0)
    def test_times_are_told_in_the_right_unit(self, seconds: float) -> None:
        total = 0.0
        pieces = format_seconds(seconds).split()
        for number, unit in zip(pieces[::2], pieces[1::2], strict=True):
            total += parse_seconds(f"{float(number):f} {unit}") or 0 if float(number) else 0
        assert total == pytest.approx(seconds, rel=0.01, abs=31 if seconds >= 3600 else 0.6 if seconds >= 60 else 0)

    def test_executors_use_them(self, folder: Path) -> None:
        for options in ({"timeout": "soon"}, {"memory": "much"}, {"timeout": 0}, {"retries": -1}):
            with pytest.raises(ConfigError):
                Executor("local?workers=1", **options)  # type: ignore[arg-type]
