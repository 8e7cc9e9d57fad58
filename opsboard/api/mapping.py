"""How records of files become CloudEvents: columns to fields by a mapping, process logs by one rule for all.

Whatever cannot be turned into the form the door wants is left as it stands, so that the door's own reader says what
is wrong with it, and the event can be corrected where it waits in quarantine.
"""

import codecs
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from integrations.files.records import Exists, Happened, LogRecord, Ref, Related, Row
from opsboard.core.clock import UTC, iso
from opsboard.core.errors import Refused

ATTRIBUTES = {"id": "id", "occurred_at": "time", "type": "type", "correlation": "correlationid"}
PAYLOAD = "payload"
NUMBERS = ("attempt", "latency_ms", "error.http_status")
FIELDS = frozenset(
    {
        *ATTRIBUTES,
        *NUMBERS,
        *("kind", "flow", "key", "status", "amount", "currency", "entity", "system"),
        *("error.system", "error.code", "error.message"),
    }
)
OBJECT_TYPE, LINK_TYPE = "ocel.object", "ocel.link"  # events that say what else a process log holds
_COMMA = re.compile(r"-?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+|[0-9]{1,3}( [0-9]{3})+)(,[0-9]+)?", re.ASCII)
_OBJECT = re.compile(r"object\.([a-z][a-z0-9_]*)\.(.+)", re.ASCII)


class Rules(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A mapping file. Columns that it does not name go to the field they are called like, else into the payload."""

    columns: dict[str, str] = {}  # column → field, object.<type>.<system>, payload, or "" to leave it out
    constants: dict[str, str] = {}  # field → the value of every row
    values: dict[str, dict[str, str]] = {}  # field → {as in the file: as opsboard says}
    decimal_comma: bool = False  # 1.234,56
    timezone: str = ""  # of times that carry no zone
    times: list[str] = []  # strptime formats, tried before ISO 8601
    delimiter: str = ""
    encoding: str = ""
    sheet: str = ""
    object_types: dict[str, str] = {}  # process logs: type there → type here

    def zone(self) -> ZoneInfo | None:
        """The zone of times that name none."""
        return ZoneInfo(self.timezone) if self.timezone else None


def rules(text: bytes) -> Rules:
    """The mapping that a JSON text says. Raises Refused with the place of the fault."""
    try:
        read = msgspec.json.decode(text, type=Rules)
        read.zone()
        codecs.lookup(read.encoding or "utf-8")
    except (msgspec.DecodeError, LookupError, ValueError) as error:
        raise Refused(f"The mapping cannot be used: {error}") from error
    columns = [field for field in read.columns.values() if field not in {"", PAYLOAD}]
    for field in [*columns, *read.constants, *read.values]:
        if field not in FIELDS and not _OBJECT.fullmatch(field):
            known = ", ".join(sorted(FIELDS))
            raise Refused(f"The mapping names the field {field}; known are {known} and object.<type>.<system>.")
    if len(read.delimiter) > 1:
        raise Refused("The delimiter is one character.")
    return read


class FromRow(NamedTuple):
    """The CloudEvent a row says, which column each JSON pointer of it comes from, and what could be misread in it."""

    event: dict[str, Any]
    columns: dict[str, str]
    problem: str = ""


def of_row(row: Row, given: Rules, source: str) -> FromRow:
    """What a row says. Without a column for the id, the id is a digest of the row: equal rows are one event."""
    if "specversion" in row.values:
        return FromRow(dict(row.values), {})  # it is one already
    said = _Said(given, source)
    for field, value in given.constants.items():
        said.put(field, value, "")
    for column, value in row.values.items():
        target = given.columns.get(column, _like(column))
        said.put(None if target == PAYLOAD else target, value, column)
    said.event.setdefault("id", f"row-{_digest(row.values)}")
    said.event.setdefault("type", f"file.{said.data['kind']}")
    return FromRow(said.event, said.columns, said.problem)


def _like(column: str) -> str | None:
    """The field that is called like the column."""
    name = column.strip()
    return name.lower() if name.lower() in FIELDS else name if _OBJECT.fullmatch(name) else None


class _Said:
    """A CloudEvent under construction."""

    def __init__(self, given: Rules, source: str):
        self.given, self.zone = given, given.zone()
        self.data: dict[str, Any] = {"kind": "noted", "objects": []}
        self.event: dict[str, Any] = {"specversion": "1.0", "source": source, "data": self.data}
        self.columns: dict[str, str] = {}
        self.problem = ""

    def put(self, field: str | None, value: Any, column: str) -> None:
        """One value into its place; `field` None is the payload, "" nowhere."""
        if field == "":
            return
        if field is None:
            self.data.setdefault("payload", {})[column] = _plain(value)
            return
        value = self.given.values.get(field, {}).get(str(value), value)
        if value is None or (value == "" and field not in {"id", "occurred_at"}):
            return  # an empty cell says nothing; an empty id or time is a fault
        if named := _OBJECT.fullmatch(field):
            self._note(f"/data/objects/{len(self.data['objects'])}/id", column)
            self.data["objects"].append({"type": named[1], "system": named[2], "id": _text(value)})
        elif field in ATTRIBUTES:
            self._note(f"/{ATTRIBUTES[field]}", column)
            self.event[ATTRIBUTES[field]] = self._time(value) if field == "occurred_at" else _text(value)
        else:
            self._note("/data/" + field.replace(".", "/"), column)
            self._member(field, value)

    def _note(self, pointer: str, column: str) -> None:
        if column:
            self.columns[pointer] = column

    def _member(self, field: str, value: Any) -> None:
        text: Any = _text(value)
        if field == "amount" and self.given.decimal_comma and isinstance(value, str):
            text = amount(value)
            if text is None:
                self.problem = f"{field}: “{value[:40]}” is no number with a decimal comma."
        elif field in NUMBERS and text.isascii() and text.isdecimal():
            text = int(text[:12])
        where, _, member = field.rpartition(".")
        (self.data.setdefault(where, {}) if where else self.data)[member] = text

    def _time(self, value: Any) -> str:
        return moment(value, zone=self.zone, formats=self.given.times)


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    return value.isoformat() if isinstance(value, datetime) else value


def _text(value: Any) -> str:
    """A value as text; a number without exponent."""
    return format(value, "f") if isinstance(value, Decimal) else str(_plain(value)).strip()


def _digest(said: Any) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:32]


def amount(text: str) -> str | None:
    """1.234,56 as 1234.56; None when it is not written so, as 12.50, which somebody would read as 1250."""
    plain = re.sub("[\u00a0\u202f'’]", " ", text.strip())
    if not _COMMA.fullmatch(plain):
        return None
    return plain.replace(".", "").replace(" ", "").replace(",", ".")


def moment(value: Any, *, zone: ZoneInfo | None, formats: list[str]) -> str:
    """A time with its zone, as RFC 3339 in UTC; what is none, or has no zone and gets none, as it stands."""
    text = value.isoformat() if isinstance(value, datetime) else str(value).strip()
    try:
        read = next(filter(None, (_formatted(text, form, zone) for form in formats)), None)
        read = read or datetime.fromisoformat(text)
        if read.tzinfo is None and zone is None:
            return text
        return iso(read if read.tzinfo else read.replace(tzinfo=zone))
    except (ValueError, OverflowError):
        return text


def _formatted(text: str, form: str, zone: ZoneInfo | None) -> datetime | None:
    """The time in a strptime format; None when it is not so, or has no zone and gets none."""
    try:
        if "%z" in form:
            return datetime.strptime(text, form).astimezone(UTC)
        return datetime.strptime(text, form).replace(tzinfo=zone) if zone else None
    except ValueError:
        return None


# ---- process logs


class LogRule:
    """What a process log's records become.

    An event is `noted`, with its activity as type, about its objects; its business key is the first of them. The log
    is history: nothing in it waits for anybody, so its transactions are `closed`. Objects are told with their
    attributes by an event of their own, relations by `linked` events; neither belongs to a flow.
    """

    def __init__(self, *, source: str, flow: str, system: str, given: Rules):
        self.source, self.flow, self.system, self.given = source, flow, system, given
        self.zone = given.zone() or ZoneInfo("UTC")

    def event(self, record: LogRecord) -> tuple[str, dict[str, Any]]:
        """(place, CloudEvent) of a record."""
        if isinstance(record, Happened):
            return f"event {record.id}", self._happened(record)
        if isinstance(record, Exists):
            data = {
                "kind": "noted",
                "objects": [self._object(record.ref)],
                "payload": {"attributes": record.attributes},
            }
            return f"object {record.ref.id}", self._wrap(f"object/{record.ref.id}", OBJECT_TYPE, data)
        if isinstance(record, Related):
            id_ = f"link/{_digest([record.source, record.target])}"
            data = {"kind": "linked", "objects": [self._object(record.source), self._object(record.target)]}
            return f"relation {record.source.id} → {record.target.id}", self._wrap(id_, LINK_TYPE, data)
        raise TypeError(f"{type(record).__name__} is no event")

    def _happened(self, record: Happened) -> dict[str, Any]:
        objects = [self._object(ref) for ref in record.objects]
        data = {
            "kind": "noted",
            "status": "closed",
            "flow": self.flow,
            # an event about nothing is about the log itself: the log of opsboard knows no event without an object
            "objects": objects or [{"system": self.system, "type": "log", "id": self.flow}],
            "payload": {"attributes": record.attributes} if record.attributes else None,
        }
        time = moment(record.time or "", zone=self.zone, formats=self.given.times)
        return self._wrap(f"event/{record.id}", record.activity, data) | {"time": time}

    def _wrap(self, id_: str, type_: str, data: Mapping[str, Any]) -> dict[str, Any]:
        return {"specversion": "1.0", "source": self.source, "id": id_, "type": type_, "data": data}

    def _object(self, ref: Ref) -> dict[str, Any]:
        named = {"system": self.system, "type": self.given.object_types.get(ref.type) or name(ref.type), "id": ref.id}
        return named | ({"role": ref.qualifier} if ref.qualifier else {})


@lru_cache(maxsize=1024)
def name(type_: str) -> str:
    """A type's name as opsboard writes them: Purchase Order becomes purchase_order."""
    plain = unicodedata.normalize("NFKD", type_).encode("ascii", "ignore").decode().lower()
    joined = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    return (joined if joined[:1].isalpha() else f"type_{joined or _digest(type_)[:8]}")[:64]
