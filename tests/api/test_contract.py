"""The contract of an event's data: the fast reader and the published schema must say the same."""

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsboard.api import contract
from opsboard.api.contract import Data

MINIMAL: dict[str, Any] = {
    "kind": "noted",
    "objects": [{"system": "psa", "type": "time_entry", "id": "TE-1"}],
}
VALIDATOR = jsonschema_rs.Draft202012Validator(contract.schema())

nearly_text = st.one_of(
    st.none(),
    st.text(max_size=5),
    st.sampled_from(
        ["", "EUR", "eur", "12.5", "12.555", "-0.01", "1e5", "NaN", "posted", "raised", "failed", "x\n", "\x7f"]
    ),
    st.sampled_from(
        ["a" * 64, "a" * 65, "a" * 255, "a" * 256, "time_entry", "Time", "9" * 16, "9" * 17, "1\n", "EUR\n"]
    ),
)
nearly_number = st.one_of(
    st.none(), st.sampled_from([0, 1, -1, 2**31 - 1, 2**31, 99, 100, 599, 600, 5.0, 1.5, "1", True])
)
anything = st.recursive(
    st.one_of(nearly_text, nearly_number),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(nearly_text.filter(bool), inner, max_size=3),
)
touched = st.fixed_dictionaries(
    {"system": nearly_text, "type": nearly_text, "id": nearly_text},
    optional={"role": nearly_text, "name": nearly_text, "extra": nearly_text},
)
error = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "code": nearly_text,
        "message": nearly_text,
        "http_status": nearly_number,
        "body": anything,
        "extra": anything,
    },
)
nearly_data = st.fixed_dictionaries(
    {"kind": nearly_text, "objects": st.lists(touched, max_size=3) | anything},
    optional={
        **dict.fromkeys(["flow", "key", "status", "amount", "currency", "entity", "system", "extra"], nearly_text),
        **dict.fromkeys(["attempt", "latency_ms"], nearly_number),
        "error": error,
        "payload": anything,
    },
)
# One thing changed in data that is right: random data is nearly always wrong in many places.
changed = st.builds(
    lambda field, value: {**MINIMAL, "flow": "f", "currency": "EUR", field: value},
    st.sampled_from(list(contract.schema()["properties"])),
    st.one_of(nearly_text, nearly_number, error, st.lists(touched, max_size=2)),
)


@settings(max_examples=600, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.one_of(nearly_data, changed))
def test_reader_and_schema_agree(data):
    read = contract.decode(data)

    assert isinstance(read, Data) == VALIDATOR.is_valid(data), (data, read)
    if isinstance(read, list):
        assert read
        assert all(fault.pointer.startswith("/data") for fault in read)
        assert all(fault.detail != "The data does not follow the contract." for fault in read), data


@pytest.mark.parametrize(
    ("change", "pointer", "words"),
    [
        ({"kind": "resolved"}, "/data/kind", "must be one of received, queued"),
        ({"kind": "posted"}, "/data/flow", "is required"),
        ({"objects": []}, "/data/objects", "at least 1 object"),
        ({"objects": [{"system": "psa", "type": "Time Entry", "id": "1"}]}, "/data/objects/0/type", "lower-case"),
        ({"objects": [{"system": "psa", "type": "x"}]}, "/data/objects/0/id", "is required"),
        ({"objects": [MINIMAL["objects"][0], 7]}, "/data/objects/1", "must be an object"),
        ({"amount": 12.5, "currency": "EUR"}, "/data/amount", "must be text"),
        ({"amount": "12.555", "currency": "EUR"}, "/data/amount", "decimal text"),
        ({"amount": "12.5"}, "/data/currency", "is required"),
        ({"currency": "Euro"}, "/data/currency", "ISO 4217"),
        ({"attempt": 0}, "/data/attempt", "at least 1"),
        ({"status": "done"}, "/data/status", "must be one of pending"),
        ({"error": {"http_status": 42}}, "/data/error/http_status", "at least 100"),
        ({"key": "a\nb"}, "/data/key", "control characters"),
        ({"colour/~": "red"}, "/data/colour~1~0", "is not part of the contract"),
    ],
)
def test_a_fault_is_named_where_it_is_in_words(change, pointer, words):
    faults = contract.decode(MINIMAL | change)

    assert isinstance(faults, list)
    assert [fault.pointer for fault in faults] == [pointer]
    assert words in faults[0].detail


def test_faults_never_repeat_what_was_sent():
    faults = contract.decode(MINIMAL | {"key": "secret\nsecret", "amount": "secret", "currency": "secret"})

    assert isinstance(faults, list)
    assert "secret" not in json.dumps(faults)


def test_people_and_opsboard_speak_of_exceptions_not_senders():
    for kind in contract.OWN_KINDS:
        assert isinstance(contract.decode(MINIMAL | {"kind": kind, "flow": "f"}), list)
    assert isinstance(contract.decode(MINIMAL | {"kind": "written_off", "flow": "f"}), Data)
