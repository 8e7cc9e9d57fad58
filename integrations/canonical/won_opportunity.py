"""The won opportunity: what starts a project."""

from __future__ import annotations

from datetime import date

from pydantic import Field

from integrations.canonical.base import Canonical, Code, Currency, Name, OptionalCode, PositiveMoney
from integrations.canonical.customer import Customer


class WonOpportunity(Canonical):
    """An opportunity at its governed stage, with the terms that a project needs."""

    number: Code = Field(title="Opportunity", description="Number of the opportunity in CRM.")
    name: Name = Field(title="Name", description="What was sold; becomes the name of the project.")
    customer: Customer = Field(title="Customer", description="Who bought.")
    amount: PositiveMoney = Field(title="Amount", description="Value of the deal in its currency; more than 0.")
    currency: Currency = Field(title="Currency", description="ISO 4217 code.")
    legal_entity: Code = Field(title="Legal entity", description="The firm's company that delivers.")
    service_line: OptionalCode = Field("", title="Service line", description="Practice that delivers.")
    owner: OptionalCode = Field("", title="Owner", description="Who sold it.")
    closed_on: date = Field(title="Closed on", description="Day the deal was won.")
