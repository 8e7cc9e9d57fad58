"""Events per second through the event door: batches of 100 over HTTP, against raw COPY of the same rows.

The door does all it does in earnest: token, strict reading, identity, payloads, objects, links, transactions,
exceptions (one event in a hundred is a refusal), durable commits. An event carries 1 KB of payload. The limit writes
the very rows of the log with their payloads, encoded beforehand, into one table with the log's indexes that grows as
the log does, with two connections, and does nothing else. Both share the machine with the client.
"""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from itertools import count
from typing import Any

import msgspec
import psycopg

from opsboard.stack.bench import Figure, Say
from opsboard.stack.bench.room import HOST, Room, room

BATCH = 100
EVENTS = 12_000  # a round
ROUNDS = 5
SENDERS = 4
STEPS = ("received", "posted", "acknowledged")
START = datetime(2026, 1, 1, tzinfo=UTC)
HEADERS = {"Content-Type": "application/cloudevents-batch+json"}
TWIN = "CREATE TABLE IF NOT EXISTS bench_copy (LIKE log_event INCLUDING ALL, data jsonb)"
ROWS = """
    COPY (SELECT e.*, p.data FROM log_event AS e JOIN log_payload AS p USING (seq, recorded_at)
          WHERE e.seq > %s AND e.source = 'urn:bench' AND e.seq %% 2 = %s) TO STDOUT
"""
NOTE = "Workshop with the controllers, follow-up and minutes. " * 16  # with the rest about 1 KB


def measure(say: Say) -> Figure:
    """Median over the rounds, door and limit in turns."""
    numbers = count()
    with room() as here:
        _send(here, _bodies(numbers, EVENTS // 4))  # warm
        door, limit = [], []
        for turn in range(ROUNDS):
            before = _newest(here)
            bodies = _bodies(numbers, EVENTS)
            door.append(EVENTS / _send(here, bodies))
            limit.append(EVENTS / _copy(here, before))
            say(f"round {turn + 1}: {door[-1]:,.0f} events/s, COPY {limit[-1]:,.0f} rows/s")
    return Figure(
        name="door",
        value=round(statistics.median(door)),
        unit="events/s",
        limit=round(statistics.median(limit)),
        limit_is="rows/s by raw COPY of the same rows, two connections, same PostgreSQL, in turns",
        ratio=round(statistics.median(one / other for one, other in zip(door, limit, strict=True)), 3),
        rounds=ROUNDS,
    )


def _event(number: int) -> dict[str, Any]:
    """Three events make the life of one time entry; one life in 33 ends in a refusal."""
    entry, step = divmod(number, len(STEPS))
    refused = step == len(STEPS) - 1 and entry % 33 == 0
    data: dict[str, Any] = {
        "kind": "rejected" if refused else STEPS[step],
        "flow": "time-to-billing",
        "objects": [
            {"system": "psa", "type": "time_entry", "id": f"TE-{entry}"},
            {"system": "psa", "type": "project", "id": f"P-{entry // 200}", "name": f"Project {entry // 200}"},
            {"system": "crm", "type": "customer", "id": f"C-{entry // 1000}", "name": f"Customer {entry // 1000}"},
        ],
        "amount": f"{entry % 900 + 100}.50",
        "currency": "EUR",
        "entity": "DE01",
        "system": "erp" if step else "psa",
        "latency_ms": number % 500,
        "payload": {
            "person": f"E-{entry % 40}",
            "hours": 7.5,
            "note": NOTE,
            "lines": [1, 2, 3],
        },
    }
    if refused:
        data["error"] = {"system": "erp", "code": "PERIOD", "message": "The period is closed.", "http_status": 422}
    return {
        "specversion": "1.0",
        "id": f"{entry}/{step}",
        "source": "urn:bench",
        "type": f"bench.time.{step}",
        "time": (START + timedelta(seconds=number)).isoformat().replace("+00:00", "Z"),
        "data": data,
    }


def _bodies(numbers: "count[int]", events: int) -> list[bytes]:
    """Batches, encoded before the clock starts."""
    return [msgspec.json.encode([_event(next(numbers)) for _ in range(BATCH)]) for _ in range(events // BATCH)]


def _send(here: Room, bodies: list[bytes]) -> float:
    """Send all batches over SENDERS connections; returns the seconds. Every event must have been accepted."""

    def sender(mine: list[bytes]) -> int:
        connection = HTTPConnection(HOST, here.port, timeout=60)
        taken = 0
        for body in mine:
            connection.request("POST", "/api/v1/events", body, HEADERS | {"Authorization": f"Bearer {here.token}"})
            taken += msgspec.json.decode(connection.getresponse().read())["accepted"]
        connection.close()
        return taken

    with ThreadPoolExecutor(SENDERS) as pool:
        begun = time.perf_counter()
        taken = sum(pool.map(sender, [bodies[start::SENDERS] for start in range(SENDERS)]))
        seconds = time.perf_counter() - begun
    if taken != len(bodies) * BATCH:
        raise RuntimeError(f"{taken} of {len(bodies) * BATCH} events were accepted.")
    return seconds


def _newest(here: Room) -> int:
    with psycopg.connect(here.database_url) as connection:
        row = connection.execute("SELECT coalesce(max(seq), 0) FROM log_event").fetchone()
    return int(row[0]) if row else 0


def _copy(here: Room, after: int) -> float:
    """Write the rows of this round again, raw, with two connections; returns the seconds."""
    with psycopg.connect(here.database_url, autocommit=True) as connection:
        halves = [_rows(connection, after, rest) for rest in (0, 1)]
        connection.execute(TWIN)

    def writer(rows: bytes) -> None:
        with psycopg.connect(here.database_url) as connection:
            cursor = connection.cursor()
            with cursor.copy("COPY bench_copy FROM STDIN") as copy:
                copy.write(rows)

    with ThreadPoolExecutor(2) as pool:
        begun = time.perf_counter()
        list(pool.map(writer, halves))
        return time.perf_counter() - begun


def _rows(connection: psycopg.Connection, after: int, rest: int) -> bytes:
    """Every other row of this round that came through the door, as COPY writes it."""
    with connection.cursor() as cursor, cursor.copy(ROWS, (after, rest)) as copy:
        return b"".join(bytes(block) for block in copy)
