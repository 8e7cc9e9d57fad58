"""The project: what is delivered, booked on and billed."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from integrations.canonical.base import Canonical, Code, Currency, Name, OptionalCode
from integrations.canonical.customer import Customer


class Project(Canonical):
    """A project to create in PSA. Its number is given by PSA."""

    name: Name = Field(title="Name", description="Name of the project.")
    customer: Customer = Field(title="Customer", description="Who is delivered to.")
    currency: Currency = Field(title="Currency", description="ISO 4217 code of rates and budget.")
    legal_entity: Code = Field(title="Legal entity", description="The firm's company that delivers.")
    service_line: OptionalCode = Field("", title="Service line", description="Practice that delivers.")
    budget: Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=4)] = Field(
        title="Budget", description="Value sold, in the project's currency."
    )
    opportunity: OptionalCode = Field("", title="Opportunity", description="Number of the opportunity in CRM.")
    tasks: tuple[Name, ...] = Field(min_length=1, title="Tasks", description="Work breakdown, one level.")
