"""A real event door: granian over the test database, which can be away and come back."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from django.db import connection

from opsboard.accounts.commands import create_service_account
from opsboard.client import Client
from opsboard.stack.paths import PROJECT

SOURCE = "urn:firm:job"
RATE = 200  # events a second that the door allows; ten seconds of it at once


class Door:
    """The web server on a port of its own; it is away until it is started."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, unless it runs, and wait until it answers."""
        if self.process:
            return
        entry = connection.settings_dict
        where = urlencode({"host": entry["HOST"]}, quote_via=quote)
        env = os.environ | {
            "DATABASE_URL": f"postgresql://{entry['USER']}:{quote(entry['PASSWORD'])}@/{entry['NAME']}?{where}",
            "OPSBOARD_EVENTS_PER_SECOND": str(RATE),
        }
        argv = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(self.port)]
        argv += ["--workers", "1", "--blocking-threads", "4", "--log-level", "warning", "opsboard.wsgi:application"]
        self.process = subprocess.Popen(argv, cwd=PROJECT, env=env)
        deadline = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < deadline, "the door did not open"
            time.sleep(0.1)

    def _answers(self) -> bool:
        asked = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            asked.request("GET", "/livez")
            return asked.getresponse().status == 200
        except OSError:
            return False
        finally:
            asked.close()

    def stop(self) -> None:
        """Stop it."""
        if self.process:
            self.process.terminate()
            self.process.wait(timeout=20)
            self.process = None


@pytest.fixture(scope="session")
def the_door(django_db_setup: None) -> Iterator[Door]:
    """One for all tests."""
    door = Door()
    yield door
    door.stop()


@pytest.fixture
def door(the_door: Door, transactional_db: None) -> Iterator[Door]:
    """The door, and the tables empty afterwards: the log would refuse that."""
    yield the_door
    with connection.cursor() as cursor:
        cursor.execute("SET opsboard.maintenance = 'on'")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """After the clearing the log is closed again for whatever test comes next: the setting ends with the connection."""
    yield
    connection.close()


@pytest.fixture
def token(door: Door) -> str:
    """Of a service account that may write as the job."""
    return create_service_account(name="job", source=SOURCE, scopes=["events:write"], by="test")[1]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Makes clients of the spool `spool`; those still open are closed at the end."""
    made: list[Client] = []

    def client(url: str = "http://127.0.0.1:9", token: str = "t", **options: Any) -> Client:
        whole: dict[str, Any] = {"source": SOURCE, "spool": tmp_path / "spool", "every": 0.05} | options
        made.append(Client(url, token, **whole))
        return made[-1]

    yield client
    for each in made:
        each.close(timeout=0)


class Script(httpx.MockTransport):
    """A server by script: each answer is a status, a response, or what is raised; then it accepts everything.

    `heard` are the ids of each request.
    """

    def __init__(self, *answers: int | httpx.Response | Exception) -> None:
        super().__init__(self._answer)
        self.heard: list[list[str]] = []
        self._left = list(answers)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        batch = json.loads(request.content)
        self.heard.append([event["id"] for event in batch])
        said = self._left.pop(0) if self._left else 200
        if isinstance(said, Exception):
            raise said
        if isinstance(said, httpx.Response):
            return said
        if said != 200:
            return httpx.Response(said)
        return httpx.Response(200, json={"items": [{"id": each["id"], "status": "accepted"} for each in batch]})


@pytest.fixture
def scripted() -> type[Script]:
    """Makes servers by script."""
    return Script
