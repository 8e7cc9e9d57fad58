"""OCEL 2.0 in JSON and in SQLite, as published by ocel-standard.org; also from tools that leave the keys out.

An event that names an object the file does not declare is kept: the object's type is then `unknown`. Times are given
as written.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from integrations.files import json_stream
from integrations.files.records import Exists, FileProblem, Happened, LogRecord, Ref, Related, Unfit

UNKNOWN = "unknown"


class _Attribute(msgspec.Struct):
    name: str
    value: Any = None
    time: str | None = None


class _Relation(msgspec.Struct, rename={"object_id": "objectId"}):
    object_id: str
    qualifier: str = ""


class _Event(msgspec.Struct):
    id: str
    type: str
    time: str | None = None
    attributes: list[_Attribute] | None = None
    relationships: list[_Relation] | None = None


class _Object(msgspec.Struct):
    id: str
    type: str
    attributes: list[_Attribute] | None = None
    relationships: list[_Relation] | None = None


def read_json(open_: Callable[[], AbstractContextManager[BinaryIO]]) -> Iterator[LogRecord]:
    """Events, objects and relations of an OCEL 2.0 JSON file, in its order.

    The file is read twice: first for the types of the objects, which are kept on disk, not in memory. Raises
    FileProblem when it is not JSON.
    """
    with closing(sqlite3.connect("")) as types, open_() as first:  # "": a database of its own, on disk, gone at the end
        types.execute("CREATE TABLE object (id TEXT PRIMARY KEY, type TEXT) WITHOUT ROWID")
        types.executemany("INSERT OR IGNORE INTO object VALUES (?, ?)", _declared(first))

        def ref(id_: str, qualifier: str = "") -> Ref:
            found = types.execute("SELECT type FROM object WHERE id = ?", [id_]).fetchone()
            return Ref(found[0] if found else UNKNOWN, id_, qualifier)

        with open_() as second:
            for member, item in json_stream.items(second):
                if member == "events":
                    yield _happened(item, ref)
                elif member == "objects":
                    yield from _object(item, ref)


def _declared(stream: BinaryIO) -> Iterator[tuple[str, str]]:
    for member, item in json_stream.items(stream):
        if member == "objects" and isinstance(item, dict):
            yield str(item.get("id", "")), str(item.get("type", UNKNOWN))


def _happened(item: Any, ref: Callable[[str, str], Ref]) -> LogRecord:
    try:
        event = msgspec.convert(item, _Event)
    except msgspec.ValidationError as error:
        return _unfit("event", item, error)
    objects = tuple(ref(relation.object_id, relation.qualifier) for relation in event.relationships or [])
    attributes = {attribute.name: attribute.value for attribute in event.attributes or []}
    return Happened(event.id, event.type, event.time, objects, attributes)


def _object(item: Any, ref: Callable[[str, str], Ref]) -> Iterator[LogRecord]:
    try:
        found = msgspec.convert(item, _Object)
    except msgspec.ValidationError as error:
        yield _unfit("object", item, error)
        return
    itself = Ref(found.type, found.id)
    yield Exists(itself, [msgspec.structs.asdict(attribute) for attribute in found.attributes or []])
    for relation in found.relationships or []:
        yield Related(itself, ref(relation.object_id, relation.qualifier))


def _unfit(what: str, item: Any, error: Exception) -> Unfit:
    named = f" {item['id']}" if isinstance(item, dict) and isinstance(item.get("id"), str) else ""
    return Unfit(f"{what}{named}", str(error), item)


# ---- SQLite


def read_sqlite(path: Path) -> Iterator[LogRecord]:
    """Events by type, then objects by type, then relations of an OCEL 2.0 SQLite file.

    The file is opened for reading only, and only its plain tables are read. Raises FileProblem when it is no such log.
    """
    address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True)) as db:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA trusted_schema = OFF")
            yield from _Database(db).records()
    except sqlite3.DatabaseError as error:
        raise FileProblem(f"The SQLite file cannot be read: {error}") from error


def quoted(name: str) -> str:
    """A name inside SQL, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


TYPES = """
    SELECT DISTINCT x.ocel_type, m.ocel_type_map FROM [what] AS x
    LEFT JOIN [what]_map_type AS m ON m.ocel_type = x.ocel_type ORDER BY 1
"""
EVENTS = """
    SELECT CAST(event.ocel_id AS TEXT) AS id, CAST(r.ocel_object_id AS TEXT) AS object, r.ocel_qualifier AS role,
           object.ocel_type AS type [own]
    FROM event [join]
    LEFT JOIN event_object AS r ON r.ocel_event_id = event.ocel_id
    LEFT JOIN object ON object.ocel_id = r.ocel_object_id
    WHERE event.ocel_type IS ? ORDER BY event.ocel_id [order]
"""
OBJECTS = """
    SELECT CAST(object.ocel_id AS TEXT) AS id [own] FROM object [join]
    WHERE object.ocel_type IS ? ORDER BY object.ocel_id, time
"""
RELATIONS = """
    SELECT CAST(r.ocel_source_id AS TEXT), s.ocel_type, CAST(r.ocel_target_id AS TEXT), t.ocel_type, r.ocel_qualifier
    FROM object_object AS r
    LEFT JOIN object AS s ON s.ocel_id = r.ocel_source_id
    LEFT JOIN object AS t ON t.ocel_id = r.ocel_target_id
"""


class _Database:
    """An OCEL 2.0 SQLite file. SQLite sorts and joins on disk where memory is short."""

    def __init__(self, db: sqlite3.Connection):
        self.db = db
        # a view or a virtual table could run whatever its maker liked
        self.tables = {
            row["name"]: str(row["sql"])
            for row in db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
            if not str(row["sql"]).lstrip().upper().startswith("CREATE VIRTUAL")
        }

    def records(self) -> Iterator[LogRecord]:
        """All there is."""
        for table in ("event", "object", "event_object", "event_map_type", "object_map_type"):
            if table not in self.tables:
                raise FileProblem(f"This is no OCEL 2.0 database: it has no table {table}.")
        for type_, table in self._types("event"):
            yield from self._events(type_, table)
        for type_, table in self._types("object"):
            yield from self._objects(type_, table)
        if "object_object" in self.tables:
            yield from self._relations()

    def _types(self, what: str) -> list[tuple[Any, str]]:
        """The types that occur, each with its own table's name; empty when it has none."""
        found: list[tuple[Any, str]] = []
        for type_, mapped in self.db.execute(TYPES.replace("[what]", what)):
            table = f"{what}_{mapped}"
            found.append((type_, table if mapped is not None and table in self.tables else ""))
        return found

    def _columns(self, table: str) -> list[str]:
        named = [row["name"] for row in self.db.execute("SELECT name FROM pragma_table_info(?)", [table])]
        return [name for name in named if name not in {"ocel_id", "ocel_time", "ocel_changed_field"}]

    def _own(self, statement: str, what: str, table: str, columns: list[str]) -> str:
        """The statement with a type's own table joined; its time is NULL where it has none."""
        if not table:
            return statement.replace("[own]", ", NULL AS time").replace("[join]", "")
        own = "".join(f", t.{quoted(name)} AS {quoted(f'own {name}')}" for name in columns)
        join = f"LEFT JOIN {quoted(table)} AS t ON t.ocel_id = {what}.ocel_id"
        return statement.replace("[join]", join).replace("[own]", f", t.ocel_time AS time{own}")

    def _events(self, type_: str, table: str) -> Iterator[LogRecord]:
        columns = self._columns(table) if table else []
        ordered = "WITHOUT ROWID" not in self.tables["event_object"].upper()  # as they stand: the first is the subject
        statement = self._own(EVENTS, "event", table, columns).replace("[order]", ", r.rowid" if ordered else "")
        for id_, rows in groupby(self.db.execute(statement, [type_]), key=lambda row: row["id"]):
            lines = list(rows)
            refs = dict.fromkeys(
                Ref(line["type"] or UNKNOWN, line["object"], line["role"] or "")
                for line in lines
                if line["object"] is not None
            )
            attributes = {name: value for name in columns if (value := lines[0][f"own {name}"]) is not None}
            yield Happened(id_, type_ or "", lines[0]["time"], tuple(refs), attributes)

    def _objects(self, type_: str, table: str) -> Iterator[LogRecord]:
        columns = self._columns(table) if table else []
        statement = self._own(OBJECTS, "object", table, columns)
        for id_, rows in groupby(self.db.execute(statement, [type_]), key=lambda row: row["id"]):
            values = [
                {"name": name, "value": row[f"own {name}"], "time": row["time"]}
                for row in rows
                for name in columns
                if row[f"own {name}"] is not None
            ]
            yield Exists(Ref(type_ or UNKNOWN, id_), values)

    def _relations(self) -> Iterator[LogRecord]:
        for source, source_type, target, target_type, qualifier in self.db.execute(RELATIONS):
            yield Related(Ref(source_type or UNKNOWN, source), Ref(target_type or UNKNOWN, target, qualifier or ""))
