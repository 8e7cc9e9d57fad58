"""The billing request: approved time of one project and period, to be invoiced."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Self

from pydantic import Field, model_validator

from integrations.canonical.base import Canonical, Code, Currency, Name, OptionalCode, Period, PositiveMoney

TOLERANCE = Decimal("0.01")  # one cent of rounding per line


class BillingLine(Canonical):
    """Approved hours of one person at one rate."""

    person_code: Code = Field(title="Person", description="Number of the person in PSA.")
    person_name: Name = Field(title="Person's name", description="Shown on the invoice line.")
    hours: PositiveMoney = Field(title="Hours", description="Approved hours; more than 0.")
    rate: PositiveMoney = Field(title="Rate", description="Price of one hour in the invoice's currency.")
    amount: PositiveMoney = Field(title="Amount", description="Hours times rate, rounded to the cent.")
    entries: tuple[Code, ...] = Field(
        min_length=1, title="Time entries", description="Numbers of the time entries that are billed here."
    )

    @model_validator(mode="after")
    def _amount_is_hours_times_rate(self) -> Self:
        if abs(self.hours * self.rate - self.amount) > TOLERANCE:
            raise ValueError(f"amount {self.amount} is not hours {self.hours} × rate {self.rate}")
        return self


class BillingRequest(Canonical):
    """One invoice to be drawn in ERP for the approved time of a project and month."""

    project_code: Code = Field(title="Project", description="Number of the project in PSA.")
    project_name: Name = Field(title="Project name", description="Shown on the invoice.")
    customer_code: Code = Field(title="Customer", description="Number of the customer in PSA.")
    customer_tax_id: OptionalCode = Field(
        "", title="Tax identifier", description="Joins the customer's numbers in PSA and ERP."
    )
    legal_entity: Code = Field(title="Legal entity", description="The firm's company that bills.")
    cost_center: OptionalCode = Field("", title="Cost center", description="Dimension the revenue is booked on.")
    period: Period = Field(title="Period", description="Month worked, YYYY-MM.")
    invoice_date: date = Field(title="Invoice date", description="Decides the accounting period.")
    currency: Currency = Field(title="Currency", description="ISO 4217 code of all amounts.")
    lines: tuple[BillingLine, ...] = Field(min_length=1, title="Lines", description="One per person and rate.")

    @property
    def total(self) -> Decimal:
        """Sum of the lines in the invoice's currency, before tax."""
        return sum((line.amount for line in self.lines), Decimal(0))

    @property
    def entries(self) -> tuple[str, ...]:
        """Numbers of all time entries, in order of the lines."""
        return tuple(entry for line in self.lines for entry in line.entries)

    @model_validator(mode="after")
    def _each_entry_once(self) -> Self:
        if len(set(self.entries)) != len(self.entries):
            raise ValueError("a time entry is named twice")
        return self
