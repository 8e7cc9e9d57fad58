"""What a flow is: what it carries, when it may, how it is posted, how its outcome is found again."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from integrations.canonical.base import Canonical
from integrations.connectors.ports import Record, Ref

__all__ = ["Collected", "Flow", "Message", "Posted", "Problem", "Ref", "Step", "Taken", "idempotency_key"]

Systems = Mapping[str, Any]  # role -> connector
Taken = Callable[[Iterable[str]], set[str]]  # which of these sources have been carried already
Result = TypeVar("Result")


@dataclass(frozen=True)
class Message:
    """One business message: what a work item carries.

    key: business key, the same whenever the same content is collected again. lane: messages of a lane
    keep their order. refs: the first one is the subject. sources: identity and version of every source
    record it carries; whoever stores the message marks them as taken in the same transaction, so that
    each is carried exactly once.
    """

    key: str
    lane: str
    payload: Canonical
    refs: tuple[Ref, ...]
    amount: Decimal | None
    currency: str
    entity: str
    occurred_at: datetime
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Problem:
    """A record that cannot be carried: shown to a person, its `sources` marked as taken like a message's.

    A later version of the record has other sources and is tried again.
    """

    ref: Ref
    reason: str
    raw: Mapping[str, Any]
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Collected:
    """What one reading brought: nothing that was read is missing from messages and problems together.

    `more` says that the source has more to read now.
    """

    messages: list[Message]
    cursor: str
    problems: list[Problem]
    more: bool = False


@dataclass(frozen=True)
class Posted:
    """What came out: objects created or used, the document's number in the target, the target's answer."""

    refs: tuple[Ref, ...]
    reference: str
    answer: dict[str, Any]


class Step(Protocol):
    """Told about every step of a posting, as soon as it is done."""

    def __call__(
        self,
        kind: str,
        *,
        system: str,
        refs: Sequence[Ref] = (),
        sent: dict[str, Any] | None = None,
        answer: dict[str, Any] | None = None,
        latency_ms: int | None = None,
    ) -> None: ...


class Flow(ABC):
    """One flow between systems. `collect` reads, `check` asks, `post` writes, `look_up` finds the outcome
    again.

    key, label: its name for machines and people. owner: accountable team. source, targets: roles of
    systems, whose connectors arrive in `systems`. latency_objective: from the source's event to the
    target's document.
    """

    key: ClassVar[str]
    label: ClassVar[str]
    owner: ClassVar[Literal["finance", "pmo", "sales_ops", "hr_ops", "platform"]]
    criticality: ClassVar[Literal["critical", "high", "normal"]]
    pattern: ClassVar[Literal["api", "event", "batch"]]
    source: ClassVar[str]
    targets: ClassVar[tuple[str, ...]]
    message: ClassVar[type[Canonical]]
    latency_objective: ClassVar[timedelta]
    finance_critical: ClassVar[bool] = False

    @property
    def roles(self) -> tuple[str, ...]:
        """Every role the flow needs, source first."""
        return tuple(dict.fromkeys((self.source, *self.targets)))

    @abstractmethod
    def collect(self, systems: Systems, cursor: str | None, taken: Taken) -> Collected:
        """Read what changed since `cursor`; leaves out what has been taken."""

    def check(self, systems: Systems, payload: Any) -> list[str]:
        """What the targets would refuse, in words; asks only, writes nothing."""
        return []

    @abstractmethod
    def post(self, systems: Systems, payload: Any, key: str, step: Step) -> Posted:
        """Bring the payload into the targets; the same key again finds what is there and adds nothing.

        Raises integrations.errors.
        """

    @abstractmethod
    def look_up(self, systems: Systems, payload: Any, key: str) -> Posted | None:
        """What an earlier `post` with this key achieved, or None when it has to be posted (again)."""


def idempotency_key(flow: str, message_key: str, payload: BaseModel) -> str:
    """`<flow>:<business key>#<digest of the payload>`: never made from the attempt.

    Up to the # it is the same for every version of a payload, so that targets can tell that the same
    business is being posted with other content.
    """
    digest = hashlib.sha256(payload.model_dump_json().encode()).hexdigest()[:8]
    return f"{flow}:{message_key}#{digest}"


def business_part(key: str) -> str:
    """The part of an idempotency key that all versions of a message share."""
    return key.rpartition("#")[0] + "#" if "#" in key else key


def timed(call: Callable[[], Result]) -> tuple[Result, int]:
    """The call's result and how long it took, in milliseconds."""
    started = time.perf_counter()
    result = call()
    return result, round((time.perf_counter() - started) * 1000)


def today() -> date:
    """The business day, UTC."""
    return datetime.now(UTC).date()


def problem(record: Record, reason: ValidationError | str) -> Problem:
    """The problem with a record, naming each field that is wrong and why."""
    if isinstance(reason, ValidationError):
        reason = "; ".join(
            ".".join(str(part) for part in error["loc"]) + ": " + error["msg"].removeprefix("Value error, ")
            for error in reason.errors(include_url=False)
        )
    raw = {name: str(value) if isinstance(value, Decimal | date) else value for name, value in record.data.items()}
    return Problem(ref=record.ref, reason=reason, raw=raw, sources=(record.source,))


def untaken(records: Iterable[Record], taken: Taken) -> list[Record]:
    """The latest version of every record that has not been carried, in the order they were read."""
    latest: dict[str, Record] = {}
    for record in records:
        latest.pop(record.identity, None)
        latest[record.identity] = record
    carried = taken([record.source for record in latest.values()])
    return [record for record in latest.values() if record.source not in carried]
