"""Latency, received to acknowledged."""

from decimal import Decimal

from psycopg.sql import Composed

from opsboard.kpis.records import SECONDS, SUCCEEDED, transactions
from opsboard.kpis.registry import kpi


@kpi(
    label="Latency (95th percentile)",
    audience={"platform"},
    unit="seconds",
    good="down",
    owner="platform",
    aggregate="p95",
    target=Decimal(48 * 3600),
    order=100,
    also=("mean", "records"),
    part_label="Flow",
)
def latency_p95() -> Composed:
    """Time within which 95 of 100 transactions got from their first event to the target's acknowledgement.

    Moment of the acknowledgement less moment of the first event, of the transactions of all flows that succeeded in
    the period; the record at the 95th percentile (nearest rank). Both moments are the source's clock. Time that an
    exception waited for a person counts. Grain: one transaction. Excluded: what is not finished (see backlog).
    """
    return transactions(SUCCEEDED, contribution=SECONDS, part="t.flow")
