"""Becomes a part of the stack: bound to its parent's life, announced to the keeper, as the right user.

Runs as a script (`python -I -S launch.py KEEPER_FD DEATH_SIGNAL PARENT UID GID -- ARGV...`) between the
supervisor and the program it turns into by `exec`. It stands in place of a `preexec_fn`, which may deadlock
in a process that has threads. Standard library only; UID and GID are -1 when the user does not change.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Announce this process group, change user, bind to the parent, become `ARGV`. Never returns."""
    keeper_fd, death_signal, parent, uid, gid = (int(word) for word in arguments[:5])
    argv = arguments[6:]
    os.set_inheritable(keeper_fd, False)  # the program must not hold the keeper's pipe open
    os.write(keeper_fd, f"+{os.getpid()}\n".encode())
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After setuid, which clears it; exec keeps it.
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)  # the parent died before the binding: nobody wants this process any more
    for name in ("SIGPIPE", "SIGXFSZ"):  # Python ignores them, and exec would hand that down
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main(sys.argv[1:])
