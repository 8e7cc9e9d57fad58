"""The invoice's status: what sales and delivery want to know from accounting."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from integrations.canonical.base import Canonical, Code, Currency, Money

OpenAmount = Annotated[Decimal, Field(max_digits=18, decimal_places=4)]


class InvoiceStatus(Canonical):
    """Where an invoice stands in ERP at one moment."""

    invoice_number: Code = Field(title="Invoice", description="Number of the invoice in ERP.")
    project_codes: tuple[Code, ...] = Field(
        min_length=1, title="Projects", description="Numbers of the projects it bills."
    )
    customer_code: Code = Field(title="Customer", description="Number of the customer in ERP.")
    legal_entity: Code = Field(title="Legal entity", description="The firm's company that billed.")
    total: Money = Field(title="Total", description="Amount of the invoice including tax.")
    open_amount: OpenAmount = Field(title="Open amount", description="What is still to be paid.")
    currency: Currency = Field(title="Currency", description="ISO 4217 code of the amounts.")
    state: Literal["draft", "posted", "paid", "cancelled"] = Field(title="State", description="State in ERP.")
    issued_on: date | None = Field(None, title="Issued on", description="Invoice date.")
    due_on: date | None = Field(None, title="Due on", description="Day the payment is due.")
    paid_on: date | None = Field(None, title="Paid on", description="Day it was paid in full.")

    @model_validator(mode="after")
    def _paid_means_nothing_open(self) -> Self:
        if self.state == "paid" and self.open_amount != 0:
            raise ValueError(f"a paid invoice has nothing open, not {self.open_amount}")
        return self


def progress(state: str, open_amount: Decimal) -> tuple[int, Decimal]:
    """How far an invoice has come: greater is later. It is posted, then paid off; never the other way round."""
    order = {"draft": 0, "posted": 1, "paid": 2, "cancelled": 3}
    return order[state], -open_amount
