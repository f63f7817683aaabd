"""The forecast that ``bursty demo`` runs; its code is ``bursty.demo``.

python examples/forecast/main.py [OUT_DIR]
"""

import sys

from bursty import demo

if __name__ == "__main__":
    demo.run(sys.argv[1] if len(sys.argv) > 1 else "out/forecast")
