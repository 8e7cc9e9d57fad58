"""A stack of its own for measuring: empty, durable, in a folder that is gone afterwards."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from opsboard.stack import postgres, redis_server
from opsboard.stack.errors import StackError
from opsboard.stack.paths import PROJECT, Paths, ensure_secret_key, remove_sockets
from opsboard.stack.process import Crew, Part

HOST = "127.0.0.1"
STARTS_WITHIN = 60.0  # seconds
WEB = "--interface wsgi --workers 2 --blocking-threads 8 --log-level warning"  # as `manage.py up` starts it


@dataclass(frozen=True)
class Room:
    """Where to send, as whom, and where it ends up."""

    port: int
    token: str
    database_url: str
    redis_url: str


@contextmanager
def room() -> Iterator[Room]:
    """PostgreSQL with durable commits, Redis, and the web server over HTTP; no worker, no scheduler."""
    folder = Path(tempfile.mkdtemp(prefix="opsboard-bench-"))
    folder.chmod(0o711)  # as root, PostgreSQL's own user passes through
    paths = Paths(folder / "data")
    paths.prepare()
    (paths.data / "static").mkdir(exist_ok=True)
    ensure_secret_key(paths)
    crew = Crew(paths, lambda name, line: None)
    try:
        yield _furnish(crew, paths)
    finally:
        crew.stop_all()
        postgres.remove(paths)
        remove_sockets(paths)
        shutil.rmtree(folder)


def _furnish(crew: Crew, paths: Paths) -> Room:
    servers, cache = postgres.start(crew, paths), redis_server.start(crew, paths)
    env = {name: value for name, value in os.environ.items() if not name.startswith("OPSBOARD_")} | {
        "DATABASE_URL": servers.url(),
        "REDIS_URL": cache.url(),
        "OPSBOARD_DATA_DIR": str(paths.data),
        "OPSBOARD_EVENTS_PER_SECOND": "1000000",
        "DJANGO_SETTINGS_MODULE": "opsboard.settings",
    }
    manage = [sys.executable, str(PROJECT / "manage.py")]
    crew.run(Part("migrate", [*manage, "migrate", "--verbosity", "0"], env, quiet=True))
    create = ["service_account", "create", "bench", "--source", "urn:bench", "--scope", "events:write"]
    made = subprocess.run([*manage, *create], env=env, capture_output=True, text=True, check=True)
    port = _free_port()
    where = ["--host", HOST, "--port", str(port)]
    argv = [sys.executable, "-m", "granian", *WEB.split(), *where, "opsboard.wsgi:application"]
    crew.start(Part("web", argv, env, restarts=True, quiet=True))
    _wait(port)
    token = next(line for line in made.stdout.splitlines() if line.startswith("ob_svc_"))
    return Room(port, token, servers.url(), cache.url())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(port: int) -> None:
    """Until the web server answers; StackError when it does not."""
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline:
        connection = HTTPConnection(HOST, port, timeout=5)
        try:
            connection.request("GET", "/livez")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise StackError("The web server did not answer.")
