"""Oldest unfinished transaction."""

from decimal import Decimal

from psycopg.sql import Composed

from opsboard.kpis.records import UNFINISHED, transactions
from opsboard.kpis.registry import kpi


@kpi(
    label="Oldest unfinished",
    audience={"platform", "administrator"},
    unit="days",
    good="down",
    owner="platform",
    aggregate="max",
    target=Decimal(14),
    order=120,
    also=("records",),
    part_label="Flow",
)
def oldest_unfinished() -> Composed:
    """Age of the oldest transaction that has not finished.

    Now less the moment of the first event, of the transactions of all flows that are pending, being retried, of
    unknown outcome or failed; the greatest. Grain: one transaction.
    """
    return transactions(
        UNFINISHED, contribution="round(extract(epoch FROM p.at - t.first_at) / 86400, 6)", part="t.flow"
    )
