"""The event door: reads what came, binds it to its sender, hands it to the pipeline, and keeps what was refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.transaction import atomic, set_rollback

from opsboard import pipeline
from opsboard.accounts import queries as accounts
from opsboard.accounts.models import User
from opsboard.accounts.queries import Principal
from opsboard.api import events, problems
from opsboard.api.contract import Fault
from opsboard.api.events import Invalid
from opsboard.core.clock import now
from opsboard.core.errors import Refused
from opsboard.log import quarantine
from opsboard.log.entry import Entry
from opsboard.log.models import Quarantine
from opsboard.log.quarantine import Refusal

CONFLICT = "The log has this id of this source already, with other content. Send a correction under an id of its own."
_BOUNDARIES = frozenset("/:?#")


@dataclass(frozen=True)
class Message:
    """A request as it came. `headers` are the ce- headers, by lower-case name without the prefix."""

    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Item:
    """One event of a message, and what became of it: accepted, duplicate or rejected."""

    message: Message
    named: dict[str, str] = field(default_factory=dict)  # id and source, as far as they could be read
    entry: Entry | None = None
    problem: dict[str, Any] | None = None
    status: str = "rejected"

    def told(self) -> dict[str, Any]:
        """For the sender."""
        return {**self.named, "status": self.status} | ({"problem": self.problem} if self.problem else {})


def receive(message: Message, *, by: Principal) -> Item:
    """Take a single event. A refused one is kept in quarantine, unless its format or size is not ours to keep."""
    item = read(message, by=by, received_at=now())
    _store([item])
    if item.problem and item.problem["status"] not in {413, 415}:
        _keep([item], by)
    return item


def receive_batch(bodies: list[bytes], *, atomically: bool, by: Principal) -> list[Item]:
    """Take a batch: each event for itself or, when asked, all or none. Refused ones are kept in quarantine."""
    moment = now()
    items = [read(Message(events.STRUCTURED, body), by=by, received_at=moment) for body in bodies]
    if atomically:
        _store_all_or_none(items)
    else:
        _store(items)
    _keep([item for item in items if item.problem], by)
    return items


def read(message: Message, *, by: Principal, received_at: datetime) -> Item:
    """The entry a single event says, or the problem with it. Nothing is stored."""
    item = Item(message)
    try:
        if events.mode(message.content_type) == "binary":
            entry = events.binary(message.headers, message.content_type, message.body, received_at=received_at)
        else:
            entry = events.structured(message.body, received_at=received_at)
    except Invalid as error:
        item.problem = problem(error)
        item.named = events.named(message.body, message.headers)
        return item
    item.entry, item.named = entry, {"id": entry.id, "source": entry.source}
    if not may_write_as(by, entry.source):
        fault = Fault("/source", f"this token writes as {by.source} and what stands below it")
        item.problem = problem(Invalid([fault], title="Not the sender's source", status=403))
    return item


def may_write_as(by: Principal, source: str) -> bool:
    """Whether the source is the account's own, or below it: urn:firm:psa covers urn:firm:psa:eu, not urn:firm:psa2."""
    if source == by.source:
        return True
    below = source.removeprefix(by.source)
    return below != source and (by.source[-1] in _BOUNDARIES or below[0] in _BOUNDARIES)


def problem(error: Invalid) -> dict[str, Any]:
    """What the sender is told, as RFC 9457 members: a fault without a pointer concerns the whole."""
    plain = [fault for fault in error.faults if fault.pointer]
    whole = " ".join(fault.detail for fault in error.faults if not fault.pointer)
    return problems.details(error.status, whole or "See errors.", title=error.title, errors=plain)


def _store(items: list[Item]) -> None:
    """Hand the readable ones to the pipeline and note what the log made of each."""
    ready = [item for item in items if item.entry and not item.problem]
    done = pipeline.accept([item.entry for item in ready if item.entry])
    for position in done.accepted:
        ready[position].status = "accepted"
    for position in done.duplicates:
        ready[position].status = "duplicate"
    for position in done.conflicts:
        ready[position].problem = problems.details(409, CONFLICT, title="Other content under the same id")


def _store_all_or_none(items: list[Item]) -> None:
    """Store all, or nothing when one of them is refused; then the blameless ones are `withheld`."""
    if not any(item.problem for item in items):
        with atomic():
            _store(items)
            set_rollback(any(item.problem for item in items))
    if any(item.problem for item in items):
        for item in items:
            item.status = "rejected" if item.problem else "withheld"


def keep_unread(message: Message, error: Invalid, *, by: Principal) -> None:
    """Keep a message that could not be taken apart into events."""
    _keep([Item(message, problem=problem(error))], by)


def _keep(items: list[Item], by: Principal) -> None:
    if not items:
        return
    quarantine.keep(
        [
            Refusal(
                client=by.name,
                content_type=item.message.content_type,
                body=item.message.body,
                problem=(item.problem or {}) | ({"event": item.named["id"]} if "id" in item.named else {}),
                source=item.named.get("source", ""),
                headers=dict(item.message.headers),
            )
            for item in items
        ]
    )


def resubmit(*, item: Quarantine, body: str, headers: Mapping[str, str] | None = None, reason: str, by: User) -> Item:
    """Send a kept item, corrected, through the door again, as its sender.

    Returns what became of it; when it is refused again, it stays open and nothing else changed. Raises Refused when
    the sender's account has ended, when it is no single event, or when somebody was faster.
    """
    sender = accounts.sender(item.client)
    if sender is None:
        raise Refused(f"The service account {item.client} has ended; nobody may write in its name.")
    if not item.content_type or events.mode(item.content_type) == "batch":
        raise Refused("This is a whole batch that could not be read. Its sender has to send it again.")
    message = Message(item.content_type, body.encode("utf-8", "replace"), item.headers if headers is None else headers)
    again = read(message, by=sender, received_at=now())
    with atomic():
        _store([again])
        if not again.problem:
            quarantine.settle(number=item.pk, state="resubmitted", reason=reason, by=by)
    return again
