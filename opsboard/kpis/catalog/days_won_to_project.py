"""Days from won opportunity to project."""

from decimal import Decimal

from psycopg.sql import Composed

from integrations.flows.opportunity_to_project import FLOW
from opsboard.kpis.records import DAYS, SUCCEEDED, transactions
from opsboard.kpis.registry import kpi


@kpi(
    label="Won deal to project",
    audience={"sales_ops", "pmo"},
    unit="days",
    good="down",
    owner="sales_ops",
    aggregate="median",
    target=Decimal(1),
    order=50,
    days=90,  # deals are few: a month often has none
    flow=FLOW.key,
    also=("mean", "records", "value"),
)
def days_won_to_project() -> Composed:
    """Days from a won opportunity to its project in the PSA system: the median.

    Moment the project was acknowledged less moment the opportunity was won, of the opportunity-to-project
    transactions that succeeded in the period. Median: the record in the middle, the lower one of two. Grain: one
    opportunity. Excluded: opportunities without a project yet (see won, not converted).
    """
    return transactions(SUCCEEDED, contribution=DAYS, flow=FLOW.key)
