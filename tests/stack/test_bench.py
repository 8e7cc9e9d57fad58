"""The bench runs, and what it measures is the real door: granian, PostgreSQL and Redis, over HTTP."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from opsboard.api import events
from opsboard.stack import bench
from opsboard.stack.bench import door
from opsboard.stack.bench.room import HOST, Room, room


@pytest.fixture(scope="module")
def here() -> Iterator[Room]:
    """A stack of its own."""
    with room() as made:
        yield made


def post(here: Room, body: bytes, content_type: str, **headers: str) -> tuple[int, dict]:
    connection = http.client.HTTPConnection(HOST, here.port, timeout=30)
    told = {"Authorization": f"Bearer {here.token}", "Content-Type": content_type}
    connection.request("POST", "/api/v1/events", body, told | headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def event(id_: str) -> dict:
    data = {"kind": "noted", "objects": [{"system": "psa", "type": "project", "id": "P-1"}]}
    return {"specversion": "1.0", "id": id_, "source": "urn:bench", "type": "t", "data": data}


def test_the_figure_of_the_door_has_its_limit_of_the_same_run(here, monkeypatch, capsys):
    monkeypatch.setattr(door, "EVENTS", 400)
    monkeypatch.setattr(door, "ROUNDS", 2)
    monkeypatch.setattr(door, "room", lambda: nullcontext(here))

    call_command("bench", "door", "--json")

    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"name", "value", "unit", "limit", "limit_is", "ratio", "rounds"}
    assert (found["name"], found["unit"], found["rounds"]) == ("door", "events/s", 2)
    assert 0 < found["ratio"] < 1, "reading and checking cannot be faster than writing alone"


def test_a_figure_that_is_not_there_is_named():
    with pytest.raises(CommandError, match="door"):
        call_command("bench", "nonsense")
    assert "door" in bench.names()


def test_an_event_in_headers_reaches_the_log_decoded(here):
    headers = {"ce-specversion": "1.0", "ce-source": "urn:bench", "ce-type": "t", "ce-id": "Z%C3%BCrich%20%F0%9F%98%80"}

    status, answer = post(here, json.dumps(event("x")["data"]).encode(), "application/json", **headers)

    assert (status, answer["id"]) == (202, "Zürich 😀")


def test_a_body_in_chunks_is_read(here):
    body = json.dumps(event("chunks")).encode()
    head = (
        f"POST /api/v1/events HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n"
        f"Authorization: Bearer {here.token}\r\nContent-Type: application/cloudevents+json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:50], body[50:])) + b"0\r\n\r\n"
    with socket.create_connection((HOST, here.port), timeout=30) as connection:
        connection.sendall(head.encode() + chunks)
        assert connection.recv(4096).startswith(b"HTTP/1.1 202")


@pytest.mark.parametrize("size", [events.BODY_BYTES_MAX + 1, 2 * events.BODY_BYTES_MAX])
def test_who_sends_too_much_sees_the_answer(here, size):
    status, answer = post(here, b" " * size, "application/cloudevents-batch+json")

    assert (status, answer["title"]) == (413, "The request is too large")
