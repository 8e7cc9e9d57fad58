"""An event as it is written and sent: CloudEvents 1.0, structured, one JSON object on one line."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypedDict

import msgspec

Touched = tuple[str, ...] | Mapping[str, str]  # (system, type, id[, role[, name]]), or a mapping with these names
NAMES = ("system", "type", "id", "role", "name")

# What a sender may say. The first are steps on the way; an answer of the target, or the end, makes a transaction final.
STEPS = frozenset({"received", "queued", "validated", "transformed", "posted", "replayed", "retried"})
ANSWERS = frozenset(
    {"outcome_unknown", "rejected", "dead_lettered", "acknowledged", "superseded", "written_off", "closed"}
)
KINDS = STEPS | ANSWERS | {"linked", "noted"}


class Error(TypedDict, total=False):
    """What the target answered when it refused, word for word."""

    system: str
    code: str
    message: str
    http_status: int
    body: Any


class Step(TypedDict, total=False):
    """What a step may say about the message beside its kind and its objects; what is left out is not said."""

    attempt: int
    status: str  # overrides what the kind implies
    amount: Decimal | int | str
    currency: str  # ISO 4217
    entity: str  # code of the legal entity
    system: str  # where it happened
    latency_ms: int
    error: Error


class Said(Step, total=False):
    """All that an event may say beside its kind and its objects."""

    flow: str
    key: str  # business key of the message; type/id of the first object when left out
    payload: Any


def encode(
    kind: str,
    objects: Iterable[Touched],
    said: Said,
    *,
    source: str,
    event_id: str,
    at: datetime | None = None,
    correlation: str = "",
) -> bytes:
    """The event as one line of JSON; it happened now unless `at` says when.

    Raises ValueError for a kind that nobody may send, no object, an amount without currency or a time without zone,
    TypeError for an amount that is a float and for a payload that is no JSON.
    """
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is not one of {', '.join(sorted(KINDS))}")
    moment = at or datetime.now(UTC)
    if moment.tzinfo is None:
        raise ValueError("a time needs its zone")
    event = {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": f"{said.get('flow') or 'opsboard'}.{kind}",
        "time": moment.astimezone(UTC).isoformat(),
        "data": {"kind": kind, "objects": named(objects), **_data(said)},
    }
    return msgspec.json.encode(event | ({"correlationid": correlation} if correlation else {}))


def new_id() -> str:
    """An id that no other event has."""
    return str(uuid.uuid4())


def named(objects: Iterable[Touched]) -> list[dict[str, str]]:
    """The objects with names; the first is the subject. Each once. Raises ValueError for none and for a short tuple."""
    found = [dict(each) if isinstance(each, Mapping) else dict(zip(NAMES, each, strict=False)) for each in objects]
    if not found:
        raise ValueError("an event touches at least one object: (system, type, id)")
    for each in found:
        if not {"system", "type", "id"} <= each.keys() <= set(NAMES):
            raise ValueError(f"an object is (system, type, id[, role[, name]]), not {each}")
    return [each for position, each in enumerate(found) if each not in found[:position]]


def _data(said: Said) -> dict[str, Any]:
    data: dict[str, Any] = {name: value for name, value in said.items() if value is not None and value != ""}
    amount = data.get("amount")
    if amount is None:
        return data
    if isinstance(amount, float):
        raise TypeError("an amount is a Decimal, a whole number or text: a float is not exact")
    if "currency" not in data:
        raise ValueError("an amount needs its currency")
    try:
        return data | {"amount": f"{Decimal(amount):f}"}
    except InvalidOperation:
        raise ValueError(f"{amount!r} is not an amount") from None


def plain(text: str, longest: int) -> str:
    """Text that can be sent whatever it holds: cut, without U+0000 and lone surrogates."""
    return text[:longest].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
