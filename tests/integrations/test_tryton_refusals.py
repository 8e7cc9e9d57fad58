"""What only a real system can prove: rights, locks, lost sessions, and rules nobody here wrote."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from integrations.canonical import Customer
from integrations.connectors import connect
from integrations.connectors.tryton_rpc import TrytonRpc
from integrations.errors import IntegrationError, Misconfigured, Permanent, Transient
from integrations.flows import flows
from integrations.flows.base import business_part
from opsboard.stack import live, live_firm
from tests.integrations.contract import Book, key_of
from tests.integrations.firms import TODAY, TrytonFirm
from tests.live import Entries

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def firm(live_systems: Entries) -> TrytonFirm:
    """One firm for all stories."""
    return TrytonFirm(live_systems)


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def billing(firm: TrytonFirm, book: Book) -> tuple[Any, str]:
    """A billing message ready to post, and its key."""
    project = firm.project_with_time("good", [4])
    flow = flows()["time-to-billing"]
    (message,) = book.collect(flow, firm, f"project/{project}")
    return message, key_of(flow, message)


def test_the_same_customer_has_other_numbers_and_one_tax_identifier(firm: TrytonFirm) -> None:
    customer = live_firm.CUSTOMERS[0]
    found = firm.systems["erp"].find_customer(customer.psa, customer.tax_id)
    assert found.ref.id == customer.erp
    assert len({customer.crm, customer.psa, customer.erp}) == 3
    nameless = Customer(code="A-9", name="Nobody", currency="USD", legal_entity=live_firm.ENTITY)
    with pytest.raises(Permanent, match="tax identifier"):
        firm.systems["erp"].create_customer(nameless, "key")


def test_a_user_without_rights_is_the_platforms_problem(firm: TrytonFirm, billing: tuple[Any, str]) -> None:
    message, key = billing
    entry = firm.entries["live-erp"]
    live_firm.add_user(firm.admin["erp"], "clerk", "clerk-of-works-1", (), live_firm.known(firm.admin["erp"]).company)
    clerk: Any = connect(entry | {"login": "clerk", "password": "clerk-of-works-1"}, "live-erp")
    with pytest.raises(Misconfigured, match='not allowed to access "Account Invoice"') as error:
        clerk.create_invoice(message.payload, key)
    assert error.value.code == "AccessError"
    assert firm.systems["erp"].find_invoices(business_part(key)) == []


def test_a_wrong_password_is_the_platforms_problem(firm: TrytonFirm) -> None:
    stranger = connect(firm.entries["live-crm"] | {"password": "not-the-password"}, "live-crm")
    with pytest.raises(Misconfigured, match="login of opsboard was refused"):
        stranger.ping()


def test_a_server_that_is_away_has_written_nothing(firm: TrytonFirm, billing: tuple[Any, str]) -> None:
    message, key = billing
    away: Any = connect(firm.entries["live-erp"] | {"url": f"http://127.0.0.1:{live.free_port()}"}, "live-erp")
    with pytest.raises(Transient, match="cannot be reached"):
        away.create_invoice(message.payload, key)


def test_an_ended_session_is_opened_again(firm: TrytonFirm) -> None:
    psa: Any = connect(firm.entries["live-psa"], "live-psa")
    before = psa.find_project("P-0001")
    users = firm.admin["psa"].search_read("res.user", [["login", "=", "opsboard"]], ["login"])
    end_sessions(firm, users[0]["id"])
    assert psa.find_project("P-0001") == before


def end_sessions(firm: TrytonFirm, user: int) -> None:
    """End every session of a user, as Tryton's clean-up does."""
    with database(firm, "psa") as connection:
        connection.execute("DELETE FROM ir_session WHERE create_uid = %s", [user])


def database(firm: TrytonFirm, role: str) -> psycopg.Connection[Any]:
    """A connection to the database behind a system, for what no user of it could do."""
    name = firm.entries[f"live-{role}"]["database"]
    return psycopg.connect(live.database_uri(os.environ["DATABASE_URL"], name))


def test_a_locked_number_sequence_is_transient_and_the_repetition_posts_once(
    firm: TrytonFirm, book: Book, billing: tuple[Any, str]
) -> None:
    message, key = billing
    flow = flows()["time-to-billing"]
    with database(firm, "erp") as connection:  # another posting that takes its time
        connection.execute("SELECT * FROM ir_sequence_strict FOR UPDATE")
        with pytest.raises(Transient, match="could not obtain lock") as error:
            flow.post(firm.systems, message.payload, key, book.step)
        assert error.value.http_status == 503
        connection.rollback()
    assert [one.state for one in firm.systems["erp"].find_invoices(business_part(key))] == ["draft"]
    flow.post(firm.systems, message.payload, key, book.step)
    (invoice,) = firm.systems["erp"].find_invoices(business_part(key))
    assert invoice.state == "posted"
    assert book.steps == ["invoice.drafted", "invoice.posted"]


def test_simultaneous_posts_end_in_one_invoice_each(firm: TrytonFirm, book: Book) -> None:
    flow = flows()["time-to-billing"]
    mine = []
    for _number in range(3):
        project = firm.project_with_time("good", [2])
        mine += book.collect(flow, firm, f"project/{project}")
    refusals: list[IntegrationError] = []

    def post(message: Any) -> None:
        for _attempt in range(20):
            try:
                flow.post(firm.systems, message.payload, key_of(flow, message), book.step)
            except Transient as error:
                refusals.append(error)
            else:
                return

    threads = [threading.Thread(target=post, args=(message,)) for message in mine]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = []
    for message in mine:
        (invoice,) = firm.systems["erp"].find_invoices(business_part(key_of(flow, message)))
        assert (invoice.state, invoice.total) == ("posted", Decimal(300))
        numbers.append(invoice.number)
    assert len(set(numbers)) == len(mine) == 3
    assert {error.http_status for error in refusals} <= {503}


def test_a_number_that_exists_is_refused(firm: TrytonFirm) -> None:
    with pytest.raises(Permanent, match="The code on party must be unique"):
        firm.admin["erp"].create("party.party", [{"name": "Twin", "code": live_firm.CUSTOMERS[0].erp}])


def test_an_unknown_customer_is_refused_by_the_database(firm: TrytonFirm, billing: tuple[Any, str]) -> None:
    message, _key = billing
    erp = firm.systems["erp"]
    party = firm.one("erp", "party.party", [["code", "=", live_firm.CUSTOMERS[0].erp]])["id"]
    values = erp._header(message.payload, party) | {"party": 999_999}
    with pytest.raises(Permanent, match='"999999" for field "Party" in "Account Invoice" does not exist'):
        erp.rpc.create("account.invoice", [values])


def test_released_time_is_frozen(firm: TrytonFirm) -> None:
    project = firm.project_with_time("good", [4])
    domain = [["invoice_line", "!=", None]]
    line = firm.admin["psa"].search_read("timesheet.line", domain, ["id"], order=[["id", "DESC"]], limit=1)[0]["id"]
    with pytest.raises(Permanent, match="because it has been invoiced"):
        firm.admin["psa"].delete("timesheet.line", [line])
    assert project


def test_time_is_not_approved_before_it_is_released(firm: TrytonFirm) -> None:
    waiting = next(one for one in live_firm.PROJECTS if not one.released)
    names = {record.data["project_name"] for record in firm.systems["psa"].approved_time(None).records}
    assert waiting.name not in names
    assert {one.name for one in live_firm.PROJECTS if one.released} <= names


def test_a_date_ahead_is_a_question_that_a_person_must_answer(firm: TrytonFirm, billing: tuple[Any, str]) -> None:
    message, key = billing
    ahead = message.payload.model_copy(update={"invoice_date": live_firm.month(TODAY, -2)})
    with pytest.raises(Permanent, match="invoice date in the future") as error:
        flows()["time-to-billing"].post(firm.systems, ahead, key, Book().step)
    assert error.value.code == "UserWarning"


def test_a_mistake_of_ours_is_the_platforms_problem(firm: TrytonFirm) -> None:
    rpc: TrytonRpc = firm.systems["erp"].rpc
    with pytest.raises(Misconfigured) as error:
        rpc.search_read("account.invoice", [["nonsense", "=", 1]], ["id"])
    assert error.value.code == "ServerError"
    with pytest.raises(Misconfigured) as error:
        rpc.call("model.account.invoice.no_such_method", [1])
    assert error.value.http_status == 403


@pytest.fixture(scope="module", autouse=True)
def closing(firm: TrytonFirm) -> Iterator[None]:
    """Close what the stories opened."""
    yield
    for system in firm.systems.values():
        system.close()
