"""The customer: who is sold to and billed."""

from __future__ import annotations

from pydantic import Field

from integrations.canonical.base import Canonical, Code, Currency, Name, OptionalCode


class Customer(Canonical):
    """A customer as the sending system knows it; systems number the same customer differently."""

    code: Code = Field(title="Customer code", description="The customer's number in the system it comes from.")
    name: Name = Field(title="Name", description="Legal name of the customer.")
    tax_id: OptionalCode = Field(
        "",
        title="Tax identifier",
        description="VAT number or EIN: the same in every system, so it joins them.",
    )
    currency: Currency = Field(title="Currency", description="ISO 4217 code the customer is billed in.")
    legal_entity: Code = Field(title="Legal entity", description="The firm's company that sells to the customer.")
