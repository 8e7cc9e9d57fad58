"""Child processes of one command: started, watched, logged, stopped in reverse, never left behind."""

from __future__ import annotations

import logging
import logging.handlers
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from opsboard.stack.account import Account
from opsboard.stack.errors import StackError
from opsboard.stack.paths import PROJECT, Paths, take_lock

HERE = Path(__file__).resolve().parent
TAIL_LINES = 200
KEEPER_GRACE = 6.0  # seconds the parts have to end by themselves after the supervisor was killed
STEADY = 60.0  # seconds a part must have run for its restart delay to begin anew
LONGEST_DELAY = 30.0

Say = Callable[[str, str], None]


@dataclass(frozen=True)
class Part:
    """One program of the stack. `restarts`: started again with back-off; else its loss stops everything."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    cwd: Path = PROJECT
    account: Account | None = None
    restarts: bool = False
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 5.0  # seconds between the stop signal and the kill
    quiet: bool = False  # its lines go to the log file only, and to the terminal when it fails


class Spawn(Protocol):
    """How another room's processes join the stack: watched and restarted like the others, or, with `wait`,
    run to their end (StackError when they fail). `env` replaces the environment of the parts. Main thread only.
    """

    def __call__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path = PROJECT,
        wait: bool = False,
    ) -> None:
        """Start `argv` under the name that stands before its lines and names its log file."""


class Running:
    """A started part: its process, its last lines, its log file, and how often it was started again."""

    def __init__(self, part: Part, popen: subprocess.Popen[str], log: logging.Logger, say: Say) -> None:
        self.part = part
        self.popen = popen
        self.started = time.monotonic()
        self.restarts = 0
        self.restart_at: float | None = None
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._log, self._say = log, say
        self._pump = threading.Thread(target=self._read, args=(popen,), daemon=True)
        self._pump.start()

    def _read(self, popen: subprocess.Popen[str]) -> None:
        for line in popen.stdout or ():
            text = line.rstrip()
            self.tail.append(text)
            self._log.info(text)
            if not self.part.quiet:
                self._say(self.part.name, text)

    def drain(self) -> None:
        """Wait a moment for the last lines of an ended process."""
        self._pump.join(1.0)

    def replace(self, popen: subprocess.Popen[str]) -> None:
        """Go on with a new process of the same part."""
        self.popen, self.started, self.restart_at = popen, time.monotonic(), None
        self._pump = threading.Thread(target=self._read, args=(popen,), daemon=True)
        self._pump.start()


class Crew:
    """All parts of one stack. Use it from the main thread only: the kernel binds a child to the *thread* that
    started it, and a finished thread would take its children along.
    """

    def __init__(self, paths: Paths, say: Say) -> None:
        self.paths, self.say = paths, say
        self.running: dict[str, Running] = {}
        self._keeper, self._keeper_fd = self._start_keeper()

    def _start_keeper(self) -> tuple[subprocess.Popen[bytes], int]:
        deadline = time.monotonic() + KEEPER_GRACE + 9
        lock = take_lock(self.paths.keeper_lock)
        while lock is None:
            if time.monotonic() > deadline:
                raise StackError("What an earlier, killed start left behind does not end; see `manage.py status`.")
            time.sleep(0.1)
            lock = take_lock(self.paths.keeper_lock)
        read_fd, write_fd = os.pipe()
        words = [str(read_fd), str(lock.fileno()), str(KEEPER_GRACE)]
        keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(HERE / "keeper.py"), *words],
            pass_fds=(read_fd, lock.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        os.close(read_fd)
        lock.close()  # the keeper holds the lock from here on
        return keeper, write_fd

    def _popen(self, part: Part) -> subprocess.Popen[str]:
        program = shutil.which(part.argv[0])
        if program is None:
            raise StackError(f"{part.name}: {part.argv[0]} is not there. Run `make install`, then `manage.py doctor`.")
        account = part.account
        words = [self._keeper_fd, int(part.stop_signal), os.getpid()]
        words += [account.uid, account.gid] if account else [-1, -1]
        return subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-S",
                str(HERE / "launch.py"),
                *map(str, words),
                "--",
                program,
                *part.argv[1:],
            ],
            env=dict(part.env),
            cwd="/" if account else part.cwd,
            pass_fds=(self._keeper_fd,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def start(self, part: Part) -> Running:
        """Start a part and watch it from now on."""
        running = Running(part, self._popen(part), _log_file(self.paths, part.name), self.say)
        self.running[part.name] = running
        return running

    def run(self, part: Part) -> None:
        """Run a part to its end; StackError with its last lines when it fails."""
        running = self.start(part)
        code = running.popen.wait()
        running.drain()
        self._forget(running)
        del self.running[part.name]
        if code:
            where = "\n".join(running.tail) if part.quiet else f"Its lines stand above and in {self.paths.logs}."
            raise StackError(f"{part.name} failed (exit code {code}). {where}")

    def tend(self) -> Running | None:
        """Look after all parts once: restart what may restart; return a lost part that may not, else None."""
        if self._keeper.poll() is not None:
            self._renew_keeper()
        now = time.monotonic()
        for running in self.running.values():
            if running.restart_at is not None:
                if now >= running.restart_at:
                    running.replace(self._popen(running.part))
            elif running.popen.poll() is not None:
                running.drain()
                self._forget(running)
                if not running.part.restarts:
                    return running
                self._plan_restart(running, now)
        return None

    def _plan_restart(self, running: Running, now: float) -> None:
        if now - running.started > STEADY:
            running.restarts = 0
        delay = min(LONGEST_DELAY, 0.5 * 2**running.restarts)
        running.restarts += 1
        running.restart_at = now + delay
        name, code = running.part.name, running.popen.returncode
        self.say("up", f"{name} ended with code {code}; starting it again in {delay:g} s")

    def _renew_keeper(self) -> None:
        os.close(self._keeper_fd)
        self._keeper, self._keeper_fd = self._start_keeper()
        for running in self.running.values():
            os.write(self._keeper_fd, f"+{running.popen.pid}\n".encode())

    def _forget(self, running: Running) -> None:
        """Clear what an ended process left of its group, and tell the keeper that the group is gone."""
        _signal_group(running.popen.pid, signal.SIGKILL)
        if self._keeper.poll() is None:
            os.write(self._keeper_fd, f"-{running.popen.pid}\n".encode())

    def stop_all(self) -> None:
        """Stop everything, the last started first, then let the keeper go.

        The parts that use the servers are asked together and share one grace; each server then ends alone, in
        reverse order, so that nobody loses a server while still working.
        """
        users = [running for running in self.running.values() if running.part.restarts]
        self._stop(list(reversed(users)))
        for running in reversed(list(self.running.values())):
            self._stop([running])
        os.close(self._keeper_fd)
        self._keeper.wait()

    def _stop(self, batch: list[Running]) -> None:
        begun = time.monotonic()
        for running in batch:
            if running.popen.poll() is None:
                running.popen.send_signal(running.part.stop_signal)
        for running in batch:
            name, grace = running.part.name, running.part.grace
            try:
                running.popen.wait(max(0.01, grace - (time.monotonic() - begun)))
            except subprocess.TimeoutExpired:
                self.say("up", f"{name} did not end within {grace:g} s and is killed")
                _signal_group(running.popen.pid, signal.SIGKILL)
                running.popen.wait()
            running.drain()
            self._forget(running)
            del self.running[name]


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def _log_file(paths: Paths, name: str) -> logging.Logger:
    """A logger that writes only to logs/<name>.log, at most 4 files of 5 MB."""
    logger = logging.Logger(f"opsboard.stack.{name}")
    handler = logging.handlers.RotatingFileHandler(
        paths.logs / f"{name}.log", maxBytes=5_000_000, backupCount=3, delay=True
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.addHandler(handler)
    return logger
