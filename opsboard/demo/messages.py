"""From facts to the messages the flows carry: made by the flows themselves, so that both always agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from integrations.connectors.ports import Page, Record, Ref
from integrations.flows import Flow, Message, flows
from opsboard.demo.firm import Opportunity
from opsboard.demo.trouble import CRM, ERP, PSA
from opsboard.demo.work import Bill, Card

BILLING, CONVERSION, STATUS = (flows()[key] for key in ("time-to-billing", "opportunity-to-project", "invoice-status"))


@dataclass
class Invoice:
    """A posted invoice of the demo ERP. `open` and `paid_on` are as of now."""

    number: str
    bill: Bill
    reference: str
    invoice_date: date
    due_on: date
    posted_at: datetime
    total: Decimal
    currency: str
    customer_erp: str
    request: str
    open: Decimal
    paid_on: date | None = None
    changed_at: datetime | None = None


@dataclass(frozen=True)
class OneReading:
    """A source that answers one reading with given records: what a flow's `collect` asks."""

    records: list[Record] = field(default_factory=list)

    def _page(self, cursor: str | None) -> Page:
        return Page(self.records, "")

    approved_time = changed_opportunities = changed_invoices = _page


def _carry(flow: Flow, records: list[Record]) -> Message:
    """The one message that these records make."""
    found = flow.collect({flow.source: OneReading(records)}, None, lambda sources: set())
    if len(found.messages) != 1 or found.problems:
        raise ValueError(f"the demo's records do not make one message of {flow.key}: {found}")
    return found.messages[0]


def card_record(card: Card, changes: Mapping[str, Any]) -> Record:
    """A time card as the sandbox PSA gives it, with changes of its project's header."""
    project = card.project
    data = {
        "project_code": project.code,
        "project_name": project.name,
        "customer_code": project.customer.psa,
        "customer_name": project.customer.name,
        "customer_tax_id": project.customer.tax_id,
        "legal_entity": project.entity,
        "cost_center": project.cost_center,
        "currency": project.currency,
        "person_code": card.person.code,
        "person_name": card.person.name,
        "worked_on": card.worked_on,
        "hours": card.hours,
        "rate": card.rate,
        "note": "",
    }
    return Record(
        ref=Ref(PSA, "time_entry", card.id, "source"),
        version="/".join((project.code, card.person.code, card.worked_on.isoformat(), str(card.hours), str(card.rate))),
        changed_at=card.approved_at,
        data=data | dict(changes),
    )


def billing(bill: Bill, invoice_date: date, changes: Mapping[str, Any]) -> Message:
    """The billing request of cards that were approved together, dated as on the day it was sent."""
    message = _carry(BILLING, [card_record(card, changes) for card in bill.cards])
    payload = message.payload.model_copy(update={"invoice_date": invoice_date})
    return Message(**(vars(message) | {"payload": payload}))


def conversion(deal: Opportunity) -> Message:
    """The won deal, as CRM gives it."""
    customer = deal.customer
    data = {
        "number": deal.number,
        "name": deal.name,
        "customer": {
            "code": customer.crm,
            "name": customer.name,
            "tax_id": customer.tax_id,
            "currency": customer.currency,
            "legal_entity": customer.seller,
        },
        "amount": deal.amount,
        "currency": deal.currency,
        "legal_entity": deal.entity,
        "service_line": deal.service_line,
        "owner": deal.owner,
        "closed_on": deal.closed_at.date(),
    }
    record = Record(
        ref=Ref(CRM, "opportunity", deal.number, "source", deal.name),
        version=deal.closed_at.isoformat(),
        changed_at=deal.closed_at,
        data=data,
        refs=(Ref(CRM, "customer", customer.crm, "customer", customer.name),),
    )
    return _carry(CONVERSION, [record])


def status(invoice: Invoice, state: str, open_amount: Decimal, paid_on: date | None, moment: datetime) -> Message:
    """Where the invoice stood at a moment, as the sandbox ERP gives it."""
    project = invoice.bill.project
    data = {
        "invoice_number": invoice.number,
        "project_codes": [project.code],
        "customer_code": invoice.customer_erp,
        "legal_entity": project.entity,
        "total": invoice.total,
        "open_amount": open_amount,
        "currency": invoice.currency,
        "state": state,
        "issued_on": invoice.invoice_date,
        "due_on": invoice.due_on,
        "paid_on": paid_on,
    }
    record = Record(
        ref=Ref(ERP, "invoice", invoice.number, "source"),
        version=moment.isoformat(),
        changed_at=moment,
        data=data,
        refs=(
            Ref(ERP, "customer", invoice.customer_erp, "customer", project.customer.name),
            Ref(ERP, "dimension", project.code, "project", project.name),
        ),
    )
    return _carry(STATUS, [record])
