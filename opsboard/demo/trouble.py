"""What goes wrong in the demo firm: verbatim answers, how often, when, and what is open now.

Shares. design/standards.md, sections 5 and 7, gives: 35.6 % of invoices paid late and 22.7 % disputed, disputed ones
settled 13 days later (IBM, 2,466 receivables); utilisation 68.9 % (SPI); leakage of 1-5 % of revenue (second hand). It
has no published share of refused integration messages: REFUSED is assumed, around the upper end of the leakage range,
because what is refused and forgotten is what leaks; higher for invoices, whose target checks most. Transient failures
that a retry heals are not failures by section 7; TRANSIENT is assumed, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from opsboard.demo.firm import Firm, at
from opsboard.demo.work import blocked_period, business_day, closes_on, nth_business_day

PAID_LATE = 0.356
DISPUTED = 0.227
DISPUTE_DAYS = 13
REFUSED = {"time-to-billing": 0.07, "opportunity-to-project": 0.06, "invoice-status": 0.02, "expense-to-erp": 0.04}
TRANSIENT = 0.04

CRM, PSA, ERP = "demo-crm", "demo-psa", "demo-erp"


@dataclass(frozen=True)
class Cause:
    """A vendor's answer. message is a format over the facts of the message that is refused."""

    key: str
    system: str
    message: str
    code: str | None = None
    http_status: int | None = 400

    def error(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """As events carry it."""
        message = self.message.format_map(facts)
        return {
            "system": self.system,
            "code": self.code,
            "message": message,
            "http_status": self.http_status,
            "body": message if self.code is None else f'[{{"message": "{message}", "errorCode": "{self.code}"}}]',
        }


FIELD = "Error while accessing a resource. You have entered an Invalid Field Value {value} for the following field: "
# The first eight are worded exactly as the sandbox ERP words them, so that a replay is refused in the same words.
CAUSES = {
    cause.key: cause
    for cause in (
        Cause(
            "closed_period", ERP,
            "The transaction date you specified is not within the date range of your accounting period.", "USER_ERROR",
        ),
        Cause("cost_center", ERP, FIELD.replace("{value}", "{cost_center}") + "department.", "USER_ERROR"),
        Cause(
            "customer", ERP, "Invalid entity reference key {customer_psa} for subsidiary {entity}.",
            "INVALID_KEY_OR_REF",
        ),
        Cause(
            "pending", ERP,
            "Project {project} is pending approval. It cannot be billed until it is approved.", "USER_ERROR",
        ),
        Cause(
            "inactive", ERP,
            "Project {project} is inactive. Choose an active project for the field: job.", "USER_ERROR",
        ),
        Cause(
            "credit_hold", ERP,
            "Customer {customer_erp} is on credit hold. Approval is required to post this transaction.", "USER_ERROR",
        ),
        Cause("rate", ERP, "No exchange rate from {currency} is defined on {date_us}.", "USER_ERROR"),
        Cause(
            "ceiling", ERP,
            "The amount exceeds the billing ceiling of project {project}: {billed} of {ceiling} {currency}.",
            "USER_ERROR",
        ),
        Cause("billed", ERP, "This time was already billed as {other}: {other_total} {currency}.", "ALREADY_BILLED",
              None),
        Cause(
            "permission", ERP,
            "Permission Violation: You need a higher level of the 'Transactions -> Invoice' permission to access this"
            " page. Please contact your account administrator.", "INSUFFICIENT_PERMISSION", 403,
        ),
        Cause("unreachable", ERP, "The ERP did not answer within 30 seconds: connection timed out.", "CONNECT_TIMEOUT",
              504),
        Cause("busy", ERP, "Concurrent request limit exceeded. Request blocked.", "CONCURRENCY_LIMIT_EXCEEDED", 429),
        Cause("dropped", ERP, "The connection was closed before the answer came.", "DROPPED", None),
        Cause(
            "schema", ERP,
            "Error while accessing a resource. Unknown field custbody_psa_project on record invoice.",
            "INVALID_FIELD_NAME",
        ),
        Cause("tax_number", ERP, "Please enter value(s) for: Tax Reg. Number", "USER_ERROR"),
        Cause("subsidiary", ERP, "Invalid subsidiary reference key {seller}.", "INVALID_KEY_OR_REF"),
        Cause("practice", PSA, "Required fields are missing: [pse__Practice__c]", "REQUIRED_FIELD_MISSING"),
        Cause(
            "row_lock", CRM, "unable to obtain exclusive access to this record or 1 records: {opportunity}",
            "UNABLE_TO_LOCK_ROW",
        ),
        Cause(
            "crm_column", CRM, "No such column 'Last_Invoice_Status__c' on sobject of type Opportunity",
            "INVALID_FIELD",
        ),
        Cause(
            "crm_access", CRM,
            "Unable to create/update fields: Last_Invoice_Status__c. Please check the security settings of this field"
            " and verify that it is read/write for your profile or permission set.", "INVALID_FIELD_FOR_INSERT_UPDATE",
        ),
        Cause("opportunity_gone", CRM, "The requested resource does not exist", "NOT_FOUND", 404),
        Cause("employee", ERP, FIELD.replace("{value}", "{person}") + "employee.", "USER_ERROR"),
        Cause("expense_category", ERP, FIELD.replace("{value}", "TRAVEL-EU") + "category.", "USER_ERROR"),
        Cause(
            "unassigned", PSA, "Assignment Required for Project {project}: {person_name} is not assigned.",
            "FIELD_CUSTOM_VALIDATION_EXCEPTION",
        ),
    )
}  # fmt: skip

# What refuses in the ordinary course of a year, per flow: cause → weight.
PAST = {
    "time-to-billing": {
        "cost_center": 28,
        "pending": 22,
        "credit_hold": 14,
        "ceiling": 12,
        "customer": 12,
        "permission": 4,
    },
    "opportunity-to-project": {"tax_number": 55, "practice": 45},
    "invoice-status": {"crm_access": 30, "opportunity_gone": 20, "crm_column": 10},
    "expense-to-erp": {"employee": 50, "expense_category": 25, "unassigned": 25},
}
PASSING = {
    "time-to-billing": {"busy": 70, "unreachable": 30},
    "opportunity-to-project": {"busy": 100},
    "invoice-status": {"row_lock": 85, "busy": 15},
    "expense-to-erp": {"busy": 60, "unreachable": 40},
}
# Open now in time-to-billing: cause → how many at scale 1. Which projects: see story.planned().
OPEN = {
    "closed_period": 6, "cost_center": 3, "customer": 2, "ceiling": 2, "pending": 1, "rate": 1, "credit_hold": 1,
    "billed": 1, "permission": 1, "unreachable": 2, "dropped": 2, "inactive": 1,
}  # fmt: skip
WAITING = ("tax_number", "tax_number", "practice", "practice", "subsidiary")  # for firm.WAITING, in its order
STATUS_OPEN = ("row_lock", "crm_access", "crm_column", "opportunity_gone")
EXPENSE_OPEN = ("employee", "employee", "unassigned")


@dataclass(frozen=True)
class Patch:
    """A rough patch: from start to end every message of `flow` (empty: all) is refused for the cause."""

    start: datetime
    end: datetime
    flow: str
    cause: str
    share: float
    mended: datetime


def patches(firm: Firm) -> tuple[Patch, ...]:
    """Three bad weeks of the year, so that trends have something to tell."""
    monday = firm.as_of.date() - timedelta(days=firm.as_of.weekday())
    release, outage = monday - timedelta(weeks=31), monday - timedelta(weeks=9) + timedelta(days=1)
    return (
        # The ERP's spring release renamed a field: nothing could be billed for four days.
        Patch(at(release, 0), at(release + timedelta(days=4), 0), "time-to-billing", "schema", 0.8,
              at(release + timedelta(days=4), 9)),
        # CRM's field security was reset by a deployment; sales saw old invoice states for a week.
        Patch(at(monday - timedelta(weeks=19), 0), at(monday - timedelta(weeks=18), 0), "invoice-status", "crm_access",
              0.2, at(monday - timedelta(weeks=18), 8)),
        # An evening without ERP: retried, and given up for some.
        Patch(at(outage, 12), at(outage + timedelta(days=1), 0), "", "unreachable", 0.5,
              at(outage + timedelta(days=1), 7)),
    )  # fmt: skip


def early_close(firm: Firm) -> tuple[str, date, datetime]:
    """The month (YYYY-MM) that NWC-DE closed five business days too soon, the day, and when it was reopened."""
    month = firm.as_of.date().replace(day=1)
    for _ in range(5):
        month = (month - timedelta(days=1)).replace(day=1)
    following = (month + timedelta(days=32)).replace(day=1)
    return f"{month:%Y-%m}", nth_business_day(following, 2), at(nth_business_day(following, 7), 9)


def closed(firm: Firm, entity: str, period: str, moment: datetime) -> bool:
    """Whether the period had been closed by then."""
    early, day, reopened = early_close(firm)
    if entity == "NWC-DE" and period == early and at(day, 12) <= moment < reopened:
        return True
    return period <= blocked_period(firm.as_of.date()) and moment > at(closes_on(period), 20)


def working_time(moment: datetime) -> datetime:
    """The moment, or the next business morning when it falls outside 07:00-17:00 UTC or on a weekend."""
    if moment.hour >= 17:
        moment = at(moment.date() + timedelta(days=1), 7 + moment.minute / 60)
    elif moment.hour < 7:
        moment = at(moment.date(), 7 + moment.minute / 60)
    while not business_day(moment.date()):
        moment += timedelta(days=1)
    return moment
