"""What flows may ask of a system, by its role. A connector fulfils a role by having its methods.

All methods raise `integrations.errors`. Writes take an idempotency key that the target keeps in a field
that can be searched; nothing is created before it has been looked up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar, Protocol, runtime_checkable

from integrations.canonical import BillingRequest, Customer, InvoiceStatus, Project


@dataclass(frozen=True)
class Ref:
    """An object in a system. `system` is the connection's key, `id` the number people know it by there."""

    system: str
    type: str  # opportunity, customer, project, task, time_entry, invoice
    id: str
    role: str = ""  # what it is to the message: subject, source, created, used
    name: str = ""


@dataclass(frozen=True)
class Record:
    """A record as a system had it when it was read.

    version changes whenever what matters for the flow changes. data holds values under canonical field names,
    not validated yet. refs are the other objects it names.
    """

    ref: Ref
    version: str
    changed_at: datetime  # UTC
    data: Mapping[str, Any]
    refs: tuple[Ref, ...] = ()

    @property
    def identity(self) -> str:
        """The record for ever, whatever its version."""
        return f"{self.ref.system}/{self.ref.type}/{self.ref.id}"

    @property
    def source(self) -> str:
        """The record in this version."""
        return f"{self.identity}@{self.version}"


@dataclass(frozen=True)
class Page:
    """Records that changed, oldest first. Reads overlap: the same record may come again, the caller drops it.

    `cursor` is opaque and goes into the next call; `more` says that the next call should follow at once.
    """

    records: list[Record]
    cursor: str
    more: bool = False


@dataclass(frozen=True)
class Found:
    """An object that exists in the target. `key` is the idempotency key it was created with."""

    ref: Ref
    key: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FoundInvoice:
    """An invoice that exists in ERP. `id` is internal (a draft has no number). `total` is before tax."""

    id: str
    key: str
    state: str  # draft, posted, paid, cancelled
    number: str
    total: Decimal
    currency: str


@runtime_checkable
class Connector(Protocol):
    """What every connection has."""

    simulated: ClassVar[bool]
    vendor: ClassVar[str]  # whose rules read its errors: salesforce, certinia, netsuite, tryton ...
    system: str
    label: str

    @property
    def role(self) -> str:
        """crm, psa or erp."""

    def ping(self) -> str:
        """Name and version of the system; raises when it cannot be reached or entered."""

    def close(self) -> None:
        """Give the connection's resources back."""


class CRM(Connector, Protocol):
    """Sells: opportunities."""

    def changed_opportunities(self, cursor: str | None) -> Page:
        """Won opportunities; data has the fields of WonOpportunity."""

    def write_invoice_status(self, opportunity_number: str, status: InvoiceStatus) -> Ref:
        """Show the invoice's status at the opportunity; writing the same again changes nothing."""


class PSA(Connector, Protocol):
    """Delivers: projects, tasks, time."""

    def find_project(self, code: str) -> Found | None:
        """By its number; data: name, opportunity, customer_code, active, tasks (names)."""

    def find_project_by_key(self, key: str) -> Found | None:
        """By the idempotency key it was created with; data as in find_project."""

    def create_project(self, project: Project, key: str) -> Found:
        """Create the project, its tasks and, when it lacks, its customer, as one unit."""

    def approved_time(self, cursor: str | None) -> Page:
        """Time entries approved for billing.

        data: project_code, project_name, customer_code, customer_tax_id, legal_entity, cost_center, currency,
        person_code, person_name, worked_on (date), hours, rate, note.
        """

    def write_project_status(self, project_code: str, status: InvoiceStatus) -> Ref:
        """Show the invoice's status at the project; writing the same again changes nothing."""


class ERP(Connector, Protocol):
    """Accounts: customers, invoices, payments."""

    def find_customer(self, code: str, tax_id: str = "") -> Found | None:
        """By tax identifier when there is one, else by ERP's own code."""

    def create_customer(self, customer: Customer, key: str) -> Found:
        """Create the customer with its tax identifier; it is looked up by that next time."""

    def check(self, request: BillingRequest) -> list[str]:
        """What ERP would refuse today, in words; empty when nothing is known to stand against it."""

    def find_invoices(self, business_key: str) -> list[FoundInvoice]:
        """Invoices with this key, or with keys that start with it when it ends in #; not the cancelled."""

    def create_invoice(self, request: BillingRequest, key: str) -> FoundInvoice:
        """Create a draft with `key` as its reference."""

    def post_invoice(self, invoice_id: str, invoice_date: date) -> FoundInvoice:
        """Post the draft; it gets its number."""

    def discard_invoice(self, invoice_id: str) -> None:
        """Delete a draft."""

    def changed_invoices(self, cursor: str | None) -> Page:
        """Numbered customer invoices that name a project; data has the fields of InvoiceStatus."""
