"""Integration failure rate."""

from decimal import Decimal

from psycopg.sql import Composed

from opsboard.kpis.records import BEGAN, transactions
from opsboard.kpis.registry import kpi


@kpi(
    label="Integration failure rate",
    audience={"platform", "sales_ops", "hr_ops", "auditor", "administrator"},
    unit="percent",
    good="down",
    owner="platform",
    aggregate="ratio",
    target=Decimal(2),
    order=90,
    also=("records",),
    part_label="Flow",
)
def integration_failure_rate() -> Composed:
    """Share of transactions that did not get through without a person.

    Transactions begun in the period that had an exception or stand failed, divided by all transactions begun in the
    period. Grain: one transaction, not one attempt: a retry that recovered by itself is no failure. A failed
    transaction keeps counting after it was repaired; the release shows in the value released.
    """
    return transactions(
        BEGAN,
        contribution="""CASE WHEN (t.status = 'failed' AND t.head_at <= p.at) OR EXISTS (SELECT FROM triage_case c
            WHERE c.transaction_id = t.id AND c.opened_at <= p.at) THEN 1 ELSE 0 END""",
        part="t.flow",
    )
