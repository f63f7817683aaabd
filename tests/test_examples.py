"""Each example, run as its page says, on real input and real workers; its numbers checked by other means."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import json
import os
import re
import struct
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path
from types import ModuleType

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier

from bursty import demo
from bursty.demo import app, model

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(name: str, out: Path, *arguments: object) -> str:
    """Run an example from an empty folder, as a user would, and give what it printed."""
    command = [sys.executable, EXAMPLES / name / "main.py", out, *map(str, arguments)]
    done = subprocess.run(command, cwd=out.parent, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def load(name: str, file: str = "main") -> ModuleType:
    """An example's module, for its functions here and now."""
    path = EXAMPLES / name / f"{file}.py"
    spec = importlib.util.spec_from_file_location(f"example_{name}_{file}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def size_of_png(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


def test_every_example_has_a_page_that_tells_its_story() -> None:
    names = {path.parent.name for path in EXAMPLES.glob("*/main.py")}
    assert names == {"forecast", "knn", "black_scholes", "scrape", "wordcount"}
    for name in names:
        page = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
        assert all(words in page for words in (f"python examples/{name}/main.py", "story it serves", "By hand", "Now"))
        assert f"examples/{name}/main.py" in (EXAMPLES / "README.md").read_text(encoding="utf-8")


# The demo


@pytest.fixture(scope="module")
def forecast(tmp_path_factory: pytest.TempPathFactory) -> app.Forecast:
    said: list[str] = []
    folder = tmp_path_factory.mktemp("demo")
    with contextlib.chdir(folder):
        found = demo.run(folder / "out", paths=400, say=said.append)
    assert any(str(found.picture) in line for line in said)
    return found


def test_the_sales_are_the_bureaus() -> None:
    sales = model.sales()
    assert len(sales) == 12 * 34
    assert sales[model.months_of(1992)].sum() == 20_319
    assert sales[model.months_of(2025)].sum() == 71_317
    assert (sales.min(), sales.max()) == (1407, 7863)


def test_workers_draw_the_paths_that_their_seeds_say(forecast: app.Forecast) -> None:
    here = np.array([model.path(seed) for seed in range(400)])
    np.testing.assert_allclose(forecast.paths, here, rtol=1e-9)


def test_a_fit_sees_nothing_of_later_years() -> None:
    fit, sales = model.fit(2014), model.sales()
    assert fit.last == sales[model.months_of(2014)][-1]
    assert fit.last * np.exp(-fit.moves.sum()) == pytest.approx(sales[12 * (2015 - 1992 - model.WINDOW) - 1])


def test_the_forecast_is_calibrated_and_beats_last_year_in_the_long_run(forecast: app.Forecast) -> None:
    assert [trial.year for trial in forecast.trials] == list(range(2010, 2026))
    share = sum(trial.covered for trial in forecast.trials) / (12 * len(forecast.trials))
    assert 0.7 <= share <= 0.92
    mape, naive = (np.mean([getattr(trial, name) for trial in forecast.trials]) for name in ("mape", "naive_mape"))
    assert mape < 3 < 3.5 < naive
    assert forecast.held_out.mape < 5


def test_the_table_has_quantiles_of_months_and_of_years(forecast: app.Forecast) -> None:
    rows = {row.pop("period"): [float(value) for value in row.values()] for row in read(forecast.table)}
    assert len(rows) == 24 + 2
    assert all(values == sorted(values) for values in rows.values())
    assert 65_000 < rows["2026 in all"][3] < 78_000
    december, january = rows["2026 December"][3], rows["2026 January"][3]
    assert 1.35 < december / january < 1.7
    spread = [rows[f"{year} in all"][-1] - rows[f"{year} in all"][0] for year in (2026, 2027)]
    assert spread[1] > spread[0]


def test_the_picture_is_one(forecast: app.Forecast) -> None:
    assert size_of_png(forecast.picture) == (1950, 1020)
    assert forecast.picture.stat().st_size > 50_000


def test_forecast_example(tmp_path: Path) -> None:
    printed = run("forecast", tmp_path / "out")
    assert re.search(r"^2010 to 2025 +8\d% +2\.\d% +4\.1%$", printed, re.MULTILINE)
    assert (tmp_path / "out" / "forecast.png").exists()


# The others


def test_knn_example_finds_what_the_same_search_finds_here(tmp_path: Path) -> None:
    run("knn", tmp_path / "out")
    found = json.loads((tmp_path / "out" / "result.json").read_text())

    x, y = load_digits(return_X_y=True)
    split = {"test_size": 0.25, "random_state": 0}
    x_known, x_test, y_known, y_test = train_test_split(x, y, stratify=y, **split)
    x_train, x_valid, y_train, y_valid = train_test_split(x_known, y_known, stratify=y_known, **split)
    scores = {k: KNeighborsClassifier(k).fit(x_train, y_train).score(x_valid, y_valid) for k in range(1, 9)}
    assert found["scores"] == {str(k): pytest.approx(score) for k, score in scores.items()}
    assert found["best"] == max(scores, key=scores.__getitem__)

    best = joblib.load(tmp_path / "out" / "best.joblib")
    assert best.n_neighbors == found["best"]
    assert best.score(x_test, y_test) == pytest.approx(found["test_score"])
    assert found["test_score"] > 0.96

    search = GridSearchCV(KNeighborsClassifier(), {"n_neighbors": list(range(1, 9))}, cv=5, n_jobs=1)
    search.fit(x_known, y_known)
    assert found["grid_search"]["best"] == search.best_params_["n_neighbors"]
    assert found["grid_search"]["score"] == pytest.approx(search.best_score_)


def test_black_scholes_example_agrees_with_the_closed_form(tmp_path: Path) -> None:
    run("black_scholes", tmp_path / "out")
    rows = read(tmp_path / "out" / "prices.csv")
    assert len(rows) == 1344
    keys = ("kind", "strike", "rate", "volatility", "years")
    european = {tuple(row[key] for key in keys): row for row in rows if row["style"] == "European"}
    assert all(abs(float(row["price"]) - float(row["closed_form"])) < 0.01 for row in european.values())
    for row in rows:
        if row["style"] == "American":
            premium = float(row["price"]) - float(european[tuple(row[key] for key in keys)]["price"])
            # A call without dividends is never exercised early; a put may be.
            assert abs(premium) < 0.001 if row["kind"] == "call" else premium > -0.001


@pytest.mark.parametrize(
    "option",
    [
        ("put", "American", 40, 0.06, 0.2, 1, 36),
        ("put", "American", 40, 0.06, 0.4, 2, 40),
        ("put", "American", 100, 0.06, 0.5, 2, 100),
        ("put", "American", 105, 0.01, 0.1, 0.25, 100),
        ("call", "European", 80, 0.03, 0.3, 0.5, 100),
    ],
)
def test_black_scholes_prices_agree_with_a_binomial_tree(option: tuple) -> None:
    example = load("black_scholes")
    option = example.Option(*option)
    assert example.price(option) == pytest.approx(binomial(option), abs=0.003)


def binomial(option, steps: int = 2000) -> float:
    """Cox, Ross and Rubinstein."""
    kind, style, strike, rate, volatility, years, spot = option
    dt = years / steps
    up, discount = np.exp(volatility * np.sqrt(dt)), np.exp(-rate * dt)
    chance = (1 / discount - 1 / up) / (up - 1 / up)
    sign = 1 if kind == "call" else -1

    def payoff(level: int) -> np.ndarray:
        return np.maximum(sign * (spot * up ** np.arange(-level, level + 1, 2.0) - strike), 0)

    value = payoff(steps)
    for level in range(steps - 1, -1, -1):
        value = discount * (chance * value[1:] + (1 - chance) * value[:-1])
        if style == "American":
            value = np.maximum(value, payoff(level))
    return float(value[0])


def test_scrape_example_gets_every_page_that_can_be_had_and_keeps_its_manners(tmp_path: Path) -> None:
    printed = run("scrape", tmp_path / "out")
    shop, example = load("scrape", "shop"), scrape_settings()

    books = {int(row["url"].rpartition("/")[2]): row for row in read(tmp_path / "out" / "books.csv")}
    assert set(books) == set(range(shop.BOOKS)) - shop.BROKEN
    for number, row in books.items():
        assert row["title"] == shop.title(number)
        assert float(row["price"]) == pytest.approx(shop.price(number))

    failures = {int(row["url"].rpartition("/")[2]): row["reason"] for row in read(tmp_path / "out" / "failures.csv")}
    assert set(failures) == shop.BROKEN
    assert all("500" in reason for reason in failures.values())

    seen = re.search(r"saw (\d+) requests, at most (\d+) in a second; it was busy (\d+) .* rude (\d+) times", printed)
    requests, busiest, busy, rude = map(int, seen.groups())
    assert requests == shop.BOOKS // shop.PER_PAGE + shop.BOOKS + len(shop.MOODY)
    assert busiest <= example["RATE"] + example["WORKERS"]
    assert (busy, rude) == (len(shop.MOODY), 0)


def scrape_settings() -> dict[str, int]:
    text = (EXAMPLES / "scrape" / "main.py").read_text(encoding="utf-8")
    return {name: int(value) for name, value in re.findall(r"^([A-Z]+) = (\d+)\b", text, re.MULTILINE)}


def test_a_scraper_in_a_hurry_is_refused_and_recovers() -> None:
    shop = load("scrape", "shop")
    sys.path.insert(0, str(EXAMPLES / "scrape"))
    try:
        scrape = load("scrape")
    finally:
        sys.path.remove(str(EXAMPLES / "scrape"))
    shop.ALLOWED, scrape.RATE = 3, 10_000
    with shop.open_shop() as server:
        pages = scrape.scrape([f"{server.url}/book/{number}" for number in range(50, 57)])
    assert server.answers(429) > 0
    assert all(isinstance(page, scrape.Book) for page in pages)


def test_wordcount_example_counts_what_one_counter_counts(tmp_path: Path) -> None:
    run("wordcount", tmp_path / "out")
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    assert len(files) > 150
    expected: Counter[str] = Counter()
    for path in files:
        expected.update(re.findall(r"[a-z]{2,}", path.read_text(encoding="utf-8", errors="replace").lower()))
    counted = {row["word"]: int(row["count"]) for row in read(tmp_path / "out" / "words.csv")}
    assert counted == expected


@pytest.mark.skipif(not os.path.isdir("/usr/share/common-licenses"), reason="Debian's licences are not here")
def test_wordcount_example_reads_files_of_ones_own(tmp_path: Path) -> None:
    files = [path for path in Path("/usr/share/common-licenses").iterdir() if path.is_file()]
    run("wordcount", tmp_path / "out", *files)
    text = " ".join(path.read_text(encoding="utf-8", errors="replace").lower() for path in files)
    counted = {row["word"]: int(row["count"]) for row in read(tmp_path / "out" / "words.csv")}
    assert counted == Counter(re.findall(r"[a-z]{2,}", text))
    assert counted["software"] > 100
