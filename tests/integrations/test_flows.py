"""How flows read: nothing lost, nothing carried twice, each problem shown once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import time_machine

from integrations import flows as folder
from integrations.canonical import BillingRequest, Customer
from integrations.connectors import connect
from integrations.errors import Misconfigured, Permanent, Transient
from integrations.flows import Flow, flows, idempotency_key
from integrations.flows.base import business_part
from opsboard.stack.live_firm import month
from tests.integrations.contract import Book, key_of
from tests.integrations.firms import TODAY, SandboxFirm


@pytest.fixture
def firm(tmp_path: Path) -> SandboxFirm:
    return SandboxFirm(tmp_path / "sandbox.sqlite")


@pytest.fixture
def book() -> Book:
    return Book()


def test_every_file_with_a_flow_is_found() -> None:
    files = {path.stem for path in Path(folder.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert {key.replace("-", "_") for key in flows()} == files


@pytest.mark.parametrize("flow", flows().values(), ids=lambda flow: flow.key)
def test_every_flow_says_what_a_catalogue_needs(flow: Flow) -> None:
    assert flow.label
    assert flow.__doc__
    assert flow.owner in {"finance", "pmo", "sales_ops", "hr_ops", "platform"}
    assert flow.roles[0] == flow.source
    assert flow.source not in flow.targets
    assert flow.latency_objective.total_seconds() > 0
    assert flow.message.model_json_schema()["properties"]


def test_an_entry_changed_after_it_was_billed_is_shown_and_not_billed_again(firm: SandboxFirm, book: Book) -> None:
    project = firm.project_with_time("good", [4])
    flow = flows()["time-to-billing"]
    (message,) = book.collect(flow, firm, f"project/{project}")
    entry = message.payload.entries[0]  # type: ignore[attr-defined]
    firm.world.set_time_entry(entry, hours=Decimal(6))
    collected = flow.collect(firm.systems, None, book.taken)
    assert collected.messages == []
    (problem,) = collected.problems
    assert problem.ref.id == entry
    assert "after it had been billed" in problem.reason
    assert problem.raw["hours"] == "6"
    book.sources.update(problem.sources)
    assert flow.collect(firm.systems, None, book.taken).problems == []


def test_a_note_that_changes_is_not_a_change_of_what_is_billed(firm: SandboxFirm, book: Book) -> None:
    project = firm.project_with_time("good", [4])
    flow = flows()["time-to-billing"]
    (message,) = book.collect(flow, firm, f"project/{project}")
    firm.world.set_time_entry(message.payload.entries[0], note="typo")  # type: ignore[attr-defined]
    collected = flow.collect(firm.systems, None, book.taken)
    assert (collected.messages, collected.problems) == ([], [])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hours": None}, "has no hours"),
        ({"rate": None}, "has no rate"),
        ({"rate": Decimal(0)}, "rate: Input should be greater than 0"),
        ({"person_code": ""}, "has no person code"),
        ({"project": "P-404"}, "has no project name"),
    ],
)
def test_an_entry_that_cannot_be_billed_is_named_and_holds_up_no_other(
    firm: SandboxFirm, book: Book, changes: dict[str, Any], reason: str
) -> None:
    project = firm.project_with_time("good", [4, 6])
    flow = flows()["time-to-billing"]
    entry = firm.systems["psa"].approved_time(None).records[0].ref.id
    firm.world.set_time_entry(entry, **changes)
    collected = flow.collect(firm.systems, None, book.taken)
    (problem,) = collected.problems
    assert problem.ref.id == entry
    assert reason in problem.reason
    assert [message.amount for message in collected.messages] == [Decimal(900)]
    book.sources.update(problem.sources)
    firm.world.set_time_entry(entry, project=project, hours=Decimal(4), rate=Decimal(100), person_code="E-9")
    repaired = flow.collect(firm.systems, None, book.taken)
    assert repaired.problems == []
    assert Decimal(400) in {line.amount for one in repaired.messages for line in one.payload.lines}  # type: ignore[attr-defined]


def test_entries_are_summed_per_project_month_person_and_rate(firm: SandboxFirm, book: Book) -> None:
    first, second = firm.project_with_time("good", [4, 2, 4]), firm.project_with_time("good", [1])
    old = firm.project_with_time("closed_period", [3])
    collected = flows()["time-to-billing"].collect(firm.systems, None, book.taken)
    lanes = {message.lane: message for message in collected.messages}
    assert set(lanes) == {f"project/{code}" for code in (first, second, old)}
    payload = lanes[f"project/{first}"].payload
    assert isinstance(payload, BillingRequest)
    assert [(line.person_code, line.hours) for line in payload.lines] == [("E-0", Decimal(8)), ("E-1", Decimal(2))]
    assert payload.invoice_date == month(TODAY) - timedelta(days=1)
    assert lanes[f"project/{old}"].key.split("/")[2] == f"{month(TODAY, 2):%Y-%m}"


def test_invoices_are_not_dated_ahead(firm: SandboxFirm, book: Book) -> None:
    project = firm.project_with_time("good", [4])
    last = month(TODAY, 1)
    with time_machine.travel(datetime(last.year, last.month, 15, tzinfo=UTC), tick=False):
        collected = flows()["time-to-billing"].collect(firm.systems, None, book.taken)
    (message,) = [one for one in collected.messages if one.lane == f"project/{project}"]
    assert message.payload.invoice_date == last.replace(day=15)  # type: ignore[attr-defined]


def test_a_deal_without_its_terms_is_a_problem_until_sales_adds_them(firm: SandboxFirm, book: Book) -> None:
    number = firm.win("Delta")
    firm.world.set_opportunity(number, amount="0", currency="usd")
    flow = flows()["opportunity-to-project"]
    collected = flow.collect(firm.systems, None, book.taken)
    assert collected.messages == []
    (problem,) = collected.problems
    assert "amount: Input should be greater than 0" in problem.reason
    assert "currency" in problem.reason
    book.sources.update(problem.sources)
    firm.world.set_opportunity(number, amount="1000", currency="USD")
    (message,) = book.collect(flow, firm, f"opportunity/{number}")
    assert message.amount == 1000
    firm.world.set_opportunity(number, owner="somebody else")
    assert book.collect(flow, firm, f"opportunity/{number}") == []


def test_a_deal_without_a_practice_is_refused_by_psa_and_leaves_one_customer(firm: SandboxFirm, book: Book) -> None:
    number = firm.win("Delta")
    firm.world.set_opportunity(number, service_line="")
    flow = flows()["opportunity-to-project"]
    (message,) = book.collect(flow, firm, f"opportunity/{number}")
    for _attempt in range(2):
        with pytest.raises(Permanent, match="pse__Practice__c"):
            flow.post(firm.systems, message.payload, key_of(flow, message), book.step)
    assert book.steps == ["customer.created", "customer.found"]
    fixed = message.payload.model_copy(update={"service_line": "Consulting"})
    flow.post(firm.systems, fixed, idempotency_key(flow.key, message.key, fixed), book.step)
    assert book.steps[2:] == ["customer.found", "project.created"]


def test_a_busy_target_has_written_nothing(firm: SandboxFirm, book: Book) -> None:
    project = firm.project_with_time("good", [4])
    flow = flows()["time-to-billing"]
    (message,) = book.collect(flow, firm, f"project/{project}")
    key = key_of(flow, message)
    firm.world.fail_next("erp", "busy")
    with pytest.raises(Transient) as error:
        flow.post(firm.systems, message.payload, key, book.step)
    assert error.value.retry_after == 1
    assert firm.systems["erp"].find_invoices(business_part(key)) == []
    firm.world.fail_next("erp", "busy", after=1)  # the draft is there, posting is not possible now
    with pytest.raises(Transient):
        flow.post(firm.systems, message.payload, key, book.step)
    assert [one.state for one in firm.systems["erp"].find_invoices(business_part(key))] == ["draft"]
    flow.post(firm.systems, message.payload, key, book.step)
    assert book.steps == ["invoice.drafted", "invoice.posted"]


def test_a_refused_draft_that_cannot_be_deleted_is_replaced_later(firm: SandboxFirm, book: Book) -> None:
    project = firm.project_with_time("closed_period", [4])
    flow = flows()["time-to-billing"]
    (message,) = book.collect(flow, firm, f"project/{project}")
    key = key_of(flow, message)
    firm.systems["erp"].create_invoice(message.payload, key)
    firm.world.fail_next("erp", "busy", after=1)
    with pytest.raises(Permanent, match="accounting period"):  # the refusal, not the failed deletion
        flow.post(firm.systems, message.payload, key, book.step)
    assert book.steps == ["invoice.left"]
    moved = message.payload.model_copy(update={"invoice_date": TODAY})
    flow.post(firm.systems, moved, idempotency_key(flow.key, message.key, moved), book.step)
    (invoice,) = firm.systems["erp"].find_invoices(business_part(key))
    assert invoice.state == "posted"


class Slow:
    """An ERP where another worker acts right after our call of `method`."""

    def __init__(self, erp: Any, method: str, rival: Any) -> None:
        self.erp, self.method, self.rival = erp, method, rival

    def __getattr__(self, name: str) -> Any:
        def call(*values: Any) -> Any:
            if name == self.method == "post_invoice":
                self.rival()
            result = getattr(self.erp, name)(*values)
            if name == self.method == "create_invoice":
                self.rival()
            return result

        return call if name == self.method else getattr(self.erp, name)


def test_of_two_workers_with_the_same_business_one_gives_way(firm: SandboxFirm, book: Book) -> None:
    project = firm.project_with_time("good", [4])
    flow = flows()["time-to-billing"]
    (message,) = book.collect(flow, firm, f"project/{project}")
    key = key_of(flow, message)
    erp = firm.systems["erp"]
    other = key.rpartition("#")[0] + "#corrected"  # its rival carries a corrected payload
    firm.systems["erp"] = Slow(erp, "create_invoice", lambda: erp.create_invoice(message.payload, other))
    with pytest.raises(Transient, match="gave way"):
        flow.post(firm.systems, message.payload, key, book.step)
    assert [one.key for one in erp.find_invoices(business_part(key))] == [other]
    firm.systems["erp"] = erp
    flow.post(firm.systems, message.payload, key, book.step)
    assert [(one.key, one.state) for one in erp.find_invoices(business_part(key))] == [(key, "posted")]


def test_a_draft_that_another_worker_posted_first_is_taken_as_posted(firm: SandboxFirm, book: Book) -> None:
    project = firm.project_with_time("good", [4])
    flow = flows()["time-to-billing"]
    (message,) = book.collect(flow, firm, f"project/{project}")
    key = key_of(flow, message)
    erp = firm.systems["erp"]
    draft = erp.create_invoice(message.payload, key)
    firm.systems["erp"] = Slow(erp, "post_invoice", lambda: erp.post_invoice(draft.id, TODAY))
    posted = flow.post(firm.systems, message.payload, key, book.step)
    (invoice,) = erp.find_invoices(business_part(key))
    assert invoice.number == posted.reference


def test_the_key_is_made_from_business_and_content() -> None:
    one = Customer(code="C-1", name="Aldermoor", currency="USD", legal_entity="US01")
    two = one.model_copy(update={"name": "Aldermoor Bank"})
    first, second = idempotency_key("f", "project/P-1", one), idempotency_key("f", "project/P-1", two)
    assert first == idempotency_key("f", "project/P-1", one)
    assert first != second
    assert business_part(first) == business_part(second) == "f:project/P-1#"


def test_a_status_for_a_project_that_psa_does_not_have_is_refused(firm: SandboxFirm, book: Book) -> None:
    project = firm.project_with_time("good", [4])
    billing, status = flows()["time-to-billing"], flows()["invoice-status"]
    (message,) = book.collect(billing, firm, f"project/{project}")
    number = billing.post(firm.systems, message.payload, key_of(billing, message), book.step).reference
    (told,) = book.collect(status, firm, f"invoice/{number}")
    lost = told.payload.model_copy(update={"project_codes": ("P-404",)})
    with pytest.raises(Permanent, match="P-404"):
        status.post(firm.systems, lost, "key", book.step)


def test_a_connection_that_cannot_be_built_says_why() -> None:
    with pytest.raises(Misconfigured, match="role"):
        connect({"connector": "sandbox"})
    with pytest.raises(Misconfigured, match="no connector 'nowhere'"):
        connect({"connector": "nowhere", "role": "crm"})
    with pytest.raises(Misconfigured, match="lacks 'path'"):
        connect({"connector": "sandbox", "role": "crm"})
    with pytest.raises(Misconfigured, match="names no connector"):
        connect({"connector": "../os", "role": "crm"})
