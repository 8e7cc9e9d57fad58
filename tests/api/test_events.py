"""The strict CloudEvents reader: what the specification demands, what it leaves open, and what must be refused."""

import json
from base64 import b64encode
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from opsboard.api import events
from opsboard.api.events import Invalid
from opsboard.log.entry import Entry, Named

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DATA: dict[str, Any] = {
    "kind": "posted",
    "flow": "time-to-billing",
    "objects": [{"system": "psa", "type": "time_entry", "id": "TE-1"}],
}
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "1234-1234-1234",
    "source": "/mycontext/subcontext",
    "type": "com.example.someevent",
    "time": "2018-04-05T03:56:24Z",
    "data": DATA,
}
HEADERS = {
    "specversion": "1.0",
    "type": "com.example.someevent",
    "time": "2018-04-05T03:56:24Z",
    "id": "1234-1234-1234",
    "source": "/mycontext/subcontext",
}


def said(**changes: Any) -> bytes:
    """The event with these attributes instead."""
    return json.dumps(EVENT | changes).encode()


def read(body: bytes) -> Entry:
    return events.structured(body, received_at=NOW)


def read_binary(headers: dict[str, str], body: bytes | None = None, content_type: str = "application/json") -> Entry:
    return events.binary(headers, content_type, json.dumps(DATA).encode() if body is None else body, received_at=NOW)


def refused(body: bytes) -> dict[str, str]:
    """Pointer → what is wrong there."""
    with pytest.raises(Invalid) as caught:
        read(body)
    return dict(caught.value.faults)


# ---- the conformance cases of the CloudEvents project ----


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
def test_conformance_binary_mode(content_type):
    entry = read_binary(HEADERS, content_type=content_type)

    assert (entry.id, entry.type, entry.source) == ("1234-1234-1234", "com.example.someevent", "/mycontext/subcontext")
    assert entry.occurred_at == datetime(2018, 4, 5, 3, 56, 24, tzinfo=UTC)
    assert entry.objects == (Named("psa", "time_entry", "TE-1"),)


@pytest.mark.parametrize(
    "content_type", ["application/cloudevents+json", "application/cloudevents+json; charset=utf-8"]
)
def test_conformance_structured_mode(content_type):
    assert events.mode(content_type) == "structured"
    assert read(said(datacontenttype="application/json")) == read_binary(HEADERS)


@pytest.mark.parametrize(
    ("content_type", "mode"),
    [
        ("application/cloudevents-batch+json", "batch"),
        ("APPLICATION/CloudEvents+JSON", "structured"),
        ("application/json", "binary"),
        ("text/xml", "binary"),
        ("", "binary"),
    ],
)
def test_the_content_type_alone_decides_the_mode(content_type, mode):
    assert events.mode(content_type) == mode


@pytest.mark.parametrize(
    "content_type",
    [
        "application/cloudevents+avro",
        "application/cloudevents",
        "application/cloudevents-batch+xml",
        "application/cloudevents+json; charset=utf-16",
    ],
)
def test_formats_that_are_not_understood_are_415(content_type):
    with pytest.raises(Invalid) as caught:
        events.mode(content_type)
    assert caught.value.status == 415


# ---- another sender: the SDK of the CloudEvents project ----


@pytest.mark.parametrize("identity", ["plain", 'Zürich 100 % "quoted" 🌎'])
def test_what_the_sdk_sends_is_read_alike_in_both_modes(identity):
    attributes = {"id": identity, "source": "urn:firm:psa", "type": "time.approved", "subject": "Größe %41"}
    event = CloudEvent(attributes | {"datacontenttype": "application/json", "time": NOW}, DATA)

    binary, whole = to_binary_event(event), to_structured_event(event)

    headers = {name.lower()[3:]: value for name, value in binary.headers.items() if name.lower().startswith("ce-")}
    content_type = {name.lower(): value for name, value in binary.headers.items()}["content-type"]
    one = events.binary(headers, content_type, binary.body, received_at=NOW)
    assert one == read(whole.body)
    assert (one.id, one.occurred_at) == (identity, NOW)


# ---- attributes ----


@pytest.mark.parametrize("name", ["id", "source", "specversion", "type"])
@pytest.mark.parametrize("how", ["left out", "null", "empty", "a number"])
def test_the_four_required_attributes_must_be_there(name, how):
    values: dict[str, Any] = {"null": None, "empty": "", "a number": 7}
    event = {key: value for key, value in EVENT.items() if key != name}
    if how != "left out":
        event[name] = values[how]

    assert f"/{name}" in refused(json.dumps(event).encode())
    if how in {"left out", "empty"}:
        headers = {key: value for key, value in HEADERS.items() if key != name} | ({name: ""} if how == "empty" else {})
        with pytest.raises(Invalid) as caught:
            read_binary(headers)
        assert f"/{name}" in dict(caught.value.faults)


def test_every_fault_is_named_at_once():
    event = {"specversion": "0.3", "id": "", "time": "yesterday", "Bad_Name": "x", "list": [1], "data": DATA}

    assert set(refused(json.dumps(event).encode())) == {
        *("/source", "/type", "/specversion", "/id", "/time", "/Bad_Name", "/list"),
    }


@pytest.mark.parametrize(
    ("time", "moment"),
    [
        ("2026-11-20T10:00:00Z", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-20t10:00:00.5z", datetime(2026, 11, 20, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-20T10:00:00.123456789+05:30", datetime(2026, 11, 20, 4, 30, 0, 123_456, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("1990-01-01T00:00:00-00:00", datetime(1990, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_are_rfc_3339_and_kept_in_utc(time, moment):
    assert read(said(time=time)).occurred_at == moment


@pytest.mark.parametrize(
    "time",
    [
        *("2026-11-20T10:00:00", "2026-11-20 10:00:00Z", "2026-11-20", "20261120T100000Z", "2026-02-30T10:00:00Z"),
        *("2026-11-20T24:00:00Z", "2026-11-20T10:00Z", "2026-11-20T10:00:00+0530", "2026-11-20T10:00:00+25:00"),
        *("0001-01-01T00:00:00+10:00", "0000-01-01T00:00:00Z", "２026-11-20T10:00:00Z", "", 5, "now\n"),
    ],
)
def test_other_times_are_refused(time):
    assert "/time" in refused(said(time=time))


def test_without_a_time_it_happened_when_it_came_and_is_the_same_event_when_it_comes_again():
    event = json.dumps({key: value for key, value in EVENT.items() if key != "time"}).encode()

    first = read(event)
    again = events.structured(event, received_at=datetime(2026, 11, 21, tzinfo=UTC))

    assert first.occurred_at == NOW
    assert again.digest() == first.digest()


@pytest.mark.parametrize(
    ("source", "fine"),
    [
        ("urn:firm:psa", True),
        ("/relative", True),
        ("https://firm.example/psa?x=1#part", True),
        ("two words", False),
        ("%zz", False),
        ("umlaut-ü", False),
        ("http://[bad", False),
        ("a" * 1001, False),
    ],
)
def test_a_source_is_a_uri_reference(source, fine):
    if fine:
        assert read(said(source=source)).source == source
    else:
        assert "/source" in refused(said(source=source))


@pytest.mark.parametrize("value", ["text", "", 0, -(2**31), 2**31 - 1, True, None])
def test_extensions_may_be_text_whole_numbers_truth_values_or_absent(value):
    assert read(said(myext=value)) == read(said())


@pytest.mark.parametrize("value", [2**31, 1.5, {"a": 1}, [], "tab\there", "\u0085", "\ufffe", "x" * 1001])
def test_other_extensions_are_refused(value):
    assert "/myext" in refused(said(myext=value))


@pytest.mark.parametrize("name", ["MyExt", "my_ext", "my-ext", "ümlaut", "", "e\u0000xt"])
def test_attribute_names_are_lower_case_letters_and_digits(name):
    assert refused(json.dumps(EVENT | {name: "x"}).encode())


@pytest.mark.parametrize("text", ["a\nb", "\x7f", "\u009f", "\ufdd0", "\U0001ffff"])
def test_control_characters_and_noncharacters_are_refused_in_attributes(text):
    assert "/id" in refused(said(id=text))
    assert "/id" in refused(json.dumps(EVENT | {"id": text}, ensure_ascii=False).encode())


def test_dataschema_is_absolute_and_subject_is_not_empty():
    assert set(refused(said(dataschema="schemas/x.json", subject=""))) == {"/dataschema", "/subject"}
    assert read(said(dataschema="https://firm.example/x.json", subject="TE-1"))


@pytest.mark.parametrize(
    ("extensions", "correlation"),
    [
        ({"correlationid": "case-7", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}, "case-7"),
        ({"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}, "a" * 32),
        ({"traceparent": f"00-{'0' * 32}-{'b' * 16}-01"}, ""),
        ({"traceparent": f"ff-{'a' * 32}-{'b' * 16}-01"}, ""),
        ({"traceparent": f"00-{'A' * 32}-{'b' * 16}-01"}, ""),
        ({"traceparent": f"00-{'a' * 32}-{'b' * 16}-01-more"}, ""),
        ({"traceparent": f"42-{'a' * 32}-{'b' * 16}-01-more"}, "a" * 32),
        ({}, ""),
    ],
)
def test_the_correlation_is_the_senders_else_the_trace(extensions, correlation):
    assert read(said(**extensions)).correlation == correlation


# ---- JSON ----


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"nonsense", b"[]", b'"text"', b"null", b'{"id": NaN}', b'{"id": "\xff"}', b'{"id": 01}'),
        *(b'{"id": "\\ud800"}', b'{"id": "\\ud800\\u0041"}', b'{"id": "\\udc00 "}', b"\xef\xbb\xbf{}"),
        *(b"[" * 100_000, b'{"a":' * 100_000, b'{"id": 1e400}', b'{"id": "a\x01"}', b"{} {}"),
    ],
)
def test_what_is_not_json_is_refused(body):
    assert "" in refused(body)


def test_a_member_named_twice_is_refused_at_any_depth():
    text = said().decode()
    assert "" in refused(text.replace('"id"', '"id": "other", "id"', 1).encode())
    assert "" in refused(text.replace('"system"', '"system": "x", "system"', 1).encode())
    compact = json.dumps(EVENT, separators=(",", ":"))
    assert "" in refused(compact.replace('"data":{', '"data":{"payload":{"a":1,"a":2},', 1).encode())


def test_u0000_is_refused_in_a_payload_but_its_spelling_is_not():
    assert "" in refused(said(data=DATA | {"payload": {"note": "a\x00b"}}))
    assert "" in refused(said(data=DATA | {"payload": {"a\x00b": 1}}))
    assert read(said(data=DATA | {"payload": {"note": "a\\u0000b"}})).payload == {"note": "a\\u0000b"}


def test_nesting_has_a_limit():
    def nested(levels: int) -> bytes:
        payload: Any = 1
        for _ in range(levels):
            payload = [payload]
        return said(data=DATA | {"payload": payload})

    assert read(nested(50))
    assert "" in refused(nested(70))
    assert read(said(data=DATA | {"payload": [[] for _ in range(500)]}))


def test_size_has_a_limit_above_64_kib():
    assert read(said(data=DATA | {"payload": "x" * 70_000}))
    with pytest.raises(Invalid) as caught:
        read(said(data=DATA | {"payload": "x" * events.EVENT_BYTES_MAX}))
    assert caught.value.status == 413


# ---- data ----


def test_data_is_read_into_the_words_of_the_log():
    data = DATA | {
        "kind": "rejected",
        "key": "TE-1/2026-10",
        "amount": "1250.5",
        "currency": "EUR",
        "error": {"system": "erp", "code": "PERIOD", "message": "Closed\nperiod", "http_status": 422, "body": None},
        "payload": {"hours": 7.5},
        "attempt": 2,
        "latency_ms": 120,
        "entity": "DE01",
        "system": "erp",
        "status": None,
    }

    entry = read(said(data=data, authid="u-17"))

    assert (entry.kind, entry.flow, entry.key, entry.attempt) == ("rejected", "time-to-billing", "TE-1/2026-10", 2)
    assert (entry.amount, entry.currency, entry.latency_ms) == (Decimal("1250.50"), "EUR", 120)
    assert entry.error == {"system": "erp", "code": "PERIOD", "message": "Closed\nperiod", "http_status": 422}
    assert (entry.payload, entry.entity, entry.system, entry.actor) == ({"hours": 7.5}, "DE01", "erp", "u-17")
    assert entry.effect.status == "failed"


def test_the_digest_does_not_depend_on_how_it_was_written():
    one = read(said(data=DATA | {"amount": "10", "currency": "EUR", "payload": {"a": 1, "b": [1.50]}}))
    event = EVENT | {"time": "2018-04-05T05:56:24+02:00"}
    turned = {key: event[key] for key in reversed(event)} | {
        "data": {"payload": {"b": [1.5], "a": 1}, "currency": "EUR", "amount": "10.00", "entity": None} | DATA
    }
    other = read(json.dumps(turned, indent=3, ensure_ascii=True).encode())

    assert one.digest() == other.digest()
    assert one.digest() != read(said(data=DATA | {"amount": "10.01", "currency": "EUR"})).digest()


def test_data_is_required_and_null_is_no_data():
    assert refused(json.dumps({key: EVENT[key] for key in EVENT if key != "data"}).encode()) == {"/data": "is required"}
    assert "/data" in refused(said(data=None))
    assert "/data" in refused(said(data=json.dumps(DATA))), "text is text, it is not read again"


def test_data_may_come_as_base64_but_not_twice():
    event = {key: value for key, value in EVENT.items() if key != "data"}
    encoded = b64encode(json.dumps(DATA).encode()).decode()

    assert read(json.dumps(event | {"data_base64": encoded}).encode()) == read(said())
    assert "/data_base64" in refused(said(data_base64=encoded))
    assert "/data_base64" in refused(json.dumps(event | {"data_base64": "$$"}).encode())
    assert "/data_base64" in refused(json.dumps(event | {"data_base64": b64encode(b"{").decode()}).encode())
    assert read(said(data_base64=None))


@pytest.mark.parametrize("data_type", ["application/xml", "text/plain", "application/json; charset=latin-1"])
def test_data_that_is_not_json_is_415(data_type):
    with pytest.raises(Invalid) as caught:
        read(said(datacontenttype=data_type))
    assert caught.value.status == 415
    with pytest.raises(Invalid) as caught:
        read_binary(HEADERS, content_type=data_type)
    assert caught.value.status == 415


def test_data_of_a_json_dialect_is_taken():
    assert read(said(datacontenttype="application/vnd.firm.time+json")) == read(said())


# ---- binary mode ----


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("%e2%82%ac", "€"),
        ("needless%6C%79", "needlessly"),
        ('"two words"', "two words"),
        ('"a \\"quote\\" and \\\\"', 'a "quote" and \\'),
        ('"%41"', "A"),
        ("%2541", "%41"),
    ],
)
def test_header_values_are_unquoted_then_decoded_once(header, text):
    assert events.header_value(header) == text


@pytest.mark.parametrize("header", ["%C0%A0", "%ED%A0%80", "%E2%82", "100%", "%4", "%zz", '"open', "raw ü"])
def test_header_values_that_cannot_be_decoded_are_refused(header):
    with pytest.raises(Invalid) as caught:
        read_binary(HEADERS | {"subject": header})
    assert [fault.pointer for fault in caught.value.faults] == ["/subject"]


@pytest.mark.parametrize("name", ["datacontenttype", "data_base64", "data", "my-ext"])
def test_headers_that_must_not_be(name):
    with pytest.raises(Invalid) as caught:
        read_binary(HEADERS | {name: "x"})
    assert f"/{name}" in dict(caught.value.faults)


def test_an_encoded_control_character_is_refused():
    with pytest.raises(Invalid):
        read_binary(HEADERS | {"subject": "a%00b"})


def test_a_body_that_looks_like_an_event_is_not_one_without_its_content_type():
    with pytest.raises(Invalid) as caught:
        read_binary({}, said())
    assert set(dict(caught.value.faults)) == {"/id", "/source", "/specversion", "/type"}


# ---- batches ----


def test_a_batch_is_taken_apart_without_touching_its_events():
    assert events.split(b"[]") == []
    assert events.split(b' [ {"a" : 1} , 7,"x" ] ') == [b'{"a" : 1}', b"7", b'"x"']


@pytest.mark.parametrize("body", [b"", b"{}", b"[", b"[{]", b"[{}] x", b"[" * 100_000])
def test_an_array_that_cannot_be_read_is_refused(body):
    with pytest.raises(Invalid) as caught:
        events.split(body)
    assert caught.value.status == 400


def test_a_batch_has_a_longest_length():
    assert len(events.split(json.dumps([1] * events.BATCH_MAX).encode())) == events.BATCH_MAX
    with pytest.raises(Invalid) as caught:
        events.split(json.dumps([1] * (events.BATCH_MAX + 1)).encode())
    assert caught.value.status == 413
