"""The benchmark of cold starts runs, and gives a verdict on samples of both."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import coldstart
sys.exit(coldstart.main(["--short", "--rounds", "1", "--output", sys.argv[2]], lambda _peer: Path(sys.executable)))
"""


def test_it_runs(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUN, str(root / "benchmarks"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "coldstart-short.json").read_text())
    assert {name: len(cell["samples"]) for name, cell in found["workloads"]["coldstart"].items()} == {
        "bare": 1,
        "bursty": 1,
    }
    [verdict] = found["verdicts"]
    assert verdict["status"] in ("PASS", "MISS")
    bare = found["workloads"]["coldstart"]["bare"]["samples"][0]
    assert verdict["limit"] == 1.5 * bare + 0.25
