"""What every world must do, simulated or real. Collected by test_sandbox_contract and test_tryton_contract."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeVar

import pytest

from integrations.canonical import BillingLine, BillingRequest, InvoiceStatus, WonOpportunity
from integrations.canonical.base import Canonical
from integrations.errors import Permanent, Unknown
from integrations.flows import Flow, Message, flows, idempotency_key
from integrations.flows.base import business_part
from tests.integrations.firms import Firm

CASES = ["closed_period", "missing_rate", "unknown_customer", "incomplete_customer"]


class Book:
    """What the application keeps: the sources that were taken, and the steps it was told."""

    def __init__(self) -> None:
        self.sources: set[str] = set()
        self.steps: list[str] = []

    def taken(self, ids: Any) -> set[str]:
        """Which of these sources were carried already."""
        return self.sources & set(ids)

    def step(self, kind: str, **details: Any) -> None:
        """Note a step."""
        assert details["system"]
        self.steps.append(kind)

    def collect(self, flow: Flow, firm: Firm, subject: str) -> list[Message]:
        """Everything new of a lane; messages and problems count as taken, as the application does it."""
        messages, cursor, more = [], None, True
        while more:
            collected = flow.collect(firm.systems, cursor, self.taken)
            cursor, more = collected.cursor, collected.more
            messages += collected.messages
            for message in collected.messages:
                self.sources.update(message.sources)
            for problem in collected.problems:
                self.sources.update(problem.sources)
        return [message for message in messages if message.lane == subject]


def key_of(flow: Flow, message: Message) -> str:
    """The idempotency key as the application makes it."""
    return idempotency_key(flow.key, message.key, message.payload)


class Contract:
    """The shared story. A subclass provides the fixture `firm`."""

    @pytest.fixture
    def book(self) -> Book:
        return Book()

    def one(self, firm: Firm, book: Book, project: str) -> tuple[Flow, Message, str]:
        """The one billing message of a project."""
        flow = flows()["time-to-billing"]
        (message,) = book.collect(flow, firm, f"project/{project}")
        return flow, message, key_of(flow, message)

    def test_a_won_deal_becomes_customer_and_project_once(self, firm: Firm, book: Book) -> None:
        number = firm.win("Harbour twin")
        flow = flows()["opportunity-to-project"]
        (message,) = book.collect(flow, firm, f"opportunity/{number}")
        assert message.amount == Decimal("48000")
        assert flow.check(firm.systems, message.payload) == []
        key = key_of(flow, message)
        assert flow.look_up(firm.systems, message.payload, key) is None
        posted = flow.post(firm.systems, message.payload, key, book.step)
        assert book.steps == ["customer.created", "project.created"]
        again = flow.post(firm.systems, message.payload, key, book.step)
        assert book.steps[2:] == ["customer.found", "project.found"]
        assert again.reference == posted.reference
        found = flow.look_up(firm.systems, message.payload, key)
        assert found is not None
        assert found.reference == posted.reference
        project = firm.systems["psa"].find_project(posted.reference)
        assert project.data["opportunity"] == number
        assert project.data["tasks"] == ["Discovery", "Delivery", "Hand-over"]
        assert book.collect(flow, firm, f"opportunity/{number}") == []
        buyer = _as(WonOpportunity, message).customer
        in_erp = firm.systems["erp"].find_customer("", buyer.tax_id)
        assert in_erp.ref.id != buyer.code  # every system numbers the same customer differently

    def test_approved_time_becomes_one_posted_invoice(self, firm: Firm, book: Book) -> None:
        project = firm.project_with_time("good", [4, 6, 2])
        flow, message, key = self.one(firm, book, project)
        assert message.amount == Decimal(12) * 150
        assert [line.hours for line in _as(BillingRequest, message).lines] == [Decimal(6), Decimal(6)]
        assert flow.check(firm.systems, message.payload) == []
        posted = flow.post(firm.systems, message.payload, key, book.step)
        assert book.steps == ["invoice.drafted", "invoice.posted"]
        assert flow.post(firm.systems, message.payload, key, book.step).reference == posted.reference
        assert book.steps[2:] == ["invoice.found"]
        invoices = firm.systems["erp"].find_invoices(business_part(key))
        assert [(one.number, one.total) for one in invoices] == [(posted.reference, Decimal(1800))]
        assert book.collect(flow, firm, f"project/{project}") == []

    def test_late_time_becomes_a_supplementary_invoice(self, firm: Firm, book: Book) -> None:
        project = firm.project_with_time("good", [4])
        flow, first, key = self.one(firm, book, project)
        flow.post(firm.systems, first.payload, key, book.step)
        firm.more_time(project, [3])
        flow, late, late_key = self.one(firm, book, project)
        assert late.amount == Decimal(450)
        assert late.lane == first.lane
        posted = flow.post(firm.systems, late.payload, late_key, book.step)
        assert posted.reference != firm.systems["erp"].find_invoices(business_part(key))[0].number

    @pytest.mark.parametrize("case", CASES)
    def test_a_refusal_stands_until_its_cause_is_gone(self, firm: Firm, book: Book, case: str) -> None:
        project = firm.project_with_time(case, [4, 6])
        flow, message, key = self.one(firm, book, project)
        for _attempt in range(2):
            with pytest.raises(Permanent) as refused:
                flow.post(firm.systems, message.payload, key, book.step)
            assert firm.words[case] in refused.value.message
            assert firm.systems["erp"].find_invoices(business_part(key)) == []
        assert len(flow.check(firm.systems, message.payload)) == 1
        assert flow.look_up(firm.systems, message.payload, key) is None
        firm.repair(case)
        assert flow.check(firm.systems, message.payload) == []
        posted = flow.post(firm.systems, message.payload, key, book.step)
        (invoice,) = firm.systems["erp"].find_invoices(business_part(key))
        assert (invoice.number, invoice.state, invoice.total) == (posted.reference, "posted", message.amount)

    def test_a_lost_answer_is_looked_up_not_sent_again(self, firm: Firm, book: Book) -> None:
        project = firm.project_with_time("good", [8])
        flow, message, key = self.one(firm, book, project)
        firm.lose_answer()
        with pytest.raises(Unknown):
            flow.post(firm.systems, message.payload, key, book.step)
        found = flow.look_up(firm.systems, message.payload, key)
        assert found is not None
        assert flow.post(firm.systems, message.payload, key, book.step).reference == found.reference
        (invoice,) = firm.systems["erp"].find_invoices(business_part(key))
        assert invoice.number == found.reference

    def test_the_same_business_is_never_billed_with_other_content(self, firm: Firm, book: Book) -> None:
        project = firm.project_with_time("good", [8])
        flow, message, key = self.one(firm, book, project)
        posted = flow.post(firm.systems, message.payload, key, book.step)
        payload = _as(BillingRequest, message)
        other = payload.model_copy(update={"lines": (_dearer(payload.lines[0]),)})
        with pytest.raises(Permanent, match=posted.reference):
            flow.post(firm.systems, other, idempotency_key(flow.key, message.key, other), book.step)
        renamed = payload.model_copy(update={"project_name": "Another name"})
        renamed_key = idempotency_key(flow.key, message.key, renamed)
        assert renamed_key != key
        assert flow.post(firm.systems, renamed, renamed_key, book.step).reference == posted.reference
        assert len(firm.systems["erp"].find_invoices(business_part(key))) == 1

    def test_a_draft_left_by_a_crash_is_replaced_by_the_corrected_one(self, firm: Firm, book: Book) -> None:
        project = firm.project_with_time("good", [8])
        flow, message, key = self.one(firm, book, project)
        firm.systems["erp"].create_invoice(message.payload, key)
        corrected = message.payload.model_copy(update={"project_name": "Corrected"})
        corrected_key = idempotency_key(flow.key, message.key, corrected)
        flow.post(firm.systems, corrected, corrected_key, book.step)
        assert book.steps == ["invoice.discarded", "invoice.drafted", "invoice.posted"]
        (invoice,) = firm.systems["erp"].find_invoices(business_part(key))
        assert invoice.key == corrected_key

    def test_sales_and_delivery_see_what_was_billed_and_paid(self, firm: Firm, book: Book) -> None:
        number = firm.win("Tidal model")
        deal_flow = flows()["opportunity-to-project"]
        (deal,) = book.collect(deal_flow, firm, f"opportunity/{number}")
        project = deal_flow.post(firm.systems, deal.payload, key_of(deal_flow, deal), book.step).reference
        billed = firm.project_with_time("good", [8])
        flow, message, key = self.one(firm, book, billed)
        payload = message.payload.model_copy(update={"project_code": project})
        invoice = flow.post(firm.systems, payload, key, book.step).reference
        (posted,) = self.statuses(firm, book, invoice)
        firm.pay(invoice, Decimal(500))
        (partly,) = self.statuses(firm, book, invoice)
        firm.pay(invoice, Decimal(700))
        (paid,) = self.statuses(firm, book, invoice)
        status = flows()["invoice-status"]
        for one in (posted, paid, partly):  # the last two arrive in the wrong order
            status.post(firm.systems, one.payload, key_of(status, one), book.step)
        assert firm.notes("crm", number) == [f"{invoice} paid 0.00"]
        assert firm.notes("psa", project) == [f"{invoice} paid 0.00"]
        amounts = [_as(InvoiceStatus, one).open_amount for one in (posted, partly, paid)]
        assert amounts == [1200, 700, 0]
        assert _as(InvoiceStatus, paid).paid_on is not None

    def statuses(self, firm: Firm, book: Book, invoice: str) -> list[Message]:
        """New status messages of an invoice."""
        return book.collect(flows()["invoice-status"], firm, f"invoice/{invoice}")

    def test_reading_in_small_pages_misses_nothing(
        self, firm: Firm, book: Book, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        psa = firm.systems["psa"]
        firm.project_with_time("good", [1] * 7)  # approved together: one stamp for all
        whole = [record.source for record in psa.approved_time(None).records]
        module = __import__(type(psa).__module__, fromlist=["PAGE"])
        monkeypatch.setattr(module, "PAGE", 3)
        pages, cursor, more = [], None, True
        while more:
            page = psa.approved_time(cursor)
            cursor, more = page.cursor, page.more
            pages += [record.source for record in page.records]
        assert pages == whole
        assert {record.source for record in psa.approved_time(cursor).records} <= set(whole)


Payload = TypeVar("Payload", bound=Canonical)


def _as(kind: type[Payload], message: Message) -> Payload:
    """The message's payload, which must be of this kind."""
    assert isinstance(message.payload, kind)
    return message.payload


def _dearer(line: BillingLine) -> BillingLine:
    return line.model_copy(update={"rate": line.rate + 1, "amount": line.amount + line.hours})
