"""Invoice and payment status → CRM and PSA: sales and delivery see what accounting knows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from pydantic import ValidationError

from integrations.canonical import InvoiceStatus
from integrations.connectors.ports import CRM, ERP, PSA, Record, Ref
from integrations.errors import Permanent
from integrations.flows.base import (
    Collected,
    Flow,
    Message,
    Posted,
    Problem,
    Step,
    Systems,
    Taken,
    problem,
    timed,
    untaken,
)


class InvoiceStatusFlow(Flow):
    """One message per change of an invoice; an older one arriving late is harmless."""

    key = "invoice-status"
    label = "Invoice and payment status → CRM, PSA"
    owner = "finance"
    criticality = "normal"
    pattern = "event"
    source = "erp"
    targets = ("psa", "crm")
    message: ClassVar[type[InvoiceStatus]] = InvoiceStatus
    latency_objective = timedelta(minutes=15)

    def collect(self, systems: Systems, cursor: str | None, taken: Taken) -> Collected:
        """Invoices whose state or open amount changed."""
        erp: ERP = systems["erp"]
        page = erp.changed_invoices(cursor)
        messages: list[Message] = []
        problems: list[Problem] = []
        for record in untaken(page.records, taken):
            try:
                payload = InvoiceStatus.model_validate(record.data)
            except ValidationError as error:
                problems.append(problem(record, error))
                continue
            messages.append(_message(record, payload))
        return Collected(messages, page.cursor, problems, page.more)

    def post(self, systems: Systems, payload: InvoiceStatus, key: str, step: Step) -> Posted:
        """Write to every project, and to the opportunity it came from when there is one."""
        crm: CRM = systems["crm"]
        psa: PSA = systems["psa"]
        written: list[Ref] = []
        sent = payload.model_dump(mode="json")
        for code in payload.project_codes:
            project = psa.find_project(code)
            if project is None:
                message = f"Invoice {payload.invoice_number} names project {code}, which PSA does not have."
                raise Permanent(psa.system, message, code="UNKNOWN_PROJECT")
            ref, took = timed(lambda code=code: psa.write_project_status(code, payload))  # type: ignore[misc]
            written.append(ref)
            step("status.written", system=psa.system, refs=[ref], sent=sent, latency_ms=took)
            number = str(project.data.get("opportunity") or "")
            if number:
                ref, took = timed(lambda number=number: crm.write_invoice_status(number, payload))  # type: ignore[misc]
                written.append(ref)
                step("status.written", system=crm.system, refs=[ref], sent=sent, latency_ms=took)
        answer: dict[str, Any] = {"written": [f"{ref.system}/{ref.type}/{ref.id}" for ref in written]}
        return Posted(refs=tuple(written), reference=payload.invoice_number, answer=answer)

    def look_up(self, systems: Systems, payload: InvoiceStatus, key: str) -> Posted | None:
        """Never: writing the same status again changes nothing."""
        return None


def _message(record: Record, payload: InvoiceStatus) -> Message:
    lane = f"invoice/{payload.invoice_number}"
    return Message(
        key=f"{lane}/{payload.state}/{payload.open_amount}/{record.changed_at:%Y%m%dT%H%M%S%f}",
        lane=lane,
        payload=payload,
        refs=(Ref(record.ref.system, "invoice", payload.invoice_number, "subject"), *record.refs),
        amount=payload.total,
        currency=payload.currency,
        entity=payload.legal_entity,
        occurred_at=record.changed_at,
        sources=(record.source,),
    )


FLOW = InvoiceStatusFlow()
