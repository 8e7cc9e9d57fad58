"""OTLP/HTTP: what exporters send becomes steps in the log, once, and what is wrong is said in their words."""

import gzip
import json
import os
import subprocess
import sys
import threading
import zlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection
from django.test import Client
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind

from opsboard import pipeline
from opsboard.accounts.commands import create_service_account
from opsboard.api import door, events, limits, otlp, otlp_mapping
from opsboard.api.otlp import JSON, LOGS, PROTOBUF, TRACES
from opsboard.log.models import Event, Membership, Object, Payload, Quarantine, Transaction
from opsboard.triage.models import Case
from tests.api.conftest import SOURCE

pytestmark = pytest.mark.django_db
HERE = Path(__file__).parent
OFFICIAL = HERE.parents[2] / "shared" / "data" / "standards"
RULES = HERE.parents[1] / "opsboard" / "api" / "otlp_mapping.toml"
TRACE = "5b8efff798038103d269b633813fc60c"
START = 1_760_000_000_000_000_000  # nanoseconds
SECOND = 1_000_000_000


class Exporter(Client):
    """An exporter with a token."""

    def export(self, body: Any, path: str = "/v1/traces", content_type: str = JSON, encoding: str = "identity"):
        """POST an export: bytes as they are, anything else as JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        # Django's client says neither type nor length of an empty body
        headers = {"Content-Type": content_type, "Content-Encoding": encoding, "Content-Length": str(len(raw))}
        return self.post(path, raw, content_type=content_type, headers=headers)


@pytest.fixture
def exporter(token) -> Exporter:
    return Exporter(headers={"Authorization": f"Bearer {token}"})


def value(said: Any) -> dict[str, Any]:
    if isinstance(said, list):
        return {"arrayValue": {"values": [value(one) for one in said]}}
    kinds = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}
    return {kinds[type(said)]: str(said) if type(said) is int else said}


def attributes(said: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value(one)} for key, one in said.items()]


def span(number: int, *, kind: int = 2, parent: int = 0, second: int = 0, error: Any = None, **more: Any) -> dict:
    """A span in JSON; `error` is a message, or attributes of an exception event."""
    found: dict[str, Any] = {
        "traceId": TRACE,
        "spanId": f"{number:016x}",
        "parentSpanId": f"{parent:016x}" if parent else "",
        "name": f"span {number}",
        "kind": kind,
        "startTimeUnixNano": str(START + second * SECOND),
        "endTimeUnixNano": str(START + second * SECOND + 250_000_000),
        "attributes": attributes(more.pop("says", {})),
        "status": {"code": 2, "message": error if isinstance(error, str) else ""} if error else {},
    }
    if isinstance(error, dict):
        found["events"] = [{"name": "exception", "timeUnixNano": str(START), "attributes": attributes(error)}]
    return found | more


def traces(*spans: dict, service: str = "billing") -> dict[str, Any]:
    resource = {"attributes": attributes({"service.name": service})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": list(spans)}]}]}


def logs(*records: dict) -> dict[str, Any]:
    resource = {"attributes": attributes({"service.name": "billing"})}
    return {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": list(records)}]}]}


def official(name: str) -> bytes:
    path = OFFICIAL / name
    if not path.is_file():
        pytest.skip("the project's shared folder is not here")
    return path.read_bytes()


def as_protobuf(said: bytes | dict, signal: Any = TRACES) -> bytes:
    raw = said if isinstance(said, bytes) else json.dumps(said).encode()
    return otlp.decode(signal, raw, JSON).SerializeToString()


def status_of(answer) -> Status:
    """The google.rpc.Status of an answer, in whatever encoding."""
    if answer["Content-Type"] == PROTOBUF:
        return Status.FromString(answer.content)
    assert answer["Content-Type"] == JSON
    return json_format.Parse(answer.content, Status())


INVOICE = {
    "opsboard.flow": "time-to-billing",
    "opsboard.key": "P-1/2026-10",
    "opsboard.object.project": "psa/P-1",
    "opsboard.object.invoice": ["erp/INV-1", "erp/INV-2"],
    "opsboard.entity": "DE01",
    "opsboard.amount": 1250.5,
    "opsboard.currency": "EUR",
}

# ---- the official payloads ----


def test_the_official_trace_comes_in_by_both_encodings_and_is_one_event(exporter):
    body = official("otlp_trace.json")

    answers = [
        exporter.export(body),
        exporter.export(as_protobuf(body), content_type=PROTOBUF),
        exporter.export(gzip.compress(body), content_type="application/json; charset=utf-8", encoding="gzip"),
    ]

    assert [(one.status_code, one.content) for one in answers] == [(200, b"{}"), (200, b""), (200, b"{}")]
    assert [one["Content-Type"] for one in answers] == [JSON, PROTOBUF, JSON]
    step = Event.objects.get()
    assert step.external_id == f"{TRACE}/eee19b7ec3c1b174"
    assert (step.source, step.type, step.flow) == (f"{SOURCE}:my.service", "I'm a server span", "my.service")
    assert (step.kind, step.latency_ms, step.correlation) == ("acknowledged", 1000, TRACE)
    assert Transaction.objects.get().status == "succeeded"


@pytest.mark.parametrize("name", ["otlp_logs.json", "otlp_events.json"])
def test_official_log_records_are_no_steps_until_the_rules_say_so(exporter, settings, tmp_path, name):
    body = official(name)
    assert exporter.export(body, "/v1/logs").json() == {}
    assert not Event.objects.exists()

    settings.OPSBOARD_OTLP_MAPPING = tmp_path / "all.toml"
    settings.OPSBOARD_OTLP_MAPPING.write_text(RULES.read_text().replace("severity = 17", "severity = 1"))
    assert exporter.export(body, "/v1/logs").json() == {}
    assert exporter.export(as_protobuf(body, LOGS), "/v1/logs", PROTOBUF).status_code == 200

    step = Event.objects.get()
    payload = Payload.objects.get().data
    assert (step.kind, step.transaction_id) == ("noted", None)
    if name == "otlp_logs.json":
        assert step.correlation == TRACE
        assert payload["body"] == "Example log record"
        assert payload["attributes"]["map.attribute"] == {"some.map.key": "some value"}
        assert payload["attributes"]["array.attribute"] == ["many", "values"]
    else:
        assert (step.type, payload["body"]["type"]) == ("browser.page_view", 0)


# ---- what a span says ----


def test_a_span_names_flow_key_objects_and_money(exporter):
    exporter.export(traces(span(1, says=INVOICE)))

    step, moved = Event.objects.get(), Transaction.objects.get()
    assert (step.flow, step.key, step.entity) == ("time-to-billing", "P-1/2026-10", "DE01")
    assert [named[:3] for named in step.objects_named] == [
        ["psa", "project", "P-1"],
        ["erp", "invoice", "INV-1"],
        ["erp", "invoice", "INV-2"],
    ]
    assert (moved.amount, moved.currency, moved.status) == (Decimal("1250.50"), "EUR", "succeeded")
    assert step.latency_ms == 250


def test_an_exception_of_a_root_span_stands_in_the_queue(exporter):
    raised = {
        "exception.type": "PeriodClosed",
        "exception.message": "The period is closed.",
        "exception.stacktrace": "x",
    }
    says = INVOICE | {"http.response.status_code": 422, "opsboard.system": "netsuite"}

    exporter.export(traces(span(1, kind=1, says=says, error=raised)))

    error: Any = Payload.objects.exclude(error=None).get().error
    assert error | {"body": None} == {
        "system": "netsuite",
        "code": "PeriodClosed",
        "message": "The period is closed.",
        "http_status": 422,
        "body": None,
    }
    case = Case.objects.get()
    assert (case.category, case.transaction.key) == ("closed_period", "P-1/2026-10")


def test_a_retry_that_was_recovered_is_no_failure_in_whatever_order_it_comes(exporter):
    key = {"opsboard.flow": "f", "opsboard.key": "K"}
    failed = span(2, kind=3, parent=1, second=1, says=key, error={"exception.type": "Busy"})
    done = span(1, second=2, says=key)
    silent = span(3, kind=3, parent=1, second=1, error="503")  # names no message: an attempt, and only a note

    for one in (failed, silent, done):
        exporter.export(traces(one))

    assert not Case.objects.exists()
    assert Transaction.objects.get().status == "succeeded"
    assert dict(Event.objects.values_list("type", "kind")) == {
        "span 1": "acknowledged",
        "span 2": "retried",
        "span 3": "noted",
    }
    other = {"opsboard.flow": "f", "opsboard.key": "K2"}
    exporter.export(traces(span(4, second=2, says=other)))
    exporter.export(traces(span(5, kind=3, parent=4, second=1, says=other, error="late")))
    assert Transaction.objects.get(key="K2").status == "succeeded"
    assert not Case.objects.exists()


def test_an_entry_point_that_fails_without_any_business_name_is_seen_and_its_success_ends_it(exporter):
    exporter.export(traces(span(1, kind=5, parent=9, error="boom")))
    assert Case.objects.get().state == "open"

    exporter.export(traces(span(2, kind=5, parent=9, second=5)))
    assert Case.objects.get().resolution == "later_success"
    assert Transaction.objects.get().key == f"trace/{TRACE}"


def test_spans_that_are_no_steps_are_not_kept_and_nobody_is_blamed(exporter):
    inner = span(1, kind=1, parent=9)
    probe = span(2, says={"url.path": "/healthz"})

    assert exporter.export(traces(inner, probe)).json() == {}
    assert not Event.objects.exists()


def test_a_step_that_decides_nothing_and_names_no_key_opens_no_message(exporter):
    project = {"opsboard.object.project": "psa/P-1"}
    exporter.export(traces(span(1, kind=1, parent=9, says=project), span(2, kind=4)))

    assert set(Event.objects.values_list("kind", "transaction_id")) == {("noted", None)}
    assert Object.objects.filter(external_id="P-1").exists()


def test_a_rule_says_what_happened_where_the_status_does_not(exporter, settings, tmp_path):
    settings.OPSBOARD_OTLP_MAPPING = tmp_path / "own.toml"
    rule = '\n[[outcomes]]\nattribute = "http.response.status_code"\nvalues = ["422"]\nkind = "rejected"\n'
    settings.OPSBOARD_OTLP_MAPPING.write_text(RULES.read_text() + rule)

    exporter.export(traces(span(1, says=INVOICE | {"http.response.status_code": 422})))

    assert Case.objects.get().transaction.key == "P-1/2026-10"
    assert Payload.objects.exclude(error=None).get().error["http_status"] == 422


@pytest.mark.parametrize("severity", [17, 21])
def test_an_exception_as_log_record_outside_a_trace_fails_its_message(exporter, severity):
    says = INVOICE | {"exception.type": "PeriodClosed", "exception.message": "The period is closed."}
    record = {"timeUnixNano": str(START), "severityNumber": severity, "attributes": attributes(says)}

    for _ in range(2):
        assert exporter.export(logs(record), "/v1/logs").json() == {}

    assert Event.objects.get(source=f"{SOURCE}:billing").kind == "rejected"
    assert Case.objects.get().category == "closed_period"


def test_inside_a_trace_the_span_decides_and_the_log_record_tells_the_exception(exporter):
    says = INVOICE | {"exception.type": "Busy", "exception.message": "Try later."}
    record = {"timeUnixNano": str(START), "traceId": TRACE, "spanId": "00" * 7 + "01", "attributes": attributes(says)}

    exporter.export(logs(record, record | {"observedTimeUnixNano": "7"}), "/v1/logs")
    exporter.export(traces(span(1, says=INVOICE)))

    assert not Case.objects.exists()
    assert Transaction.objects.get().status == "succeeded"
    told = Event.objects.get(kind="retried")
    assert told.external_id.startswith(f"{TRACE}/0000000000000001/{START}/")
    assert Payload.objects.exclude(error=None).get().error["message"] == "Try later."


def test_what_a_program_has_anyway_can_name_objects_by_rule(exporter, settings, tmp_path):
    settings.OPSBOARD_OTLP_MAPPING = tmp_path / "own.toml"
    more = '\n[[objects]]\nattribute = "app.invoice"\ntype = "invoice"\nsystem = "erp"\n'
    settings.OPSBOARD_OTLP_MAPPING.write_text(RULES.read_text() + more)

    exporter.export(traces(span(1, says={"app.invoice": "A/1"})))

    assert Transaction.objects.get().key == "invoice/A/1"
    assert Event.objects.get().objects_named[0][:3] == ["erp", "invoice", "A/1"]


# ---- once ----


def test_a_batch_that_is_sent_again_or_cut_otherwise_changes_nothing(exporter):
    spans = [span(n, second=n, says=INVOICE | {"opsboard.key": f"K{n % 3}"}) for n in range(1, 9)]
    exporter.export(traces(*spans))
    before = list(Transaction.objects.order_by("pk").values())

    assert exporter.export(traces(*spans)).json() == {}
    assert exporter.export(as_protobuf(traces(*spans[3:], *spans[:5])), content_type=PROTOBUF).content == b""

    assert Event.objects.count() == 8
    assert list(Transaction.objects.order_by("pk").values()) == before


# ---- partly, and not at all ----


def test_what_cannot_be_taken_is_counted_and_what_can_is_stored(exporter):
    good = span(1, says=INVOICE)
    no_currency = span(2, says={"opsboard.key": "K", "opsboard.amount": "12"})
    no_id = span(3) | {"traceId": "00" * 16}
    short = span(4) | {"spanId": "abcd"}
    body = traces(good, no_currency, no_id, short)

    told = exporter.export(body).json()["partialSuccess"]
    same = ExportTraceServiceResponse.FromString(exporter.export(as_protobuf(body), content_type=PROTOBUF).content)

    assert told["rejectedSpans"] == "3"
    assert "/data/currency is required" in told["errorMessage"]
    assert "its span id must be 8 bytes" in told["errorMessage"]
    assert same.partial_success.rejected_spans == 3
    assert Event.objects.count() == 1
    kept = Quarantine.objects.get()  # as an event of the contract: a person corrects it and sends it through the door
    assert json.loads(kept.body)["data"]["amount"] == "12"
    assert kept.content_type == events.STRUCTURED


def test_a_refused_step_is_corrected_and_sent_through_the_door(exporter, platform):
    exporter.export(traces(span(2, says={"opsboard.key": "K", "opsboard.amount": "12"})))
    kept = Quarantine.objects.get()
    said = json.loads(kept.body)
    said["data"]["currency"] = "EUR"

    again = door.resubmit(item=kept, body=json.dumps(said), reason="currency added", by=platform)

    assert again.status == "accepted"
    assert Transaction.objects.get().amount == Decimal("12.00")


def test_other_content_under_the_same_span_is_rejected(exporter):
    exporter.export(traces(span(1, says=INVOICE)))
    told = exporter.export(traces(span(1, says=INVOICE | {"opsboard.amount": "9"}))).json()

    assert told["partialSuccess"]["rejectedSpans"] == "1"
    assert Transaction.objects.get().amount == Decimal("1250.50")


def test_rejected_log_records_are_counted_in_the_field_of_logs(exporter):
    record = {"traceId": "abcd", "severityNumber": 17, "timeUnixNano": "1"}
    raw = as_protobuf(logs(record), LOGS)
    answer = ExportLogsServiceResponse.FromString(exporter.export(raw, "/v1/logs", PROTOBUF).content)
    assert answer.partial_success.rejected_log_records == 1


def test_an_export_of_nothing_is_fine(exporter):
    nothing = exporter.export(b"", content_type=PROTOBUF)
    assert (nothing.status_code, nothing.content) == (200, b"")
    assert exporter.export({"resourceSpans": [], "unknown": 1, "resource_spans": [{"x": 1}]}).json() == {}


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(b"{", id="no JSON"),
        pytest.param(b"[]", id="no object"),
        pytest.param(traces(span(1, kind=2) | {"kind": "SPAN_KIND_SERVER"}), id="enum by name"),
        pytest.param(traces(span(1) | {"kind": True}), id="enum as truth"),
        pytest.param(traces(span(1) | {"traceId": "W47/95gDgQPSabYzgT/GDA=="}), id="id in base64"),
        pytest.param(traces(span(1) | {"links": [{"traceId": "xy"}]}), id="id of a link"),
        pytest.param(traces(span(1) | {"startTimeUnixNano": "soon"}), id="no number"),
        pytest.param({"resourceSpans": [1]}, id="no message"),
        pytest.param({"resourceSpans": {"scopeSpans": []}}, id="no list"),
    ],
)
def test_what_cannot_be_read_is_400_and_nothing_is_stored(exporter, wrong):
    answer = exporter.export(wrong)
    assert (answer.status_code, status_of(answer).code) == (400, 3)
    assert not Event.objects.exists()


def test_ids_are_hex_in_either_case_and_not_base64(exporter):
    exporter.export(traces(span(1)))
    exporter.export(traces(span(1) | {"traceId": TRACE.upper()}))
    assert Event.objects.get().correlation == TRACE


@pytest.mark.parametrize("media", [JSON, PROTOBUF])
def test_every_refusal_is_a_status_in_the_encoding_of_the_request(exporter, reading_token, media, settings):
    body = as_protobuf(traces(span(1))) if media == PROTOBUF else traces(span(1))
    reader = {"Authorization": f"Bearer {reading_token}"}
    settings.OPSBOARD_EVENTS_PER_SECOND = 1
    limits.bucket.cache_clear()
    many = traces(*(span(n) for n in range(1, 11)))
    exporter.export(many)  # more than that may not come at once

    found = {
        "no token": Exporter().export(body, content_type=media),
        "no scope": Exporter(headers=reader).export(body, content_type=media),
        "read": exporter.get("/v1/traces", content_type=media, headers={"Content-Type": media}),
        "no protobuf": exporter.export(b"\xff\xff\xff", content_type=media),
        "packed": exporter.export(body, content_type=media, encoding="br"),
        "no gzip": exporter.export(body, content_type=media, encoding="gzip"),
        "metrics": exporter.export(body, "/v1/metrics", media),
        "too fast": exporter.export(body, content_type=media),
    }

    assert {name: (one.status_code, status_of(one).code, one["Content-Type"]) for name, one in found.items()} == {
        "no token": (401, 16, media),
        "no scope": (403, 7, media),
        "read": (405, 12, media),
        "no protobuf": (400, 3, media),
        "packed": (415, 3, media),
        "no gzip": (400, 3, media),
        "metrics": (404, 5, media),
        "too fast": (429, 8, media),
    }
    assert all(status_of(one).message for one in found.values())
    assert found["no token"]["WWW-Authenticate"].startswith("Bearer")
    assert int(found["too fast"]["Retry-After"]) > 0
    other = exporter.export(b"x", content_type="text/plain")
    assert (other.status_code, status_of(other).code) == (415, 3)


@pytest.mark.parametrize("packed", ["a bomb", "two files", "cut short"])
def test_a_gzip_bomb_is_refused_before_it_is_unpacked(exporter, packed):
    half = gzip.compress(b" " * (events.BODY_BYTES_MAX // 2 + 1), 1)
    body = {
        "a bomb": gzip.compress(b" " * (4 * events.BODY_BYTES_MAX), 1),
        "two files": half + half,
        "cut short": half[:-9],
    }
    answer = exporter.export(body[packed], encoding="gzip")
    assert answer.status_code == (400 if packed == "cut short" else 413)
    assert status_of(answer).message


def test_more_spans_than_a_request_may_have_are_refused_whole(exporter, monkeypatch):
    monkeypatch.setattr(otlp, "ITEMS_MAX", 2)
    assert exporter.export(traces(span(1), span(2))).status_code == 200
    assert exporter.export(traces(span(3), span(4), span(5))).status_code == 413
    assert Event.objects.count() == 2


def test_unpacking_stops_at_the_limit(monkeypatch):
    monkeypatch.setattr(events, "BODY_BYTES_MAX", 1000)
    read: list[int] = []

    class Watched:
        def __init__(self, *how: Any) -> None:
            self.inner = REALLY(*how)

        def decompress(self, raw: bytes, most: int) -> bytes:
            found = self.inner.decompress(raw, most)
            read.append(len(found))
            return found

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    with pytest.raises(otlp.Failure):
        otlp.unpacked("gzip", gzip.compress(b"0" * 10_000_000))
    assert sum(read) == 1001


REALLY = zlib.decompressobj


def test_a_database_that_is_away_is_worth_another_try(exporter, monkeypatch):
    def away(*entries: Any) -> None:
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(pipeline, "accept", away)
    answer = exporter.export(traces(span(1)))
    assert (answer.status_code, status_of(answer).code, answer["Retry-After"]) == (503, 14, "5")


def test_rules_that_cannot_be_used_lose_no_batch(exporter, settings, tmp_path):
    settings.OPSBOARD_OTLP_MAPPING = tmp_path / "wrong.toml"
    for text in (
        "[spans",
        RULES.read_text() + "\n[unknown]\nx = 1\n",
        RULES.read_text().replace('"posted"', '"flown"'),
    ):
        settings.OPSBOARD_OTLP_MAPPING.write_text(text)
        otlp_mapping.rules.cache_clear()
        assert exporter.export(traces(span(1))).status_code == 503


def test_an_account_whose_source_is_an_address_owns_its_services():
    assert (
        otlp_mapping.source_of("https://firm.example/mule", {"service.name": "a b"})
        == "https://firm.example/mule/a%20b"
    )
    assert otlp_mapping.source_of("/mule/", {}) == "/mule/unknown_service"


def test_text_that_the_log_cannot_keep_comes_in_cleaned(exporter):
    raised = {"exception.type": "A\nB", "exception.message": "nul \x00 byte"}
    request = json_format.ParseDict({}, ExportTraceServiceRequest())
    request.ParseFromString(as_protobuf(traces(span(1, says={"opsboard.key": "K"}, error={"exception.type": "x"}))))
    one = request.resource_spans[0].scope_spans[0].spans[0]
    one.name = "two\nlines \x7f"
    for name, said in raised.items():
        one.events[0].attributes.add(key=name).value.string_value = said
    one.attributes.add(key="ratio").value.double_value = float("nan")
    one.attributes.add(key="raw").value.bytes_value = b"\x00\xff"

    assert exporter.export(request.SerializeToString(), content_type=PROTOBUF).content == b""

    payload = Payload.objects.exclude(error=None).get()
    assert payload.error["message"] == "nul \ufffd byte"
    assert payload.data["attributes"] == {"opsboard.key": "K", "ratio": None, "raw": "AP8="}


# ---- the test box ----


def test_the_test_box_shows_what_would_become_of_a_payload_and_stores_nothing(tmp_path, capsys):
    file = tmp_path / "export"
    file.write_bytes(gzip.compress(json.dumps(traces(span(1, says=INVOICE), span(2, kind=1, parent=1))).encode()))
    call_command("otlp_test", file)
    step, inner = map(json.loads, capsys.readouterr().out.splitlines())
    assert step["event"]["data"]["key"] == "P-1/2026-10"
    assert "no root" in inner["left_out"]

    file.write_bytes(as_protobuf(traces(span(1, says={"opsboard.amount": "x", "opsboard.key": "K"}), span(0))))
    with pytest.raises(CommandError, match="signal"):
        call_command("otlp_test", file)
    with pytest.raises(CommandError, match="Not everything"):
        call_command("otlp_test", file, signal="traces")
    bad_amount, no_id = map(json.loads, capsys.readouterr().out.splitlines())
    assert ["/data/currency", "is required"] in [list(fault.values()) for fault in bad_amount["refused"]]
    assert "span id" in no_id["refused"]
    assert not Event.objects.exists()


# ---- other senders ----


@pytest.fixture
def web(live_server) -> str:
    """The server over HTTP. What it commits is cleared after the test; the log would refuse."""
    with connection.cursor() as cursor:
        cursor.execute("SET opsboard.maintenance = 'on'")
    return live_server.url


class Collected(SpanExporter):
    """Keeps what the SDK would send."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    def export(self, spans: Any) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


def run(script: str, web: str) -> None:
    """Run a program of another firm, which knows of opsboard only what its environment tells its exporter."""
    token = create_service_account(name="otel", source="urn:firm:jobs", scopes=["events:write"], by="test")[1]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "OPSBOARD_", "DJANGO"))}
    told = {
        "OTEL_SERVICE_NAME": "billing-job",
        "OTEL_EXPORTER_OTLP_ENDPOINT": web,
        "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer%20{token}",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
    }
    program = [sys.executable, "-m", script]
    ran = subprocess.run(program, cwd=HERE, env=env | told, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "Failed to export" not in ran.stderr
    pipeline.correlate()


def members_of(project: str) -> set[str]:
    """What stands in the thread of the project."""
    thread = Membership.objects.get(object_id=Object.objects.get(type="project", external_id=project).pk).thread_id
    members = Membership.objects.filter(thread_id=thread).values_list("object_id", flat=True)
    return set(Object.objects.filter(pk__in=members).values_list("external_id", flat=True))


@pytest.mark.django_db(transaction=True)
def test_a_script_that_knows_only_opentelemetry_appears_as_a_thread(web):
    run("otel_job", web)

    good, bad = (Transaction.objects.get(key=f"{project}/2026-10") for project in ("P-1", "P-2"))
    assert (good.status, good.amount, good.flow) == ("succeeded", Decimal("1250.50"), "time-to-billing")
    assert (bad.status, Case.objects.get().transaction_id) == ("failed", bad.pk)
    assert Case.objects.get().category == "closed_period"
    assert members_of("P-1") == {"P-1", "INV-1"}
    assert Object.objects.get(external_id="P-1").name == "Rollout"
    # two messages and two busy attempts; the calls that went well and the tax are details of their messages
    kinds = sorted(Event.objects.filter(source="urn:firm:jobs:billing-job").values_list("kind", flat=True))
    assert kinds == ["acknowledged", "noted", "noted", "rejected"]


@pytest.mark.django_db(transaction=True)
def test_a_celery_worker_with_httpx_instrumented_by_packages_appears_as_threads(web, settings, tmp_path):
    settings.OPSBOARD_OTLP_MAPPING = tmp_path / "own.toml"
    named = [("project", "psa"), ("invoice", "erp")]
    more = "".join(
        f'\n[[objects]]\nattribute = "app.{kind}"\ntype = "{kind}"\nsystem = "{system}"\n' for kind, system in named
    )
    settings.OPSBOARD_OTLP_MAPPING.write_text(RULES.read_text() + more)

    run("otel_worker", web)

    assert [members_of(project) for project in ("P-1", "P-2")] == [{"P-1", "INV-P-1"}, {"P-2", "INV-P-2"}]
    names = dict(Object.objects.filter(type="project").values_list("pk", "external_id"))
    moved = Transaction.objects.values_list("subject_id", "status", "failures", "events")
    ended = {names[subject]: rest for subject, *rest in moved if subject}
    # of P-2 also opsboard itself says something: that it raised an exception
    assert ended == {"P-1": ["succeeded", 0, 1], "P-2": ["failed", 1, 2], "P-3": ["succeeded", 0, 2]}
    assert Case.objects.get().transaction.status == "failed"


@pytest.mark.django_db(transaction=True)
def test_an_exporter_that_sends_from_many_threads_loses_nothing_and_doubles_nothing(web):
    token = create_service_account(name="otel", source="urn:firm:jobs", scopes=["events:write"], by="test")[1]
    kept = Collected()
    provider = TracerProvider(resource=Resource.create({"service.name": "consumer"}))
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("consumer")
    for number in range(40):
        said = {"messaging.message.conversation_id": f"M-{number % 5}", "opsboard.flow": "orders"}
        with tracer.start_as_current_span("process order", kind=SpanKind.CONSUMER, attributes=said):
            pass
    results: list[SpanExportResult] = []

    def send() -> None:
        exporter: Any = OTLPSpanExporter(endpoint=f"{web}/v1/traces", headers={"Authorization": f"Bearer {token}"})
        results.append(exporter.export(kept.spans))
        exporter.shutdown()

    senders = [threading.Thread(target=send) for _ in range(3)]
    for one in senders:
        one.start()
    for one in senders:
        one.join()

    assert results == [SpanExportResult.SUCCESS] * 3
    assert Event.objects.count() == 40
    assert sorted(Transaction.objects.values_list("key", "events")) == [(f"M-{n}", 8) for n in range(5)]
