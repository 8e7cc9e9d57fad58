"""The firm in the three Tryton systems: what an administrator would have set up by hand, over JSON-RPC.

CRM, PSA and ERP are three databases that know the same customers under different numbers and share their tax
identifiers. ERP has last month and this month open and the month before closed; one customer has no receivable
account, one is not in ERP, and there is no exchange rate for Swiss francs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from integrations.connectors.tryton_rpc import TrytonRpc

COMPANY = "Nordwind Consulting Inc."
ENTITY = "NWC-US"  # as in the demo data, so that its people see the live systems too
OPEN_MONTHS = 2  # this month and the last
FISCAL_MONTHS = 18  # from eleven months ago on
SERVICE_LINE = "Consulting"

GROUPS = {
    "crm": ("Sales", "Sale Opportunity", "Party Administration"),
    "psa": ("Project Administration", "Project Invoice", "Timesheet Administration", "Accounting"),
    "erp": ("Accounting", "Account Product Administration", "Party Administration"),
}


@dataclass(frozen=True)
class LiveCustomer:
    """A customer and its number in each system; no number means that the system does not know it."""

    name: str
    tax_id: str
    crm: str = ""
    psa: str = ""
    erp: str = ""
    receivable: bool = True

    def number(self, role: str) -> str:
        """Its number in the system of that role."""
        return {"crm": self.crm, "psa": self.psa, "erp": self.erp}[role]


CUSTOMERS = (
    LiveCustomer("Aldermoor Bank", "US-84-3316027", "A-1001", "KD-01", "C20001"),
    LiveCustomer("Brightwater Energy", "US-47-9082113", "A-1002", "KD-02", "C20002"),
    LiveCustomer("Calder Logistics", "US-36-5517840", "A-1003", "KD-03", "C20003", receivable=False),
    LiveCustomer("Helvetia Pharma", "CHE-100.155.212", "A-1004", "KD-04", "C20004"),
    LiveCustomer("Esker Insurance", "US-91-2204586", "A-1005", "KD-05"),
    LiveCustomer("Fenwick Retail", "US-75-6641209", "A-1006"),
)
PEOPLE = (("E-01", "Ada Lindqvist"), ("E-02", "Bruno Sato"), ("E-03", "Chiara Okafor"), ("E-04", "Dev Marsh"))


@dataclass(frozen=True)
class LiveProject:
    """A project in PSA with time on it; hours are booked in open months, `late` ones in the closed month."""

    name: str
    customer: str
    rate: Decimal
    open_entries: int
    closed_entries: int = 0
    currency: str = "USD"
    released: bool = True


PROJECTS = (
    LiveProject("Core banking migration", "Aldermoor Bank", Decimal("150"), 24, 4),
    LiveProject("Grid data platform", "Brightwater Energy", Decimal("165"), 18),
    LiveProject("Warehouse rollout", "Calder Logistics", Decimal("140"), 8),
    LiveProject("GxP validation", "Helvetia Pharma", Decimal("190"), 6, currency="CHF"),
    LiveProject("Claims portal", "Esker Insurance", Decimal("155"), 6),
    LiveProject("Meter analytics", "Brightwater Energy", Decimal("160"), 5, released=False),
)
OPPORTUNITIES = (
    ("Payments hub", "Aldermoor Bank", 320),
    ("Demand forecasting", "Brightwater Energy", 180),
    ("Store of the future", "Fenwick Retail", 260),
)


def set_up(role: str, rpc: TrytonRpc, password: str, today: date) -> None:
    """Fill an empty database of the role; `password` is the integration user's. `rpc` is an administrator's."""
    common = _Common(rpc, today)
    _number(rpc, "Party", {"crm": "A-2", "psa": "KD-2", "erp": "C3"}[role])
    common.set_up()
    {"crm": _crm, "psa": _psa, "erp": _erp}[role](rpc, common, today)
    add_user(rpc, "opsboard", password, GROUPS[role], common.company)


def _number(rpc: TrytonRpc, kind: str, prefix: str) -> None:
    """Give the numbers of a kind of record a prefix."""
    rows = rpc.search_read("ir.sequence", [["sequence_type.name", "=", kind]], ["name"])
    rpc.write("ir.sequence", [row["id"] for row in rows], {"prefix": prefix, "padding": 4})


def add_user(rpc: TrytonRpc, login: str, password: str, groups: Sequence[str], company: int) -> int:
    """A user with these groups, working for the company; its id."""
    found = rpc.search_read("res.group", [["name", "in", list(groups)]], ["name"])
    values = {
        "name": login,
        "login": login,
        "password": password,
        "groups": [["add", [group["id"] for group in found]]],
        "companies": [["add", [company]]],
        "company": company,
    }
    return rpc.create("res.user", [values])[0]


def month(day: date, back: int = 0) -> date:
    """First day of the month `back` months before the day's (after it when negative)."""
    number = day.year * 12 + day.month - 1 - back
    return date(number // 12, number % 12 + 1, 1)


@dataclass(frozen=True)
class Ids:
    """Ids in one database: currencies by code, accounts by kind (receivable, payable, revenue, expense) ..."""

    company: int
    currencies: Mapping[str, int]
    accounts: Mapping[str, int]
    term: int
    hour: int
    product: int
    employees: Sequence[int]


def known(rpc: TrytonRpc) -> Ids:
    """The ids of a database that was set up."""

    def ids(model: str, domain: Sequence[Any] = ()) -> list[int]:
        return [row["id"] for row in rpc.search_read(model, domain, ["id"], order=[["id", "ASC"]])]

    company = ids("company.company")[0]
    currencies = rpc.search_read("currency.currency", [], ["code"])
    return Ids(
        company=company,
        currencies={row["code"]: row["id"] for row in currencies},
        accounts=find_accounts(rpc, company),
        term=ids("account.invoice.payment_term")[0],
        hour=ids("product.uom", [["symbol", "=", "h"]])[0],
        product=ids("product.product", [["template.name", "=", SERVICE_LINE]])[0],
        employees=ids("company.employee"),
    )


def find_accounts(rpc: TrytonRpc, company: int) -> dict[str, int]:
    """The accounts to book on, by kind."""
    found = {}
    for kind in ("receivable", "payable", "revenue", "expense"):
        domain = [[f"type.{kind}", "=", True], ["company", "=", company], ["closed", "!=", True]]
        if kind in ("receivable", "payable"):
            domain.append(["party_required", "=", True])
        found[kind] = rpc.search_read("account.account", domain, ["name"], limit=1)[0]["id"]
    return found


class _Common:
    """Makes what all three databases have: currencies, company, accounts, periods, a product, people."""

    def __init__(self, rpc: TrytonRpc, today: date) -> None:
        self.rpc = rpc
        self.today = today
        self.start = month(today, 11)

    def set_up(self) -> None:
        """Make it all, in this order: what comes later names what came before."""
        self.currencies = self._currencies()
        self.company = self._company()
        self.accounts = self._chart()
        self.term = self._term()
        self._fiscal_year()
        self._product()
        self._people()

    def _currencies(self) -> dict[str, int]:
        rates = {"USD": Decimal("1"), "EUR": Decimal("0.92"), "CHF": None}
        names = {"USD": "US Dollar", "EUR": "Euro", "CHF": "Swiss Franc"}
        created = {}
        for code, rate in rates.items():
            values: dict[str, Any] = {"name": names[code], "code": code, "symbol": code}
            if rate is not None:
                values["rates"] = [["create", [{"date": self.start, "rate": rate}]]]
            created[code] = self.rpc.create("currency.currency", [values])[0]
        return created

    def _company(self) -> int:
        rpc = self.rpc
        party = rpc.create("party.party", [{"name": COMPANY, "code": ENTITY, "addresses": [["create", [{}]]]}])[0]
        values = {"party": party, "currency": self.currencies["USD"]}
        company = rpc.create("company.company", [values])[0]
        user = rpc.search_read("res.user", [["login", "=", "admin"]], ["login"])[0]["id"]
        rpc.write("res.user", [user], {"companies": [["add", [company]]], "company": company})
        rpc.refresh()
        return company

    def _chart(self) -> dict[str, int]:
        rpc = self.rpc
        template = rpc.call("model.ir.model.data.get_id", "account.account_template_root_en", writes=False)
        session = rpc.call("wizard.account.create_chart.create")[0]
        execute = "wizard.account.create_chart.execute"
        account = {"company": self.company, "account_template": template}
        rpc.call(execute, session, {"account": account}, "create_account")
        accounts = find_accounts(rpc, self.company)
        properties = {
            "company": self.company,
            "account_receivable": None,
            "account_payable": accounts["payable"],
            "category_account_expense": accounts["expense"],
            "category_account_revenue": accounts["revenue"],
        }
        rpc.call(execute, session, {"account": account, "properties": properties}, "create_properties")
        rpc.call("wizard.account.create_chart.delete", session)
        return accounts

    def _term(self) -> int:
        relative = [["create", [{"days": 30}]]]
        lines = [["create", [{"type": "remainder", "relativedeltas": relative}]]]
        term = {"name": "30 days", "lines": lines}
        return self.rpc.create("account.invoice.payment_term", [term])[0]

    def _fiscal_year(self) -> None:
        """One year of months, a number sequence for each: invoices are numbered in date order within a month."""
        rpc = self.rpc
        end = month(self.today, 11 - FISCAL_MONTHS) - timedelta(days=1)
        types = rpc.search_read("ir.sequence.type", [["name", "in", ["Account Move", "Invoice"]]], ["name"])
        kind = {row["name"]: row["id"] for row in types}
        move = self._sequence("Moves", kind["Account Move"], "")
        year = {
            "name": f"{self.start:%Y-%m}/{end:%Y-%m}",
            "company": self.company,
            "start_date": self.start,
            "end_date": end,
            "move_sequence": move,
            "invoice_sequences": [],
        }
        year_id = rpc.create("account.fiscalyear", [year])[0]
        rpc.button("account.fiscalyear", "create_period", [year_id])
        periods = rpc.search_read(
            "account.period", [["fiscalyear", "=", year_id]], ["name", "start_date"], order=[["start_date", "ASC"]]
        )
        rows = []
        for period in periods:
            name = f"{period['start_date']:%Y-%m}"
            sequence = self._sequence(f"Invoices {name}", kind["Invoice"], f"INV-{name}-")
            fields = ("out_invoice_sequence", "out_credit_note_sequence", "in_invoice_sequence")
            row = dict.fromkeys((*fields, "in_credit_note_sequence"), sequence)
            rows.append(row | {"company": self.company, "fiscalyear": year_id, "period": period["id"]})
        rpc.create("account.fiscalyear.invoice_sequence", rows)

    def _sequence(self, name: str, kind: int, prefix: str) -> int:
        values = {"name": name, "sequence_type": kind, "company": self.company, "prefix": prefix, "padding": 4}
        return self.rpc.create("ir.sequence.strict", [values])[0]

    def _product(self) -> None:
        rpc = self.rpc
        hour = rpc.search_read("product.uom", [["symbol", "=", "h"]], ["name"], limit=1)[0]["id"]
        category = {
            "name": "Services",
            "accounting": True,
            "account_revenue": self.accounts["revenue"],
            "account_expense": self.accounts["expense"],
        }
        category_id = rpc.create("product.category", [category])[0]
        template = {
            "name": SERVICE_LINE,
            "type": "service",
            "default_uom": hour,
            "sale_uom": hour,
            "salable": True,
            "list_price": Decimal("150"),
            "account_category": category_id,
            "products": [["create", [{"suffix_code": "CONSULTING"}]]],
        }
        rpc.create("product.template", [template])

    def _people(self) -> None:
        parties = self.rpc.create("party.party", [{"name": name, "code": code} for code, name in PEOPLE])
        rows = [{"party": party, "company": self.company} for party in parties]
        self.rpc.create("company.employee", rows)

    def customers(self, role: str) -> dict[str, int]:
        """Create the customers that the role's system knows; party ids by name."""
        known = [customer for customer in CUSTOMERS if customer.number(role)]
        rows = [self._customer(customer, role) for customer in known]
        ids = self.rpc.create("party.party", rows)
        return {customer.name: party for customer, party in zip(known, ids, strict=True)}

    def _customer(self, customer: LiveCustomer, role: str) -> dict[str, Any]:
        has_account = customer.receivable or role != "erp"
        return {
            "name": customer.name,
            "code": customer.number(role),
            "addresses": [["create", [{"invoice": True}]]],
            "identifiers": [["create", [{"code": customer.tax_id}]]],
            "customer_payment_term": self.term,
            "account_receivable": self.accounts["receivable"] if has_account else None,
        }


def _crm(rpc: TrytonRpc, common: _Common, today: date) -> None:
    """Opportunities that were won: converted to a sale that was confirmed."""
    _number(rpc, "Sale Opportunity", "OPP-")
    parties = common.customers("crm")
    for name, customer, hours in OPPORTUNITIES:
        win(rpc, name=name, party=parties[customer], hours=hours, ids=known(rpc), today=today)


def win(rpc: TrytonRpc, *, name: str, party: int, hours: int, ids: Ids, today: date) -> int:
    """Sell hours to a party as a salesperson does; the id of the won opportunity."""
    line = {"product": ids.product, "quantity": hours, "unit": ids.hour}
    values = {
        "description": name,
        "party": party,
        "company": ids.company,
        "currency": ids.currencies["USD"],
        "amount": Decimal(hours) * 150,
        "payment_term": ids.term,
        "employee": ids.employees[0],
        "start_date": today - timedelta(days=40),
        "lines": [["create", [line]]],
    }
    opportunity = rpc.create("sale.opportunity", [values])[0]
    rpc.button("sale.opportunity", "opportunity", [opportunity])
    rpc.button("sale.opportunity", "convert", [opportunity])
    domain = [["origin", "=", f"sale.opportunity,{opportunity}"]]
    sale = rpc.search_read("sale.sale", domain, ["lines"])[0]
    address = rpc.search_read("party.address", [["party", "=", party]], ["party"], limit=1)[0]["id"]
    rpc.write("sale.sale", [sale["id"]], {"invoice_method": "manual", "invoice_address": address})
    rpc.write("sale.line", sale["lines"], {"unit_price": Decimal("150")})
    rpc.button("sale.sale", "quote", [sale["id"]])
    rpc.button("sale.sale", "confirm", [sale["id"]])
    return opportunity


def _psa(rpc: TrytonRpc, common: _Common, today: date) -> None:
    """Projects with tasks and time; most of the time released for billing."""
    ids = known(rpc)
    parties = common.customers("psa")
    _number(rpc, "Project Work Effort", "P-")
    for project in PROJECTS:
        values = project_values(
            name=project.name,
            party=parties[project.customer],
            company=common.company,
            product=ids.product,
            rate=project.rate,
            tasks=("Discovery", "Delivery"),
        )
        work = rpc.create("project.work", [values])[0]
        days = [month(today, 1) + timedelta(days=at % 27) for at in range(project.open_entries)]
        days += [month(today, 2) + timedelta(days=at) for at in range(project.closed_entries)]
        book_time(rpc, work, days=days, employees=ids.employees, company=common.company)
        if project.released:
            release(rpc, work)
        if project.currency != "USD":
            bill_in(rpc, work, common.currencies[project.currency])


def project_values(
    *, name: str, party: int, company: int, product: int, rate: Decimal, tasks: Sequence[str]
) -> dict[str, Any]:
    """A project billed by time, as `project.work` takes it."""
    shared = {"company": company, "product": product, "list_price": rate}
    rows = [{"name": task, "type": "task", "timesheet_available": True, **shared} for task in tasks]
    return {
        "name": name,
        "type": "project",
        "party": party,
        "project_invoice_method": "timesheet",
        "children": [["create", rows]],
        **shared,
    }


def book_time(
    rpc: TrytonRpc, project: int, *, days: Sequence[date], employees: Sequence[int], company: int
) -> list[int]:
    """Book 2 to 8 hours a day on the project's tasks, one entry a day; the entries' ids."""
    tasks = rpc.search_read("project.work", [["parent", "=", project]], ["timesheet_works"])
    works = [work for task in tasks for work in task["timesheet_works"]]
    rows = [
        {
            "company": company,
            "employee": employees[at % len(employees)],
            "work": works[at % len(works)],
            "date": day,
            "duration": timedelta(hours=2 + at % 7),
        }
        for at, day in enumerate(days)
    ]
    return rpc.create("timesheet.line", rows)


def release(rpc: TrytonRpc, project: int) -> None:
    """Release the project's time for billing, as its manager does: PSA freezes hours and rate."""
    rpc.button("project.work", "invoice", [project])


def bill_in(rpc: TrytonRpc, project: int, currency: int) -> None:
    """Put the release document of a project into another currency, at the same figures."""
    domain = [["work.origin.parent", "=", project, "project.work"]]
    lines = rpc.search_read("timesheet.line", domain, ["invoice_line", "invoice_line.invoice"])
    line_ids = sorted({line["invoice_line"] for line in lines})
    invoice = lines[0]["invoice_line."]["invoice"]
    values = {"currency": currency, "lines": [["write", line_ids, {"currency": currency}]]}
    rpc.write("account.invoice", [invoice], values)


def _erp(rpc: TrytonRpc, common: _Common, today: date) -> None:
    """Customers; months before the last two are closed; a way to receive payments."""
    common.customers("erp")
    domain = [["end_date", "<", month(today, OPEN_MONTHS - 1)]]
    periods = rpc.search_read("account.period", domain, ["name"], order=[["start_date", "ASC"]])
    rpc.button("account.period", "close", [period["id"] for period in periods])
    journal = rpc.search_read("account.journal", [["type", "=", "cash"]], ["name"], limit=1)[0]["id"]
    account = rpc.search_read("account.account", [["code", "=", "1.1.1"]], ["name"], limit=1)
    cash = account[0]["id"] if account else common.accounts["receivable"]
    method = {
        "company": common.company,
        "name": "Bank",
        "journal": journal,
        "credit_account": cash,
        "debit_account": cash,
    }
    rpc.create("account.invoice.payment.method", [method])


def pay(rpc: TrytonRpc, number: str, amount: Decimal, day: date) -> None:
    """Receive money for a posted invoice; less than all of it is a partial payment."""
    fields = ("party", "company", "currency", "account", "amount_to_pay")
    invoice = rpc.search_read("account.invoice", [["number", "=", number]], fields)[0]
    method = rpc.search_read("account.invoice.payment.method", [], ["name"], limit=1)[0]["id"]
    start = {
        "payee": invoice["party"],
        "amount": amount,
        "currency": invoice["currency"],
        "company": invoice["company"],
        "invoice_account": invoice["account"],
        "payment_method": method,
        "date": day,
    }
    one = {"active_model": "account.invoice", "active_id": invoice["id"], "active_ids": [invoice["id"]]}
    wizard = "wizard.account.invoice.pay"
    session = rpc.call(f"{wizard}.create", context=one)[0]
    data: dict[str, Any] = {"start": start}
    rpc.call(f"{wizard}.execute", session, data, "choice", context=one)
    if amount < invoice["amount_to_pay"]:
        rpc.call(f"{wizard}.execute", session, data | {"ask": {"type": "partial"}}, "pay", context=one)
    rpc.call(f"{wizard}.delete", session, context=one)
