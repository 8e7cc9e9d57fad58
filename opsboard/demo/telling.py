"""How the way of one message is told: the same events, with the same identities, that the jobs write when they carry
it, so that a replay today goes on where the history ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from integrations.connectors.ports import Ref
from integrations.flows import Message, idempotency_key
from opsboard.demo.trouble import CAUSES
from opsboard.log.entry import Entry, Named
from opsboard.pipeline import transaction_of

LANDSCAPE = "demo"
SOURCE = "urn:opsboard:demo"


@dataclass(frozen=True)
class Sent:
    """A step of a posting, as events tell it. With `content` something was written, else only looked at."""

    step: str
    system: str
    content: Mapping[str, Any] | None = None
    refs: tuple[Ref, ...] = ()
    answer: Mapping[str, Any] | None = None
    latency_ms: int = 400


@dataclass
class Letter:
    """A message of a flow on its way, with what its errors may speak of. flow: key of the flow."""

    flow: str
    message: Message
    received_at: datetime
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def payload(self) -> Any:
        """The canonical object it carries: a billing request, a won opportunity, an invoice's status."""
        return self.message.payload

    @property
    def transaction(self) -> UUID:
        """Id of its transaction in the log."""
        return transaction_of(LANDSCAPE, self.flow, self.message.key)

    @property
    def log_key(self) -> tuple[str, str]:
        """Flow and business key of the transaction, as the log has them."""
        return self.flow, f"{LANDSCAPE}:{self.message.key}"

    @property
    def key(self) -> str:
        """Idempotency key towards the target."""
        return idempotency_key(self.flow, self.message.key, self.message.payload)


@dataclass(frozen=True)
class Act:
    """What a person did in the past, to be done by the same command: take, comment, fix or replay."""

    verb: str
    at: datetime
    letter: Letter
    attempt: int
    text: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """A message that has not arrived: a work item to be. state: ready, failed, unknown."""

    letter: Letter
    state: str
    attempt: int
    error: dict[str, Any] | None = None
    not_before: datetime | None = None


@dataclass
class Telling:
    """What has been told so far. `entries` and `acts` in any order; sorted by time when they are loaded."""

    entries: list[Entry] = field(default_factory=list)
    acts: list[Act] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)

    def receive(self, letter: Letter, *, checked: bool = True) -> None:
        """It came in, and was checked against the target's rules where the flow does that."""
        message = letter.message
        refs = tuple(_named(ref) for ref in message.refs)
        self.entries.append(
            self._entry(
                letter,
                "received",
                1,
                message.occurred_at,
                id_=f"{message.key}/received",
                objects=refs,
                received_at=letter.received_at,
                amount=message.amount,
                currency=message.currency,
                system=message.refs[0].system,
                payload=message.payload.model_dump(mode="json"),
            )
        )
        if checked:
            self._say(letter, "validated", 1, letter.received_at + timedelta(seconds=1), latency_ms=35)

    def attempt(self, letter: Letter, number: int, at: datetime, steps: Sequence[Sent]) -> datetime:
        """What was sent in an attempt; returns when that was done."""
        for position, sent in enumerate(steps, 1):
            payload = {"idempotency_key": letter.key, "sent": sent.content, "answer": sent.answer}
            refs = tuple(_named(ref) for ref in sent.refs)
            kind = "posted" if sent.content else "noted"
            self._say(
                letter, kind, number, at, step=f"{position}.{sent.step}", system=sent.system, objects=refs,
                payload=payload, latency_ms=sent.latency_ms,
            )  # fmt: skip
            at += timedelta(milliseconds=sent.latency_ms + 40)
        return at

    def arrive(self, letter: Letter, number: int, at: datetime, refs: Sequence[Ref], reference: str) -> datetime:
        """The target has it."""
        objects = tuple(_named(ref) for ref in refs)
        answer = {"reference": reference, "idempotency_key": letter.key, "found_by_look_up": False}
        self._say(letter, "acknowledged", number, at, objects=objects, payload=answer, system=refs[0].system)
        return at

    def refuse(self, letter: Letter, number: int, at: datetime, cause: str, kind: str = "rejected") -> dict[str, Any]:
        """The target answered with an error (or did not answer); returns the error as events carry it."""
        error = CAUSES[cause].error(letter.facts)
        self._say(letter, kind, number, at, error=error, system=error["system"])
        return error

    def note(self, id_: str, type_: str, at: datetime, objects: Sequence[Ref], **said: Any) -> None:
        """Something that concerns no transaction: a link between systems, a dispute."""
        self.entries.append(
            Entry(
                source=f"{SOURCE}:{said.pop('by', 'jobs')}",
                id=id_,
                type=type_,
                kind=said.pop("kind", "noted"),
                objects=tuple(_named(ref) for ref in objects),
                occurred_at=at,
                received_at=at + timedelta(seconds=20),
                **said,
            )
        )

    def _say(self, letter: Letter, kind: str, number: int, at: datetime, *, step: str = "", **said: Any) -> None:
        refs = [ref for ref in letter.message.refs if ref.type not in DETAILS]
        objects = (*(_named(ref) for ref in refs), *said.pop("objects", ()))
        entry = self._entry(
            letter, kind, number, at, id_=f"{letter.message.key}/{number}/{step or kind}", objects=objects,
            received_at=at, step=step, **said,
        )  # fmt: skip
        self.entries.append(entry)

    @staticmethod
    def _entry(letter: Letter, kind: str, number: int, at: datetime, *, step: str = "", **said: Any) -> Entry:
        return Entry(
            source=f"{SOURCE}:{letter.flow}",
            id=said.pop("id_"),
            type=f"opsboard.job.{step.partition('.')[2] or kind}",
            kind=kind,
            flow=letter.flow,
            key=letter.log_key[1],
            entity=letter.message.entity,
            attempt=number,
            occurred_at=at,
            **said,
        )


DETAILS = {"time_entry"}  # told once, when the message is received: each later event would only repeat hundreds of them


def _named(ref: Ref) -> Named:
    return Named(ref.system, ref.type, ref.id, ref.role, ref.name)


def merged(telling: Telling, until: datetime) -> list[Entry | Act]:
    """Everything up to now in the order it became known."""

    def known_at(one: Entry | Act) -> tuple[datetime, str]:
        return (one.at, one.verb) if isinstance(one, Act) else (one.received_at, one.id)

    told: list[Entry | Act] = [*telling.entries, *telling.acts]
    return sorted((one for one in told if known_at(one)[0] <= until), key=known_at)


Post = Callable[[int, datetime], datetime]  # an attempt that succeeds: number, moment → when it was done
