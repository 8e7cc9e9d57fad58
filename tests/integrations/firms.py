"""One firm in two worlds: the sandbox and three real Tryton systems, with the hands to break and repair them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import httpx

from integrations.connectors import connect
from integrations.connectors.sandbox import World
from integrations.connectors.tryton import TrytonERP
from integrations.connectors.tryton_rpc import TrytonRpc
from opsboard.stack import live, live_firm
from opsboard.stack.live_firm import month

RATE = Decimal("150")
TODAY = datetime.now(UTC).date()


class Firm(Protocol):
    """What the contract tests need of a world. Cases: good, closed_period, missing_rate, unknown_customer,
    incomplete_customer; each but the first is refused by ERP until it is repaired.
    """

    systems: dict[str, Any]
    words: dict[str, str]

    def win(self, name: str) -> str:
        """A won deal with a customer that only CRM knows; its number."""

    def project_with_time(self, case: str, hours: Sequence[int]) -> str:
        """A project with approved time, one entry per item; its number."""

    def more_time(self, project: str, hours: Sequence[int]) -> None:
        """Approve more time in the same month."""

    def repair(self, case: str) -> None:
        """Remove the cause of a refusal, as a person at ERP would."""

    def lose_answer(self) -> None:
        """ERP does the next post of an invoice, but its answer is lost."""

    def pay(self, number: str, amount: Decimal) -> None:
        """Receive money for an invoice."""

    def notes(self, role: str, subject: str) -> list[str]:
        """What CRM or PSA shows about invoices at an opportunity or a project: "number state open"."""


class SandboxFirm:
    """The simulated world."""

    words = {
        "closed_period": "not within the date range of your accounting period",
        "missing_rate": "No exchange rate from CHF",
        "unknown_customer": "Invalid entity reference key",
        "incomplete_customer": "on credit hold",
    }

    def __init__(self, path: Path) -> None:
        config = {"connector": "sandbox", "path": str(path)}
        self.systems: dict[str, Any] = {role: connect(config | {"role": role}, f"demo-{role}") for role in live.ROLES}
        self.world = World(path)
        self.world.add_legal_entity("US01", "Opsboard Services LLC", "USD")
        self.world.open_period("US01", f"{TODAY:%Y-%m}")
        self.world.open_period("US01", f"{month(TODAY, 1):%Y-%m}")
        self.world.close_period("US01", f"{month(TODAY, 2):%Y-%m}")
        for case in ("good", "closed_period", "missing_rate", "incomplete_customer"):
            self.world.add_customer(f"C-{case}", f"Customer {case}", f"TAX-{case}", "USD", "US01")
        self.world.hold_customer("C-incomplete_customer", True)
        self._numbers = count(1)
        self._case: dict[str, str] = {}

    def win(self, name: str) -> str:
        number = f"OPP-{next(self._numbers)}"
        account = {"code": f"A-{number}", "name": f"Buyer of {name}", "tax_id": f"TAX-{number}"}
        deal = {"number": number, "name": name, "account": account["code"], "amount": Decimal("48000")}
        shared = {"currency": "USD", "entity": "US01"}
        self.world.load(
            crm_account=[account | shared],
            opportunity=[deal | shared | {"service_line": "Consulting", "closed_on": TODAY}],
        )
        return number

    def project_with_time(self, case: str, hours: Sequence[int]) -> str:
        code = f"P-{1000 + next(self._numbers)}"
        self._case[code] = case
        project = {
            "code": code,
            "name": f"Project {case}",
            "customer_code": f"KD-{case}",
            "customer_name": f"Customer {case}",
            "customer_tax_id": f"TAX-{case}",
            "entity": "US01",
            "currency": "CHF" if case == "missing_rate" else "USD",
        }
        self.world.load(project=[project])
        self.more_time(code, hours)
        return code

    def more_time(self, project: str, hours: Sequence[int]) -> None:
        first = month(TODAY, 2 if self._case[project] == "closed_period" else 1)
        rows = [
            {
                "id": f"T-{next(self._numbers)}",
                "project": project,
                "person_code": f"E-{at % 2}",
                "person_name": f"Person {at % 2}",
                "worked_on": first + timedelta(days=at),
                "hours": Decimal(hour),
                "rate": RATE,
            }
            for at, hour in enumerate(hours)
        ]
        self.world.load(time_entry=rows)

    def repair(self, case: str) -> None:
        repairs: dict[str, Callable[[], None]] = {
            "closed_period": lambda: self.world.open_period("US01", f"{month(TODAY, 2):%Y-%m}"),
            "missing_rate": lambda: self.world.add_rate("US01", "CHF", Decimal("1.1"), month(TODAY, 3)),
            "unknown_customer": lambda: self.world.add_customer("C-9", "New", f"TAX-{case}", "USD", "US01"),
            "incomplete_customer": lambda: self.world.hold_customer("C-incomplete_customer", False),
        }
        repairs[case]()

    def lose_answer(self) -> None:
        self.world.fail_next("erp", "drop", after=1)

    def pay(self, number: str, amount: Decimal) -> None:
        self.world.pay_invoice(number, amount)

    def notes(self, role: str, subject: str) -> list[str]:
        shown = self.world.statuses(role, subject)
        return [f"{status.invoice_number} {status.state} {status.open_amount:.2f}" for status in shown]


class Lossy(httpx.HTTPTransport):
    """A network that loses the answer to the next request that contains `lose`, after it was carried out."""

    lose = ""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if self.lose and self.lose.encode() in request.read():
            self.lose = ""
            response.read()
            raise httpx.ReadError("connection reset by peer", request=request)
        return response


class TrytonFirm:
    """The real world."""

    words = {
        "closed_period": "you must reopen the period",
        "missing_rate": 'No rate found for currency "Swiss Franc"',
        "unknown_customer": "has no customer KD-05",
        "incomplete_customer": 'A value is required for field "Account" in "Account Invoice".',
    }
    customers = {
        "good": "Aldermoor Bank",
        "closed_period": "Brightwater Energy",
        "missing_rate": "Helvetia Pharma",
        "unknown_customer": "Esker Insurance",
        "incomplete_customer": "Calder Logistics",
    }

    def __init__(self, entries: dict[str, dict[str, Any]]) -> None:
        self.entries = entries
        self.admin = {role: self._admin(role) for role in live.ROLES}
        self.network = Lossy()
        self.systems: dict[str, Any] = {
            role: connect(entries[f"live-{role}"], f"live-{role}") for role in ("crm", "psa")
        }
        self.systems["erp"] = TrytonERP("live-erp", entries["live-erp"], transport=self.network)
        self._case: dict[str, str] = {}

    def _admin(self, role: str) -> TrytonRpc:
        entry = self.entries[f"live-{role}"]["administrator"]
        return TrytonRpc(f"admin-{role}", entry["url"], entry["database"], entry["login"], entry["password"])

    def one(self, role: str, model: str, domain: list[Any], *fields: str) -> dict[str, Any]:
        """The first row that an administrator finds."""
        rows = self.admin[role].search_read(model, domain, fields or ("id",), limit=1)
        return rows[0]

    def _customer(self, case: str) -> live_firm.LiveCustomer:
        return next(one for one in live_firm.CUSTOMERS if one.name == self.customers[case])

    def win(self, name: str) -> str:
        crm = self.admin["crm"]
        ids = live_firm.known(crm)
        party = {
            "name": f"Buyer of {name}",
            "code": f"A-{name}",
            "addresses": [["create", [{"invoice": True}]]],
            "identifiers": [["create", [{"code": f"TAX {name}"}]]],
            "account_receivable": ids.accounts["receivable"],
        }
        buyer = crm.create("party.party", [party])[0]
        deal = live_firm.win(crm, name=name, party=buyer, hours=320, ids=ids, today=TODAY)
        return str(self.one("crm", "sale.opportunity", [["id", "=", deal]], "number")["number"])

    def project_with_time(self, case: str, hours: Sequence[int]) -> str:
        psa = self.admin["psa"]
        ids = live_firm.known(psa)
        party = self.one("psa", "party.party", [["code", "=", self._customer(case).psa]])["id"]
        values = live_firm.project_values(
            name=f"Project {case}",
            party=party,
            company=ids.company,
            product=ids.product,
            rate=RATE,
            tasks=("Discovery", "Delivery"),
        )
        work = psa.create("project.work", [values])[0]
        code = str(self.one("psa", "project.work", [["id", "=", work]], "number")["number"])
        self._case[code] = case
        self.more_time(code, hours)
        return code

    def more_time(self, project: str, hours: Sequence[int]) -> None:
        psa = self.admin["psa"]
        ids = live_firm.known(psa)
        work = self.one("psa", "project.work", [["number", "=", project]])["id"]
        first = month(TODAY, 2 if self._case[project] == "closed_period" else 1)
        days = [first + timedelta(days=at) for at in range(len(hours))]
        lines = live_firm.book_time(psa, work, days=days, employees=ids.employees[:2], company=ids.company)
        for line, hour in zip(lines, hours, strict=True):
            psa.write("timesheet.line", [line], {"duration": timedelta(hours=hour)})
        live_firm.release(psa, work)
        if self._case[project] == "missing_rate":
            live_firm.bill_in(psa, work, ids.currencies["CHF"])

    def repair(self, case: str) -> None:
        erp = self.admin["erp"]
        customer = self._customer(case)
        if case == "closed_period":
            name = f"{month(TODAY, 2):%Y-%m}"
            erp.button("account.period", "reopen", [self.one("erp", "account.period", [["name", "=", name]])["id"]])
        elif case == "missing_rate":
            currency = self.one("erp", "currency.currency", [["code", "=", "CHF"]])["id"]
            rate = {"currency": currency, "date": month(TODAY, 3), "rate": Decimal("0.9")}
            erp.create("currency.currency.rate", [rate])
        elif case == "unknown_customer":
            account = live_firm.known(erp).accounts["receivable"]
            party = {
                "name": customer.name,
                "identifiers": [["create", [{"code": customer.tax_id}]]],
                "addresses": [["create", [{"invoice": True}]]],
                "account_receivable": account,
            }
            erp.create("party.party", [party])
        else:
            party = self.one("erp", "party.party", [["code", "=", customer.erp]])["id"]
            account = live_firm.known(erp).accounts["receivable"]
            erp.write("party.party", [party], {"account_receivable": account})

    def lose_answer(self) -> None:
        self.network.lose = "model.account.invoice.post"

    def pay(self, number: str, amount: Decimal) -> None:
        live_firm.pay(self.admin["erp"], number, amount, TODAY)

    def notes(self, role: str, subject: str) -> list[str]:
        model = {"crm": "sale.opportunity", "psa": "project.work"}[role]
        record = self.one(role, model, [["number", "=", subject]])["id"]
        domain = [["resource", "=", f"{model},{record}"]]
        rows = self.admin[role].search_read("ir.note", domain, ["message"], order=[["id", "ASC"]])
        parts = [row["message"].split(" · ") for row in rows]
        last = {part[0]: f"{part[1]} {Decimal(part[2].split()[1]):.2f}" for part in parts}
        return [f"{name.split()[1]} {shown}" for name, shown in last.items()]
