"""Overdue exceptions."""

from decimal import Decimal

from psycopg.sql import Composed

from opsboard.kpis.records import ONE, OPEN, cases
from opsboard.kpis.registry import kpi


@kpi(
    label="Overdue exceptions",
    audience={"finance", "sales_ops", "hr_ops", "auditor", "administrator"},
    unit="count",
    good="down",
    owner="platform",
    aggregate="sum",
    target=Decimal(0),
    order=70,
    also=("value", "oldest"),
    part_label="Accountable team",
)
def overdue_exceptions() -> Composed:
    """Exceptions that are not resolved although their due time has passed.

    Number of exceptions of all flows and teams that are open, snoozed or being replayed after their due time; beside
    it the amount at stake in the reporting currency and the oldest. Grain: one exception.
    """
    return cases(OPEN + " AND c.due_at < p.at", contribution=ONE, part="c.team")
