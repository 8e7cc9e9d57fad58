"""The log as OCEL 2.0: valid by the specification, complete, and read back equal."""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from django.core.management import CommandError, call_command

from opsboard import pipeline
from opsboard.api import files, ocel
from opsboard.api.files import Wanted
from opsboard.core.errors import Refused
from opsboard.log.entry import Entry, Named
from opsboard.log.models import Event, Membership, Object
from tests.event_logs import LOGS, needs_logs

pytestmark = pytest.mark.django_db
EVENTS = 18_211  # of the published order-management log
DAY = datetime(2026, 3, 2, 10, tzinfo=UTC)
PAIR = {
    "type": "object",
    "required": ["objectId", "qualifier"],
    "properties": {"objectId": {"type": "string"}, "qualifier": {"type": "string"}},
}


def _things(required: list[str], value: list[str]) -> dict:
    attribute = {"type": "object", "required": value, "properties": {name: {"type": "string"} for name in value}}
    return {
        "type": "array",
        "items": {
            "type": "object",
            "required": required,
            "properties": {name: {"type": "string"} for name in required}
            | {"attributes": {"type": "array", "items": attribute}, "relationships": {"type": "array", "items": PAIR}},
        },
    }


TYPES = _things(["name", "attributes"], ["name", "type"])
TYPES["items"]["properties"]["attributes"] = {"type": "array"}
# what the specification's schema asks for
SCHEMA = {
    "type": "object",
    "required": ["eventTypes", "objectTypes", "events", "objects"],
    "properties": {
        "eventTypes": TYPES,
        "objectTypes": TYPES,
        "events": _things(["id", "type", "time"], ["name", "value"]),
        "objects": _things(["id", "type"], ["name", "value", "time"]),
    },
}


def said(id_: str, kind: str, *objects: Named, day: int = 0, type_: str = "", **more: Any) -> Entry:
    """An event of the engagement."""
    moment = DAY + timedelta(days=day)
    return Entry(
        source="urn:firm:psa",
        id=id_,
        type=type_ or f"firm.{kind}",
        kind=kind,
        objects=objects,
        occurred_at=moment,
        received_at=moment,
        **more,
    )


@pytest.fixture
def engagement():
    """A project whose invoice is refused, then posted; another project; a note by a person."""
    project, other = Named("psa", "project", "P/1", name="Roll-out"), Named("psa", "project", "P-2")
    invoice = Named("erp", "invoice", "P/1", "created")
    money: dict[str, Any] = {"flow": "billing", "key": "B-1", "amount": Decimal("1250.00"), "currency": "EUR"}
    pipeline.accept(
        [
            said("1", "received", project, **money),
            said("2", "rejected", project, day=1, error={"message": "closed"}, **money),
            said("3", "acknowledged", project, invoice, day=2, **money),
            said("4", "received", other, day=3, flow="billing", key="B-2", payload={"secret": "salary"}),
            said("5", "noted", project, day=4, actor="person@firm.example"),
        ]
    )
    pipeline.correlate()


def test_json_follows_the_schema_and_names_everything_once(engagement, tmp_path):
    done = ocel.export(tmp_path / "log.json", ocel.Part())
    text = (tmp_path / "log.json").read_text()
    log = json.loads(text)

    jsonschema_rs.validator_for(SCHEMA, validate_formats=True).validate(log)
    assert (done.events, done.objects, done.event_objects) == (5, 3, 6)
    assert {one["id"] for one in log["objects"]} == {"psa/project/P%2F1", "psa/project/P-2", "erp/invoice/P%2F1"}
    assert [one["relationships"] for one in log["objects"] if one["id"] == "psa/project/P%2F1"] == [
        [{"objectId": "erp/invoice/P%2F1", "qualifier": "leads_to"}]
    ]
    paid = next(one for one in log["events"] if one["type"] == "firm.acknowledged")
    assert paid["time"] == "2026-03-04T10:00:00.000000Z"
    assert {"name": "amount", "value": "1250.0"} in paid["attributes"]
    assert paid["relationships"][1] == {"objectId": "erp/invoice/P%2F1", "qualifier": "created"}
    for private in ("salary", "person@firm.example"):
        assert private not in text


def test_sqlite_has_keys_and_they_hold(engagement, tmp_path):
    ocel.export(tmp_path / "log.sqlite", ocel.Part())

    with closing(sqlite3.connect(tmp_path / "log.sqlite")) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert {"event", "object", "event_object", "object_object", "event_map_type", "object_map_type"} <= tables
        assert {"event_FirmReceived", "event_FirmNoted", "object_Project", "object_Invoice"} <= tables
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        for table in tables:
            columns = db.execute("SELECT name, pk FROM pragma_table_info(?)", [table]).fetchall()
            assert any(key for _, key in columns), table
            keys = {row[2] for row in db.execute("SELECT * FROM pragma_foreign_key_list(?)", [table])}
            assert keys or table.endswith("_map_type"), table
        db.execute("PRAGMA foreign_keys = ON")
        with pytest.raises(sqlite3.IntegrityError):
            db.execute("INSERT INTO event_object VALUES ('none', 'none', '')")


def test_a_part_of_the_log(engagement, tmp_path):
    thread = Membership.objects.get(object_id=Object.objects.get(external_id="P-2").pk).thread_id

    assert ocel.export(tmp_path / "log.json", ocel.Part(thread=thread)).events == 1
    part = ocel.Part(since=DAY + timedelta(days=1), until=DAY + timedelta(days=3))
    assert ocel.export(tmp_path / "log.json", part).events == 2
    assert ocel.export(tmp_path / "log.json", ocel.Part(since=DAY + timedelta(days=99))).objects == 0
    nobody = Event.objects.first().id
    with pytest.raises(Refused):
        ocel.export(tmp_path / "other.json", ocel.Part(thread=nobody))
    assert [path.name for path in tmp_path.iterdir()] == ["log.json"]


def test_types_that_differ_only_in_signs_get_tables_of_their_own(tmp_path):
    for type_ in ("Pay order", "pay-order", "object"):
        pipeline.accept([said(type_, "noted", Named("x", "object", "1"), type_=type_)])

    ocel.export(tmp_path / "log.sqlite", ocel.Part())

    with closing(sqlite3.connect(tmp_path / "log.sqlite")) as db:
        assert dict(db.execute("SELECT ocel_type, ocel_type_map FROM event_map_type")) == {
            "Pay order": "PayOrder",
            "pay-order": "PayOrder2",
            "object": "Object2",
        }
        assert db.execute("SELECT * FROM object_map_type").fetchall() == [("object", "Object2")]


def test_the_command(engagement, tmp_path):
    out = StringIO()
    call_command("export_ocel", out=tmp_path / "log.json", stdout=out)
    assert "5 events, 3 objects" in out.getvalue()
    with pytest.raises(CommandError):
        call_command("export_ocel", out=tmp_path / "log.xml")
    with pytest.raises(CommandError):
        call_command("export_ocel", out=tmp_path / "none" / "log.json")


def by_type(system: str) -> Counter:
    return Counter(Object.objects.filter(system=system).values_list("type", flat=True))


def events_of(source: str) -> tuple[Counter, Counter]:
    """Types of a source's events, and how many objects of which role they touch."""
    types: Counter[str] = Counter()
    roles: Counter[tuple[str, str, str]] = Counter()
    for type_, objects in Event.objects.filter(source=source).values_list("type", "objects_named"):
        types[type_] += 1
        roles.update((type_, named[1], named[3]) for named in objects)
    return types, roles


@pytest.mark.parametrize("name", ["log.json", "log.sqlite"])
def test_round_trip(engagement, tmp_path, name):
    """Exported and imported under another source: the same events, objects and relations, by type and role."""
    types, roles = events_of("urn:firm:psa")
    objects = by_type("psa") + by_type("erp")
    out = ocel.export(tmp_path / name, ocel.Part())
    copy = Wanted(path=tmp_path / name, source="urn:copy", flow="copy", system="copy")

    report = files.bring_in(copy)

    assert (report.taken, report.refused) == (out.events + out.objects + out.object_objects, 0)
    copied, touched = events_of("urn:copy")
    assert (copied.pop("ocel.object"), copied.pop("ocel.link")) == (out.objects, out.object_objects)
    assert copied == types
    assert {key: n for key, n in touched.items() if not key[0].startswith("ocel.")} == roles
    assert by_type("copy") == objects
    assert files.bring_in(copy).known == report.taken


@needs_logs
@pytest.mark.parametrize("name", ["opsboard_minimal_q2c.ocel.json", "pm4py_ocel20_example.jsonocel"])
def test_published_examples_come_in_and_go_out_by_the_official_schema(tmp_path, name):
    log = json.loads((LOGS / name).read_text())

    report = files.bring_in(Wanted(path=LOGS / name, source="urn:example", flow="example", system="example"))
    out = ocel.export(tmp_path / "log.json", ocel.Part())

    assert (report.format, report.refused) == ("ocel-json", 0)
    assert events_of("urn:example")[0].keys() - {"ocel.object", "ocel.link"} == {one["type"] for one in log["events"]}
    assert (out.events, out.objects) == (len(log["events"]), len(log["objects"]))
    schema = json.loads((LOGS / "pm4py_schema_ocel2.json").read_text())
    validator = jsonschema_rs.Draft7Validator(schema, validate_formats=True)
    validator.validate(json.loads((tmp_path / "log.json").read_text()))


@needs_logs
@pytest.mark.parametrize("first", [1_500, pytest.param(EVENTS, marks=pytest.mark.soak)])
def test_the_order_management_log_comes_in_whole_and_goes_out_equal(tmp_path, first):
    path, n = sample(tmp_path / "orders.sqlite", first), rows_of(tmp_path / "orders.sqlite")
    source, copy = (f"{(tmp_path / name).as_uri()}?mode=ro" for name in ("orders.sqlite", "copy.sqlite"))

    report = files.bring_in(Wanted(path=path, source="urn:orders", flow="orders", system="shop"))
    out = ocel.export(tmp_path / "copy.sqlite", ocel.Part())

    assert (n["event"], report.format, report.refused) == (first, "ocel-sqlite", 0)
    assert report.taken == n["event"] + n["object"] + n["object_object"]
    assert first < EVENTS or n == {"event": 18_211, "object": 10_031, "event_object": 35_857, "object_object": 25_336}
    assert vars(out) == {f"{table}s": number for table, number in n.items()}
    assert by_type("shop") == counted(source, "SELECT ocel_type FROM object")
    for statement in (TOUCHED, RELATED):
        assert counted(copy, statement) == counted(source, statement)


def sample(path: Path, first: int) -> Path:
    """The published log, or its first events with all the objects and relations of those."""
    path.write_bytes((LOGS / "ocpa_running-example.sqlite").read_bytes())
    if first == EVENTS:
        return path  # whole, with the objects that no event touches
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM event WHERE rowid > ?", [first])
        db.execute("DELETE FROM event_object WHERE ocel_event_id NOT IN (SELECT ocel_id FROM event)")
        db.execute("DELETE FROM object WHERE ocel_id NOT IN (SELECT ocel_object_id FROM event_object)")
        for end in ("source", "target"):
            db.execute(f"DELETE FROM object_object WHERE ocel_{end}_id NOT IN (SELECT ocel_id FROM object)")
    return path


def rows_of(path: Path) -> dict[str, int]:
    """How many rows its tables have."""
    with closing(sqlite3.connect(path)) as db:
        return {
            table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("event", "object", "event_object", "object_object")
        }


TOUCHED = """
    SELECT event.ocel_type || '>' || object.ocel_type || '>' || ocel_qualifier FROM event_object
    JOIN event ON event.ocel_id = ocel_event_id JOIN object ON object.ocel_id = ocel_object_id
"""
RELATED = """
    SELECT a.ocel_type || '>' || b.ocel_type || '>' || ocel_qualifier FROM object_object
    JOIN object AS a ON a.ocel_id = ocel_source_id JOIN object AS b ON b.ocel_id = ocel_target_id
"""


def counted(address: str, statement: str) -> Counter:
    """How often each value comes up in a SQLite file."""
    with closing(sqlite3.connect(address, uri=True)) as db:
        return Counter(value for (value,) in db.execute(statement))
