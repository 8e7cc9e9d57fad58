"""Business objects as they travel between systems. One file each; JSON Schema and forms come from them."""

from integrations.canonical.billing_request import BillingLine, BillingRequest
from integrations.canonical.customer import Customer
from integrations.canonical.invoice_status import InvoiceStatus
from integrations.canonical.project import Project
from integrations.canonical.won_opportunity import WonOpportunity

__all__ = ["BillingLine", "BillingRequest", "Customer", "InvoiceStatus", "Project", "WonOpportunity"]
