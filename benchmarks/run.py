"""All benchmarks, or those named, one after the other; each also runs alone.

python benchmarks/run.py [--short] [--strict] [map] [memory] [queue] [serve] [deadline] [codec] [coldstart]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

BENCHMARKS = ("map", "memory", "queue", "serve", "deadline", "codec", "coldstart")
HERE = Path(__file__).resolve().parent


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--short", action="store_true", help="under six minutes: proves that everything runs")
    parser.add_argument("--strict", action="store_true", help="exit with 1 unless every target is met")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    flags = [flag for flag, given in (("--short", options.short), ("--strict", options.strict)) if given]
    return max(run(name, flags) for name in options.names or BENCHMARKS)


def run(name: str, flags: Sequence[str]) -> int:
    print(f"== {name}", flush=True)
    return subprocess.run([sys.executable, str(HERE / f"{name}.py"), *flags], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
