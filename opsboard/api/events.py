"""The strict CloudEvents 1.0 reader of the event door: a message in, entries for the log out.

Why not the SDK: it invents a missing id (which would end recognising duplicates), takes an envelope for data, and
knows no batches. What the specification leaves open is decided here:

* A JSON object that names a member twice is refused, at any depth: two readers would see two different events.
* An extension attribute that is null is absent, as for the others; one that is an object, a list or a fraction is
  refused.
* Structured messages may carry ce- headers as well; the body counts.
* Data is JSON under any +json type, as it stands or base64; other data types are refused with 415.
* A time without a zone is refused; a leap second counts as the end of the second before it.
"""

import json
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

from opsboard.api import contract
from opsboard.api.contract import Data, Fault
from opsboard.log.entry import Entry

EVENT_BYTES_MAX = 256 * 1024
BATCH_MAX = 1000
BODY_BYTES_MAX = 16 * 1024 * 1024
DEPTH_MAX = 64

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"

_LONGEST = {"id": 255, "source": 1000, "type": 255, "subject": 1000}  # an extension: 1000
_NAME = re.compile(r"[a-z0-9]+", re.ASCII)
_ILLEGAL = re.compile(
    "[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef"
    + "".join(f"{chr(n | 0xFFFE)}{chr(n | 0xFFFF)}" for n in range(0, 0x110000, 0x10000))
    + "]"
)
_URI_REFERENCE = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:", re.ASCII)
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:)(\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", re.ASCII
)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_JSON_TYPE = re.compile(r"(?:application|text)/(?:[\w!#$&^.\-]+\+)?json", re.ASCII | re.IGNORECASE)
_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class Invalid(Exception):
    """An event that cannot be taken: the HTTP status and everything that is wrong with it."""

    def __init__(self, faults: list[Fault], *, title: str = "The event is not valid", status: int = 400):
        super().__init__(title)
        self.title = title
        self.status = status
        self.faults = faults


def refuse(pointer: str, detail: str, **more: Any) -> NoReturn:
    """Raise Invalid for one fault; an empty pointer is the whole event."""
    raise Invalid([Fault(pointer, detail)], **more)


def mode(content_type: str) -> str:
    """Which of "batch", "structured" and "binary" a message is in, by its Content-Type alone.

    Raises Invalid (415) for a format of CloudEvents other than JSON and for a charset other than UTF-8.
    """
    media, charset = _media(content_type)
    if charset not in {"", "utf-8", "us-ascii"}:
        refuse("", f"The charset must be UTF-8, not {_visible(charset)}.", title="Charset", status=415)
    if media.startswith("application/cloudevents-batch"):
        found, expected = "batch", BATCHED
    elif media.startswith("application/cloudevents"):
        found, expected = "structured", STRUCTURED
    else:
        return "binary"
    if media != expected:
        refuse("", f"The only event format taken here is {expected}.", title="Event format", status=415)
    return found


def split(body: bytes) -> list[bytes]:
    """The events of a batch, each as received. Raises Invalid when the array cannot be read or is too long."""
    try:
        items = _ARRAY.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        refuse("", "The body is not a JSON array of events.", title="The batch cannot be read")
    if len(items) > BATCH_MAX:
        detail = f"A batch holds at most {BATCH_MAX} events; this one has {len(items)}."
        refuse("", detail, title="The batch is too long", status=413)
    return [bytes(item) for item in items]


def structured(body: bytes, *, received_at: datetime) -> Entry:
    """The entry that one JSON event says. Raises Invalid with every fault found."""
    if len(body) > EVENT_BYTES_MAX:
        refuse("", f"An event has at most {EVENT_BYTES_MAX} bytes.", title="The event is too large", status=413)
    event = read_json(body)
    if not isinstance(event, dict):
        refuse("", "An event is a JSON object.")
    clean = b"\\" not in body and body.isascii() and b"\x7f" not in body
    attributes = {name: value for name, value in event.items() if value is not None and name != "data"}
    faults = _attribute_faults(attributes, clean)
    encoded = attributes.pop("data_base64", None)
    if encoded is not None and "data" in event:
        faults.append(Fault("/data_base64", "must not stand beside data"))
    if faults:
        raise Invalid(faults)
    _require_json(attributes.get("datacontenttype", "application/json"))
    data = event.get("data") if encoded is None else read_json(_from_base64(encoded), at="/data_base64")
    return _entry(
        attributes, _data(data, "data" in event or encoded is not None, clean and encoded is None), received_at
    )


def binary(headers: Mapping[str, str], content_type: str, body: bytes, *, received_at: datetime) -> Entry:
    """The entry that an event in ce- headers and body says; `headers` by lower-case name, without the ce- prefix.

    Raises Invalid with every fault found.
    """
    if len(body) > EVENT_BYTES_MAX:
        refuse("", f"An event has at most {EVENT_BYTES_MAX} bytes.", title="The event is too large", status=413)
    faults: list[Fault] = []
    attributes: dict[str, Any] = {}
    for name, value in headers.items():
        try:
            attributes[name] = header_value(value)
        except ValueError as error:
            faults.append(Fault(f"/{contract.escaped(name)}", f"header ce-{_visible(name)}: {error}"))
    if "datacontenttype" in attributes:
        faults.append(Fault("/datacontenttype", "is the Content-Type header in binary mode, not a ce- header"))
    if "data_base64" in attributes:
        faults.append(Fault("/data_base64", "is the body in binary mode, not a ce- header"))
    wrong = {fault.pointer for fault in faults}
    faults += [fault for fault in _attribute_faults(attributes, clean=False) if fault.pointer not in wrong]
    if faults:
        raise Invalid(faults)
    _require_json(content_type)
    data = read_json(body, at="/data") if body else None
    return _entry(attributes, _data(data, bool(body), clean=False), received_at)


def named(body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
    """Id and source of an event that was refused, as far as they can be read: to tell which one it was."""
    said: Any = headers
    if not headers:
        try:
            said = read_json(body)
        except Invalid:
            return {}
    if not isinstance(said, Mapping):
        return {}
    return {name: _visible(said[name], 1000) for name in ("id", "source") if isinstance(said.get(name), str)}


def header_value(value: str) -> str:
    """A header's text as the attribute's: quoted strings unquoted, then one round of percent-decoding.

    Raises ValueError when that cannot be done.
    """
    if not value.isascii():
        raise ValueError("characters outside ASCII must be percent-encoded")
    if '"' in value:
        value = _QUOTED.sub(lambda quoted: re.sub(r"\\(.)", r"\1", quoted[1]), _balanced(value))
    if "%" not in value:
        return value
    raw = value.encode()
    if _ESCAPE.search(raw):
        raise ValueError("a percent sign must be followed by two hexadecimal digits")
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise ValueError("the percent-encoded bytes are not UTF-8") from None


def _balanced(value: str) -> str:
    if '"' in _QUOTED.sub("", value):
        raise ValueError("a quoted string is not closed")
    return value


def read_json(raw: bytes, *, at: str = "") -> Any:
    """The JSON value; raises Invalid for anything PostgreSQL or another reader could take differently."""
    try:
        value = msgspec.json.decode(raw)
        # Written again, compact JSON gives the same bytes: then no member can have been named twice.
        if msgspec.json.encode(value) != raw:
            json.loads(raw, object_pairs_hook=_once)
    except _Twice as twice:
        refuse(at, f"The member “{_visible(twice.name)}” is named twice in one object.")
    except (msgspec.MsgspecError, ValueError):
        refuse(at, "This is not JSON in UTF-8.")
    except RecursionError:
        refuse(at, f"JSON may be nested {DEPTH_MAX} deep at most.")
    if b"\\u0000" in raw and _holds_nul(value):
        refuse(at, "The character U+0000 is not allowed.")
    if raw.count(b"[") + raw.count(b"{") > DEPTH_MAX and _depth(value) > DEPTH_MAX:
        refuse(at, f"JSON may be nested {DEPTH_MAX} deep at most.")
    return value


_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


class _Twice(Exception):
    """A member named twice."""

    def __init__(self, name: str):
        super().__init__(name)
        self.name = name


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return read


def _holds_nul(value: Any) -> bool:
    """Whether a text or a name holds U+0000, which no PostgreSQL text can."""
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any("\x00" in name or _holds_nul(inner) for name, inner in value.items())
    return isinstance(value, list) and any(_holds_nul(inner) for inner in value)


def _depth(value: Any) -> int:
    """How deep lists and objects are nested; level by level, so that depth costs no stack."""
    depth, level = 0, [value]
    while level := [inner for inner in level if isinstance(inner, (dict, list))]:
        depth += 1
        level = [deep for inner in level for deep in (inner.values() if isinstance(inner, dict) else inner)]
    return depth


def _attribute_faults(attributes: Mapping[str, Any], clean: bool) -> list[Fault]:
    """What is wrong with the context attributes, absent ones left out. Takes at most a few microseconds."""
    faults = [
        Fault(f"/{name}", "is required") for name in ("id", "source", "specversion", "type") if name not in attributes
    ]
    for name, value in attributes.items():
        text = name in _CHECKS or isinstance(value, str)
        detail = _text_fault(name, value, clean) if text else _scalar_fault(value)
        if name not in _CHECKS and (name == "data" or not _NAME.fullmatch(name)):
            detail = "attribute names are lower-case letters and digits, and not data"
        if detail is not None:
            faults.append(Fault(f"/{contract.escaped(name)}", detail))
    return faults


def _text_fault(name: str, value: Any, clean: bool) -> str | None:
    """What is wrong with an attribute that must be, or is, text."""
    if not isinstance(value, str):
        return "must be text"
    if name == "data_base64":
        return None
    if not value and name in _CHECKS:
        return "must not be empty"
    if len(value) > (longest := _LONGEST.get(name, 1000)):
        return f"is too long: at most {longest} characters"
    if not clean and _ILLEGAL.search(value):
        return "must not contain control characters or noncharacters"
    check = _CHECKS.get(name)
    return check(value) if check else None


def _scalar_fault(value: Any) -> str | None:
    """What is wrong with an extension attribute that is not text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if -(2**31) <= value < 2**31 else "must be a whole number of 32 bits"
    return "must be text, a whole number, true or false"


def _version_fault(value: str) -> str | None:
    return None if value == "1.0" else "must be 1.0"


@lru_cache(maxsize=1024)
def _reference_fault(value: str) -> str | None:
    """A URI reference has no blanks and no characters that would have to be escaped."""
    if _URI_REFERENCE.fullmatch(value):
        try:
            urlsplit(value)
        except ValueError:
            return "must be a URI reference"
        return None
    return "must be a URI reference"


def _uri_fault(value: str) -> str | None:
    return _reference_fault(value) if _SCHEME.match(value) else "must be an absolute URI"


def _time_fault(value: str) -> str | None:
    return None if _moment(value) else "must be a time as in RFC 3339, with its zone, such as 2026-11-20T10:00:00Z"


def _any(value: str) -> None:
    """Any text will do."""


_CHECKS: dict[str, Callable[[str], str | None]] = {
    "specversion": _version_fault,
    "id": _any,
    "source": _reference_fault,
    "type": _any,
    "time": _time_fault,
    "subject": _any,
    "datacontenttype": _any,
    "dataschema": _uri_fault,
    "data_base64": _any,
}


@lru_cache(maxsize=1024)
def _moment(value: str) -> datetime | None:
    """The time in UTC; None when the text is no RFC 3339 time, or one that cannot be kept."""
    match = _TIME.fullmatch(value)
    if match is None:
        return None
    head, second, fraction, zone = match.groups()
    if second == "60":
        second, fraction = "59", ".999999"
    try:
        return datetime.fromisoformat(f"{head}{second}{(fraction or '')[:7]}{zone}".upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=256)
def _media(content_type: str) -> tuple[str, str]:
    """Media type and charset, lower-case."""
    media, *parameters = content_type.lower().split(";")
    given = dict(parameter.strip().partition("=")[::2] for parameter in parameters)
    return media.strip(), given.get("charset", "").strip('"')


def _require_json(content_type: str) -> None:
    media, charset = _media(content_type)
    if not _JSON_TYPE.fullmatch(media) or charset not in {"", "utf-8", "us-ascii"}:
        refuse("/datacontenttype", "The data must be JSON in UTF-8.", title="Data that is not JSON", status=415)


def _from_base64(encoded: str) -> bytes:
    try:
        return b64decode(encoded, validate=True)
    except (Base64Error, ValueError):
        refuse("/data_base64", "is not base64")


def _data(data: Any, given: bool, clean: bool) -> Data:
    if not given:
        refuse("/data", "is required")
    read = contract.decode(data, clean=clean)
    if isinstance(read, list):
        raise Invalid(read)
    return read


def _entry(attributes: Mapping[str, Any], data: Data, received_at: datetime) -> Entry:
    """The event in the words of the log. Without a time of its own it happened when it came."""
    return Entry(
        source=attributes["source"],
        id=attributes["id"],
        type=attributes["type"],
        kind=data.kind,
        occurred_at=(_moment(attributes["time"]) if "time" in attributes else None) or received_at,
        received_at=received_at,
        flow=data.flow or "",
        key=data.key or "",
        status=data.status,
        objects=tuple(touched.named() for touched in data.objects),
        system=data.system or "",
        entity=data.entity or "",
        attempt=data.attempt or 1,
        amount=data.money(),
        currency=data.currency or "",
        latency_ms=data.latency_ms,
        actor=str(attributes.get("authid", "")),
        correlation=_correlation(attributes),
        payload=data.payload,
        error=data.error.said() if data.error else None,
    )


def _correlation(attributes: Mapping[str, Any]) -> str:
    """The business correlation id; without one, the trace id of a valid traceparent, to join by."""
    if "correlationid" in attributes:
        return str(attributes["correlationid"])[:500]
    said = str(attributes.get("traceparent", ""))
    match = _TRACEPARENT.fullmatch(said)
    if match is None or (said.startswith("00") and match[2]):
        return ""  # as Trace Context says: what is not well formed is left alone; only later versions may be longer
    return match[1]


def _visible(text: str, longest: int = 100) -> str:
    """Text of a sender in an answer or a row: cut, and without what cannot be shown or stored."""
    return _ILLEGAL.sub("\ufffd", text[:longest]).encode("utf-8", "replace").decode()
