"""Business objects lose nothing on their way, and refuse what cannot be right."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from integrations import canonical
from integrations.canonical import BillingLine, BillingRequest, InvoiceStatus
from integrations.canonical.base import Canonical
from integrations.canonical.invoice_status import progress

MODELS = [getattr(canonical, name) for name in canonical.__all__]


def line(**changes: Any) -> dict[str, Any]:
    values = {"person_code": "E-1", "person_name": "Ada", "hours": "2", "rate": "150", "amount": "300"}
    return values | {"entries": ["T-1"]} | changes


def request(**changes: Any) -> dict[str, Any]:
    return {
        "project_code": "P-1",
        "project_name": "Core",
        "customer_code": "KD-1",
        "legal_entity": "US01",
        "period": "2026-10",
        "invoice_date": "2026-10-31",
        "currency": "USD",
        "lines": [line()],
    } | changes


@pytest.mark.parametrize("model", MODELS)
def test_every_field_has_a_title_and_a_description_for_its_form(model: type[Canonical]) -> None:
    for name, field in model.model_fields.items():
        assert field.title, name
        assert field.description, name
    assert model.__doc__
    assert model.schema_version
    assert model.model_json_schema()["additionalProperties"] is False


@given(
    hours=st.decimals("0.01", "999.99", places=2),
    rate=st.decimals("0.01", "9999.9999", places=4),
)
def test_json_loses_nothing(hours: Decimal, rate: Decimal) -> None:
    amount = (hours * rate).quantize(Decimal("0.01"))
    if amount <= 0:
        return
    values = request(lines=[line(hours=hours, rate=rate, amount=amount)])
    billing = BillingRequest.model_validate(values)
    again = BillingRequest.model_validate_json(billing.model_dump_json())
    assert again == billing
    assert again.lines[0].rate.as_tuple() == rate.as_tuple()
    assert again.total == amount


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"currency": "usd"}, "currency"),
        ({"period": "2026-13"}, "period"),
        ({"lines": []}, "lines"),
        ({"lines": [line(hours="0")]}, "greater than 0"),
        ({"lines": [line(hours="-2", amount="-300")]}, "greater than 0"),
        ({"lines": [line(amount="300.02")]}, "is not hours 2 × rate 150"),
        ({"lines": [line(), line(person_code="E-2")]}, "named twice"),
        ({"lines": [line(rate="NaN")]}, "finite"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"customer_code": " "}, "customer_code"),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        BillingRequest.model_validate(request(**changes))


def test_a_cent_of_rounding_is_allowed() -> None:
    assert BillingLine.model_validate(line(hours="1.33", rate="99.99", amount="132.99")).amount == Decimal("132.99")


def test_a_paid_invoice_has_nothing_open() -> None:
    values: dict[str, Any] = {
        "invoice_number": "I-1",
        "project_codes": ["P-1"],
        "customer_code": "C-1",
        "legal_entity": "US01",
    }
    values |= {"total": "100", "currency": "USD", "state": "paid", "paid_on": date(2026, 11, 1)}
    assert InvoiceStatus.model_validate(values | {"open_amount": "0"}).paid_on
    with pytest.raises(ValidationError, match="nothing open"):
        InvoiceStatus.model_validate(values | {"open_amount": "1"})


def test_an_invoice_is_posted_then_paid_off() -> None:
    steps = [("draft", 100), ("posted", 100), ("posted", 40), ("paid", 0), ("cancelled", 0)]
    order = [progress(state, Decimal(amount)) for state, amount in steps]
    assert order == sorted(order)
    assert len(set(order)) == len(order)
