"""Won deals without a project."""

from decimal import Decimal

from psycopg.sql import Composed

from integrations.flows.opportunity_to_project import FLOW
from opsboard.kpis.records import AGE, ONE, UNFINISHED, transactions
from opsboard.kpis.registry import kpi


@kpi(
    label="Won, not converted",
    audience={"sales_ops", "pmo", "executive"},
    unit="count",
    good="down",
    owner="sales_ops",
    aggregate="sum",
    target=Decimal(2),
    order=40,
    flow=FLOW.key,
    also=("value", "age", "oldest"),
    part_label="Age",
)
def won_not_converted() -> Composed:
    """Won opportunities that have no project yet.

    Number of opportunity-to-project transactions that have begun (opportunity won) and not finished. Beside it their
    value in the reporting currency at the rate of the month they were won, their age since then (average weighted by
    value) and the oldest. Grain: one opportunity. Opportunities in a currency without a rate count, without value.
    """
    return transactions(UNFINISHED, contribution=ONE, part=AGE, flow=FLOW.key)
