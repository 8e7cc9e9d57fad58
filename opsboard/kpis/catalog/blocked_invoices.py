"""Blocked invoices."""

from decimal import Decimal

from psycopg.sql import Composed

from integrations.flows.time_to_billing import FLOW
from opsboard.kpis.records import AT_STAKE, OPEN, cases
from opsboard.kpis.registry import kpi


@kpi(
    label="Blocked invoices",
    audience={"finance", "executive"},
    unit="money",
    good="down",
    owner="finance",
    aggregate="sum",
    target=Decimal(0),
    order=10,
    flow=FLOW.key,
    also=("records", "age", "oldest"),
    part_label="Reason",
)
def blocked_invoices() -> Composed:
    """Value of invoices that an open exception keeps from being posted.

    Sum of the amounts at stake of the exceptions of time-to-billing that are open (also snoozed or being replayed),
    in the reporting currency as fixed when each was opened. Grain: one exception. By reason: the category of the
    refusal. Excluded: amounts in a currency without a rate. What waits behind a blocked message of the same project
    is not counted twice: it has no exception of its own.
    """
    return cases(OPEN, contribution=AT_STAKE, part="c.category", flows=(FLOW.key,))
