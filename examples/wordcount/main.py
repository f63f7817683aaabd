"""Count the words of many files: map, shuffle by word, reduce.

    python examples/wordcount/main.py [OUT_DIR [FILE …]]

Without files it reads the sources of Python's standard library, which lie on every machine that runs this.
"""

import csv
import re
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Iterable
from operator import itemgetter
from pathlib import Path

from bursty import Executor


def count(path: Path) -> Iterable[tuple[str, int]]:
    """Map: the words of one file, each with its count there."""
    words = re.findall(r"[a-z]{2,}", path.read_text(encoding="utf-8", errors="replace").lower())
    return Counter(words).items()


def total(word: str, counts: Iterable[tuple[str, int]]) -> int:
    """Reduce: what all files say of one word."""
    return sum(number for _, number in counts)


def main(out: Path, files: list[Path]) -> None:
    began = time.perf_counter()
    with Executor() as executor:
        totals = executor.map_reduce(count, files, total, key=itemgetter(0))
    seconds = time.perf_counter() - began

    ranking = sorted(totals.items(), key=lambda pair: (-pair[1], pair[0]))
    out.mkdir(parents=True, exist_ok=True)
    with (out / "words.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("word", "count"), *ranking])

    print(f"{sum(totals.values()):,} words, {len(totals):,} different ones, in {len(files)} files, in {seconds:.1f} s")
    for word, number in ranking[:10]:
        print(f"{number:>8,}  {word}")
    print(f"All of them: {out / 'words.csv'}")


if __name__ == "__main__":
    library = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    out, *files = [Path(argument) for argument in sys.argv[1:]] or [Path("out/wordcount")]
    main(out, files or library)
