"""Real PostgreSQL and Redis for the whole test run, started once; no way out to the network.

The servers start when this file is read, because Django's settings are read right after it. With xdist the
controller starts them, and its workers find their URLs in the environment. They listen on unix sockets only, so
a PostgreSQL or Redis on the usual ports does not matter. If the run is killed, the keeper clears them away.
"""

from __future__ import annotations

import atexit
import ipaddress
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
import redis
from django.conf import settings

from opsboard.stack import postgres, redis_server
from opsboard.stack.paths import Paths, ensure_secret_key, remove_sockets, take_lock
from opsboard.stack.process import Crew

PREFIX = "opsboard-test-"


def _remove(folder: Path) -> None:
    """Delete the data directory of a run, with what of it lies elsewhere."""
    paths = Paths(folder / "data")
    postgres.remove(paths)
    remove_sockets(paths)
    shutil.rmtree(folder, ignore_errors=True)


def _clear_killed_runs() -> None:
    """Delete what runs that were killed left on disk: their servers are gone, and so is the keeper's lock."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/data/keeper.lock"):
        free = take_lock(lock) if os.access(lock, os.W_OK) else None
        if free:
            _remove(lock.parents[1])
            free.close()


class Servers:
    """The embedded servers of this run, in a temporary data directory."""

    def __init__(self) -> None:
        _clear_killed_runs()
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.folder.chmod(0o711)  # as root, PostgreSQL's own user passes through
        self.paths = Paths(self.folder / "data")
        self.paths.prepare()
        (self.paths.data / "static").mkdir()
        ensure_secret_key(self.paths)
        self.crew = Crew(self.paths, lambda name, line: None)
        atexit.register(self.stop)
        self.postgres = postgres.start(self.crew, self.paths, durable=False)
        self.redis = redis_server.start(self.crew, self.paths)

    def stop(self) -> None:
        """Stop both servers and remove their files."""
        atexit.unregister(self.stop)
        self.crew.stop_all()
        _remove(self.folder)


def _begin() -> Servers | None:
    """Start the servers; in an xdist worker, which finds them running, take a Redis database of its own."""
    if settings.configured:  # then it was read without the servers below, and names others
        pytest.exit("Unset DJANGO_SETTINGS_MODULE: the tests read the settings after they have started the servers.", 4)
    os.environ["DJANGO_SETTINGS_MODULE"] = "opsboard.settings"
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker:
        shared = os.environ["REDIS_URL"].partition("?")[0]
        os.environ["REDIS_URL"] = f"{shared}?db={int(worker.removeprefix('gw')) + 1}"
        return None
    for name in [name for name in os.environ if name.startswith("OPSBOARD_")]:
        del os.environ[name]  # the run must not depend on what the person at the terminal has set
    servers = Servers()
    os.environ.update(
        DATABASE_URL=servers.postgres.url(),
        REDIS_URL=servers.redis.url(),
        OPSBOARD_DATA_DIR=str(servers.paths.data),
    )
    return servers


def _set_up_django() -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # people sign in often here
    django.setup()


SERVERS = _begin()
_set_up_django()
pytest_plugins = ["tests.rates", "tests.personas", "tests.live"]  # fixtures: rates, people, Tryton


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Before workers start: named in the environment, the settings would be read before this file is.

    pytest-django does so, and the workers would share one Redis database for caches, limits and queues.
    """
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)


def pytest_unconfigure() -> None:
    """Stop the servers at the end of the run (in the process that started them)."""
    if SERVERS:
        SERVERS.stop()


class NetworkBlocked(RuntimeError):
    """A test tried to leave this machine."""


def _is_local(host: object) -> bool:
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Sockets of the test process reach this machine only; names of other machines are not even looked up."""
    patch = pytest.MonkeyPatch()
    really = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex")}
    look_up = socket.getaddrinfo

    def guarded(name: str) -> Any:
        def call(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address[0]):
                raise NetworkBlocked(f"A test tried to connect to {address}.")
            return really[name](self, address)

        return call

    def guarded_look_up(host: Any, *rest: Any, **options: Any) -> Any:
        if not _is_local(host):
            raise NetworkBlocked(f"A test tried to look up {host!r}.")
        return look_up(host, *rest, **options)

    for name in really:
        patch.setattr(socket.socket, name, guarded(name))
    patch.setattr(socket, "getaddrinfo", guarded_look_up)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def redis_client() -> Iterator[redis.Redis]:
    """A client of this worker's own Redis database."""
    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    yield client
    client.close()


@pytest.fixture(autouse=True)
def empty_redis(redis_client: redis.Redis) -> None:
    """Each test starts with nothing in Redis: no cache, no queue, no counter of another test."""
    redis_client.flushdb()
