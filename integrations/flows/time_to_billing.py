"""Approved time → ERP billing: hours of a project and month become one posted invoice."""

from __future__ import annotations

import calendar
import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, ClassVar

from pydantic import ValidationError

from integrations.canonical import BillingRequest
from integrations.connectors.ports import ERP, PSA, FoundInvoice, Record, Ref
from integrations.errors import IntegrationError, Permanent, Transient
from integrations.flows.base import (
    Collected,
    Flow,
    Message,
    Posted,
    Problem,
    Step,
    Systems,
    Taken,
    business_part,
    problem,
    timed,
    today,
    untaken,
)

CENT = Decimal("0.01")
HEADER = ("project_code", "customer_code", "customer_tax_id", "legal_entity", "cost_center", "currency")
NEEDED = (
    *("project_code", "project_name", "customer_code", "legal_entity", "currency"),
    *("person_code", "person_name", "worked_on", "hours", "rate"),
)


class TimeToBilling(Flow):
    """A time entry is billed once; late entries of a month make a supplementary invoice."""

    key = "time-to-billing"
    label = "Approved time → billing"
    owner = "finance"
    criticality = "critical"
    pattern = "event"
    source = "psa"
    targets = ("erp",)
    message: ClassVar[type[BillingRequest]] = BillingRequest
    latency_objective = timedelta(hours=24)
    finance_critical = True

    def collect(self, systems: Systems, cursor: str | None, taken: Taken) -> Collected:
        """One message per project and month; one problem per entry unfit to bill."""
        psa: PSA = systems["psa"]
        page = psa.approved_time(cursor)
        records = untaken(page.records, taken)
        carried = taken([record.identity for record in records])
        groups: dict[tuple[str, ...], list[Record]] = defaultdict(list)
        problems: list[Problem] = []
        for record in records:
            reason = _unfit(record, record.identity in carried)
            if reason is not None:
                problems.append(problem(record, reason))
            else:
                groups[_group(record)].append(record)
        messages = [_message(group) for group in groups.values()]
        return Collected(messages, page.cursor, problems, page.more)

    def check(self, systems: Systems, payload: BillingRequest) -> list[str]:
        """What ERP says against the invoice today."""
        erp: ERP = systems["erp"]
        return erp.check(payload)

    def post(self, systems: Systems, payload: BillingRequest, key: str, step: Step) -> Posted:
        """Find by key, else draft; then post. A refused draft is taken back: only posted ones remain."""
        erp: ERP = systems["erp"]
        customer = erp.find_customer(payload.customer_code, payload.customer_tax_id)
        refs = (customer.ref,) if customer is not None else ()
        existing, took = timed(lambda: erp.find_invoices(business_part(key)))
        draft = self._own_draft(erp, payload, existing, key, step)
        if draft is not None and draft.state != "draft":
            step("invoice.found", system=erp.system, refs=[_ref(erp, draft)], latency_ms=took)
            return _posted(erp, payload, draft, refs)
        draft = draft or self._new_draft(erp, payload, key, step)
        return _posted(erp, payload, self._release(erp, payload, draft, step), refs)

    def look_up(self, systems: Systems, payload: BillingRequest, key: str) -> Posted | None:
        """The invoice of this business key when it was posted; a draft has to be posted again."""
        erp: ERP = systems["erp"]
        invoice = next((one for one in erp.find_invoices(business_part(key)) if one.state != "draft"), None)
        if invoice is None:
            return None
        _refuse_other_content(erp, payload, invoice, key)
        customer = erp.find_customer(payload.customer_code, payload.customer_tax_id)
        return _posted(erp, payload, invoice, (customer.ref,) if customer is not None else ())

    def _own_draft(
        self, erp: ERP, payload: BillingRequest, existing: Sequence[FoundInvoice], key: str, step: Step
    ) -> FoundInvoice | None:
        """What ERP has under the business key: the posted invoice, this version's draft, or nothing."""
        posted = next((one for one in existing if one.state != "draft"), None)
        if posted is not None:
            _refuse_other_content(erp, payload, posted, key)
        own: FoundInvoice | None = posted
        for one in existing:
            if one.state == "draft" and one.key == key and own is None:
                own = one
            elif one.state == "draft":
                erp.discard_invoice(one.id)
                step("invoice.discarded", system=erp.system, answer={"id": one.id, "reference": one.key})
        return own

    def _new_draft(self, erp: ERP, payload: BillingRequest, key: str, step: Step) -> FoundInvoice:
        """Create the draft, then look whether somebody else did meanwhile: who sees another gives way.

        Of two that create at once at least one sees the other, so at most one draft goes on to be posted.
        """
        sent = payload.model_dump(mode="json") | {"reference": key}
        try:
            created, took = timed(lambda: erp.create_invoice(payload, key))
        except Permanent as error:
            if erp.find_invoices(business_part(key)):  # a duplicate, refused: another worker was faster
                raise _gave_way(erp) from error
            raise
        answer = {"id": created.id, "state": created.state, "total": str(created.total)}
        step("invoice.drafted", system=erp.system, sent=sent, answer=answer, latency_ms=took)
        if any(one.id != created.id for one in erp.find_invoices(business_part(key))):
            _take_back(erp, created, step)
            raise _gave_way(erp)
        return created

    def _release(self, erp: ERP, payload: BillingRequest, draft: FoundInvoice, step: Step) -> FoundInvoice:
        """Post the draft; what is refused for good is deleted again before the refusal is passed on."""
        try:
            posted, took = timed(lambda: erp.post_invoice(draft.id, payload.invoice_date))
        except Permanent:
            after = next((one for one in erp.find_invoices(draft.key) if one.id == draft.id), None)
            if after is not None and after.state != "draft":
                return after  # refused because another worker had posted it already
            _take_back(erp, draft, step)
            raise
        answer = {"number": posted.number, "total": str(posted.total), "currency": posted.currency}
        step("invoice.posted", system=erp.system, refs=[_ref(erp, posted)], answer=answer, latency_ms=took)
        return posted


def _gave_way(erp: ERP) -> Transient:
    return Transient(erp.system, "The same time is being billed by another worker; this one gave way.", "GAVE_WAY")


def _take_back(erp: ERP, draft: FoundInvoice, step: Step) -> None:
    """Delete a draft; one that cannot be deleted now is deleted by the next posting of the same business."""
    answer = {"id": draft.id, "reference": draft.key}
    try:
        erp.discard_invoice(draft.id)
    except IntegrationError as error:
        step("invoice.left", system=erp.system, answer=answer | {"why": error.message})
    else:
        step("invoice.discarded", system=erp.system, answer=answer)


def _refuse_other_content(erp: ERP, payload: BillingRequest, invoice: FoundInvoice, key: str) -> None:
    """An invoice of the same business, posted with other content, is never billed over."""
    same = (invoice.total, invoice.currency) == (payload.total, payload.currency)
    if invoice.key != key and not same:
        message = f"This time was already billed as {invoice.number}: {invoice.total} {invoice.currency}."
        raise Permanent(erp.system, message, code="ALREADY_BILLED")


def _unfit(record: Record, carried: bool) -> str | ValidationError | None:
    """Why an entry cannot be billed, or None."""
    if carried:
        return f"Time entry {record.ref.id} was changed after it had been billed; credit and bill it by hand."
    missing = [name for name in NEEDED if record.data.get(name) in (None, "")]
    if missing:
        return f"Time entry {record.ref.id} has no {', '.join(name.replace('_', ' ') for name in missing)}."
    try:
        _message([record])
    except ValidationError as error:
        return error
    except (TypeError, InvalidOperation):
        return f"Time entry {record.ref.id} has hours or a rate that are not numbers."
    return None


def _group(record: Record) -> tuple[str, ...]:
    return (*(str(record.data[name]) for name in HEADER), _period(record))


def _period(record: Record) -> str:
    worked_on: date = record.data["worked_on"]
    return f"{worked_on:%Y-%m}"


def _invoice_date(period: str) -> date:
    """Last day of the month worked, or today when that is earlier: invoices are not dated ahead."""
    year, month = int(period[:4]), int(period[5:])
    return min(date(year, month, calendar.monthrange(year, month)[1]), today())


def _lines(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Hours summed per person and rate."""
    groups: dict[tuple[str, str, Decimal], list[Record]] = defaultdict(list)
    for record in records:
        data = record.data
        groups[(data["person_code"], data["person_name"], Decimal(data["rate"]))].append(record)
    lines = []
    for (code, name, rate), entries in sorted(groups.items()):
        hours = sum((Decimal(entry.data["hours"]) for entry in entries), Decimal(0))
        amount = (hours * rate).quantize(CENT, ROUND_HALF_UP)
        ids = [entry.ref.id for entry in entries]
        lines.append(
            {
                "person_code": code,
                "person_name": name,
                "hours": hours,
                "rate": rate,
                "amount": amount,
                "entries": ids,
            }
        )
    return lines


def _message(records: Sequence[Record]) -> Message:
    """The message for entries of one project and month. Raises ValidationError."""
    first: Mapping[str, Any] = records[0].data
    period = _period(records[0])
    header = {name: first[name] for name in HEADER}
    payload = BillingRequest.model_validate(
        header
        | {
            "project_name": first["project_name"],
            "period": period,
            "invoice_date": _invoice_date(period),
            "lines": _lines(records),
        }
    )
    digest = hashlib.sha256("\n".join(sorted(record.identity for record in records)).encode()).hexdigest()[:8]
    lane = f"project/{payload.project_code}"
    system = records[0].ref.system
    return Message(
        key=f"{lane}/{period}/{digest}",
        lane=lane,
        payload=payload,
        refs=(
            Ref(system, "billing_request", f"{payload.project_code}/{period}/{digest}", "subject", _name(payload)),
            Ref(system, "project", payload.project_code, "project", payload.project_name),
            Ref(system, "customer", payload.customer_code, "customer", str(first.get("customer_name", ""))),
            *(Ref(system, "time_entry", record.ref.id, "source") for record in records),
        ),
        amount=payload.total,
        currency=payload.currency,
        entity=payload.legal_entity,
        occurred_at=_latest(records),
        sources=tuple(source for record in records for source in (record.source, record.identity)),
    )


def _name(payload: BillingRequest) -> str:
    """What people call it: "Atlas rollout, Oct 2026"."""
    return f"{payload.project_name}, {calendar.month_abbr[int(payload.period[5:])]} {payload.period[:4]}"


def _latest(records: Sequence[Record]) -> datetime:
    return max(record.changed_at for record in records)


def _ref(erp: ERP, invoice: FoundInvoice) -> Ref:
    return Ref(erp.system, "invoice", invoice.number or invoice.id, "created")


def _posted(erp: ERP, payload: BillingRequest, invoice: FoundInvoice, refs: tuple[Ref, ...]) -> Posted:
    answer = {
        "id": invoice.id,
        "number": invoice.number,
        "state": invoice.state,
        "total": str(invoice.total),
        "currency": invoice.currency,
    }
    return Posted(refs=(_ref(erp, invoice), *refs), reference=invoice.number, answer=answer)


FLOW = TimeToBilling()
