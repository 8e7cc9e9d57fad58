"""What can be said to the log: one Entry per event, whoever says it (API, job, file, person)."""

import hashlib
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from opsboard.core import ids


class Kind(NamedTuple):
    """What an event of this kind makes of its transaction; `rank` orders kinds that carry the same time."""

    status: str | None
    rank: int


# The whole vocabulary. A kind without a status leaves the transaction as it is.
KINDS: dict[str, Kind] = {
    "received": Kind("pending", 1),
    "queued": Kind("pending", 2),
    "validated": Kind("pending", 3),
    "transformed": Kind("pending", 4),
    "posted": Kind("pending", 5),
    "replayed": Kind("pending", 0),  # opens the next attempt, so it stands before that attempt's other events
    "retried": Kind("retrying", 6),
    "outcome_unknown": Kind("unknown", 6),
    "rejected": Kind("failed", 7),
    "dead_lettered": Kind("failed", 8),
    "acknowledged": Kind("succeeded", 9),
    "superseded": Kind("superseded", 10),
    "written_off": Kind("closed", 10),
    "closed": Kind("closed", 10),
} | dict.fromkeys(
    [
        *("linked", "noted", "raised", "assigned", "taken", "commented", "snoozed", "woken"),
        *("fixed", "fix_discarded", "resolved", "reopened", "exported"),
    ],
    Kind(None, 0),
)

# How engagement objects hang together. Rank 0 binds a thread; a document belongs to the threads of what stands before
# it (a payment to those of its invoice), never to those of what stands behind it (a time entry is not drawn into
# another project because one invoice bills both). A customer stands behind everything: it belongs to all of its
# engagements and joins none of them. Types not named here belong to none: people, periods, exceptions.
THREAD_RANK = {
    "opportunity": 0,
    "contract": 0,
    "project": 0,
    "time_entry": 1,
    "expense": 1,
    "milestone": 1,
    "change_order": 1,
    "billing_schedule": 2,
    "billing_request": 2,
    "invoice": 3,
    "credit_memo": 4,
    "payment": 4,
    "customer": 9,
}


class Named(NamedTuple):
    """An object an event touches: what `system` calls it, its role in the event, its name if the event tells one."""

    system: str
    type: str
    id: str
    role: str = ""
    name: str = ""


class Entry(msgspec.Struct, kw_only=True, frozen=True):
    """One event as it comes in. Times carry a zone; money is Decimal with its ISO currency."""

    source: str
    id: str
    type: str
    kind: str
    occurred_at: datetime
    received_at: datetime
    flow: str = ""
    key: str = ""
    status: str | None = None
    objects: tuple[Named, ...] = ()
    system: str = ""
    entity: str = ""
    attempt: int = 1
    amount: Decimal | None = None
    currency: str = ""
    latency_ms: int | None = None
    actor: str = ""
    correlation: str = ""
    payload: Any = None
    error: dict[str, Any] | None = None
    facts: dict[str, Any] | None = None

    @property
    def identity(self) -> UUID:
        """The event's key: digest of (source, id)."""
        return ids.event_id(self.source, self.id)

    @property
    def business_key(self) -> str:
        """The transaction's key: as the sender says, else the subject object, so that senders need not cooperate."""
        if self.key or not self.objects:
            return self.key
        subject = self.objects[0]
        return f"{subject.type}/{subject.id}"

    @property
    def effect(self) -> Kind:
        """Status and rank this event gives its transaction."""
        kind = KINDS[self.kind]
        return Kind(self.status, max(kind.rank, 1)) if self.status else kind

    def digest(self) -> bytes:
        """SHA-256 over what the sender said, whatever the order of keys; the clock of the door is left out.

        An event that names no time happened when it came; sent again, it comes later and is the same all the same.
        """
        return self._digest(_ENCODER.encode(self.payload))

    def _digest(self, payload: bytes) -> bytes:
        said = (
            *(self.source, self.id, self.type, self.kind, self.flow, self.key, self.status, self.objects, self.system),
            *(self.entity, self.attempt, self.amount, self.currency, self.latency_ms, self.actor, self.correlation),
            *(self.error, self.facts, None if self.occurred_at == self.received_at else self.occurred_at),
        )
        return hashlib.sha256(_ENCODER.encode(said) + payload).digest()

    def row(self) -> dict[str, Any]:
        """The columns, ready for msgspec and jsonb_to_recordset in sql/append.sql. The payload is encoded once only."""
        key, effect, payload = self.business_key, self.effect, _ENCODER.encode(self.payload)
        return {
            "id": ids.event_hex(self.source, self.id),
            "source": self.source,
            "external_id": self.id,
            "type": self.type,
            "digest": self._digest(payload).hex(),
            "kind": self.kind,
            "flow": self.flow,
            "transaction_id": ids.transaction_id(self.flow, key).hex if self.flow and key else None,
            "key": key,
            "status": effect.status or "",
            "system": self.system,
            "entity": self.entity,
            "attempt": self.attempt,
            "amount": self.amount,
            "currency": self.currency,
            "latency_ms": self.latency_ms,
            "actor": self.actor,
            "correlation": self.correlation,
            "objects_named": self.objects,
            "refs": [ids.object_id(named.system, named.type, named.id).hex for named in self.objects],
            "facts": self.facts,
            "occurred_at": self.occurred_at,
            "received_at": self.received_at,
            "data": msgspec.Raw(payload),
            "error": self.error,
        }


_ENCODER = msgspec.json.Encoder(order="deterministic")
