"""The quarantine: what was refused at a door, kept as it came until a person deals with it.

Nothing fails silently: a sender that ignores the answer 400 has still not lost its event. Reading what it says needs
the door, so sending it through again is `opsboard.api.door.resubmit`, which closes it here with `settle`.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet
from django.db.transaction import atomic
from django.http import Http404

from opsboard.accounts.access import may
from opsboard.accounts.models import User
from opsboard.core.clock import now
from opsboard.core.errors import Refused
from opsboard.log.commands import append
from opsboard.log.entry import Entry, Named
from opsboard.log.models import Quarantine

SOURCE = "urn:opsboard:quarantine"
STATES = ("open", "resubmitted", "discarded")
KEPT_PER_CLIENT = 10_000  # open items; a sender that runs wild shall not fill the disk


@dataclass(frozen=True)
class Refusal:
    """One item as it came, and why it was not taken (RFC 9457 members)."""

    client: str
    content_type: str
    body: bytes
    problem: dict[str, Any]
    source: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def keep(refusals: Sequence[Refusal]) -> int:
    """Keep what is not kept already: senders repeat what was refused. Returns how many were new."""
    fresh: dict[tuple[str, str], Quarantine] = {}
    for refusal in refusals:
        text = readable(refusal.body)
        fresh[refusal.client, text] = Quarantine(
            client=refusal.client,
            source=readable(refusal.source.encode("utf-8", "replace"))[:1000],
            content_type=readable(refusal.content_type.encode("utf-8", "replace"))[:255],
            headers=refusal.headers,
            body=text,
            problem=refusal.problem,
        )
    for client in {client for client, _ in fresh}:
        waiting = Quarantine.objects.filter(state="open", client=client)
        bodies = [body for name, body in fresh if name == client]
        for known in waiting.filter(body__in=bodies).values_list("body", flat=True):
            fresh.pop((client, known), None)
        if waiting.count() >= KEPT_PER_CLIENT:
            fresh = {key: item for key, item in fresh.items() if key[0] != client}
    Quarantine.objects.bulk_create(fresh.values())
    return len(fresh)


def readable(raw: bytes) -> str:
    """Bytes as text that PostgreSQL can keep: what is not UTF-8, and U+0000, is written as an escape."""
    return raw.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")


def listing(person: User | AnonymousUser, *, state: str = "open", client: str = "") -> QuerySet[Quarantine]:
    """What the person may see of the quarantine, newest first. It belongs to no legal entity before it is read."""
    if not may(person, "quarantine.view"):
        return Quarantine.objects.none()
    found = Quarantine.objects.filter(state=state) if state in STATES else Quarantine.objects.all()
    return (found.filter(client=client) if client else found).order_by("-id")


def before(items: QuerySet[Quarantine], number: str) -> QuerySet[Quarantine]:
    """What stands behind the item of that number in the list; everything when it is no number."""
    known = number.isascii() and number.isdecimal() and len(number) < 18
    return items.filter(pk__lt=int(number)) if known else items


def one(person: User | AnonymousUser, number: int) -> Quarantine:
    """The item of that number; Http404 when there is none, or the person may not see it."""
    found = listing(person, state="").filter(pk=number).first()
    if found is None:
        raise Http404
    return found


@atomic
def discard(*, number: int, reason: str, by: User) -> None:
    """Put an item away for good, with the reason. It stays readable. Raises Refused when it is not open any more."""
    if not reason.strip():
        raise Refused("Say why this is discarded; the reason is kept.")
    settle(number=number, state="discarded", reason=reason.strip(), by=by)


@atomic
def settle(*, number: int, state: str, reason: str, by: User) -> None:
    """Close an open item and say so in the log. Raises Refused when somebody was faster, or the person may not."""
    if not may(by, "quarantine.resubmit"):
        raise Refused("Dealing with the quarantine is not among your permissions.")
    moment = now()
    changed = Quarantine.objects.filter(pk=number, state="open").update(
        state=state, decided_at=moment, decided_by=by.email, reason=reason
    )
    if not changed:
        raise Refused("Somebody has dealt with this item already.", stale=True)
    append(
        [
            Entry(
                source=SOURCE,
                id=str(uuid.uuid4()),
                type=f"opsboard.quarantine.{state}",
                kind="noted",
                objects=(Named("opsboard", "quarantine", str(number)),),
                system="opsboard",
                actor=by.email,
                occurred_at=moment,
                received_at=moment,
                payload={"reason": reason},
            )
        ]
    )
