"""Tryton 8.2 as CRM, PSA or ERP: writes by JSON-RPC, reads by search_read on `last_modified_at`.

What the firm's words mean in Tryton:

* The same customer has another `party.party.code` in every database. They are joined by `party.identifier.code`,
  which holds the tax identifier.
* A deal is won when the sale that it was converted to was confirmed: `sale.opportunity.state` is `won`.
* Time has no approval of its own in Tryton. What project managers do have is the button "Invoice" on a project
  billed by time. It draws a draft invoice in PSA, the release for billing, and from then on Tryton refuses to change
  or delete the entries. So an entry is approved when `timesheet.line.invoice_line` is set; its rate and currency
  are that line's. PSA's draft is never posted: the invoice is ERP's.
* The idempotency key is the invoice's `reference` in ERP and a line of the project's `comment` in PSA.
* An invoice's status is a note (`ir.note`) on the opportunity and the project; the last one counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import httpx

from integrations.canonical import BillingRequest, Customer, InvoiceStatus, Project
from integrations.canonical.invoice_status import progress
from integrations.connectors.ports import Found, FoundInvoice, Page, Record, Ref
from integrations.connectors.tryton_rpc import PAGE, TrytonRpc
from integrations.errors import Permanent

OVERLAP = timedelta(seconds=60)  # the stamp is a transaction's start: a long one shows up later with an older stamp
KEY_LINE = "opsboard key: "
OPPORTUNITY_LINE = "Opportunity: "
SEPARATOR = " · "
NOTE = re.compile(r"^Invoice (?P<number>\S+) · (?P<state>\w+) · open (?P<open>-?[\d.]+) of ")
STATES = {"validated": "draft"}  # all others are called the same
PARTY = ("code", "name", "identifiers.code")

Row = Mapping[str, Any]


class Tryton:
    """What the three roles share."""

    simulated: ClassVar[bool] = False
    vendor: ClassVar[str] = "tryton"
    role: ClassVar[str]

    def __init__(self, system: str, config: Mapping[str, Any], *, transport: httpx.BaseTransport | None = None) -> None:
        self.system = system
        self.label = str(config.get("label") or f"Tryton {self.role.upper()}")
        self.rpc = TrytonRpc(
            system,
            config["url"],
            config["database"],
            config["login"],
            config["password"],
            transport=transport,
        )

    def ping(self) -> str:
        """Version of the server; proves that the login works."""
        self.rpc.context()
        return f"{self.label} (Tryton {self.rpc.version()})"

    def close(self) -> None:
        """Close the connections."""
        self.rpc.close()

    def _refuse(self, code: str, message: str) -> Permanent:
        """What cannot even be sent, because Tryton lacks the record that it would name."""
        return Permanent(self.system, message, code)

    def _page(
        self,
        model: str,
        domain: Sequence[Any],
        fields: Iterable[str],
        cursor: str | None,
        records: Callable[[list[dict[str, Any]]], list[Record]],
    ) -> Page:
        """Rows changed since the cursor less the overlap, keyset by (last_modified_at, id)."""
        rows = self.rpc.search_read(
            model,
            [*domain, *_since(cursor)],
            [*fields, "last_modified_at"],
            order=[["last_modified_at", "ASC"], ["id", "ASC"]],
            limit=PAGE + 1,
        )
        more = len(rows) > PAGE
        rows = rows[:PAGE]
        if not rows:
            return Page([], cursor or "")
        last = rows[-1]
        after = f"{last['last_modified_at'].isoformat()}|{last['id'] if more else ''}"
        return Page(records(rows), after, more)

    def _one(self, model: str, domain: Sequence[Any], fields: Sequence[str] = ("id",)) -> dict[str, Any] | None:
        rows = self.rpc.search_read(model, domain, fields, order=[["id", "ASC"]], limit=1)
        return rows[0] if rows else None

    def _party(self, code: str, tax_id: str) -> dict[str, Any] | None:
        """The party by tax identifier, else by code."""
        domain = [["identifiers.code", "=", tax_id]] if tax_id else [["code", "=", code]]
        return self._one("party.party", domain, PARTY)

    def _create_party(self, customer: Customer) -> dict[str, Any]:
        """Create a customer under a number of this database. Raises Permanent without a tax identifier."""
        if not customer.tax_id:
            message = f"Customer {customer.name} has no tax identifier, by which {self.label} would know it again."
            raise self._refuse("TAX_ID_REQUIRED", message)
        term = self._one("account.invoice.payment_term", [])
        values = {
            "name": customer.name,
            "addresses": [["create", [{"invoice": True}]]],
            "identifiers": [["create", [{"code": customer.tax_id}]]],
            "customer_payment_term": term["id"] if term else None,
            "account_receivable": self._receivable(),
        }
        party = self.rpc.create("party.party", [values])[0]
        created = self._one("party.party", [["id", "=", party]], PARTY)
        if created is None:
            raise self._refuse("CUSTOMER_VANISHED", f"Customer {customer.name} was deleted as soon as created.")
        return created

    def _receivable(self) -> int | None:
        domain = [["type.receivable", "=", True], ["party_required", "=", True], ["closed", "!=", True]]
        account = self._one("account.account", domain)
        return account["id"] if account else None

    def _company(self, legal_entity: str) -> int:
        row = self._one("company.company", [["party.code", "=", legal_entity]])
        if row is None:
            raise self._refuse("UNKNOWN_COMPANY", f"{self.label} has no company {legal_entity}.")
        return int(row["id"])

    def _customer_ref(self, party: Row, role: str) -> Ref:
        return Ref(self.system, "customer", party["code"] or str(party["id"]), role, party["name"] or "")

    def _found_customer(self, party: Row, role: str) -> Found:
        data = {"code": party["code"], "name": party["name"], "tax_id": _tax_id(party)}
        return Found(self._customer_ref(party, role), "", data)

    def _show(self, resource: str, status: InvoiceStatus) -> None:
        """Add a note unless one says the same or more; Tryton's notes cannot be changed, so they are a history."""
        begin = _like(f"Invoice {status.invoice_number}{SEPARATOR}")
        notes = self.rpc.search_read("ir.note", [["resource", "=", resource], ["message", "like", begin]], ["message"])
        now = progress(status.state, status.open_amount)
        shown = [match for note in notes if (match := NOTE.match(note["message"]))]
        if all(progress(match["state"], Decimal(match["open"])) < now for match in shown):
            self.rpc.create("ir.note", [{"resource": resource, "message": _note(status)}])


class TrytonCRM(Tryton):
    """Opportunities."""

    role = "crm"

    def changed_opportunities(self, cursor: str | None) -> Page:
        """Won opportunities."""
        fields = (
            "number",
            "description",
            "amount",
            "end_date",
            "currency.code",
            "company.party.code",
            "employee.rec_name",
            "lines.product.template.name",
            *(f"party.{name}" for name in PARTY),
        )
        return self._page("sale.opportunity", [["state", "=", "won"]], fields, cursor, self._opportunities)

    def _opportunities(self, rows: list[dict[str, Any]]) -> list[Record]:
        return [self._opportunity(row) for row in rows]

    def _opportunity(self, row: Row) -> Record:
        party = row["party."] or {"id": 0, "code": "", "name": "", "identifiers.": []}
        entity = row["company."]["party."]["code"]
        currency = row["currency."]["code"]
        lines = [line["product."]["template."]["name"] for line in row["lines."] if line.get("product.")]
        customer = {
            "code": party["code"],
            "name": party["name"],
            "tax_id": _tax_id(party),
            "currency": currency,
            "legal_entity": entity,
        }
        data = {
            "number": row["number"],
            "name": row["description"] or f"Opportunity {row['number']}",
            "customer": customer,
            "amount": row["amount"],
            "currency": currency,
            "legal_entity": entity,
            "service_line": lines[0] if lines else "",
            "owner": (row.get("employee.") or {}).get("rec_name") or "",
            "closed_on": row["end_date"],
        }
        return Record(
            ref=Ref(self.system, "opportunity", row["number"], "source", row["description"] or ""),
            version=row["last_modified_at"].isoformat(),
            changed_at=row["last_modified_at"],
            data=data,
            refs=(self._customer_ref(party, "customer"),) if party["id"] else (),
        )

    def write_invoice_status(self, opportunity_number: str, status: InvoiceStatus) -> Ref:
        """Show the status as a note on the opportunity."""
        row = self._one("sale.opportunity", [["number", "=", opportunity_number]])
        if row is None:
            raise self._refuse("UNKNOWN_OPPORTUNITY", f"{self.label} has no opportunity {opportunity_number}.")
        self._show(f"sale.opportunity,{row['id']}", status)
        return Ref(self.system, "opportunity", opportunity_number, "written")


class TrytonPSA(Tryton):
    """Projects, tasks, time."""

    role = "psa"

    def find_project(self, code: str) -> Found | None:
        """By its number."""
        return self._find_project([["number", "=", code]])

    def find_project_by_key(self, key: str) -> Found | None:
        """By the key in its comment."""
        return self._find_project([["comment", "like", "%" + _like(KEY_LINE + key)]], key)

    def _find_project(self, domain: Sequence[Any], key: str = "") -> Found | None:
        fields = ("number", "name", "comment", "party.code", "status.progress", "children.name")
        rows = self.rpc.search_read("project.work", [["type", "=", "project"], *domain], fields)
        for row in rows:
            if not key or _line(row["comment"], KEY_LINE) == key:
                return self._project(row, "used")
        return None

    def _project(self, row: Row, role: str) -> Found:
        data = {
            "name": row["name"],
            "opportunity": _line(row["comment"], OPPORTUNITY_LINE),
            "customer_code": (row["party."] or {}).get("code") or "",
            "active": row["status."]["progress"] != 1,
            "tasks": [task["name"] for task in row["children."]],
        }
        ref = Ref(self.system, "project", row["number"], role, row["name"])
        return Found(ref, _line(row["comment"], KEY_LINE), data)

    def create_project(self, project: Project, key: str) -> Found:
        """Ensure the customer, then create project and tasks in one transaction. Tryton gives the number."""
        customer = project.customer
        party = self._party(customer.code, customer.tax_id) or self._create_party(customer)
        company = self._company(project.legal_entity)
        product = self._product(project.service_line)
        shared = {"company": company, "product": product["id"], "list_price": product["template."]["list_price"]}
        tasks = [{"name": task, "type": "task", "timesheet_available": True, **shared} for task in project.tasks]
        values = {
            "name": project.name,
            "type": "project",
            "party": party["id"],
            "project_invoice_method": "timesheet",
            "comment": f"{OPPORTUNITY_LINE}{project.opportunity}\n{KEY_LINE}{key}",
            "children": [["create", tasks]],
            **shared,
        }
        self.rpc.create("project.work", [values])
        created = self.find_project_by_key(key)
        if created is None:
            raise self._refuse("PROJECT_VANISHED", f"Project {project.name} was deleted as soon as created.")
        return Found(Ref(self.system, "project", created.ref.id, "created", project.name), key, created.data)

    def _product(self, service_line: str) -> dict[str, Any]:
        domain = [["template.name", "=", service_line], ["template.type", "=", "service"]]
        row = self._one("product.product", domain, ("template.list_price",))
        if row is None:
            raise self._refuse("UNKNOWN_SERVICE", f"{self.label} has no service {service_line or '(none)'}.")
        return row

    def approved_time(self, cursor: str | None) -> Page:
        """Time entries that were released for billing."""
        fields = (
            "date",
            "duration",
            "description",
            "company.party.code",
            "employee.party.code",
            "employee.party.name",
            "work.origin",
            "invoice_line.unit_price",
            "invoice_line.currency.code",
        )
        domain = [["invoice_line", "!=", None]]
        return self._page("timesheet.line", domain, fields, cursor, self._time_entries)

    def _time_entries(self, rows: list[dict[str, Any]]) -> list[Record]:
        projects = self._projects_of({_reference(row["work."]["origin"]) for row in rows})
        return [self._time_entry(row, projects.get(_reference(row["work."]["origin"]))) for row in rows]

    def _projects_of(self, works: set[int]) -> dict[int, Row]:
        """The project that each piece of work belongs to, at whatever depth."""
        fields = ("type", "parent", "number", "name", *(f"party.{name}" for name in PARTY))
        known: dict[int, Row] = {}
        wanted = works - {0}
        while wanted:
            rows = self.rpc.search_read("project.work", [["id", "in", sorted(wanted)]], fields)
            known |= {row["id"]: row for row in rows}
            wanted = {row["parent"] for row in rows if row["type"] != "project" and row["parent"]} - set(known)
        return {work: top for work in works if (top := _top(work, known)) is not None}

    def _time_entry(self, row: Row, project: Row | None) -> Record:
        party = (project or {}).get("party.") or {"code": "", "name": "", "identifiers.": []}
        line = row["invoice_line."]
        person = row["employee."]["party."]
        hours = Decimal(str(row["duration"].total_seconds())) / 3600
        data = {
            "project_code": project["number"] if project else "",
            "project_name": project["name"] if project else "",
            "customer_code": party["code"],
            "customer_name": party["name"],
            "customer_tax_id": _tax_id(party),
            "legal_entity": row["company."]["party."]["code"],
            "cost_center": "",
            "currency": line["currency."]["code"],
            "person_code": person["code"],
            "person_name": person["name"],
            "worked_on": row["date"],
            "hours": hours.quantize(Decimal("0.01")),
            "rate": line["unit_price"],
            "note": row["description"] or "",
        }
        billable = ("project_code", "person_code", "worked_on", "hours", "rate")
        return Record(
            ref=Ref(self.system, "time_entry", str(row["id"]), "source"),
            version="/".join(str(data[name]) for name in billable),
            changed_at=row["last_modified_at"],
            data=data,
        )

    def write_project_status(self, project_code: str, status: InvoiceStatus) -> Ref:
        """Show the status as a note on the project."""
        row = self._one("project.work", [["number", "=", project_code]])
        if row is None:
            raise self._refuse("UNKNOWN_PROJECT", f"{self.label} has no project {project_code}.")
        self._show(f"project.work,{row['id']}", status)
        return Ref(self.system, "project", project_code, "written")


class TrytonERP(Tryton):
    """Customers, invoices, payments."""

    role = "erp"

    def find_customer(self, code: str, tax_id: str = "") -> Found | None:
        """By tax identifier, else by ERP's number."""
        party = self._party(code, tax_id)
        return self._found_customer(party, "used") if party is not None else None

    def create_customer(self, customer: Customer, key: str) -> Found:
        """Create it with its tax identifier, by which it is found again; Tryton gives the number."""
        return self._found_customer(self._create_party(customer), "created")

    def check(self, request: BillingRequest) -> list[str]:
        """Customer and its account, period, currency and rate, cost centre."""
        against = []
        party = self._party(request.customer_code, request.customer_tax_id)
        if party is None:
            against.append(self._no_customer(request))
        elif self._account_of(party["id"]) is None:
            against.append(f"Customer {party['name']} has no receivable account.")
        if not self._period_open(request):
            against.append(f"No accounting period is open on {request.invoice_date}.")
        if not self._rate_known(request):
            against.append(f"There is no rate for {request.currency} on {request.invoice_date}.")
        if request.cost_center and self._dimension(request.cost_center) is None:
            against.append(f"There is no cost center {request.cost_center}.")
        return against

    def _no_customer(self, request: BillingRequest) -> str:
        by = f"tax identifier {request.customer_tax_id}" if request.customer_tax_id else "that number"
        return f"{self.label} has no customer {request.customer_code} ({by})."

    def _account_of(self, party: int) -> int | None:
        """The party's receivable account, else the firm's default; without one Tryton refuses the invoice."""
        row = self._one("party.party", [["id", "=", party]], ("account_receivable",))
        if row and row["account_receivable"]:
            return int(row["account_receivable"])
        row = self._one("account.configuration", [], ("default_account_receivable",))
        return row["default_account_receivable"] if row else None

    def _period_open(self, request: BillingRequest) -> bool:
        day = request.invoice_date
        domain = [["start_date", "<=", day], ["end_date", ">=", day], ["state", "=", "open"]]
        company = ["company.party.code", "=", request.legal_entity]
        return self._one("account.period", [*domain, company]) is not None

    def _rate_known(self, request: BillingRequest) -> bool:
        domain = [["currency.code", "=", request.currency], ["date", "<=", request.invoice_date]]
        if self._one("currency.currency.rate", domain) is not None:
            return True
        domain = [["party.code", "=", request.legal_entity], ["currency.code", "=", request.currency]]
        return self._one("company.company", domain) is not None

    def _dimension(self, code: str) -> dict[str, Any] | None:
        domain = [["code", "=", code], ["type", "=", "normal"]]
        return self._one("analytic_account.account", domain, ("root",))

    def find_invoices(self, business_key: str) -> list[FoundInvoice]:
        """By their reference."""
        same = ["reference", "=", business_key]
        if business_key.endswith("#"):
            same = ["reference", "like", _like(business_key)]
        domain = [same, ["type", "=", "out"], ["state", "!=", "cancelled"]]
        return self._invoices(domain)

    def _invoices(self, domain: Sequence[Any]) -> list[FoundInvoice]:
        fields = ("reference", "number", "state", "untaxed_amount", "currency.code")
        rows = self.rpc.search_read("account.invoice", domain, fields, order=[["id", "ASC"]])
        return [
            FoundInvoice(
                id=str(row["id"]),
                key=row["reference"] or "",
                state=STATES.get(row["state"], row["state"]),
                number=row["number"] or "",
                total=row["untaxed_amount"],
                currency=row["currency."]["code"],
            )
            for row in rows
        ]

    def create_invoice(self, request: BillingRequest, key: str) -> FoundInvoice:
        """A draft in one transaction, a line per person and rate, the key as its reference."""
        party = self._party(request.customer_code, request.customer_tax_id)
        if party is None:
            raise self._refuse("UNKNOWN_CUSTOMER", self._no_customer(request))
        values = self._header(request, party["id"]) | {"reference": key}
        invoice = self.rpc.create("account.invoice", [values])[0]
        return self._invoices([["id", "=", invoice]])[0]

    def _header(self, request: BillingRequest, party: int) -> dict[str, Any]:
        company = self._company(request.legal_entity)
        currency = self._one("currency.currency", [["code", "=", request.currency]])
        if currency is None:
            raise self._refuse("UNKNOWN_CURRENCY", f"{self.label} has no currency {request.currency}.")
        journal = self._one("account.journal", [["type", "=", "revenue"]])
        address = self._one("party.address", [["party", "=", party]])
        term = self._one("party.party", [["id", "=", party]], ("customer_payment_term",))
        title = (request.project_code, request.project_name, request.period)
        return {
            "type": "out",
            "company": company,
            "party": party,
            "invoice_address": address["id"] if address else None,
            "currency": currency["id"],
            "journal": journal["id"] if journal else None,
            "account": self._account_of(party),
            "payment_term": term["customer_payment_term"] if term else None,
            "invoice_date": request.invoice_date,
            "description": SEPARATOR.join(title),
            "lines": [["create", self._lines(request, company, currency["id"])]],
        }

    def _lines(self, request: BillingRequest, company: int, currency: int) -> list[dict[str, Any]]:
        domain = [["type.revenue", "=", True], ["closed", "!=", True], ["company", "=", company]]
        account = self._one("account.account", domain)
        hour = self._one("product.uom", [["symbol", "=", "h"]])
        shared: dict[str, Any] = {
            "type": "line",
            "company": company,
            "currency": currency,
            "account": account["id"] if account else None,
            "unit": hour["id"] if hour else None,
        }
        if request.cost_center:
            dimension = self._dimension(request.cost_center)
            if dimension is None:
                message = f"{self.label} has no cost center {request.cost_center}."
                raise self._refuse("UNKNOWN_COST_CENTER", message)
            entry = {"root": dimension["root"], "account": dimension["id"]}
            shared["analytic_accounts"] = [["create", [entry]]]
        return [
            shared
            | {
                "description": f"{line.person_name} ({line.person_code}), {request.period}",
                "note": "Time entries " + ", ".join(line.entries),
                "quantity": float(line.hours),
                "unit_price": line.rate,
            }
            for line in request.lines
        ]

    def post_invoice(self, invoice_id: str, invoice_date: date) -> FoundInvoice:
        """Set the dates and post; Tryton numbers it. The term runs from today: nobody pays before he was asked."""
        number = int(invoice_id)
        asked = max(invoice_date, datetime.now(UTC).date())
        dates = {"invoice_date": invoice_date, "payment_term_date": asked}
        self.rpc.write("account.invoice", [number], dates)
        self.rpc.button("account.invoice", "post", [number])
        return self._invoices([["id", "=", number]])[0]

    def discard_invoice(self, invoice_id: str) -> None:
        """Delete a draft; Tryton refuses to delete what is posted."""
        self.rpc.delete("account.invoice", [int(invoice_id)])

    def changed_invoices(self, cursor: str | None) -> Page:
        """Numbered customer invoices that were drawn for a project."""
        fields = (
            "number",
            "state",
            "description",
            "total_amount",
            "amount_to_pay",
            "currency.code",
            "company.party.code",
            "party.code",
            "party.name",
            "invoice_date",
            "reconciled",
            "lines_to_pay.maturity_date",
        )
        domain = [
            ["type", "=", "out"],
            ["number", "!=", None],
            ["state", "in", ["posted", "paid", "cancelled"]],
            ["description", "like", "%" + SEPARATOR + "%"],
        ]
        return self._page("account.invoice", domain, fields, cursor, self._statuses)

    def _statuses(self, rows: list[dict[str, Any]]) -> list[Record]:
        return [self._status(row) for row in rows]

    def _status(self, row: Row) -> Record:
        project = row["description"].partition(SEPARATOR)[0]
        due = [line["maturity_date"] for line in row["lines_to_pay."] if line["maturity_date"]]
        data = {
            "invoice_number": row["number"],
            "project_codes": [project],
            "customer_code": row["party."]["code"],
            "legal_entity": row["company."]["party."]["code"],
            "total": row["total_amount"],
            "open_amount": row["amount_to_pay"],
            "currency": row["currency."]["code"],
            "state": row["state"],
            "issued_on": row["invoice_date"],
            "due_on": max(due, default=None),
            "paid_on": row["reconciled"],
        }
        return Record(
            ref=Ref(self.system, "invoice", row["number"], "source"),
            version=row["last_modified_at"].isoformat(),  # not its state: it may be open again after it was paid
            changed_at=row["last_modified_at"],
            data=data,
            refs=(self._customer_ref(row["party."], "customer"), Ref(self.system, "dimension", project, "project")),
        )


def _tax_id(party: Row) -> str:
    identifiers = party.get("identifiers.") or []
    return str(identifiers[0]["code"]) if identifiers else ""


def _reference(value: str | None) -> int:
    """The id in a reference "model,id" to a piece of work; 0 for anything else."""
    model, _, number = (value or "").partition(",")
    return int(number) if model == "project.work" else 0


def _top(work: int, known: Mapping[int, Row]) -> Row | None:
    row = known.get(work)
    while row is not None and row["type"] != "project":
        row = known.get(row["parent"] or 0)
    return row


def _line(text: str | None, name: str) -> str:
    """What follows `name` on its own line of a text."""
    for line in (text or "").splitlines():
        if line.startswith(name):
            return line.removeprefix(name).strip()
    return ""


def _like(start: str) -> str:
    """A LIKE pattern for texts that begin with `start`."""
    for sign in ("\\", "%", "_"):
        start = start.replace(sign, "\\" + sign)
    return start + "%"


def _note(status: InvoiceStatus) -> str:
    """The note's text; its first three parts are read again, see NOTE."""
    parts = [
        f"Invoice {status.invoice_number}",
        status.state,
        f"open {status.open_amount} of {status.total} {status.currency}",
    ]
    days = {"issued": status.issued_on, "due": status.due_on, "paid": status.paid_on}
    return SEPARATOR.join(parts + [f"{name} {day}" for name, day in days.items() if day])


def _since(cursor: str | None) -> list[Any]:
    """Where to read on: after (stamp, id) within a reading, a minute earlier at the start of the next."""
    if not cursor:
        return []
    text, _, number = cursor.partition("|")
    stamp = datetime.fromisoformat(text).astimezone(UTC)
    if not number:
        return [["last_modified_at", ">=", stamp - OVERLAP]]
    same = [["last_modified_at", "=", stamp], ["id", ">", int(number)]]
    return [["OR", [["last_modified_at", ">", stamp]], same]]


ROLES: Mapping[str, type[Tryton]] = {"crm": TrytonCRM, "psa": TrytonPSA, "erp": TrytonERP}


def connect(system: str, config: Mapping[str, Any]) -> Tryton:
    """The connection's role on a Tryton database: url, database, login, password."""
    return ROLES[config["role"]](system, config)
