"""Tell opsboard what a job does, from anywhere: no Django, no Celery, no database, and nothing lost.

    client = Client("https://opsboard.firm.example", token, source="urn:firm:psa-export", spool="/var/spool/psa-export")

    with client.transaction(
        "time-to-billing", "P-1/2026-10", [("psa", "project", "P-1")], amount="8400.00", currency="EUR", entity="DE01"
    ) as tx:
        tx.step("validated")
        tx.posted(payload=invoice)
        number = erp.post(invoice)
        tx.acknowledged(objects=[("erp", "invoice", number)])

An event is on disk before the call returns; a thread sends it. While the server is away, or the job dies, it waits in
the spool; whoever opens the directory next sends it. Its id is kept with it, so it is in the log once however often it
is sent. One process has a spool at a time; its threads share the client. Unix only (flock).
"""

import atexit
import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, Unpack

import httpx

from opsboard.client import events
from opsboard.client.errors import ClientError, SpoolFull, SpoolInUse
from opsboard.client.events import KINDS, Error, Said, Step, Touched
from opsboard.client.sender import Sender
from opsboard.client.spool import Spool
from opsboard.client.transaction import Transaction

__all__ = [
    "KINDS",
    "Client",
    "ClientError",
    "Error",
    "Rejected",
    "Said",
    "SpoolFull",
    "SpoolInUse",
    "Step",
    "Touched",
    "Transaction",
]

MIB = 1024 * 1024
BATCH_MAX = 500


class Rejected(NamedTuple):
    """An event that the server refused, and its reasons (RFC 9457); `event` is None when the disk has damaged it."""

    at: str
    problem: dict[str, Any]
    event: dict[str, Any] | None


class Client:
    """A sender of events with a spool of its own; see the module.

    `url` is opsboard's address, `source` that of the token's service account or one below it. `max_bytes` bounds the
    spool (SpoolFull beyond it). An append is safe from the death of the process at once, from that of the machine after
    the next sync: within a second, or while a request is on its way when that has ended; with `durable`, before the
    call returns, at the price of one disk write per event. Raises SpoolInUse.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        source: str,
        spool: str | Path,
        max_bytes: int = 256 * MIB,
        durable: bool = False,
        every: float = 1.0,
        timeout: float = 30.0,
        at_exit: float = 5.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.source = source
        self._at_exit = at_exit
        self._closed = False
        door = httpx.URL(f"{url.rstrip('/')}/api/v1/events")
        http = httpx.Client(
            headers={"Authorization": f"Bearer {token}", "User-Agent": "opsboard-client"},
            timeout=httpx.Timeout(timeout, connect=5.0),
            transport=transport,
        )
        self._spool = Spool(Path(spool), max_bytes=max_bytes, durable=durable)
        self._sender = Sender(self._spool, http, door, batch=BATCH_MAX, every=every)
        self._sender.start()
        atexit.register(self.close)

    def transaction(
        self,
        flow: str,
        key: str,
        objects: Iterable[Touched],
        *,
        run: str = "",
        at: datetime | None = None,
        correlation: str = "",
        **said: Unpack[Step],
    ) -> Transaction:
        """One attempt to carry the message `key` in `flow`, as a context manager; `objects` begin with its subject.

        A job that may work through the same row again after its own death gives `run`, an id of that row's turn, and
        `at`, its time: then the events get ids made from run, attempt and step, and told again they are duplicates.
        """
        if run and at is None:
            raise ValueError("run needs at: the same event at another time would be a contradiction")
        whole: Said = {**said, "flow": flow, "key": key, "payload": None}
        return Transaction(self, objects, whole, run=run, at=at, correlation=correlation)

    def say(
        self,
        kind: str,
        objects: Iterable[Touched],
        *,
        event_id: str = "",
        at: datetime | None = None,
        correlation: str = "",
        **said: Unpack[Said],
    ) -> str:
        """Keep one event for sending; its id. Raises SpoolFull, ClientError, and what `events.encode` raises."""
        if self._closed:
            raise ClientError("The client is closed.")
        event_id = event_id or events.new_id()
        line = events.encode(kind, objects, said, source=self.source, event_id=event_id, at=at, correlation=correlation)
        self._spool.append(line)
        self._sender.kept()
        return event_id

    def flush(self, timeout: float = 30.0) -> bool:
        """Send now; whether all that was said before is with the server (or refused by it) within so many seconds."""
        return self._spool.mine and self._sender.flush(timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Flush (for as long as `at_exit` unless told) and end; what is unsent waits in the spool. As flush."""
        if self._closed or not self._spool.mine:
            return False
        self._closed = True
        atexit.unregister(self.close)
        done = self._sender.flush(self._at_exit if timeout is None else timeout)
        self._sender.end()
        self._sender.join(1.0)  # longer when a request is on its way: then the thread itself closes the spool
        return done

    def resume(self, token: str = "") -> None:
        """Send again after the token was refused (`trouble` says so), with a new one if it is given."""
        self._sender.resume(token)

    @property
    def pending(self) -> int:
        """Events that wait in the spool."""
        return self._spool.pending

    @property
    def trouble(self) -> str:
        """Why nothing is being sent at the moment; empty when all is well."""
        return self._sender.trouble

    @property
    def rejected(self) -> list[Rejected]:
        """What the server refused, oldest first, each once; from `rejected.jsonl` in the spool. Deleting it is free."""
        found: dict[str, Rejected] = {}
        for line in self._spool.rejected():
            try:
                kept = json.loads(line)
                identity = kept["event"]["id"] if kept["event"] else kept["text"]
                found.setdefault(identity, Rejected(kept["at"], kept["problem"], kept["event"]))
            except (ValueError, KeyError, TypeError):
                continue  # a line that is just being written, or was when the machine died
        return list(found.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
