"""Failures keep what the target said, and never what opens its doors."""

from __future__ import annotations

import pickle

import pytest

from integrations.errors import BODY_LIMIT, Misconfigured, Permanent, Transient, redact


def test_an_error_tells_system_words_code_and_status() -> None:
    error = Permanent("demo-erp", "The period is closed.", "USER_ERROR", 400, '[{"errorCode": "USER_ERROR"}]')
    assert str(error) == "demo-erp: The period is closed. [USER_ERROR] (HTTP 400)"
    assert error.as_dict()["kind"] == "permanent"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Session b3BzYm9hcmQ6MTpzM2NyM3Q=",
        '{"login": "opsboard", "password": "s3cr3t-value"}',
        "token=s3cr3t-value&next=1",
        "Authorization: Bearer s3cr3t-value",
        '"api_key": "s3cr3t-value"',
    ],
)
def test_secrets_are_cut_out(text: str) -> None:
    error = Misconfigured("live-erp", text, body=text)
    for shown in (str(error), repr(error), error.body or "", str(error.as_dict())):
        assert "s3cr3t" not in shown
        assert "b3BzYm9hcmQ" not in shown


def test_a_known_secret_is_cut_out_wherever_it_stands() -> None:
    assert redact("user opsboard, hunter22, ok", ("hunter22", "")) == "user opsboard, ***, ok"


def test_a_business_text_stays_as_it_is() -> None:
    text = 'To continue, you must reopen the period "2026-09" of company "Opsboard Services LLC".'
    assert redact(text) == text


def test_a_long_body_is_cut() -> None:
    assert len(Permanent("x", "y", body="z" * 20_000).body or "") == BODY_LIMIT


def test_an_error_survives_a_trip_to_another_process() -> None:
    error = Transient("live-erp", "busy", "HTTP_503", 503, "<p>busy</p>", 2.5)
    again = pickle.loads(pickle.dumps(error))
    assert again.as_dict() == error.as_dict()
    assert type(again) is Transient
