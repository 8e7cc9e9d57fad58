"""Days from approved time to invoice."""

from decimal import Decimal

from psycopg.sql import Composed

from integrations.flows.time_to_billing import FLOW
from opsboard.kpis.records import DAYS, SUCCEEDED, transactions
from opsboard.kpis.registry import kpi


@kpi(
    label="Approved time to invoice",
    audience={"finance", "pmo", "executive"},
    unit="days",
    good="down",
    owner="finance",
    aggregate="median",
    target=Decimal(3),
    order=30,
    flow=FLOW.key,
    also=("mean", "records", "value"),
)
def days_approved_to_invoice() -> Composed:
    """Days from the approval of time to its posted invoice: the median.

    Moment of the acknowledged posting less moment of approval, of the time-to-billing transactions that succeeded in
    the period. Median: the record in the middle, the lower one of two; the mean stands beside it because a few very
    late ones matter. Grain: one transaction. Excluded: what is not invoiced yet (see unbilled approved time).
    """
    return transactions(SUCCEEDED, contribution=DAYS, flow=FLOW.key)
