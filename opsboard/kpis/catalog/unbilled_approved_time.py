"""Unbilled approved time."""

from decimal import Decimal

from psycopg.sql import Composed

from integrations.flows.time_to_billing import FLOW
from opsboard.kpis.records import AGE, UNFINISHED, transactions
from opsboard.kpis.registry import kpi


@kpi(
    label="Unbilled approved time",
    audience={"finance", "pmo", "executive"},
    unit="money",
    good="down",
    owner="finance",
    aggregate="sum",
    target=Decimal(150_000),
    order=20,
    flow=FLOW.key,
    also=("records", "age", "oldest"),
    part_label="Age",
)
def unbilled_approved_time() -> Composed:
    """Value of approved time that has no posted invoice yet.

    Sum of the amounts of time-to-billing transactions that have begun (time approved) and not finished (no invoice
    posted, not written off), in the reporting currency at the rate of the month of approval. Grain: one transaction,
    that is the approved time of a project and month. Age counts from approval; the average is weighted by value.
    Excluded: amounts in a currency without a rate. An operational figure, not the contract asset of the books.
    """
    return transactions(UNFINISHED, contribution="m.base", part=AGE, flow=FLOW.key)
