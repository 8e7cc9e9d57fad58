"""Open exceptions."""

from psycopg.sql import Composed

from opsboard.kpis.records import ONE, OPEN, cases
from opsboard.kpis.registry import kpi


@kpi(
    label="Open exceptions",
    audience={"pmo", "sales_ops", "hr_ops", "auditor", "administrator"},
    unit="count",
    good="down",
    owner="platform",
    aggregate="sum",
    order=80,
    also=("value", "oldest"),
    part_label="Accountable team",
)
def open_exceptions() -> Composed:
    """Exceptions that are not resolved.

    Number of exceptions of all flows and teams that are open, snoozed or being replayed; beside it the amount at
    stake in the reporting currency and the oldest. Grain: one exception. Exceptions in a currency without a rate
    count, without value.
    """
    return cases(OPEN, contribution=ONE, part="c.team")
