"""Replay success."""

from decimal import Decimal

from psycopg.sql import SQL, Composed

from opsboard.catalog.queries import convert_sql
from opsboard.kpis.registry import kpi


@kpi(
    label="Replay success",
    audience={"platform", "auditor"},
    unit="percent",
    good="up",
    owner="platform",
    aggregate="ratio",
    target=Decimal(95),
    order=130,
    also=("records", "value"),
    part_label="Flow",
    excluded="outcome still open",
)
def replay_success() -> Composed:
    """Share of replays that reached their target.

    Replays begun in the period after which the transaction succeeded, divided by the replays begun in the period that
    have an outcome. The outcome is the first success or failure of the transaction after the replay. Grain: one
    replay, so a transaction replayed twice counts twice. Excluded: replays whose outcome is open.
    """
    # A replay changes the exception it replays: its few transactions lead to the events, which have no index by kind.
    return SQL("""
        SELECT e.id::text AS id, t.id AS transaction_id, NULL::bigint AS case_number, t.entity, t.flow,
            t.flow AS part, t.amount, t.currency, {base} AS base, e.occurred_at AS began, o.occurred_at AS ended,
            CASE WHEN o.status = 'succeeded' THEN 1::numeric WHEN o.status IS NOT NULL THEN 0 END AS contribution
        FROM (SELECT DISTINCT c.transaction_id FROM triage_case c WHERE c.changed_at > p.since) replayed
        JOIN log_transaction t ON t.id = replayed.transaction_id
        JOIN log_event e ON e.transaction_id = t.id AND e.kind = 'replayed'
            AND e.occurred_at > p.since AND e.occurred_at <= p.at
        LEFT JOIN LATERAL (
            SELECT x.status, x.occurred_at FROM log_event x
            WHERE x.transaction_id = t.id AND x.occurred_at BETWEEN e.occurred_at AND p.at
                AND x.attempt >= e.attempt AND x.status IN ('succeeded', 'failed', 'superseded', 'closed')
            ORDER BY x.occurred_at, x.seq LIMIT 1
        ) o ON true""").format(base=convert_sql("t.amount", "t.currency", "t.first_at"))
