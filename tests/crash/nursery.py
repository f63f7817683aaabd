"""Forks workers and schedulers, so that a new one costs milliseconds; runs as a process of its own.

Each line on standard input is an order (JSON, see ``roles.start``); the answer is a line with the process id.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import traceback

PR_SET_PDEATHSIG = 1


def main() -> None:
    from crash import roles

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: the driver has their pidfds
    for line in sys.stdin:
        sys.stdout.write(f"{_fork(json.loads(line), roles.start)}\n")
        sys.stdout.flush()
    os.killpg(0, signal.SIGKILL)  # the driver is gone: so is everybody


def _fork(order: dict[str, object], start: object) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(2, 1)
            assert callable(start)
            start(order)
            code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
