"""Backlog."""

from psycopg.sql import Composed

from opsboard.kpis.records import ONE, UNFINISHED, transactions
from opsboard.kpis.registry import kpi


@kpi(
    label="Backlog",
    audience={"platform", "administrator"},
    unit="count",
    good="down",
    owner="platform",
    aggregate="sum",
    order=110,
    also=("value", "oldest"),
    part_label="Flow",
)
def backlog() -> Composed:
    """Transactions that have begun and not finished.

    Number of transactions of all flows that are pending, being retried, of unknown outcome or failed. Grain: one
    transaction. Transactions in a currency without a rate count, without value.
    """
    return transactions(UNFINISHED, contribution=ONE, part="t.flow")
