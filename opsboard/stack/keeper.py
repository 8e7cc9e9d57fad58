"""Outlives a killed supervisor just long enough to clear what it left behind.

Runs as a script (`python -I -S keeper.py PIPE_FD LOCK_FD GRACE_SECONDS`). The supervisor and each launched
part write lines to the pipe: `+123` a process group began, `-123` it is gone. When the pipe closes, the
supervisor has died or finished. The parts themselves got their death signal from the kernel; their own
children (granian workers, the Celery pool) did not, so what is left of a group after the grace is killed. The
lock, inherited as an open file, tells a new start to wait until this is done. Standard library only.
"""

from __future__ import annotations

import os
import signal
import sys
import time


def alive(group: int) -> bool:
    """Whether the process group still has a member."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def clear(groups: set[int], grace: float) -> None:
    """Wait `grace` seconds for the groups to end by themselves, then kill those that remain."""
    deadline = time.monotonic() + grace
    while any(alive(group) for group in groups) and time.monotonic() < deadline:
        time.sleep(0.05)
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def main(arguments: list[str]) -> None:
    """Read the pipe to its end, then clear the groups that are still announced."""
    pipe_fd, _lock_fd, grace = int(arguments[0]), int(arguments[1]), float(arguments[2])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    with open(pipe_fd, encoding="ascii") as lines:
        for line in lines:
            group = int(line[1:])
            if line[0] == "+":
                groups.add(group)
            else:
                groups.discard(group)
    clear(groups, grace)


if __name__ == "__main__":
    main(sys.argv[1:])
