"""The records behind figures, as SQL. A KPI says which ones and what each contributes; the frame does the rest.

Every record set has the same columns: id, transaction_id, case_number, entity, flow, part, amount, currency, base,
began, ended, contribution. `base` is the amount in the reporting currency. A contribution of NULL excludes the record
from the figure; it is counted and shown as excluded. In the conditions, `t` is the transaction, `c` the exception,
`p.at` the moment the figure is as of, `p.since` the start of its period: so any day of the past is computed like today.
"""

from typing import LiteralString

from psycopg.sql import SQL, Composed, Literal

from opsboard.catalog.queries import convert_sql

# A transaction finishes with its last decisive event; before that moment it was unfinished.
UNFINISHED = "t.first_at <= p.at AND (t.status IN ('pending', 'retrying', 'unknown', 'failed') OR t.head_at > p.at)"
SUCCEEDED = "t.status = 'succeeded' AND t.head_at > p.since AND t.head_at <= p.at"
# head_at is never before first_at: the second condition changes nothing but lets the index on head_at be used.
BEGAN = "t.first_at > p.since AND t.first_at <= p.at AND (t.head_at > p.since OR t.head_at IS NULL)"
OPEN = "c.opened_at <= p.at AND (c.state <> 'resolved' OR c.resolved_at > p.at)"

# An amount without an exchange rate is kept at zero in the exception; it is not worth nothing, it is unknown.
AT_STAKE = "CASE WHEN c.amount_base = 0 AND c.amount <> 0 THEN NULL ELSE c.amount_base END"
ONE = "1"
SECONDS = "round(extract(epoch FROM t.head_at - t.first_at), 3)"
DAYS = "round(extract(epoch FROM t.head_at - t.first_at) / 86400, 6)"

ENTITY = "coalesce(nullif(t.entity, ''), '-')"
AGE = """CASE WHEN p.at - t.first_at <= interval '7 days' THEN 'up to 7 days'
    WHEN p.at - t.first_at <= interval '30 days' THEN '8 to 30 days'
    WHEN p.at - t.first_at <= interval '60 days' THEN '31 to 60 days'
    ELSE 'over 60 days' END"""


def transactions(
    where: LiteralString, *, contribution: LiteralString, part: LiteralString = ENTITY, flow: str = ""
) -> Composed:
    """Transactions that fulfil `where` (of one flow, if given); `contribution` may use m.base, their value."""
    return SQL("""
        SELECT t.id::text AS id, t.id AS transaction_id, NULL::bigint AS case_number, t.entity, t.flow,
            {part} AS part, t.amount, t.currency, m.base, t.first_at AS began,
            CASE WHEN t.status NOT IN ('pending', 'retrying', 'unknown', 'failed') AND t.head_at <= p.at
                THEN t.head_at END AS ended,
            ({contribution})::numeric AS contribution
        FROM log_transaction t
        CROSS JOIN LATERAL (SELECT {base} AS base) m
        WHERE {where}{flow}""").format(
        part=SQL(part),
        base=convert_sql("t.amount", "t.currency", "t.first_at"),
        contribution=SQL(contribution),
        where=SQL(where),
        flow=SQL(" AND t.flow = {}").format(Literal(flow)) if flow else SQL(""),
    )


def cases(
    where: LiteralString,
    *,
    contribution: LiteralString,
    part: LiteralString,
    flows: tuple[str, ...] = (),
    resolutions: tuple[str, ...] = (),
) -> Composed:
    """Exceptions that fulfil `where` (of some flows, with some resolutions, if given), worth the amount at stake."""
    return SQL("""
        SELECT c.number::text AS id, c.transaction_id, c.number AS case_number, c.entity, c.flow,
            {part} AS part, c.amount, c.currency, {at_stake} AS base, c.opened_at AS began,
            CASE WHEN c.resolved_at <= p.at THEN c.resolved_at END AS ended,
            ({contribution})::numeric AS contribution
        FROM triage_case c
        WHERE {where}{flows}{resolutions}""").format(
        part=SQL(part),
        at_stake=SQL(AT_STAKE),
        contribution=SQL(contribution),
        where=SQL(where),
        flows=SQL(" AND c.flow = ANY({})").format(Literal(list(flows))) if flows else SQL(""),
        resolutions=SQL(" AND c.resolution = ANY({})").format(Literal(list(resolutions))) if resolutions else SQL(""),
    )
