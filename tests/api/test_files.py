"""Files come in through the same door as everything else: taken, known already or refused, and nothing lost."""

import gzip
import json
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from django.core.management import CommandError, call_command

from opsboard.accounts.commands import create_service_account
from opsboard.api import door, files, mapping
from opsboard.api.files import Wanted
from opsboard.core.errors import Refused
from opsboard.log.models import Event, Object, Payload, Quarantine, Transaction
from tests.event_logs import LOGS, needs_logs

pytestmark = pytest.mark.django_db
SOURCE = "urn:firm:old-finance"
HEAD = "id,occurred_at,kind,flow,amount,currency,entity,object.invoice.sap,object.project.psa,Remark\n"
GOOD = HEAD + (
    "1,2026-03-31T10:00:00+02:00,posted,invoices,1250.00,EUR,DE01,INV-1,P-7,first\n"
    "2,2026-03-31T09:00:00Z,acknowledged,invoices,1250.00,EUR,DE01,INV-1,,\n"
)


@pytest.fixture
def file(tmp_path):
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def bring_in(path: Path, *, dry_run: bool = False, **more: Any) -> files.Report:
    given = mapping.rules(json.dumps(more.pop("mapping", {})).encode())
    return files.bring_in(Wanted(path=path, source=SOURCE, rules=given, **more), dry_run=dry_run)


def counts(report: files.Report) -> tuple[int, int, int]:
    return report.taken, report.known, report.refused


def test_a_table_whose_columns_are_called_like_the_fields_needs_no_mapping(file):
    report = bring_in(file("ledger.csv", GOOD))

    assert (report.format, counts(report), report.problems) == ("csv", (2, 0, 0), [])
    first = Event.objects.get(external_id="1")
    assert (first.kind, first.flow, first.amount, first.currency) == ("posted", "invoices", Decimal(1250), "EUR")
    assert first.occurred_at == datetime(2026, 3, 31, 8, tzinfo=UTC)
    assert [named[:3] for named in first.objects_named] == [["sap", "invoice", "INV-1"], ["psa", "project", "P-7"]]
    assert Payload.objects.get(seq=first.seq).data == {"Remark": "first"}
    assert Transaction.objects.get().status == "succeeded"


def test_again_it_changes_nothing_wherever_the_rows_stand_now(file):
    head, one, two = GOOD.splitlines()
    bring_in(file("ledger.csv", GOOD))

    report = bring_in(file("again.csv.gz", gzip.compress("\n".join([head, two, one]).encode())))

    assert counts(report) == (0, 2, 0)
    assert Event.objects.count() == 2


def test_rows_without_an_id_are_known_by_what_they_say(file):
    plain = "kind,object.invoice.sap,note\nnoted,INV-1,a\nnoted,INV-1,b\nnoted,INV-1,a\n"

    assert counts(bring_in(file("notes.csv", plain))) == (2, 1, 0)
    assert counts(bring_in(file("notes.csv", plain))) == (0, 3, 0)


def test_an_interrupted_import_is_finished_by_running_it_again(file, monkeypatch):
    rows = "".join(f"{n},2026-03-31T10:00:00Z,noted,,,,,INV-{n},,\n" for n in range(1200))
    path, really, calls = file("ledger.csv", HEAD + rows), door.receive_batch, []

    def dies(*args, **options):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return really(*args, **options)

    monkeypatch.setattr(door, "receive_batch", dies)
    with pytest.raises(KeyboardInterrupt):
        bring_in(path)
    monkeypatch.setattr(door, "receive_batch", really)

    assert Event.objects.count() == files.BATCH
    assert counts(bring_in(path)) == (700, 500, 0)
    assert Event.objects.count() == 1200


def test_a_german_export_with_a_mapping(file):
    text = "Beleg;Datum;Betrag;Status;Rechnung\n4711;31.03.2026 10:00;1.234,56;gebucht;RE-1\n"
    given = {
        "columns": {
            "Beleg": "id",
            "Datum": "occurred_at",
            "Betrag": "amount",
            "Status": "kind",
            "Rechnung": "object.invoice.sap",
        },
        "constants": {"flow": "billing", "currency": "EUR", "entity": "DE01"},
        "values": {"kind": {"gebucht": "acknowledged"}},
        "decimal_comma": True,
        "timezone": "Europe/Berlin",
        "times": ["%d.%m.%Y %H:%M"],
        "encoding": "cp1252",
    }

    assert counts(bring_in(file("export.csv", text), mapping=given)) == (1, 0, 0)
    event = Event.objects.get()
    assert (event.amount, event.kind, event.entity) == (Decimal("1234.56"), "acknowledged", "DE01")
    assert event.occurred_at == datetime(2026, 3, 31, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("1.234,56", "1234.56"),
        ("-1 234 567,5", "-1234567.5"),
        ("1’234", "1234"),
        ("1234", "1234"),
        ("12.50", None),  # 12.50 or 1250?
        ("1,234.56", None),
        ("1.2345,00", None),
        ("", None),
        ("12 EUR", None),
    ],
)
def test_a_decimal_comma_is_never_guessed(typed, read):
    assert mapping.amount(typed) == read


def test_a_column_can_go_into_the_payload_or_be_left_out_whatever_it_is_called(file):
    text = "id,kind,status,key,object.invoice.sap,iban\n1,noted,bezahlt,K,INV-1,DE02\n"

    report = bring_in(file("a.csv", text), mapping={"columns": {"status": "payload", "iban": "", "key": ""}})

    assert counts(report) == (1, 0, 0)
    event = Event.objects.get()
    assert (event.key, event.status) == ("invoice/INV-1", "")
    assert Payload.objects.get(seq=event.seq).data == {"status": "bezahlt"}


def test_a_time_beyond_the_calendar_is_refused(file):
    text = "occurred_at,kind,object.invoice.sap\n0001-01-01T00:00:00+14:00,noted,1\n"

    assert [problem.field for problem in bring_in(file("a.csv", text)).problems] == ["occurred_at"]


def test_an_amount_that_could_be_misread_is_refused(file):
    text = "id;kind;amount;currency;object.invoice.sap\n1;noted;12.50;EUR;1\n2;noted;12,50;EUR;1\n"

    report = bring_in(file("a.csv", text), mapping={"decimal_comma": True})

    assert counts(report) == (1, 0, 1)
    assert Event.objects.get().amount == Decimal("12.50")
    assert report.problems[0].place == "line 2"
    assert "12.50" in report.problems[0].reason


def test_what_is_refused_can_be_corrected_in_the_quarantine(file, platform):
    account = create_service_account(name="old finance", source=SOURCE, scopes=["events:write"], by="test")[0].name
    path = file("ledger.csv", GOOD + "3,2026-03-31T10:00:00Z,noted,,12.345,EUR,,INV-3,,\n")
    bring_in(path, client=account)
    item = Quarantine.objects.get()

    again = door.resubmit(item=item, body=item.body.replace("12.345", "12.35"), reason="Typing error.", by=platform)

    assert again.status == "accepted"
    assert Event.objects.get(external_id="3").amount == Decimal("12.35")
    with pytest.raises(Refused):
        bring_in(path, client="nobody")


def test_each_wrong_row_is_told_by_line_and_column_and_waits_in_quarantine(file):
    text = GOOD + (
        "3,31.03.2026,noted,,,,,INV-3,,\n"
        "4,2026-03-31T10:00:00,noted,,12,00,EUR,,INV-4,,\n"
        "5,2026-03-31T10:00:00Z,noted,,12.345,EUR,,INV-5,,\n"
        "6,2026-03-31T10:00:00Z,noted,,12.00,,,INV-6,,\n"
        "1,2026-03-31T10:00:00Z,noted,,,,,INV-1,,\n"
        "7,2026-03-31T10:00:00Z,noted,,,,,,,\n"
        ",2026-03-31T10:00:00Z,noted,,,,,INV-8,,\n"
    )

    report = bring_in(file("ledger.csv", text))

    assert counts(report) == (2, 0, 7)
    said = {(problem.place, problem.field) for problem in report.problems}
    assert said == {
        ("line 4", "occurred_at"),
        ("line 5", ""),
        ("line 6", "amount"),
        ("line 7", "/data/currency"),
        ("line 8", ""),
        ("line 9", "/data/objects"),
        ("line 10", "id"),
    }
    assert Quarantine.objects.filter(state="open", client=files.CLIENT).count() == 7
    bring_in(file("ledger.csv", text))
    assert Quarantine.objects.count() == 7


def test_bytes_of_another_encoding_are_refused_by_row_not_guessed(file):
    report = bring_in(file("ledger.csv", GOOD.replace("first", "Müller").encode("cp1252")))

    assert counts(report) == (1, 0, 1)
    assert "encoding" in report.problems[0].reason


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_are_understood(file, encoding):
    assert counts(bring_in(file("ledger.csv", GOOD.encode(encoding)))) == (2, 0, 0)


def test_a_quote_that_never_ends_stops_with_its_line_and_keeps_what_stood_before(file):
    report = bring_in(file("ledger.csv", GOOD + '3,"' + "x\n" * 100_000))

    assert report.taken == 2
    assert report.stopped.startswith("line 4: ")


def test_a_dry_run_shows_events_and_problems_and_stores_nothing(file):
    report = bring_in(file("ledger.csv", GOOD + "3,soon,noted,,,,,INV-3,,\n"), dry_run=True)

    assert counts(report) == (2, 0, 1)
    assert [event["id"] for event in report.preview] == ["1", "2"]
    assert report.problems[0].place == "line 4"
    assert not Event.objects.exists()
    assert not Quarantine.objects.exists()


def test_a_workbook(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["id", "occurred_at", "kind", "amount", "currency", "object.invoice.sap"])
    book.active.append([7, datetime.fromisoformat("2026-03-31T10:00"), "noted", 0.1 + 0.2, "EUR", 204])
    book.active.append([None] * 6)
    book.active.append([8, "soon", "noted", None, None, "INV-8"])
    book.save(tmp_path / "sheet.xlsx")

    report = bring_in(tmp_path / "sheet.xlsx", mapping={"timezone": "Europe/Berlin", "decimal_comma": True})

    assert (report.format, counts(report)) == ("xlsx", (1, 0, 1))
    assert report.problems[0].place == "line 4"
    event = Event.objects.get()
    assert (event.external_id, event.amount, event.objects_named[0][2]) == ("7", Decimal("0.30"), "204")
    assert event.occurred_at == datetime(2026, 3, 31, 8, tzinfo=UTC)


def test_json_lines_flat_and_as_cloudevents(file):
    ready = {
        "specversion": "1.0",
        "source": f"{SOURCE}:eu",
        "id": "a",
        "type": "x",
        "data": {"kind": "noted", "objects": [{"system": "sap", "type": "invoice", "id": "1"}]},
    }
    flat = {"id": "b", "kind": "noted", "object.invoice.sap": "2", "lines": [{"hours": 8}]}
    lines = [json.dumps(ready), json.dumps(flat), "{oops", "[]", json.dumps(ready | {"source": "urn:other"})]

    report = bring_in(file("events.jsonl", "\n".join(lines)))

    assert (report.format, counts(report)) == ("jsonl", (2, 0, 3))
    assert [problem.place for problem in report.problems if "source" in problem.field] == ["line 5"]
    assert Payload.objects.get(seq=Event.objects.get(external_id="b").seq).data == {"lines": [{"hours": 8}]}


def test_a_mapping_with_a_fault_says_which(file):
    faults: list[dict[str, Any]] = [
        {"columns": {"A": "amonut"}},
        {"timezone": "Mars/Base"},
        {"encoding": "klingon"},
        {"colums": {}},
    ]
    for wrong in faults:
        with pytest.raises(Refused):
            mapping.rules(json.dumps(wrong).encode())
    with pytest.raises(Refused):
        files.bring_in(Wanted(path=file("ledger.csv", GOOD), source="not a uri"))


def test_the_command_reports_and_ends_with_an_error_when_the_file_breaks_off(file, tmp_path):
    out = StringIO()
    call_command("import_events", str(file("ledger.csv", GOOD)), source=SOURCE, stdout=out)
    assert "csv: 2 taken, 0 known already, 0 refused" in out.getvalue()

    call_command("import_events", str(file("ledger.csv", GOOD)), source=SOURCE, dry_run=True, stdout=out)
    assert '"kind": "posted"' in out.getvalue()
    with pytest.raises(CommandError):
        call_command("import_events", str(file("cut.csv.gz", gzip.compress(GOOD.encode())[:-9])), source=SOURCE)
    with pytest.raises(CommandError):
        call_command("import_events", str(tmp_path / "none.csv"), source=SOURCE)


# ---- process logs

XES = """<?xml version="1.0"?><log xmlns="http://www.xes-standard.org/">
<global scope="event"><string key="concept:name" value="not an event"/></global>
<trace><string key="concept:name" value="permit 1"/>
<event><string key="concept:name" value="Submit"/><date key="time:timestamp" value="2026-01-05T10:00:00+01:00"/></event>
<event><string key="concept:name" value="Submit"/><date key="time:timestamp" value="2026-01-05T10:00:00+01:00"/></event>
<event><string key="concept:name" value="Pay"/><date key="time:timestamp" value="2026-01-06T10:00:00+01:00"/></event>
</trace><trace><string key="concept:name" value="permit 2"/>
<event><string key="concept:name" value="Submit"/></event></trace></log>"""


def test_xes_every_event_counts_equal_ones_too(file):
    report = bring_in(file("travel.xes.gz", gzip.compress(XES.encode())))

    assert (report.format, counts(report)) == ("xes", (3, 0, 1))
    assert report.problems[0].field == "/time"
    assert Counter(Event.objects.values_list("type", flat=True)) == {"Submit": 2, "Pay": 1}
    transaction = Transaction.objects.get()
    assert (transaction.flow, transaction.key, transaction.status) == ("travel", "case/permit 1", "closed")
    assert counts(bring_in(file("travel.xes.gz", gzip.compress(XES.encode())))) == (0, 3, 1)


def test_xml_with_entities_is_not_read(file):
    bomb = '<?xml version="1.0"?><!DOCTYPE log [<!ENTITY a "aaaa">]><log><trace>&a;</trace></log>'

    assert "DOCTYPE" in bring_in(file("bomb.xes", bomb)).stopped


OCEL = {
    "objectTypes": [{"name": "Purchase Order", "attributes": [{"name": "price", "type": "float"}]}],
    "eventTypes": [{"name": "Approve", "attributes": []}],
    "events": [
        {
            "id": "e1",
            "type": "Approve",
            "time": "2026-01-05T10:00:00",
            "attributes": [{"name": "by", "value": "desk 4"}],
            "relationships": [
                {"objectId": "PO1", "qualifier": "order"},
                {"objectId": "gone", "qualifier": "lost"},
            ],
        },
        {"id": "e2", "type": "Approve", "time": "2026-01-05T10:00:00Z"},
        {"id": "e3", "time": "2026-01-05T10:00:00Z"},
    ],
    "objects": [
        {
            "id": "PO1",
            "type": "Purchase Order",
            "attributes": [{"name": "price", "value": "9", "time": "1970-01-01T00:00:00Z"}],
            "relationships": [{"objectId": "PO2", "qualifier": "follows"}],
        },
        {"id": "PO2", "type": "Purchase Order"},
    ],
}


def test_ocel_json_loses_neither_orphans_nor_objects_without_events(file):
    report = bring_in(file("orders.json", json.dumps(OCEL)), system="sap")

    assert (report.format, counts(report)) == ("ocel-json", (5, 0, 1))
    assert report.problems[0].place == "event e3"
    event = Event.objects.get(external_id="event/e1")
    assert (event.type, event.kind, event.flow, event.key) == ("Approve", "noted", "orders", "purchase_order/PO1")
    assert event.objects_named[0] == ["sap", "purchase_order", "PO1", "order", ""]
    assert event.objects_named[1][:4] == ["sap", "unknown", "gone", "lost"]
    assert event.occurred_at == datetime(2026, 1, 5, 10, tzinfo=UTC)
    linked = Event.objects.get(kind="linked")
    assert [named[2:4] for named in linked.objects_named] == [["PO1", ""], ["PO2", "follows"]]
    assert set(Object.objects.values_list("external_id", flat=True)) == {"PO1", "PO2", "gone", "orders"}
    told = Payload.objects.get(seq=Event.objects.get(external_id="object/PO1").seq).data
    assert told == {"attributes": [{"name": "price", "value": "9", "time": "1970-01-01T00:00:00Z"}]}


def test_json_that_breaks_off_says_so(file):
    report = bring_in(file("orders.json", json.dumps(OCEL)[:-30]))

    assert "JSON" in report.stopped


def test_a_database_that_is_no_ocel_is_refused_without_running_anything_of_it(file, tmp_path):
    with closing(sqlite3.connect(tmp_path / "x.sqlite")) as db:
        db.execute("CREATE VIEW event AS WITH RECURSIVE n AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT * FROM n")

    assert "no table event" in bring_in(tmp_path / "x.sqlite").stopped


@needs_logs
def test_the_travel_permit_log_comes_in_whole():
    report = bring_in(LOGS / "pm4py_15_bpic2020_permit_log_1t_per_variant.xes.gz", flow="permits", system="travel")

    assert counts(report) == (26_028, 0, 0)
    assert Object.objects.filter(type="case").count() == 1_478
    assert Transaction.objects.filter(flow="permits", status="closed").count() == 1_478
