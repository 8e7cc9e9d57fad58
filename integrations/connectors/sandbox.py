"""A small simulated firm: CRM, PSA and ERP with real state in one SQLite file, for the demo.

It is simulated and says so (`simulated`). What it refuses it refuses for a reason that stays until somebody
removes it: a closed period stays closed until it is opened. Its answers are worded like Salesforce's (CRM),
Certinia's (PSA) and NetSuite's (ERP); `vendor` says whose rules read them. Safe with several processes: WAL,
one writer at a time, every write one transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from integrations.canonical import BillingRequest, Customer, InvoiceStatus, Project
from integrations.canonical.invoice_status import progress
from integrations.connectors.ports import Found, FoundInvoice, Page, Record, Ref
from integrations.errors import Permanent, Transient, Unknown

OVERLAP = timedelta(seconds=60)
PAGE = 2_000
PAYMENT_DAYS = 30

SCHEMA = """
CREATE TABLE IF NOT EXISTS legal_entity (code TEXT PRIMARY KEY, name TEXT, currency TEXT, next_number
    INTEGER DEFAULT 1);
CREATE TABLE IF NOT EXISTS rate (entity TEXT, currency TEXT, valid_from TEXT, rate TEXT, PRIMARY KEY
    (entity, currency, valid_from));
CREATE TABLE IF NOT EXISTS period (entity TEXT, period TEXT, state TEXT, PRIMARY KEY (entity, period));
CREATE TABLE IF NOT EXISTS cost_center (code TEXT PRIMARY KEY, department TEXT);
CREATE TABLE IF NOT EXISTS crm_account (code TEXT PRIMARY KEY, name TEXT, tax_id TEXT DEFAULT '',
    currency TEXT, entity TEXT);
CREATE TABLE IF NOT EXISTS erp_customer (code TEXT PRIMARY KEY, name TEXT, tax_id TEXT DEFAULT '',
    currency TEXT, entity TEXT, on_hold INTEGER DEFAULT 0, key TEXT DEFAULT '');
CREATE INDEX IF NOT EXISTS erp_customer_tax_id ON erp_customer (tax_id);
CREATE TABLE IF NOT EXISTS opportunity (number TEXT PRIMARY KEY, name TEXT, account TEXT, amount TEXT,
    currency TEXT, entity TEXT, service_line TEXT DEFAULT '', owner TEXT DEFAULT '', closed_on TEXT,
    stage TEXT DEFAULT 'Closed Won', modified_at TEXT);
CREATE INDEX IF NOT EXISTS opportunity_modified_at ON opportunity (modified_at);
CREATE TABLE IF NOT EXISTS project (code TEXT PRIMARY KEY, name TEXT, customer_code TEXT, customer_name
    TEXT, customer_tax_id TEXT DEFAULT '', entity TEXT, cost_center TEXT DEFAULT '', currency TEXT,
    status TEXT DEFAULT 'active', ceiling TEXT DEFAULT '', opportunity TEXT DEFAULT '', service_line TEXT
    DEFAULT '', tasks TEXT DEFAULT '[]', key TEXT DEFAULT '');
CREATE UNIQUE INDEX IF NOT EXISTS project_key ON project (key) WHERE key <> '';
CREATE TABLE IF NOT EXISTS time_entry (id TEXT PRIMARY KEY, project TEXT, person_code TEXT, person_name
    TEXT, worked_on TEXT, hours TEXT, rate TEXT, approved INTEGER DEFAULT 1, note TEXT DEFAULT '',
    modified_at TEXT);
CREATE INDEX IF NOT EXISTS time_entry_modified_at ON time_entry (modified_at, id) WHERE approved = 1;
CREATE TABLE IF NOT EXISTS invoice (id INTEGER PRIMARY KEY, reference TEXT UNIQUE, number TEXT UNIQUE,
    entity TEXT, customer TEXT, project TEXT, invoice_date TEXT, due_on TEXT, paid_on TEXT, currency
    TEXT, total TEXT, open TEXT, state TEXT, request TEXT, modified_at TEXT);
CREATE INDEX IF NOT EXISTS invoice_modified_at ON invoice (modified_at);
CREATE TABLE IF NOT EXISTS invoice_status (role TEXT, subject TEXT, invoice TEXT, status TEXT,
    modified_at TEXT, PRIMARY KEY (role, subject, invoice));
CREATE TABLE IF NOT EXISTS fault (role TEXT PRIMARY KEY, kind TEXT, after INTEGER, remaining INTEGER);
"""
TABLES = tuple(line.split()[5] for line in SCHEMA.splitlines() if line.startswith("CREATE TABLE"))
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "crm_account": {"tax_id": ""},
    "erp_customer": {"tax_id": "", "on_hold": 0, "key": ""},
    "opportunity": {"service_line": "", "owner": "", "stage": "Closed Won"},
    "project": {
        "customer_tax_id": "",
        "cost_center": "",
        "status": "active",
        "ceiling": "",
        "opportunity": "",
        "service_line": "",
        "tasks": "[]",
        "key": "",
    },
    "time_entry": {"approved": 1, "note": ""},
}


@dataclass(frozen=True)
class Refusal:
    """Why ERP refuses an invoice: vendor's code and words. `at` is draft or post."""

    at: str
    code: str
    message: str


class World:
    """The simulated firm's state, with what an administrator may do to it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.write() as db:
            for statement in SCHEMA.split(";\n"):
                db.execute(statement)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection to read with: one snapshot until it closes."""
        with closing(self._open()) as db:
            yield db

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A connection to write with: one transaction, the only writer until it ends."""
        with closing(self._open()) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        return db

    def load(self, **tables: Iterable[Mapping[str, Any]]) -> dict[str, int]:
        """Add rows in one transaction: `load(project=[{...}, ...], time_entry=[...])`; counts per table.

        Columns are those of SCHEMA. Decimals and dates may be given as such; rows without `modified_at`
        get now. Raises sqlite3.IntegrityError, and adds nothing, when a row exists already.
        """
        counts: dict[str, int] = {}
        with self.write() as db:
            for table, rows in tables.items():
                counts[table] = _insert(db, table, rows)
        return counts

    def clear(self) -> None:
        """Remove everything."""
        with self.write() as db:
            for table in TABLES:
                db.execute(f"DELETE FROM {table}")

    def add_legal_entity(self, code: str, name: str, currency: str) -> None:
        """A company of the firm; its own currency needs no rate."""
        self.load(legal_entity=[{"code": code, "name": name, "currency": currency, "next_number": 1}])

    def open_period(self, entity: str, period: str) -> None:
        """Open (or create open) the accounting period YYYY-MM."""
        self._period(entity, period, "open")

    def close_period(self, entity: str, period: str) -> None:
        """Close (or create closed) the accounting period YYYY-MM."""
        self._period(entity, period, "closed")

    def _period(self, entity: str, period: str, state: str) -> None:
        with self.write() as db:
            db.execute("REPLACE INTO period VALUES (?, ?, ?)", (entity, period, state))

    def add_rate(self, entity: str, currency: str, rate: Decimal, valid_from: date) -> None:
        """One unit of `currency` in the entity's own currency, from that day on."""
        with self.write() as db:
            row = (entity, currency, valid_from.isoformat(), str(rate))
            db.execute("REPLACE INTO rate VALUES (?, ?, ?, ?)", row)

    def map_cost_center(self, code: str, department: str) -> None:
        """Let ERP know a cost centre of PSA under one of its departments."""
        with self.write() as db:
            db.execute("REPLACE INTO cost_center VALUES (?, ?)", (code, department))

    def add_customer(self, code: str, name: str, tax_id: str, currency: str, entity: str) -> None:
        """A customer in ERP under ERP's own number."""
        row = {"code": code, "name": name, "tax_id": tax_id, "currency": currency, "entity": entity}
        self.load(erp_customer=[row])

    def hold_customer(self, code: str, on_hold: bool) -> None:
        """Put the ERP customer on credit hold, or take it off."""
        with self.write() as db:
            db.execute("UPDATE erp_customer SET on_hold = ? WHERE code = ?", (int(on_hold), code))

    def set_project(self, code: str, **values: Any) -> None:
        """Change columns of a project: status (active, pending, closed), ceiling, cost_center ..."""
        self._update("project", "code", code, values)

    def set_opportunity(self, number: str, **values: Any) -> None:
        """Change columns of an opportunity; it counts as changed now."""
        self._update("opportunity", "number", number, {**values, "modified_at": _now()})

    def set_time_entry(self, entry: str, **values: Any) -> None:
        """Change columns of a time entry (hours, rate, approved ...); it counts as changed now."""
        self._update("time_entry", "id", entry, {**values, "modified_at": _now()})

    def _update(self, table: str, key: str, value: str, values: Mapping[str, Any]) -> None:
        known = _columns(table)
        if unknown := set(values) - set(known):
            raise ValueError(f"{table} has no {', '.join(sorted(unknown))}")
        assignments = ", ".join(f"{name} = :{name}" for name in values)
        parameters = {name: _plain(item) for name, item in values.items()} | {"_key": value}
        with self.write() as db:
            if not db.execute(f"UPDATE {table} SET {assignments} WHERE {key} = :_key", parameters).rowcount:
                raise LookupError(f"there is no {table} {value}")

    def pay_invoice(self, number: str, amount: Decimal | None = None, on: date | None = None) -> None:
        """Receive `amount` (all that is open when not given) for a posted invoice."""
        with self.write() as db:
            row = db.execute("SELECT open FROM invoice WHERE number = ?", (number,)).fetchone()
            if row is None:
                raise LookupError(f"there is no invoice {number}")
            left = Decimal(row["open"]) - (Decimal(row["open"]) if amount is None else amount)
            if left < 0:
                raise ValueError(f"more than the open {row['open']}")
            paid_on = (on or _today()).isoformat() if left == 0 else None
            state = "paid" if left == 0 else "posted"
            db.execute(
                "UPDATE invoice SET open = ?, state = ?, paid_on = ?, modified_at = ? WHERE number = ?",
                (str(left), state, paid_on, _now(), number),
            )

    def statuses(self, role: str, subject: str) -> list[InvoiceStatus]:
        """What has been written to an opportunity ("crm") or project ("psa")."""
        query = "SELECT status FROM invoice_status WHERE role = ? AND subject = ? ORDER BY invoice"
        with self.read() as db:
            rows = db.execute(query, (role, subject)).fetchall()
        return [InvoiceStatus.model_validate_json(row["status"]) for row in rows]

    def fail_next(self, role: str, kind: str, *, times: int = 1, after: int = 0) -> None:
        """Make writes to a role fail, once `after` more went through.

        "busy": nothing is written. "drop": it is written and the answer is lost.
        """
        if kind not in ("busy", "drop"):
            raise ValueError(kind)
        with self.write() as db:
            db.execute("REPLACE INTO fault VALUES (?, ?, ?, ?)", (role, kind, after, times))


class Sandbox:
    """What the three roles share."""

    simulated: ClassVar[bool] = True
    vendor: ClassVar[str]
    role: ClassVar[str]

    def __init__(self, system: str, config: Mapping[str, Any]) -> None:
        self.system = system
        self.label = str(config.get("label") or f"Sandbox {self.role.upper()}")
        self.world = World(config["path"])

    def ping(self) -> str:
        """Says that it is a simulation."""
        with self.world.read() as db:
            db.execute("SELECT count(*) FROM legal_entity").fetchone()
        return f"{self.label} (simulated)"

    def close(self) -> None:
        """Nothing is kept open."""

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A write that fails as `World.fail_next` asked for: before it, or after it was committed."""
        kind = self._fault()
        if kind == "busy":
            message = "Concurrent request limit exceeded. Request blocked."
            raise Transient(self.system, message, "CONCURRENCY_LIMIT_EXCEEDED", 429, retry_after=1)
        with self.world.write() as db:
            yield db
        if kind == "drop":
            raise Unknown(self.system, "The connection was closed before the answer came.", "DROPPED")

    def _fault(self) -> str | None:
        with self.world.write() as db:
            query = "SELECT kind, after FROM fault WHERE role = ? AND remaining > 0"
            row = db.execute(query, (self.role,)).fetchone()
            if row is None:
                return None
            column = "after" if row["after"] else "remaining"
            db.execute(f"UPDATE fault SET {column} = {column} - 1 WHERE role = ?", (self.role,))
        return None if row["after"] else str(row["kind"])

    def _refuse(self, code: str, message: str, status: int = 400) -> Permanent:
        body = json.dumps([{"message": message, "errorCode": code}])
        return Permanent(self.system, message, code, status, body)

    def _page(self, query: str, cursor: str | None, record: Any) -> Page:
        """Rows changed since the cursor less the overlap, keyset by (modified_at, key column)."""
        stamp, key = _since(cursor)
        with self.world.read() as db:
            rows = db.execute(f"{query} LIMIT {PAGE + 1}", {"stamp": stamp, "key": key}).fetchall()
        more = len(rows) > PAGE
        rows = rows[:PAGE]
        if not rows:
            return Page([], cursor or "")
        last = rows[-1]
        after = f"{last['modified_at']}|{last['sort_key'] if more else ''}"
        return Page([record(row) for row in rows], after, more)

    def _show(self, subject: str, kind: str, status: InvoiceStatus) -> Ref:
        """Keep the newest status per invoice; an older one that arrives late changes nothing."""
        ref = Ref(self.system, kind, subject, "written")
        key = (self.role, subject, status.invoice_number)
        with self._writing() as db:
            query = "SELECT status FROM invoice_status WHERE role = ? AND subject = ? AND invoice = ?"
            row = db.execute(query, key).fetchone()
            if row is None or not _newer(InvoiceStatus.model_validate_json(row["status"]), status):
                row = (*key, status.model_dump_json(), _now())
                db.execute("REPLACE INTO invoice_status VALUES (?, ?, ?, ?, ?)", row)
        return ref


class SandboxCRM(Sandbox):
    """Opportunities, worded like Salesforce."""

    role = "crm"
    vendor = "salesforce"

    def changed_opportunities(self, cursor: str | None) -> Page:
        """Opportunities at stage Closed Won."""
        query = """SELECT o.*, o.number AS sort_key, a.name AS account_name, a.tax_id,
                a.currency AS account_currency, a.entity AS account_entity
            FROM opportunity o LEFT JOIN crm_account a ON a.code = o.account
            WHERE o.stage = 'Closed Won' AND (o.modified_at, o.number) > (:stamp, :key)
            ORDER BY o.modified_at, o.number"""
        return self._page(query, cursor, self._opportunity)

    def _opportunity(self, row: sqlite3.Row) -> Record:
        customer = {
            "code": row["account"],
            "name": row["account_name"],
            "tax_id": row["tax_id"] or "",
            "currency": row["account_currency"],
            "legal_entity": row["account_entity"],
        }
        data = {
            "number": row["number"],
            "name": row["name"],
            "customer": customer,
            "amount": row["amount"],
            "currency": row["currency"],
            "legal_entity": row["entity"],
            "service_line": row["service_line"],
            "owner": row["owner"],
            "closed_on": row["closed_on"],
        }
        account = Ref(self.system, "customer", row["account"] or "", "customer", row["account_name"] or "")
        return Record(
            ref=Ref(self.system, "opportunity", row["number"], "source", row["name"] or ""),
            version=row["modified_at"],
            changed_at=datetime.fromisoformat(row["modified_at"]),
            data=data,
            refs=(account,) if row["account"] else (),
        )

    def write_invoice_status(self, opportunity_number: str, status: InvoiceStatus) -> Ref:
        """Show the status at the opportunity."""
        with self.world.read() as db:
            row = db.execute("SELECT 1 FROM opportunity WHERE number = ?", (opportunity_number,)).fetchone()
        if row is None:
            raise self._refuse("NOT_FOUND", "The requested resource does not exist", 404)
        return self._show(opportunity_number, "opportunity", status)


class SandboxPSA(Sandbox):
    """Projects and time, worded like Certinia on the Salesforce platform."""

    role = "psa"
    vendor = "certinia"

    def find_project(self, code: str) -> Found | None:
        """By its number."""
        return self._find("code", code)

    def find_project_by_key(self, key: str) -> Found | None:
        """By the key it was created with."""
        return self._find("key", key) if key else None

    def _find(self, column: str, value: str) -> Found | None:
        with self.world.read() as db:
            row = db.execute(f"SELECT * FROM project WHERE {column} = ?", (value,)).fetchone()
        return self._project(row) if row is not None else None

    def _project(self, row: sqlite3.Row, role: str = "used") -> Found:
        data = {
            "name": row["name"],
            "opportunity": row["opportunity"],
            "customer_code": row["customer_code"],
            "active": row["status"] == "active",
            "tasks": json.loads(row["tasks"]),
        }
        return Found(Ref(self.system, "project", row["code"], role, row["name"]), row["key"], data)

    def create_project(self, project: Project, key: str) -> Found:
        """Number it and create it with its tasks. A project needs a practice."""
        if not project.service_line:
            raise self._refuse("REQUIRED_FIELD_MISSING", "Required fields are missing: [pse__Practice__c]")
        with self._writing() as db:
            if db.execute("SELECT 1 FROM project WHERE key = ?", (key,)).fetchone() is not None:
                raise self._refuse("DUPLICATE_VALUE", f"duplicate value found: External_Key__c {key}")
            code = _next_project(db)
            row = {
                "code": code,
                "name": project.name,
                "customer_code": project.customer.code,
                "customer_name": project.customer.name,
                "customer_tax_id": project.customer.tax_id,
                "entity": project.legal_entity,
                "cost_center": "",
                "currency": project.currency,
                "ceiling": str(project.budget),
                "opportunity": project.opportunity,
                "service_line": project.service_line,
                "tasks": json.dumps(list(project.tasks)),
                "key": key,
            }
            _insert(db, "project", [row])
            created = db.execute("SELECT * FROM project WHERE code = ?", (code,)).fetchone()
        return self._project(created, "created")

    def approved_time(self, cursor: str | None) -> Page:
        """Approved time entries."""
        query = """SELECT t.*, t.id AS sort_key, p.name AS project_name, p.customer_code, p.customer_name,
                p.customer_tax_id, p.entity, p.cost_center, p.currency
            FROM time_entry t LEFT JOIN project p ON p.code = t.project
            WHERE t.approved = 1 AND (t.modified_at, t.id) > (:stamp, :key) ORDER BY t.modified_at, t.id"""
        return self._page(query, cursor, self._time_entry)

    def _time_entry(self, row: sqlite3.Row) -> Record:
        data = {
            "project_code": row["project"],
            "project_name": row["project_name"],
            "customer_code": row["customer_code"],
            "customer_name": row["customer_name"],
            "customer_tax_id": row["customer_tax_id"] or "",
            "legal_entity": row["entity"],
            "cost_center": row["cost_center"] or "",
            "currency": row["currency"],
            "person_code": row["person_code"],
            "person_name": row["person_name"],
            "worked_on": date.fromisoformat(row["worked_on"]),
            "hours": Decimal(row["hours"]) if row["hours"] else None,
            "rate": Decimal(row["rate"]) if row["rate"] else None,
            "note": row["note"],
        }
        billable = ("project", "person_code", "worked_on", "hours", "rate")
        return Record(
            ref=Ref(self.system, "time_entry", row["id"], "source"),
            version="/".join(str(row[name] or "") for name in billable),
            changed_at=datetime.fromisoformat(row["modified_at"]),
            data=data,
        )

    def write_project_status(self, project_code: str, status: InvoiceStatus) -> Ref:
        """Show the status at the project."""
        if self.find_project(project_code) is None:
            raise self._refuse("NOT_FOUND", "The requested resource does not exist", 404)
        return self._show(project_code, "project", status)


class SandboxERP(Sandbox):
    """Customers, invoices, payments, worded like NetSuite."""

    role = "erp"
    vendor = "netsuite"

    def find_customer(self, code: str, tax_id: str = "") -> Found | None:
        """By tax identifier, else by ERP's number."""
        with self.world.read() as db:
            row = _customer(db, code, tax_id)
        return self._found_customer(row) if row is not None else None

    def _found_customer(self, row: sqlite3.Row, role: str = "used") -> Found:
        data = {"code": row["code"], "name": row["name"], "tax_id": row["tax_id"]}
        return Found(Ref(self.system, "customer", row["code"], role, row["name"]), row["key"], data)

    def create_customer(self, customer: Customer, key: str) -> Found:
        """Number it and create it. ERP wants a tax registration."""
        if not customer.tax_id:
            raise self._refuse("USER_ERROR", "Please enter value(s) for: Tax Reg. Number")
        with self._writing() as db:
            if _customer(db, "", customer.tax_id) is not None:
                raise self._refuse("USER_ERROR", "Error while accessing a resource. This entity already exists.")
            if not _exists(db, "legal_entity", customer.legal_entity):
                message = f"Invalid subsidiary reference key {customer.legal_entity}."
                raise self._refuse("INVALID_KEY_OR_REF", message)
            number = db.execute("SELECT count(*) FROM erp_customer").fetchone()[0] + 20001
            row = {
                "code": f"CUST-{number}",
                "name": customer.name,
                "tax_id": customer.tax_id,
                "currency": customer.currency,
                "entity": customer.legal_entity,
                "key": key,
            }
            _insert(db, "erp_customer", [row])
            created = _customer(db, "", customer.tax_id)
        return self._found_customer(created, "created")

    def check(self, request: BillingRequest) -> list[str]:
        """All that stands against the invoice today."""
        with self.world.read() as db:
            return [refusal.message for refusal in _refusals(db, request)]

    def find_invoices(self, business_key: str) -> list[FoundInvoice]:
        """By their reference: its start when the business key ends in #."""
        end = business_key + ("\U0010ffff" if business_key.endswith("#") else "\0")
        query = """SELECT * FROM invoice WHERE reference >= :key AND reference < :end
            AND state <> 'cancelled' ORDER BY id"""
        with self.world.read() as db:
            rows = db.execute(query, {"key": business_key, "end": end}).fetchall()
        return [_found_invoice(row) for row in rows]

    def create_invoice(self, request: BillingRequest, key: str) -> FoundInvoice:
        """A draft with the key as its unique external identifier."""
        with self._writing() as db:
            if db.execute("SELECT 1 FROM invoice WHERE reference = ?", (key,)).fetchone() is not None:
                message = f"This record already exists: invoice with externalId {key}."
                raise self._refuse("DUP_RCRD", message)
            self._raise_first(db, request, "draft")
            customer = _customer(db, request.customer_code, request.customer_tax_id)
            row = {
                "id": None,
                "reference": key,
                "number": None,
                "entity": request.legal_entity,
                "customer": customer["code"],
                "project": request.project_code,
                "invoice_date": request.invoice_date,
                "due_on": None,
                "paid_on": None,
                "currency": request.currency,
                "total": request.total,
                "open": request.total,
                "state": "draft",
                "request": request.model_dump_json(),
            }
            _insert(db, "invoice", [row])
            created = db.execute("SELECT * FROM invoice WHERE reference = ?", (key,)).fetchone()
        return _found_invoice(created)

    def post_invoice(self, invoice_id: str, invoice_date: date) -> FoundInvoice:
        """Check the accounting rules, number and post."""
        with self._writing() as db:
            row = db.execute("SELECT * FROM invoice WHERE id = ?", (invoice_id,)).fetchone()
            if row is None:
                message = "The record instance does not exist. Provide a valid record instance ID."
                raise self._refuse("NONEXISTENT_ID", message, 404)
            if row["state"] != "draft":
                raise self._refuse("USER_ERROR", f"Invoice {row['number']} is posted already.")
            request = BillingRequest.model_validate_json(row["request"])
            request = request.model_copy(update={"invoice_date": invoice_date})
            self._raise_first(db, request, "post")
            number = _next_number(db, request.legal_entity)
            due_on = invoice_date + timedelta(days=PAYMENT_DAYS)
            db.execute(
                """UPDATE invoice SET number = ?, state = 'posted', invoice_date = ?, due_on = ?,
                modified_at = ? WHERE id = ?""",
                (number, invoice_date.isoformat(), due_on.isoformat(), _now(), invoice_id),
            )
            posted = db.execute("SELECT * FROM invoice WHERE id = ?", (invoice_id,)).fetchone()
        return _found_invoice(posted)

    def _raise_first(self, db: sqlite3.Connection, request: BillingRequest, at: str) -> None:
        for refusal in _refusals(db, request):
            if refusal.at == at:
                raise self._refuse(refusal.code, refusal.message)

    def discard_invoice(self, invoice_id: str) -> None:
        """Delete a draft; what is posted stays."""
        with self._writing() as db:
            query = "DELETE FROM invoice WHERE id = ? AND state = 'draft'"
            if db.execute(query, (invoice_id,)).rowcount == 0:
                raise self._refuse("USER_ERROR", "This transaction cannot be deleted because it is posted.")

    def changed_invoices(self, cursor: str | None) -> Page:
        """Posted, paid and cancelled invoices."""
        query = """SELECT i.*, printf('%012d', i.id) AS sort_key FROM invoice i
            WHERE i.state <> 'draft' AND (i.modified_at, printf('%012d', i.id)) > (:stamp, :key)
            ORDER BY i.modified_at, i.id"""
        return self._page(query, cursor, self._invoice)

    def _invoice(self, row: sqlite3.Row) -> Record:
        data = {
            "invoice_number": row["number"],
            "project_codes": [row["project"]],
            "customer_code": row["customer"],
            "legal_entity": row["entity"],
            "total": row["total"],
            "open_amount": row["open"],
            "currency": row["currency"],
            "state": row["state"],
            "issued_on": row["invoice_date"],
            "due_on": row["due_on"],
            "paid_on": row["paid_on"],
        }
        return Record(
            ref=Ref(self.system, "invoice", row["number"], "source"),
            version=row["modified_at"],  # not its state: an invoice may be open again after a payment is taken back
            changed_at=datetime.fromisoformat(row["modified_at"]),
            data=data,
            refs=(
                Ref(self.system, "customer", row["customer"], "customer"),
                Ref(self.system, "dimension", row["project"], "project"),
            ),
        )


def _refusals(db: sqlite3.Connection, request: BillingRequest) -> Iterator[Refusal]:
    """ERP's rules, in the order ERP applies them."""
    customer = _customer(db, request.customer_code, request.customer_tax_id)
    if customer is None:
        message = f"Invalid entity reference key {request.customer_code} for subsidiary {request.legal_entity}."
        yield Refusal("draft", "INVALID_KEY_OR_REF", message)
    if request.cost_center and not _exists(db, "cost_center", request.cost_center):
        yield Refusal("draft", "USER_ERROR", _invalid(request.cost_center, "department"))
    project = db.execute("SELECT * FROM project WHERE code = ?", (request.project_code,)).fetchone()
    if project is None:
        yield Refusal("draft", "USER_ERROR", _invalid(request.project_code, "job"))
    elif project["status"] == "closed":
        message = f"Project {request.project_code} is inactive. Choose an active project for the field: job."
        yield Refusal("draft", "USER_ERROR", message)
    elif project["status"] == "pending":
        message = f"Project {request.project_code} is pending approval. It cannot be billed until it is approved."
        yield Refusal("draft", "USER_ERROR", message)
    if customer is not None and customer["on_hold"]:
        message = f"Customer {customer['code']} is on credit hold. Approval is required to post this transaction."
        yield Refusal("post", "USER_ERROR", message)
    if not _period_open(db, request):
        message = "The transaction date you specified is not within the date range of your accounting period."
        yield Refusal("post", "USER_ERROR", message)
    if not _rate_known(db, request):
        message = f"No exchange rate from {request.currency} is defined on {request.invoice_date:%m/%d/%Y}."
        yield Refusal("post", "USER_ERROR", message)
    if project is not None and project["ceiling"]:
        yield from _ceiling(db, request, Decimal(project["ceiling"]))


def _ceiling(db: sqlite3.Connection, request: BillingRequest, ceiling: Decimal) -> Iterator[Refusal]:
    query = "SELECT total FROM invoice WHERE project = ? AND state IN ('posted', 'paid')"
    rows = db.execute(query, (request.project_code,)).fetchall()
    billed = sum((Decimal(row["total"]) for row in rows), Decimal(0))
    if billed + request.total > ceiling:
        message = (
            f"The amount exceeds the billing ceiling of project {request.project_code}: "
            f"{billed + request.total} of {ceiling} {request.currency}."
        )
        yield Refusal("post", "USER_ERROR", message)


def _invalid(value: str, name: str) -> str:
    return (
        "Error while accessing a resource. "
        f"You have entered an Invalid Field Value {value} for the following field: {name}."
    )


def _period_open(db: sqlite3.Connection, request: BillingRequest) -> bool:
    query = "SELECT state FROM period WHERE entity = ? AND period = ?"
    row = db.execute(query, (request.legal_entity, f"{request.invoice_date:%Y-%m}")).fetchone()
    return row is not None and row["state"] == "open"


def _rate_known(db: sqlite3.Connection, request: BillingRequest) -> bool:
    query = """SELECT 1 FROM legal_entity WHERE code = :entity AND currency = :currency
        UNION ALL SELECT 1 FROM rate WHERE entity = :entity AND currency = :currency AND valid_from <= :day"""
    day = request.invoice_date.isoformat()
    parameters = {"entity": request.legal_entity, "currency": request.currency, "day": day}
    return db.execute(query, parameters).fetchone() is not None


def _customer(db: sqlite3.Connection, code: str, tax_id: str) -> Any:
    """The ERP customer's row or None; a tax identifier decides, where there is one."""
    column, value = ("tax_id", tax_id) if tax_id else ("code", code)
    return db.execute(f"SELECT * FROM erp_customer WHERE {column} = ?", (value,)).fetchone()


def _exists(db: sqlite3.Connection, table: str, code: str) -> bool:
    return db.execute(f"SELECT 1 FROM {table} WHERE code = ?", (code,)).fetchone() is not None


def _next_number(db: sqlite3.Connection, entity: str) -> str:
    query = "UPDATE legal_entity SET next_number = next_number + 1 WHERE code = ? RETURNING next_number - 1"
    return f"INV-{entity}-{db.execute(query, (entity,)).fetchone()[0]:05d}"


def _next_project(db: sqlite3.Connection) -> str:
    """The next free number after the highest P-<n>."""
    query = "SELECT max(CAST(substr(code, 3) AS INTEGER)) FROM project WHERE code LIKE 'P-%'"
    return f"P-{(db.execute(query).fetchone()[0] or 100) + 1}"


def _found_invoice(row: sqlite3.Row) -> FoundInvoice:
    number = row["number"] or ""
    total = Decimal(row["total"])
    return FoundInvoice(str(row["id"]), row["reference"], row["state"], number, total, row["currency"])


def _newer(shown: InvoiceStatus, status: InvoiceStatus) -> bool:
    """Whether what is shown is later than `status`."""
    return progress(shown.state, shown.open_amount) > progress(status.state, status.open_amount)


def _insert(db: sqlite3.Connection, table: str, rows: Iterable[Mapping[str, Any]]) -> int:
    """Insert rows of a known table; returns how many."""
    columns = _columns(table)
    defaults = {**DEFAULTS.get(table, {}), "modified_at": _now()}
    complete = [tuple(_plain(row[name]) if name in row else defaults.get(name) for name in columns) for row in rows]
    marks = ", ".join("?" * len(columns))
    db.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", complete)
    return len(complete)


def _columns(table: str) -> tuple[str, ...]:
    """Columns of a table of SCHEMA; ValueError for any other."""
    if table not in TABLES:
        raise ValueError(f"the sandbox has no table {table!r}")
    return COLUMNS[table]


def _read_columns() -> dict[str, tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(SCHEMA)
        return {table: tuple(row[1] for row in db.execute(f"PRAGMA table_info({table})")) for table in TABLES}


COLUMNS = _read_columns()


def _plain(value: Any) -> Any:
    """Money and dates as text: SQLite has neither."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return json.dumps(value)
    return value


def _since(cursor: str | None) -> tuple[str, str]:
    """Where to read on: after (stamp, key) within a reading, a minute earlier at the start of the next."""
    stamp, _, key = (cursor or "|").partition("|")
    if stamp and not key:
        stamp = (datetime.fromisoformat(stamp) - OVERLAP).isoformat(timespec="microseconds")
    return stamp, key


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _today() -> date:
    return datetime.now(UTC).date()


ROLES: Mapping[str, type[Sandbox]] = {"crm": SandboxCRM, "psa": SandboxPSA, "erp": SandboxERP}


def connect(system: str, config: Mapping[str, Any]) -> Sandbox:
    """The connection's role on the simulated firm in the SQLite file `path`."""
    return ROLES[config["role"]](system, config)
