"""What the `data` of an event must look like: the contract between opsboard and whoever sends to it.

It stands here twice, for two purposes. `Data` is what the door decodes with: fast, it stops at the first fault.
`schema()` is what is published, and what names every fault of refused data with its JSON pointer. That both take and
refuse the same data is a property test (tests/api/test_contract.py).
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import jsonschema_rs
import msgspec
from msgspec import Meta

from opsboard.log.entry import KINDS, Named
from opsboard.log.models import STATUSES

OBJECTS_MAX = 100
INT32 = 2**31 - 1

# What people and opsboard itself say about an exception. A sender who could say it would forge a person's act.
OWN_KINDS = frozenset(
    {
        *("raised", "assigned", "taken", "commented", "snoozed", "woken"),
        *("fixed", "fix_discarded", "resolved", "reopened", "exported"),
    }
)
SENDER_KINDS = tuple(kind for kind in KINDS if kind not in OWN_KINDS)
KINDS_WITH_EFFECT = tuple(kind for kind in SENDER_KINDS if KINDS[kind].status)

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_AMOUNT = re.compile(r"-?[0-9]{1,16}(\.[0-9]{1,2})?", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_CENT = Decimal("0.01")


class Fault(NamedTuple):
    """One thing that is wrong, and where: a JSON pointer (RFC 6901) into the event."""

    pointer: str
    detail: str


Text = Annotated[str, Meta(min_length=1, max_length=255)]
Positive = Annotated[int, Meta(ge=1, le=INT32)]


class Touched(msgspec.Struct, forbid_unknown_fields=True):
    """A business object the event touches, as `system` names it."""

    system: Annotated[str, Meta(min_length=1, max_length=100)]
    type: Annotated[str, Meta(min_length=1, max_length=64)]
    id: Text
    role: Annotated[str, Meta(max_length=100)] | None = None
    name: Annotated[str, Meta(max_length=500)] | None = None

    def named(self) -> Named:
        """As the log keeps it."""
        return Named(self.system, self.type, self.id, self.role or "", self.name or "")


class Error(msgspec.Struct, forbid_unknown_fields=True):
    """What the target answered when it refused, word for word."""

    system: Annotated[str, Meta(max_length=100)] | None = None
    code: Annotated[str, Meta(max_length=255)] | None = None
    message: Annotated[str, Meta(max_length=20_000)] | None = None
    http_status: Annotated[int, Meta(ge=100, le=599)] | None = None
    body: Any = None

    def said(self) -> dict[str, Any]:
        """Only what was said, as the log keeps it."""
        return {key: value for key, value in msgspec.structs.asdict(self).items() if value is not None}


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """The `data` of an event. A member that is null counts as absent."""

    kind: str
    objects: Annotated[list[Touched], Meta(min_length=1, max_length=OBJECTS_MAX)]
    flow: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    key: Annotated[str, Meta(min_length=1, max_length=500)] | None = None
    status: str | None = None
    amount: str | None = None
    currency: str | None = None
    error: Error | None = None
    payload: Any = None
    attempt: Positive | None = None
    latency_ms: Annotated[int, Meta(ge=0, le=INT32)] | None = None
    entity: Annotated[str, Meta(max_length=50)] | None = None
    system: Annotated[str, Meta(max_length=100)] | None = None

    def money(self) -> Decimal | None:
        """The amount with two decimals, so that 10, 10.0 and 10.00 are the same content."""
        return None if self.amount is None else Decimal(self.amount).quantize(_CENT)


def decode(data: object, *, clean: bool = False) -> Data | list[Fault]:
    """The data of an event, or everything that is wrong with it.

    `clean` says that the text it came from cannot hold a control character, which saves looking for them.
    """
    try:
        read = msgspec.convert(data, Data)
    except msgspec.ValidationError as error:
        return faults(data) or [_from_msgspec(str(error))]
    if _keeps_rules(read) and (clean or not any(CONTROL.search(text) for text in _texts(read))):
        return read
    return faults(data) or [Fault("/data", "The data does not follow the contract.")]


def _keeps_rules(read: Data) -> bool:
    """The rules that types and lengths cannot say."""
    return (
        read.kind in _SENDER_KINDS
        and (read.flow is not None or read.kind not in _KINDS_WITH_EFFECT)
        and all(_is_name(touched.type) for touched in read.objects)
        and (read.status is None or read.status in STATUSES)
        and (read.currency is None or _is_currency(read.currency))
        and (read.amount is None or (read.currency is not None and _AMOUNT.fullmatch(read.amount) is not None))
    )


_SENDER_KINDS = frozenset(SENDER_KINDS)
_KINDS_WITH_EFFECT = frozenset(KINDS_WITH_EFFECT)


# Both are asked for the same few words over and over.
@lru_cache(maxsize=1024)
def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


@lru_cache(maxsize=256)
def _is_currency(text: str) -> bool:
    return _CURRENCY.fullmatch(text) is not None


def _texts(read: Data) -> Iterator[str]:
    """Every text that becomes part of a key or a line on screen. Payload and answers are kept as they are."""
    yield from filter(None, (read.flow, read.key, read.entity, read.system))
    for touched in read.objects:
        yield from touched.named()
    if read.error:
        yield from filter(None, (read.error.system, read.error.code))


def _from_msgspec(message: str) -> Fault:
    """msgspec's "Expected `str` - at `$.objects[0].id`" as a fault."""
    what, _, where = message.partition(" - at `$")
    return Fault("/data" + re.sub(r"[.\[]", "/", where.rstrip("`")).replace("]", ""), what)


def _text(title: str, longest: int, *, least: int = 0, pattern: str = r"^[^\u0000-\u001f\u007f-\u009f]*$") -> dict:
    rules: dict[str, Any] = {"description": title, "maxLength": longest, "pattern": pattern}
    return rules | ({"minLength": least} if least else {})


def _optional(rules: dict[str, Any], kind: str = "string") -> dict[str, Any]:
    """A member that may be left out, or be null, which is the same."""
    if "enum" in rules:
        rules = {**rules, "enum": [*rules["enum"], None]}
    return {"type": [kind, "null"], **rules}


_NAME_PATTERN = "^[a-z][a-z0-9_]*$"
_MONEY_PATTERN = r"^-?[0-9]{1,16}(\.[0-9]{1,2})?$"


def _object_schema() -> dict[str, Any]:
    kinds = "What it is, such as opportunity, project, time_entry, invoice, payment, customer."
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["system", "type", "id"],
        "properties": {
            "system": {"type": "string", **_text("The system that names it so, such as crm.", 100, least=1)},
            "type": {"type": "string", **_text(kinds, 64, pattern=_NAME_PATTERN)},
            "id": {"type": "string", **_text("Its identifier in that system.", 255, least=1)},
            "role": _optional(_text("Its part in the event.", 100)),
            "name": _optional(_text("What people call it.", 500)),
        },
    }


def _error_schema() -> dict[str, Any]:
    status = {"description": "HTTP status of the answer.", "minimum": 100, "maximum": 599}
    return {
        "type": ["object", "null"],
        "description": "The target's answer when it refused, word for word.",
        "additionalProperties": False,
        "properties": {
            "system": _optional(_text("The system that refused.", 100)),
            "code": _optional(_text("Its code for the refusal.", 255)),
            "message": _optional({"description": "Its words.", "maxLength": 20_000}),
            "http_status": _optional(status, "integer"),
            "body": {"description": "The whole answer."},
        },
    }


def schema() -> dict[str, Any]:
    """The contract as JSON Schema 2020-12, as published at /api/v1/schemas/event.json."""
    money = {"description": "Decimal text, such as 1250.00; needs currency.", "pattern": _MONEY_PATTERN}
    attempt = {"description": "Which attempt of the message; 1 when left out.", "minimum": 1, "maximum": INT32}
    latency = {"description": "Milliseconds the step took.", "minimum": 0, "maximum": INT32}
    flow = "The integration flow. Needed for every kind that says how a message fares."
    key = "Business key of the message; type/id of the first object when left out."
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "/api/v1/schemas/event.json",
        "title": "EventData",
        "description": "The data of a CloudEvent sent to opsboard. A member that is null counts as absent.",
        "type": "object",
        "additionalProperties": False,
        "required": ["kind", "objects"],
        "properties": {
            "kind": {"type": "string", "description": "What happened.", "enum": list(SENDER_KINDS)},
            "objects": {
                "type": "array",
                "description": "What it touches; the first is the subject.",
                "minItems": 1,
                "maxItems": OBJECTS_MAX,
                "items": _object_schema(),
            },
            "flow": _optional(_text(flow, 100, least=1)),
            "key": _optional(_text(key, 500, least=1)),
            "status": _optional({"description": "Overrides what the kind implies.", "enum": list(STATUSES)}),
            "amount": _optional(money),
            "currency": _optional({"description": "ISO 4217 code.", "pattern": "^[A-Z]{3}$"}),
            "error": _error_schema(),
            "payload": {"description": "What was sent, as any JSON."},
            "attempt": _optional(attempt, "integer"),
            "latency_ms": _optional(latency, "integer"),
            "entity": _optional(_text("Code of the legal entity.", 50)),
            "system": _optional(_text("Where it happened.", 100)),
        },
        "allOf": [
            {
                "if": {"required": ["amount"], "properties": {"amount": {"type": "string"}}},
                "then": {"required": ["currency"], "properties": {"currency": {"type": "string"}}},
            },
            {
                "if": {"required": ["kind"], "properties": {"kind": {"enum": list(KINDS_WITH_EFFECT)}}},
                "then": {"required": ["flow"], "properties": {"flow": {"type": "string"}}},
            },
        ],
    }


_VALIDATOR = jsonschema_rs.Draft202012Validator(schema())
_WORDS = {
    "required": "is required",
    "additionalProperties": "is not part of the contract",
    "maxLength": "is too long: at most {} characters",
    "minLength": "must not be empty",
    "minItems": "must name at least {} object",
    "maxItems": "must not have more than {} items",
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
}
_PATTERNS = {
    _NAME_PATTERN: "must be lower-case letters, digits and underscores, beginning with a letter",
    _MONEY_PATTERN: "must be decimal text with at most 16 digits before and 2 after the point, such as 1250.00",
    "^[A-Z]{3}$": "must be an ISO 4217 code of three capital letters",
}
_TYPES = {"string": "text", "integer": "a whole number", "object": "an object", "array": "an array", "null": "null"}


def faults(data: object) -> list[Fault]:
    """Everything the published schema has against the data, in reading order, in words without its contents."""
    found = [fault for error in _VALIDATOR.iter_errors(data) for fault in _explain(error)]
    return sorted(dict.fromkeys(found))


def _explain(error: Any) -> Iterator[Fault]:
    """One error of the validator; one fault for each member that is too much or missing."""
    kind = error.kind
    at = "/data" + "".join(f"/{escaped(part)}" for part in error.instance_path)
    if kind.name == "required":
        yield Fault(f"{at}/{kind.property}", _WORDS["required"])
    elif kind.name == "additionalProperties":
        for extra in kind.unexpected:
            yield Fault(f"{at}/{escaped(extra)}", _WORDS["additionalProperties"])
    else:
        yield Fault(at, _said(kind))


def _said(kind: Any) -> str:
    if kind.name == "type":
        names = " or ".join(_TYPES.get(name, name) for name in kind.types if name != "null")
        return f"must be {names}"
    if kind.name == "enum":
        return f"must be one of {', '.join(option for option in kind.options if option)}"
    if kind.name == "pattern":
        return _PATTERNS.get(kind.pattern, "must not contain control characters")
    return _WORDS.get(kind.name, "is not allowed").format(getattr(kind, "limit", ""))


def escaped(part: object) -> str:
    """A member's name inside a JSON pointer, readable whatever it holds."""
    text = str(part).replace("~", "~0").replace("/", "~1")
    return CONTROL.sub("\ufffd", text)[:100]
