"""The log as OCEL 2.0, for process mining: events, the objects they touch, how objects lead to each other.

Always written as SQLite, with the keys and foreign keys of the specification; the JSON form is read off that. So
memory stays small whatever the size of the log, and both forms hold the same.

An event carries its kind, flow, key, status, attempt, money and latency; neither payloads nor the person who acted
leave with it. Object ids are system/type/id, because OCEL wants them unique over all types; identity of an event is
the log's. What an earlier import told as objects and relations goes out as such, not as events.
"""

import json
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

from django.db.models import Q, QuerySet
from django.db.transaction import atomic

from integrations.files.ocel import quoted
from opsboard.api.mapping import LINK_TYPE, OBJECT_TYPE
from opsboard.core.clock import iso
from opsboard.core.errors import Refused
from opsboard.log.models import Event, Link, Membership, Object, Transaction

CHUNK = 2_000
FIRST = "1970-01-01T00:00:00Z"  # OCEL: since ever
BINDS, LEADS = "binds", "leads_to"
EVENT_ATTRIBUTES = {
    "kind": "string",
    "flow": "string",
    "key": "string",
    "status": "string",
    "system": "string",
    "entity": "string",
    "attempt": "integer",
    "amount": "float",
    "currency": "string",
    "latency_ms": "integer",
}
OBJECT_ATTRIBUTES = {"system": "string", "external_id": "string", "name": "string"}
SQL_TYPES = {"string": "TEXT", "integer": "INTEGER", "float": "REAL"}
TABLES = """
CREATE TABLE event_map_type (ocel_type TEXT PRIMARY KEY, ocel_type_map TEXT NOT NULL UNIQUE);
CREATE TABLE object_map_type (ocel_type TEXT PRIMARY KEY, ocel_type_map TEXT NOT NULL UNIQUE);
CREATE TABLE event (ocel_id TEXT PRIMARY KEY, ocel_type TEXT NOT NULL REFERENCES event_map_type (ocel_type));
CREATE TABLE object (ocel_id TEXT PRIMARY KEY, ocel_type TEXT NOT NULL REFERENCES object_map_type (ocel_type));
CREATE TABLE event_object (
    ocel_event_id TEXT NOT NULL REFERENCES event (ocel_id), ocel_object_id TEXT NOT NULL REFERENCES object (ocel_id),
    ocel_qualifier TEXT NOT NULL, PRIMARY KEY (ocel_event_id, ocel_object_id, ocel_qualifier));
CREATE TABLE object_object (
    ocel_source_id TEXT NOT NULL REFERENCES object (ocel_id), ocel_target_id TEXT NOT NULL REFERENCES object (ocel_id),
    ocel_qualifier TEXT NOT NULL, PRIMARY KEY (ocel_source_id, ocel_target_id, ocel_qualifier));
"""


@dataclass(frozen=True)
class Exported:
    """How many were written."""

    events: int
    objects: int
    event_objects: int
    object_objects: int


@dataclass(frozen=True)
class Part:
    """Which part of the log: one thread, and what happened in [since, until). None: no limit."""

    thread: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    def events(self) -> QuerySet[Event]:
        """Its events in the order of the log. Raises Refused when there is no such thread."""
        found = Event.objects.order_by("seq")
        if self.since:
            found = found.filter(occurred_at__gte=self.since)
        if self.until:
            found = found.filter(occurred_at__lt=self.until)
        return found.filter(self._of_thread(self.thread)) if self.thread else found

    @staticmethod
    def _of_thread(thread: UUID) -> Q:
        """What its transactions went through, and what was said of its objects outside transactions."""
        members = list(Membership.objects.filter(thread_id=thread).values_list("object_id", flat=True))
        if not members:
            raise Refused(f"There is no thread {thread}.")
        transactions = list(Transaction.objects.filter(subject_id__in=members).values_list("pk", flat=True))
        outside = Q(transaction_id=None, refs__overlap=members, refs__0__in=members)
        return Q(transaction_id__in=transactions) | outside


def export(out: Path, part: Part) -> Exported:
    """Write the part of the log to `out`, as SQLite when it ends in .sqlite, as JSON when it ends in .json.

    The file appears when it is complete, in place of one that was there. Raises Refused for any other ending.
    """
    if out.suffix not in {".sqlite", ".json"}:
        raise Refused(f"{out.name} must end in .json or .sqlite.")
    if not out.absolute().parent.is_dir():
        raise Refused(f"There is no folder {out.absolute().parent}.")
    with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=".export-") as folder:
        database, text = Path(folder) / "log.sqlite", Path(folder) / "log.json"
        with closing(sqlite3.connect(database)) as db:
            db.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {TABLES}")
            counts = _Writer(db).write(part)
            if out.suffix == ".json":
                with text.open("w", encoding="utf-8") as stream:
                    _write_json(db, stream)
        os.replace(text if out.suffix == ".json" else database, out)
    return counts


def object_name(system: str, type_: str, id_: str) -> str:
    """An object's id in the export: no two objects share one."""
    return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in (system, type_, id_))


def _sql(statement: str, table: str) -> str:
    """The statement on a table; SQLite takes no parameters for names."""
    return statement.replace("[table]", table)


class _Writer:
    """Fills the database from the log, a chunk at a time."""

    def __init__(self, db: sqlite3.Connection):
        self.db = db
        self.types: dict[str, dict[str, str]] = {"event": {}, "object": {}}

    @atomic
    def write(self, part: Part) -> Exported:
        """Everything of that part."""
        self.db.execute("CREATE TEMP TABLE known (ref TEXT PRIMARY KEY, ocel_id TEXT NOT NULL) WITHOUT ROWID")
        for events in _chunks(part.events().iterator(chunk_size=CHUNK)):
            self._objects(events)
            self._events([event for event in events if event.type not in {OBJECT_TYPE, LINK_TYPE}])
            self._told([event for event in events if event.type == LINK_TYPE])
        self._links()
        self.db.commit()
        tables = ("event", "object", "event_object", "object_object")
        return Exported(
            *(self.db.execute(_sql("SELECT count(*) FROM [table]", table)).fetchone()[0] for table in tables)
        )

    def _table(self, what: str, type_: str) -> str:
        """The name of a type's own table, made on first sight: letters and digits, unique whatever the case."""
        known = self.types[what]
        if type_ not in known:
            plain = "".join(word[:1].upper() + word[1:] for word in re.findall("[A-Za-z0-9]+", type_)) or "Type"
            taken = {name.lower() for name in known.values()}
            number, mapped = 1, plain
            while mapped.lower() in taken or mapped.lower() == "object":  # event_object is another table
                number += 1
                mapped = f"{plain}{number}"
            known[type_] = mapped
            own = EVENT_ATTRIBUTES if what == "event" else OBJECT_ATTRIBUTES
            changed = "" if what == "event" else "ocel_changed_field TEXT, "
            columns = ", ".join(f"{name} {SQL_TYPES[kind]}" for name, kind in own.items())
            key = "ocel_id TEXT PRIMARY KEY" if what == "event" else "ocel_id TEXT NOT NULL"
            end = "" if what == "event" else ", PRIMARY KEY (ocel_id, ocel_time)"
            table = quoted(f"{what}_{mapped}")
            self.db.execute(_sql("INSERT INTO [table] VALUES (?, ?)", f"{what}_map_type"), [type_, mapped])
            self.db.execute(
                f"CREATE TABLE {table} ({key} REFERENCES {what} (ocel_id), ocel_time TEXT NOT NULL, "
                f"{changed}{columns}{end})"
            )
        return quoted(f"{what}_{known[type_]}")

    def _objects(self, events: list[Event]) -> None:
        """The objects these events name, with the names the log knows them by."""
        named = {ref: said for event in events for ref, said in zip(event.refs, event.objects_named, strict=True)}
        unknown = [ref for ref in named if self._known(ref) is None]
        names = dict(Object.objects.filter(pk__in=unknown).values_list("pk", "name"))
        for ref in unknown:
            system, type_, id_ = named[ref][:3]
            ocel_id = object_name(system, type_, id_)
            table = self._table("object", type_)
            self.db.execute("INSERT INTO object VALUES (?, ?)", [ocel_id, type_])
            self.db.execute("INSERT INTO known VALUES (?, ?)", [str(ref), ocel_id])
            values = [ocel_id, FIRST, None, system, id_, names.get(ref) or None]
            self.db.execute(_sql("INSERT INTO [table] VALUES (?, ?, ?, ?, ?, ?)", table), values)

    def _known(self, ref: UUID) -> str | None:
        found = self.db.execute("SELECT ocel_id FROM known WHERE ref = ?", [str(ref)]).fetchone()
        return found[0] if found else None

    def _events(self, events: list[Event]) -> None:
        places = ", ".join("?" * (2 + len(EVENT_ATTRIBUTES)))
        for event in events:
            table, id_ = self._table("event", event.type), str(event.id)
            self.db.execute("INSERT INTO event VALUES (?, ?)", [id_, event.type])
            values = [id_, iso(event.occurred_at), *map(_value, _said(event))]
            self.db.execute(_sql("INSERT INTO [table] VALUES ([places])", table).replace("[places]", places), values)
            for system, type_, named, role, *_ in event.objects_named:
                self.db.execute(
                    "INSERT OR IGNORE INTO event_object VALUES (?, ?, ?)",
                    [id_, object_name(system, type_, named), role],
                )

    def _told(self, events: list[Event]) -> None:
        """Relations as an import told them."""
        for event in events:
            source, target = (object_name(*named[:3]) for named in event.objects_named[:2])
            self.db.execute(
                "INSERT OR IGNORE INTO object_object VALUES (?, ?, ?)", [source, target, event.objects_named[1][3]]
            )

    def _links(self) -> None:
        """How the log's own objects lead to each other, where both are in the export."""
        for known in _chunks(self.db.execute("SELECT ref FROM known")):
            links = Link.objects.filter(a__in=[UUID(row[0]) for row in known])
            for a, b, binds in links.order_by("a", "b").values_list("a", "b", "binds"):
                source, target = self._known(a), self._known(b)
                if a != b and source and target:
                    self.db.execute(
                        "INSERT OR IGNORE INTO object_object VALUES (?, ?, ?)",
                        [source, target, BINDS if binds else LEADS],
                    )


def _said(event: Event) -> Iterator[Any]:
    return (getattr(event, name) for name in EVENT_ATTRIBUTES)


def _value(value: Any) -> Any:
    """A value as SQLite keeps it; nothing said is NULL."""
    if value is None or value == "":
        return None
    return value if isinstance(value, (int, str)) else float(value)


def _chunks(rows: Iterable[Any]) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    yield chunk


# ---- JSON


def _write_json(db: sqlite3.Connection, out: TextIO) -> None:
    """The database as OCEL 2.0 JSON, one event or object per line."""
    members = {
        "objectTypes": _types(db, "object", OBJECT_ATTRIBUTES),
        "eventTypes": _types(db, "event", EVENT_ATTRIBUTES),
        "objects": _json_objects(db),
        "events": _json_events(db),
    }
    opening = "{"
    for member, items in members.items():
        out.write(f'{opening}"{member}": [')
        for place, item in enumerate(items):
            out.write((",\n" if place else "\n") + json.dumps(item, ensure_ascii=False))
        out.write("]")
        opening = ",\n"
    out.write("}\n")


def _types(db: sqlite3.Connection, what: str, attributes: dict[str, str]) -> Iterator[dict[str, Any]]:
    declared = [{"name": name, "type": kind} for name, kind in attributes.items()]
    for (type_,) in db.execute(_sql("SELECT ocel_type FROM [table] ORDER BY 1", f"{what}_map_type")):
        yield {"name": type_, "attributes": declared}


def _json_objects(db: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    for type_, mapped in db.execute("SELECT ocel_type, ocel_type_map FROM object_map_type ORDER BY 1").fetchall():
        table = quoted(f"object_{mapped}")
        for id_, time, _, *values in db.execute(_sql("SELECT * FROM [table] ORDER BY rowid", table)):
            attributes = [item | {"time": time} for item in _attributes(OBJECT_ATTRIBUTES, values)]
            related = db.execute(
                "SELECT ocel_target_id, ocel_qualifier FROM object_object WHERE ocel_source_id = ? ORDER BY rowid",
                [id_],
            )
            yield {"id": id_, "type": type_, "attributes": attributes, "relationships": _relations(related)}


def _json_events(db: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    for type_, mapped in db.execute("SELECT ocel_type, ocel_type_map FROM event_map_type ORDER BY 1").fetchall():
        table = quoted(f"event_{mapped}")
        for id_, time, *values in db.execute(_sql("SELECT * FROM [table] ORDER BY rowid", table)):
            related = db.execute(
                "SELECT ocel_object_id, ocel_qualifier FROM event_object WHERE ocel_event_id = ? ORDER BY rowid", [id_]
            )
            yield {
                "id": id_,
                "type": type_,
                "time": time,
                "attributes": _attributes(EVENT_ATTRIBUTES, values),
                "relationships": _relations(related),
            }


def _attributes(names: dict[str, str], values: list[Any]) -> list[dict[str, str]]:
    """Those that say something; values are text, as the schema wants it."""
    return [{"name": name, "value": str(value)} for name, value in zip(names, values, strict=True) if value is not None]


def _relations(rows: Iterable[Any]) -> list[dict[str, str]]:
    return [{"objectId": id_, "qualifier": qualifier} for id_, qualifier in rows]
