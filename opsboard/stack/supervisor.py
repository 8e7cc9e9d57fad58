"""`manage.py up`: starts every part in order, watches them, stops them in reverse."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn
from urllib.parse import urlsplit, urlunsplit

import httpx
import redis

from opsboard.core import health
from opsboard.stack import live, postgres, redis_server
from opsboard.stack.errors import StackError
from opsboard.stack.paths import PROJECT, Paths, ensure_secret_key, take_lock
from opsboard.stack.process import Crew, Part, Running, Spawn

READY_SECONDS = 120
LOOK_EVERY = 0.2
HOPELESS = 5  # restarts of one part before READY: something is wrong that waiting does not mend
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(BaseException):
    """Somebody asked the stack to end (Ctrl-C, SIGTERM, a closed terminal)."""


@dataclass(frozen=True)
class Wishes:
    """What the person asked for on the command line."""

    port: int = 8000
    demo: bool = True
    live: bool = False


class Console:
    """Prints lines with their part's name; safe from several threads; silent once the terminal is gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gone = False

    def __call__(self, name: str, line: str) -> None:
        """Print one line."""
        with self._lock:
            if not self._gone:
                try:
                    print(f"{name:<9}| {line}" if name else line, flush=True)
                except OSError:
                    self._gone = True


class Supervisor:
    """One run of the stack on one data directory."""

    def __init__(self, paths: Paths, wishes: Wishes) -> None:
        self.paths, self.wishes = paths, wishes
        self.say = Console()
        self.url = f"http://127.0.0.1:{wishes.port}"
        self.began = time.monotonic()
        self.ready = False
        self._written = ""

    def run(self) -> int:
        """Start, watch until asked to stop, stop. The exit code: 0 when asked, 1 when something was lost."""
        self.paths.prepare()
        lock = take_lock(self.paths.lock)
        if lock is None:
            raise StackError(already_running(self.paths))
        with lock:
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            check_port(self.wishes.port)
            ensure_secret_key(self.paths)
            self.crew = Crew(self.paths, self.say)
            return self._run()

    def _run(self) -> int:
        trouble = ""
        try:
            self._stop_on_signals()
            self._start()
            self._watch()
        except StopRequested:
            self.say("up", "stopping")
        except StackError as error:
            trouble = str(error)
            self.say("up", trouble.partition("\n")[0])
        finally:
            for number in STOP_SIGNALS:
                signal.signal(number, signal.SIG_IGN)  # being stopped already; a second wish must not break it
            begun = time.monotonic()
            self.crew.stop_all()
            self.paths.state.unlink(missing_ok=True)
            self.paths.servers.unlink(missing_ok=True)
            self.say("up", f"stopped in {time.monotonic() - begun:.1f} s")
        if trouble:
            self.say("", f"\n{trouble}")
        return 1 if trouble else 0

    def _stop_on_signals(self) -> None:
        def stop(number: int, frame: FrameType | None) -> NoReturn:
            raise StopRequested

        for number in STOP_SIGNALS:
            signal.signal(number, stop)

    # Start

    def _start(self) -> None:
        env = self._servers()
        self._prepare(env)
        self._services(env)
        if self.wishes.live:
            live.start(self.paths.data, self._spawner(env), server_uri(env["DATABASE_URL"]))
            register = [sys.executable, str(PROJECT / "manage.py"), "register_connections"]
            self.crew.run(Part("register", register, env))
        self._wait_until_ready(env["REDIS_URL"])
        self._announce()

    def _servers(self) -> dict[str, str]:
        """Start PostgreSQL and Redis, unless the environment names others; the environment of all parts."""
        env = dict(os.environ)
        if not env.get("DATABASE_URL"):
            env["DATABASE_URL"] = postgres.start(self.crew, self.paths).url()
            self._tell("PostgreSQL answers")
        if not env.get("REDIS_URL"):
            env["REDIS_URL"] = redis_server.start(self.crew, self.paths).url()
            self._tell("Redis answers")
        env |= {
            "DJANGO_SETTINGS_MODULE": "opsboard.settings",
            "OPSBOARD_DATA_DIR": str(self.paths.data),
            "PYTHONUNBUFFERED": "1",
            # Celery's warning about root is about pickled messages; ours are JSON.
            "PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges",
        }
        if not os.environ.get("DATABASE_URL"):
            self.paths.write_servers(env["DATABASE_URL"], env["REDIS_URL"])
        self._write_state()
        return env

    def _prepare(self, env: Mapping[str, str]) -> None:
        fill = ["--demo-accounts", *(["--demo-load"] if self.wishes.demo else [])]
        self.crew.run(Part("prepare", [sys.executable, str(PROJECT / "manage.py"), "prepare", *fill], env))
        self._tell("database and files are prepared")

    def _services(self, env: Mapping[str, str]) -> None:
        celery = [sys.executable, "-m", "celery", "--quiet", "-A", "opsboard.celery"]
        web = f"--interface wsgi --host 127.0.0.1 --port {self.wishes.port} --workers 2 --blocking-threads 8"
        web += " --respawn-failed-workers --workers-kill-timeout 3"
        worker = "--concurrency 2 --loglevel warning --without-gossip --without-mingle"
        schedule = ["--schedule", str(self.paths.beat_schedule), "--pidfile", ""]
        for name, argv in {
            "web": [sys.executable, "-m", "granian", *web.split(), "opsboard.wsgi:application"],
            "worker": [*celery, "worker", *worker.split()],
            "beat": [*celery, "beat", "--loglevel", "warning", *schedule],
        }.items():
            self.crew.start(Part(name, argv, env, restarts=True, grace=4))
        self._write_state()

    def _spawner(self, parts_env: Mapping[str, str]) -> Spawn:
        """How the live systems start their processes, in the environment of the parts unless they say other."""

        def spawn(
            name: str,
            argv: Sequence[str],
            *,
            env: Mapping[str, str] | None = None,
            cwd: Path = PROJECT,
            wait: bool = False,
        ) -> None:
            part = Part(name, argv, parts_env if env is None else env, cwd=cwd, restarts=not wait, grace=4)
            if wait:
                self.crew.run(part)
            else:
                self.crew.start(part)
            self._write_state()

        return spawn

    def _wait_until_ready(self, redis_url: str) -> None:
        client = redis.Redis.from_url(redis_url)
        begun = time.monotonic()
        while not (_answers(f"{self.url}/readyz") and _have_beaten(client, time.monotonic() - begun)):
            self._look()
            for running in self.crew.running.values():
                if running.restarts >= HOPELESS:
                    raise StackError(last_lines(running, "does not start"))
            if time.monotonic() - begun > READY_SECONDS:
                raise StackError(f"Not ready after {READY_SECONDS} s; the files in {self.paths.logs} tell more.")
            time.sleep(0.25)
        client.close()

    def _announce(self) -> None:
        self.ready = True
        self._write_state()
        if self.paths.accounts.is_file():
            self.say("", f"\nSign in at {self.url} as (also in {self.paths.accounts}):")
            for entry in json.loads(self.paths.accounts.read_text()).values():
                self.say("", f"  {entry['role']:<26} {entry['email']:<28} {entry['password']}")
        else:
            self.say("", f"\nOpen {self.url}")
        self.say("", f"Started in {time.monotonic() - self.began:.1f} s. Ctrl-C stops everything.")
        self.say("", f"READY {self.url}")

    # Watch

    def _watch(self) -> None:
        while True:
            self._look()
            time.sleep(LOOK_EVERY)

    def _look(self) -> None:
        lost = self.crew.tend()
        if lost:
            raise StackError(last_lines(lost, "ended; without it nothing goes on"))
        self._write_state()

    def _tell(self, text: str) -> None:
        self.say("up", f"{text} ({time.monotonic() - self.began:.1f} s)")

    def _write_state(self) -> None:
        """Keep `state.json` equal to what runs; written only when it differs, and whole or not at all."""
        state = {
            "pid": os.getpid(),
            "url": self.url,
            "ready": self.ready,
            "parts": {
                name: {"pid": running.popen.pid, "restarts": running.restarts}
                for name, running in self.crew.running.items()
            },
        }
        text = json.dumps(state, indent=1)
        if text == self._written:
            return
        half = self.paths.state.with_suffix(".half")
        half.write_text(json.dumps(state | {"changed": datetime.now(UTC).isoformat()}, indent=1))
        half.rename(self.paths.state)
        self._written = text


def read_state(paths: Paths) -> dict:
    """What the supervisor wrote last; empty when there is nothing."""
    try:
        return json.loads(paths.state.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def already_running(paths: Paths) -> str:
    """Why a second start on the same data directory is refused, in words."""
    state = read_state(paths)
    where = f" at {state['url']} (process {state['pid']})" if state else ""
    return (
        f"opsboard already runs{where} on the data directory {paths.data}. "
        "Stop it with `manage.py down`, or start another with --data-dir and --port."
    )


def check_port(port: int) -> None:
    """StackError when another program listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StackError(f"Port {port} cannot be used ({error.strerror}). Choose another with --port.") from error


def server_uri(url: str) -> str:
    """The URL of the database server without a database's name: postgresql://user@/?host=..."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, "/", parts.query, ""))


def last_lines(running: Running, what: str) -> str:
    """What happened to a part, with the last lines it wrote."""
    name, code = running.part.name, running.popen.returncode
    return f"{name} {what} (exit code {code}). Its last lines:\n" + "\n".join(running.tail)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _have_beaten(client: redis.Redis, since: float) -> bool:
    """Whether worker and beat both beat within the last `since` seconds."""
    return all(age is not None and age <= since for age in health.ages(client).values())
