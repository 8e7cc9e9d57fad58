"""Value cleared."""

from psycopg.sql import Composed

from opsboard.kpis.records import AT_STAKE, cases
from opsboard.kpis.registry import kpi
from opsboard.triage.lifecycle import CLOSED_BY_SUCCESS


@kpi(
    label="Value released",
    audience={"finance", "executive", "auditor"},
    unit="money",
    good="up",
    owner="finance",
    aggregate="sum",
    order=60,
    also=("records", "age"),
    part_label="Reason",
)
def cleared_value() -> Composed:
    """Value of exceptions that ended with the message reaching its target.

    Sum of the amounts at stake of the exceptions resolved in the period by a replay or because the transaction
    succeeded later, in the reporting currency as fixed when each was opened. Grain: one exception; age is the time it
    was open. Excluded: exceptions written off or resolved by hand, and amounts in a currency without a rate.
    """
    return cases(
        "c.state = 'resolved' AND c.resolved_at > p.since AND c.resolved_at <= p.at",
        contribution=AT_STAKE,
        part="c.category",
        resolutions=tuple(CLOSED_BY_SUCCESS),
    )
