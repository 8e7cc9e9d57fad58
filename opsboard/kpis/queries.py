"""What the figures are: computed from the records they drill down to, in one statement each, for one person.

The person's legal entities are applied here, around whatever a KPI's file selects, so that no KPI can forget them.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from psycopg.sql import SQL, Composable, Composed, Identifier

from opsboard.accounts.access import entities, sees_unplaced
from opsboard.accounts.models import User
from opsboard.accounts.roles import TEAMS
from opsboard.catalog.queries import flow_labels
from opsboard.core.clock import UTC, now
from opsboard.kpis.figures import (
    ALSO,
    Chart,
    Figure,
    Measure,
    Part,
    Row,
    RowsPage,
    better,
    change_sentence,
    conclusion,
    delta_text,
    short_text,
    status,
    status_word,
    value_text,
)
from opsboard.kpis.models import FIRM, Snapshot
from opsboard.kpis.registry import ADDITIVE, Aggregate, Kpi, kpis

TILES = 5
WEEKS = 13
UNPLACED = "-"  # in the place of a legal entity in a filter: records of no known entity
DIMENSIONS = ("part", "flow", "entity")
Person = User | AnonymousUser
Trend = list[tuple[date, Decimal | None]]  # oldest first; None: a gap


class UnknownKpi(LookupError):
    """There is no KPI of that key."""


@dataclass(frozen=True)
class Filters:
    """What of a KPI to look at. Empty: everything the person may see, over the KPI's own period.

    entity: a legal entity, or UNPLACED. days: length of the period. part: one slice of the KPI's own dimension.
    by: the dimension of the breakdown (part, flow, entity). weeks: length of the trend.
    """

    flow: str = ""
    entity: str = ""
    part: str = ""
    days: int | None = None
    by: str = "part"
    weeks: int = WEEKS

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "Filters":
        """The filters in an address; what cannot be read is left out."""
        days, weeks = query.get("days", ""), query.get("weeks", "")
        by = query.get("by", "")
        return cls(
            flow=query.get("flow", ""),
            entity=query.get("entity", ""),
            part=query.get("part", ""),
            days=int(days) if days.isdecimal() and 1 <= int(days) <= 366 else None,
            by=by if by in DIMENSIONS else "part",
            weeks=int(weeks) if weeks.isdecimal() and 1 <= int(weeks) <= 104 else WEEKS,
        )


class Point(NamedTuple):
    """A moment to compute a figure for, with the start of its period."""

    since: datetime
    at: datetime


@dataclass(frozen=True)
class Sum:
    """What a set of records comes to, before it is a figure. key: entity or slice; None for all together."""

    point: int
    key: str | None
    count: int
    counted: int
    numerator: Decimal
    measure: Decimal | None
    also: Mapping[str, Decimal | None]


MEASURES: dict[Aggregate, SQL] = {
    "sum": SQL("NULL::numeric"),
    "ratio": SQL("NULL::numeric"),
    "median": SQL("percentile_disc(0.5) WITHIN GROUP (ORDER BY r.contribution)"),
    "p95": SQL("percentile_disc(0.95) WITHIN GROUP (ORDER BY r.contribution)"),
    "max": SQL("max(r.contribution)"),
}
AGE = "(extract(epoch FROM coalesce(r.ended, p.at) - r.began) / 86400)"
ALSO_SQL = {
    "records": SQL("count(*)::numeric"),
    "value": SQL("sum(r.base)"),
    "oldest": SQL(f"round(max({AGE}), 6)"),
    "age": SQL(f"round(sum({AGE} * r.base) / nullif(sum(r.base), 0), 6)"),
    "mean": SQL("round(avg(r.contribution), 6)"),
}
EXACT = Decimal("0.000001")  # figures are kept and compared to the sixth decimal


def value_of(aggregate: Aggregate, numerator: Decimal, counted: int, measure: Decimal | None) -> Decimal | None:
    """The figure from the sum and number of the contributions, or from the measure where these do not tell it."""
    if aggregate == "sum":
        return numerator
    if aggregate == "ratio":
        return (100 * numerator / counted).quantize(EXACT) if counted else None
    return measure


def catalogue() -> list[Kpi]:
    """All KPIs, in order."""
    return list(kpis().values())


def audience(role: str) -> list[Kpi]:
    """The KPIs on the home page of a role, in order, at most TILES."""
    return [kpi for kpi in catalogue() if role in kpi.audience][:TILES]


def board(person: Person, role: str | None = None) -> list[Figure]:
    """The figures of the home page of a role (the person's own when None), for the person's legal entities."""
    chosen = audience(role if role is not None else getattr(person, "role", ""))
    return [figure for figure, _ in _figures(person, chosen, Filters())]


def figure(person: Person, key: str, filters: Filters | None = None) -> Figure:
    """One KPI for the person. Raises UnknownKpi."""
    return _figures(person, [_kpi(key)], filters or Filters())[0][0]


def breakdown(person: Person, key: str, filters: Filters | None = None) -> list[Part]:
    """The figure by slice (`filters.by`), the greatest first; the slices of a sum add up to it. Raises UnknownKpi."""
    kpi, filters = _kpi(key), filters or Filters()
    by = SQL("r.{}").format(Identifier(filters.by))
    parts = [
        one for one in sums(kpi, [_point(kpi, filters)], scope(person, filters), filters, by) if one.key is not None
    ]
    values = {one.key: value_of(kpi.aggregate, one.numerator, one.counted, one.measure) for one in parts}
    known: list[Decimal] = [abs(value) for value in values.values() if value is not None]
    greatest = sum(known, Decimal(0)) if kpi.aggregate == "sum" else max(known, default=Decimal(0))
    whole = greatest or Decimal(1)
    labels = flow_labels()
    slices = [
        Part(
            key=one.key or UNPLACED,
            label=_label(one.key or "", labels),
            value=value,
            text=value_text(value, kpi.unit, _locale(person)),
            count=one.count,
            excluded=one.count - one.counted,
            share=float(abs(value or Decimal(0)) / whole),
        )
        for one in parts
        for value in [values[one.key]]
    ]
    return sorted(slices, key=lambda part: (-part.share, part.label))


def rows(person: Person, key: str, filters: Filters | None = None, limit: int = 50, after: str = "") -> RowsPage:
    """The records behind the figure, by what they contribute: greatest first, failures first in a rate of success.

    after: the `next` of the page before. Excluded records come last. Raises UnknownKpi.
    """
    kpi, filters = _kpi(key), filters or Filters()
    rank, last = _cursor(after)
    parameters = _parameters([_point(kpi, filters)], scope(person, filters), filters)
    parameters |= {"rank": rank, "last": last, "limit": limit + 1}
    sign = SQL("-r.contribution" if kpi.aggregate == "ratio" and kpi.good == "up" else "r.contribution")
    found = _fetch(ROWS.format(framed=_framed(kpi), sign=sign), parameters)
    page = [_row(kpi, one, _locale(person)) for one in found[:limit]]
    more = len(found) > limit
    return RowsPage(page, f"{found[limit - 1]['rank']}~{found[limit - 1]['id']}" if more else "")


def series(person: Person, key: str, filters: Filters | None = None) -> Trend:
    """The figure by day (up to four weeks) or week, oldest first, None where nothing is known. Raises UnknownKpi."""
    kpi, filters = _kpi(key), filters or Filters()
    return _series(person, [kpi], filters, now())[kpi.key]


def chart(person: Person, key: str, filters: Filters | None = None) -> Chart:
    """The trend of the figure up to now, as Plotly draws it, as a table and as a sentence. Raises UnknownKpi."""
    kpi, filters, locale = _kpi(key), filters or Filters(), _locale(person)
    [(_, points)] = _figures(person, [kpi], filters)
    table = [(day, value, value_text(value, kpi.unit, locale)) for day, value in points]
    return Chart(
        figure={"data": _traces(kpi, points, locale), "layout": _layout(kpi, points, locale)},
        columns=("Day", kpi.label),
        rows=table,
        sentence=conclusion(kpi, points, locale),
    )


def scope(person: Person, filters: Filters) -> list[str] | None:
    """Legal entities whose records count: those of the person, narrowed by the filter; None means all."""
    allowed = entities(person)
    if allowed is not None and sees_unplaced(person):
        allowed = [*allowed, ""]
    if not filters.entity:
        return allowed
    wanted = "" if filters.entity == UNPLACED else filters.entity
    return [wanted] if allowed is None or wanted in allowed else []


def sums(
    kpi: Kpi, points: Sequence[Point], allowed: list[str] | None, filters: Filters, by: Composable | None = None
) -> list[Sum]:
    """What the records come to at each point: all together and, with `by`, per value of that expression. One query."""
    also = [(name, ALSO_SQL[name]) for name in kpi.also]
    columns = SQL("").join(SQL(", {} AS {}").format(sql, Identifier(f"also_{name}")) for name, sql in also)
    group = SQL("GROUPING SETS ((p.no), (p.no, {}))").format(by) if by else SQL("p.no")
    query = SUMS.format(
        key=SQL("CASE WHEN GROUPING({by}) = 0 THEN {by} END").format(by=by) if by else SQL("NULL::text"),
        measure=MEASURES[kpi.aggregate],
        also=columns,
        framed=_framed(kpi),
        group=group,
    )
    return [
        Sum(
            point=row["no"],
            key=row["key"],
            count=row["count"],
            counted=row["counted"],
            numerator=row["numerator"],
            measure=row["measure"],
            also={name: row[f"also_{name}"] for name, _ in also},
        )
        for row in _fetch(query, _parameters(points, allowed, filters))
    ]


def period(kpi: Kpi, at: datetime, days: int | None = None) -> Point:
    """The point at that moment with the KPI's period, or one of `days`, before it."""
    return Point(at - timedelta(days=days or kpi.days), at)


def end_of(day: date) -> datetime:
    """The first moment after the day, in UTC."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)


# The records at each point, within the legal entities, flow and slice asked for. {records} sees p.at and p.since.
FRAMED = SQL("""
    FROM unnest(%(sinces)s::timestamptz[], %(ats)s::timestamptz[]) WITH ORDINALITY AS p(since, at, no)
    CROSS JOIN LATERAL ({records}) r
    WHERE (%(entities)s::text[] IS NULL OR r.entity = ANY(%(entities)s::text[]))
        AND (%(flow)s = '' OR r.flow = %(flow)s) AND (%(part)s = '' OR r.part = %(part)s)""")

SUMS = SQL("""
    SELECT (p.no - 1)::int AS no, {key} AS key, count(*) AS count, count(r.contribution) AS counted,
        coalesce(sum(r.contribution), 0) AS numerator, {measure} AS measure{also}
    {framed}
    GROUP BY {group}""")

# Names and customers only for the records of the page.
ROWS = SQL("""
    SELECT page.*, coalesce(page.case_number, latest.number) AS shown_case, coalesce(t.key, '') AS reference,
        coalesce(t.status, '') AS status, coalesce(nullif(c.object_label, ''), nullif(o.name, ''), o.external_id, '')
        AS label, coalesce(nullif(c.customer, ''), (SELECT coalesce(nullif(named ->> 4, ''), named ->> 2)
            FROM jsonb_array_elements(e.objects_named) named WHERE named ->> 1 = 'customer' LIMIT 1), '') AS customer
    FROM (SELECT * FROM (
            SELECT r.*, p.at, coalesce({sign}, '-Infinity') AS rank {framed}
        ) ranked
        WHERE %(rank)s::numeric IS NULL OR (ranked.rank, ranked.id) < (%(rank)s::numeric, %(last)s)
        ORDER BY ranked.rank DESC, ranked.id DESC LIMIT %(limit)s) page
    LEFT JOIN log_transaction t ON t.id = page.transaction_id
    LEFT JOIN log_object o ON o.id = t.subject_id
    LEFT JOIN log_event e ON e.id = t.first_event
    LEFT JOIN LATERAL (SELECT number FROM triage_case WHERE transaction_id = page.transaction_id
        ORDER BY number DESC LIMIT 1) latest ON true
    LEFT JOIN triage_case c ON c.number = coalesce(page.case_number, latest.number)
    ORDER BY page.rank DESC, page.id DESC""")

# Of the flows asked for, those that carried anything in these legal entities; '' stands for any flow.
SEEN = SQL("""
    SELECT f.flow FROM unnest(%(flows)s::text[]) AS f(flow)
    WHERE EXISTS (SELECT FROM log_transaction t WHERE (f.flow = '' OR t.flow = f.flow)
        AND (%(entities)s::text[] IS NULL OR t.entity = ANY(%(entities)s::text[])))""")


def _kpi(key: str) -> Kpi:
    if key not in kpis():
        raise UnknownKpi(key)
    return kpis()[key]


def _point(kpi: Kpi, filters: Filters) -> Point:
    return period(kpi, now(), filters.days)


def _framed(kpi: Kpi) -> Composed:
    return FRAMED.format(records=kpi.records())


def _parameters(points: Sequence[Point], allowed: list[str] | None, filters: Filters) -> dict[str, Any]:
    return {
        "sinces": [point.since for point in points],
        "ats": [point.at for point in points],
        "entities": allowed,
        "flow": filters.flow,
        "part": filters.part,
    }


def _fetch(query: Composable, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of the query by column name."""
    with connection.cursor() as cursor:
        cursor.execute(query.as_string(None), dict(parameters))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _figures(person: Person, chosen: Sequence[Kpi], filters: Filters) -> list[tuple[Figure, Trend]]:
    """A query for each, one for what there is at all and one for the trends."""
    moment, allowed = now(), scope(person, filters)
    flows = sorted({filters.flow or kpi.flow for kpi in chosen})
    seen = {row["flow"] for row in _fetch(SEEN, {"flows": flows, "entities": allowed})} if chosen else set()
    trends = _series(person, chosen, filters, moment)
    made = []
    for kpi in chosen:
        point = period(kpi, moment, filters.days)
        points = [point, period(kpi, point.since, filters.days)]
        found = {one.point: one for one in sums(kpi, points, allowed, filters)}
        nothing = Sum(0, None, 0, 0, Decimal(0), None, dict.fromkeys(kpi.also))
        pair = (found.get(0, nothing), found.get(1, nothing))
        has_data = (filters.flow or kpi.flow) in seen
        # A flow that never carried anything has no trend either, though its snapshots say zero.
        kept: Trend = trends[kpi.key] if has_data else [(day, None) for day, _ in trends[kpi.key]]
        trend = [*kept, (moment.astimezone(UTC).date(), _value(kpi, pair[0], has_data))]
        made.append((_figure(kpi, pair, has_data, trend, point, _locale(person)), trend))
    return made


def _figure(kpi: Kpi, pair: tuple[Sum, Sum], has_data: bool, trend: Trend, point: Point, locale: str) -> Figure:
    value, before = (_value(kpi, one, has_data) for one in pair)
    delta = None if value is None or before is None else value - before
    current, days = pair[0], (point.at - point.since).days
    return Figure(
        key=kpi.key,
        label=kpi.label,
        unit=kpi.unit,
        value=value,
        text=value_text(value, kpi.unit, locale),
        short=short_text(value, kpi.unit, locale),
        currency=settings.OPSBOARD_REPORTING_CURRENCY if kpi.unit == "money" else "",
        target=kpi.target,
        target_text="" if kpi.target is None else value_text(kpi.target, kpi.unit, locale),
        status=status(kpi, value),
        word=status_word(kpi, value),
        delta=delta,
        delta_text=delta_text(kpi, delta, locale),
        better=better(kpi, delta),
        sentence=change_sentence(kpi, value, delta, days, locale),
        series=[None if one is None else float(one) for _, one in trend],
        as_of=point.at,
        days=days,
        count=current.count,
        excluded=current.count - current.counted,
        excluded_reason=kpi.excluded,
        measures=_measures(kpi, current, locale),
        tooltip=kpi.tooltip,
        definition=kpi.definition,
        owner=TEAMS[kpi.owner],
        good=kpi.good,
        part_label=kpi.part_label,
        url=f"/kpis/{kpi.key}/",
    )


def _value(kpi: Kpi, one: Sum, has_data: bool) -> Decimal | None:
    """The figure, None when the flow has carried nothing yet or no record can be counted: that is not zero."""
    if not has_data or (one.count and not one.counted):
        return None
    return value_of(kpi.aggregate, one.numerator, one.counted, one.measure)


def _measures(kpi: Kpi, one: Sum, locale: str) -> list[Measure]:
    made = []
    for name in kpi.also:
        label, unit = ALSO[name]
        unit = kpi.unit if name == "mean" else unit
        value = one.also[name]
        if value is None and name in ("records", "value"):
            value = Decimal(0)
        made.append(Measure(name, label, value, value_text(value, unit, locale)))
    return made


def _row(kpi: Kpi, one: Mapping[str, Any], locale: str) -> Row:
    age = ((one["ended"] or one["at"]) - one["began"]) / timedelta(days=1)
    contribution = one["contribution"]
    return Row(
        id=one["id"],
        transaction_id=one["transaction_id"],
        case_number=one["shown_case"],
        reference=one["reference"],
        label=one["label"],
        customer=one["customer"],
        entity=one["entity"],
        flow=one["flow"],
        part=one["part"],
        status=one["status"],
        amount=one["amount"],
        currency=one["currency"],
        base=one["base"],
        began=one["began"],
        ended=one["ended"],
        age_days=Decimal(age).quantize(EXACT),
        contribution=contribution,
        contribution_text=value_text(contribution, "count" if kpi.aggregate == "ratio" else kpi.unit, locale),
        note=kpi.excluded if contribution is None else "",
    )


def _cursor(after: str) -> tuple[str | None, str]:
    """Rank and id of the last record shown; a cursor that cannot be read starts again from the top."""
    rank, _, last = after.partition("~")
    try:
        return (str(Decimal(rank)), last) if last else (None, "")
    except InvalidOperation:
        return None, ""


def _series(person: Person, chosen: Sequence[Kpi], filters: Filters, moment: datetime) -> dict[str, Trend]:
    """Trends from the snapshots: one query; what they cannot tell is computed from the log, one query each."""
    days = _days(moment, filters.weeks)
    allowed = scope(person, filters)
    kept = not (filters.flow or filters.part or filters.days)
    single = allowed is None or len(allowed) == 1
    stored = [kpi for kpi in chosen if kept and (single or kpi.aggregate in ADDITIVE)]
    trends = _stored(stored, days, [FIRM] if allowed is None else allowed) if stored else {}
    for kpi in chosen:
        if kpi not in stored:
            points = [period(kpi, end_of(day), filters.days) for day in days]
            found = {one.point: one for one in sums(replace(kpi, also=()), points, allowed, filters)}
            trends[kpi.key] = [(day, _past(kpi, found, no)) for no, day in enumerate(days)]
    return trends


def _past(kpi: Kpi, found: Mapping[int, Sum], no: int) -> Decimal | None:
    """The figure at a point. Without records: unknown before the first record there is, none from then on."""
    if no in found:
        return _value(kpi, found[no], True)
    known = bool(found) and no > min(found)
    return value_of(kpi.aggregate, Decimal(0), 0, None) if known else None


def _stored(chosen: Iterable[Kpi], days: list[date], places: list[str]) -> dict[str, Trend]:
    """The snapshots of the places, put together; None on a day without."""
    by_key = {kpi.key: kpi for kpi in chosen}
    found: defaultdict[tuple[str, date], list[Snapshot]] = defaultdict(list)
    for one in Snapshot.objects.filter(kpi__in=list(by_key), entity__in=places, day__in=days):
        found[one.kpi, one.day].append(one)
    return {key: [(day, _together(kpi, found.get((key, day), []))) for day in days] for key, kpi in by_key.items()}


def _together(kpi: Kpi, kept: list[Snapshot]) -> Decimal | None:
    if len(kept) <= 1:
        return kept[0].value if kept else None
    if all(one.value is None for one in kept):
        return None
    numerator = sum((one.numerator for one in kept), Decimal(0))
    return value_of(kpi.aggregate, numerator, sum(one.denominator for one in kept), None)


def _days(moment: datetime, weeks: int) -> list[date]:
    """The days of a trend before today: every day up to four weeks, else the same weekday of each week."""
    today = moment.astimezone(UTC).date()
    step = 1 if weeks <= 4 else 7
    return [today - timedelta(days=back) for back in range(7 * weeks, 0, -step)]


def _label(key: str, flows: Mapping[str, str]) -> str:
    """A slice as people call it: a team, a flow, a category in words, else as it is."""
    known = TEAMS.get(key) or flows.get(key)
    if known or not key:
        return known or "Unknown"
    return key.replace("_", " ").capitalize() if key.islower() else key


def _locale(person: Person) -> str:
    return getattr(person, "locale", "en")


def _traces(kpi: Kpi, points: Trend, locale: str) -> list[dict[str, Any]]:
    days = [day.isoformat() for day, _ in points]
    actual = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": kpi.label,
        "meta": {"role": "actual"},
        "x": days,
        "y": [None if value is None else float(value) for _, value in points],
        "text": [value_text(value, kpi.unit, locale) for _, value in points],
        "hovertemplate": "%{x|%d %b %Y}<br>%{text}<extra></extra>",
        "connectgaps": False,
    }
    if kpi.target is None:
        return [actual]
    target = {
        "type": "scatter",
        "mode": "lines",
        "name": "Target",
        "meta": {"role": "target"},
        "x": [days[0], days[-1]],
        "y": [float(kpi.target)] * 2,
        "hoverinfo": "skip",
    }
    return [actual, target]


def _layout(kpi: Kpi, points: Trend, locale: str) -> dict[str, Any]:
    units = {
        "money": settings.OPSBOARD_REPORTING_CURRENCY,
        "days": "Days",
        "seconds": "Seconds",
        "percent": "Percent",
        "count": "Number",
    }
    layout: dict[str, Any] = {
        "showlegend": False,
        "xaxis": {"type": "date", "tickformat": "%d %b"},
        "yaxis": {"title": {"text": units[kpi.unit]}, "rangemode": "tozero", "tickformat": ",~r"},
    }
    if kpi.target is not None:
        words = f"Target {value_text(kpi.target, kpi.unit, locale)}"
        layout["annotations"] = [
            {
                "x": points[0][0].isoformat(),
                "y": float(kpi.target),
                "text": words,
                "showarrow": False,
                "xanchor": "left",
                "yanchor": "bottom",
            }
        ]
    return layout
