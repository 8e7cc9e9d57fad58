"""What the figures are: computed from the records they drill down to, in one statement each, for one person.

The person's legal entities are applied here, around whatever a KPI's file selects, so that no KPI can forget them.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

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
    Trend,
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
SPARKS = 60
UNPLACED = "-"  # in the place of a legal entity in a filter: records of no known entity
DIMENSIONS = ("part", "flow", "entity")
Person = User | AnonymousUser


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
    return _figures(person, chosen, Filters())


def overview(person: Person) -> list[Figure]:
    """Every figure, for the person's legal entities: a query for each and a few more."""
    return _figures(person, catalogue(), Filters())


def figure(person: Person, key: str, filters: Filters | None = None) -> Figure:
    """One KPI for the person. Raises UnknownKpi."""
    return _figures(person, [_kpi(key)], filters or Filters())[0]


def breakdown(person: Person, key: str, filters: Filters | None = None) -> list[Part]:
    """The figure by slice (`filters.by`), the greatest first; the slices of a sum add up to it. Raises UnknownKpi."""
    kpi, filters = _kpi(key), filters or Filters()
    by = SQL("r.{}").format(Identifier(filters.by))
    parts = sums(kpi, [_point(kpi, filters)], scope(person, filters), filters, by)
    values = {one.key: _value(kpi, one) for one in parts}
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
    parameters = _parameters(scope(person, filters), filters)
    parameters |= {"rank": rank, "last": last, "limit": limit + 1}
    sign = SQL("-r.contribution" if kpi.aggregate == "ratio" and kpi.good == "up" else "r.contribution")
    found = _fetch(ROWS.format(framed=_framed(kpi, [_point(kpi, filters)]), sign=sign), parameters)
    labels = flow_labels()
    page = [_row(kpi, one, labels, _locale(person)) for one in found[:limit]]
    more = len(found) > limit
    return RowsPage(page, f"{found[limit - 1]['rank']}~{found[limit - 1]['id']}" if more else "")


def series(person: Person, key: str, filters: Filters | None = None) -> Trend:
    """The figure by day (longer than a quarter: by week) and now, oldest first; None: unknown. Raises UnknownKpi."""
    return figure(person, key, filters).trend


def chart(person: Person, key: str, filters: Filters | None = None) -> Chart:
    """The trend of the figure up to now, as Plotly draws it, as a table and as a sentence. Raises UnknownKpi."""
    return chart_of(person, figure(person, key, filters))


def chart_of(person: Person, shown: Figure) -> Chart:
    """The chart of a figure that is there already, without asking again."""
    kpi, locale = kpis()[shown.key], _locale(person)
    return Chart(
        figure={"data": _traces(kpi, shown.trend, locale), "layout": _layout(kpi, shown.trend, locale)},
        columns=("Day", kpi.label),
        rows=[(day, value, value_text(value, kpi.unit, locale)) for day, value in shown.trend],
        sentence=conclusion(kpi, shown.trend, locale),
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
    kpi: Kpi,
    points: Sequence[Point],
    allowed: list[str] | None,
    filters: Filters,
    by: Composable | None = None,
    *,
    whole: bool = False,
) -> list[Sum]:
    """What the records come to at each point, by the values of `by` if given, and with `whole` also all together.

    One query. Points and values without records have no Sum.
    """
    also = [(name, ALSO_SQL[name]) for name in kpi.also]
    columns = SQL("").join(SQL(", {} AS {}").format(sql, Identifier(f"also_{name}")) for name, sql in also)
    value = by or SQL("NULL::text")
    # Grouping sets hide the constants of a single point from the planner: only where they are needed.
    key = SQL("CASE WHEN GROUPING({by}) = 0 THEN {by} END").format(by=value) if whole else value
    group = SQL("GROUPING SETS ((p.no), (p.no, {}))").format(value) if whole else SQL("p.no, {}").format(key)
    query = SUMS.format(
        key=key,
        measure=MEASURES[kpi.aggregate],
        also=columns,
        framed=_framed(kpi, points),
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
        for row in _fetch(query, _parameters(allowed, filters))
    ]


def period(kpi: Kpi, at: datetime, days: int | None = None) -> Point:
    """The point at that moment with the KPI's period, or one of `days`, before it."""
    return Point(at - timedelta(days=days or kpi.days), at)


def end_of(day: date) -> datetime:
    """The first moment after the day, in UTC."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)


# One point is a constant to the planner, which then reads what is unfinished now from its small index.
POINT = SQL("(SELECT 1 AS no, {}::timestamptz AS since, {}::timestamptz AS at) AS p")
POINTS = SQL("unnest({}::timestamptz[], {}::timestamptz[]) WITH ORDINALITY AS p(since, at, no)")

# The records at each point, within the legal entities, flow and slice asked for. {records} sees p.at and p.since.
FRAMED = SQL("""
    FROM {points}
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


def _framed(kpi: Kpi, points: Sequence[Point]) -> Composed:
    if len(points) == 1:
        frame = POINT.format(Literal(points[0].since), Literal(points[0].at))
    else:
        frame = POINTS.format(Literal([one.since for one in points]), Literal([one.at for one in points]))
    return FRAMED.format(points=frame, records=kpi.records())


def _parameters(allowed: list[str] | None, filters: Filters) -> dict[str, Any]:
    return {"entities": allowed, "flow": filters.flow, "part": filters.part}


def _fetch(query: Composable, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of the query by column name."""
    with connection.cursor() as cursor:
        cursor.execute(query.as_string(None), dict(parameters))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _figures(person: Person, chosen: Sequence[Kpi], filters: Filters) -> list[Figure]:
    """A query for each, one for what there is at all and one for the trends (_past says when it takes more)."""
    moment, allowed = now(), scope(person, filters)
    flows = sorted({filters.flow or kpi.flow for kpi in chosen})
    seen = {row["flow"] for row in _fetch(SEEN, {"flows": flows, "entities": allowed})} if chosen else set()
    past, today = _past(chosen, allowed, filters, moment), moment.astimezone(UTC).date()
    made = []
    for kpi in chosen:
        point = period(kpi, moment, filters.days)
        current = next(iter(sums(kpi, [point], allowed, filters)), None)
        if (filters.flow or kpi.flow) not in seen:
            # A flow that never carried anything has no figure and no past, though its snapshots say zero.
            current, value, before = _nothing(kpi), None, {}
        else:
            current = current or _nothing(kpi)
            value, before = _value(kpi, current), past[kpi.key]
        compared = before.get(point.since.astimezone(UTC).date())
        trend = [(day, before.get(day)) for day in sorted(_days(kpi, allowed, filters, today))]
        made.append(_figure(kpi, current, value, compared, [*trend, (today, value)], point, _locale(person)))
    return made


def _nothing(kpi: Kpi) -> Sum:
    return Sum(0, None, 0, 0, Decimal(0), None, dict.fromkeys(kpi.also))


def _figure(
    kpi: Kpi,
    current: Sum,
    value: Decimal | None,
    compared: Decimal | None,
    trend: Trend,
    point: Point,
    locale: str,
) -> Figure:
    days = (point.at - point.since).days
    delta = None if value is None or compared is None else value - compared
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
        series=[None if one is None else float(one) for _, one in _thinned(trend)],
        trend=trend,
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


def _thinned(trend: Trend) -> Trend:
    """Few enough points for a line as wide as a thumb: of many, every third, counted from now."""
    return trend[::-3][::-1] if len(trend) > SPARKS else trend


def _value(kpi: Kpi, one: Sum) -> Decimal | None:
    """The figure; None when there are records but none can be counted: that is not zero."""
    if one.count and not one.counted:
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


def _row(kpi: Kpi, one: Mapping[str, Any], labels: Mapping[str, str], locale: str) -> Row:
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
        part_text=_label(one["part"], labels),
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


def _past(
    chosen: Sequence[Kpi], allowed: list[str] | None, filters: Filters, moment: datetime
) -> dict[str, dict[date, Decimal | None]]:
    """Each KPI on the days of its trend and on the day it is compared with.

    From the snapshots, with one query. They know neither flows nor slices nor other periods, nor a percentile of
    several legal entities: those are computed from the log, with one query each.
    """
    today = moment.astimezone(UTC).date()
    days = {
        kpi.key: _days(kpi, allowed, filters, today) | {today - timedelta(days=filters.days or kpi.days)}
        for kpi in chosen
    }
    stored = [kpi for kpi in chosen if _is_kept(kpi, allowed, filters)]
    past = _stored(stored, set().union(*days.values()), [FIRM] if allowed is None else allowed) if stored else {}
    for kpi in chosen:
        if kpi not in stored:
            past[kpi.key] = _computed(kpi, sorted(days[kpi.key]), allowed, filters)
    return past


def _is_kept(kpi: Kpi, allowed: list[str] | None, filters: Filters) -> bool:
    """Whether the snapshots tell what this figure was."""
    plain = not (filters.flow or filters.part) and filters.days in (None, kpi.days)
    return plain and (allowed is None or len(allowed) == 1 or kpi.aggregate in ADDITIVE)


def _days(kpi: Kpi, allowed: list[str] | None, filters: Filters, today: date) -> set[date]:
    """The days of a trend before today: each of them up to a quarter, else (or if each costs) one of each week."""
    daily = filters.weeks <= (WEEKS if _is_kept(kpi, allowed, filters) else 4)
    return {today - timedelta(days=back) for back in range(7 * filters.weeks, 0, -1 if daily else -7)}


def _computed(
    kpi: Kpi, days: Sequence[date], allowed: list[str] | None, filters: Filters
) -> dict[date, Decimal | None]:
    """The figure at the end of the days. Without records: unknown before the first there are, none from then on."""
    points = [period(kpi, end_of(day), filters.days) for day in days]
    found = {one.point: one for one in sums(replace(kpi, also=()), points, allowed, filters)}
    first = min(found, default=len(days))
    return {day: _value(kpi, found.get(no, _nothing(kpi))) if no >= first else None for no, day in enumerate(days)}


def _stored(chosen: Iterable[Kpi], days: Collection[date], places: list[str]) -> dict[str, dict[date, Decimal | None]]:
    """The snapshots of the places, put together, of the days that have some."""
    by_key = {kpi.key: kpi for kpi in chosen}
    found: defaultdict[tuple[str, date], list[Snapshot]] = defaultdict(list)
    for one in Snapshot.objects.filter(kpi__in=list(by_key), entity__in=places, day__in=days):
        found[one.kpi, one.day].append(one)
    past: dict[str, dict[date, Decimal | None]] = {key: {} for key in by_key}
    for (key, day), kept in found.items():
        past[key][day] = _together(by_key[key], kept)
    return past


def _together(kpi: Kpi, kept: list[Snapshot]) -> Decimal | None:
    if len(kept) == 1 or all(one.value is None for one in kept):
        return kept[0].value
    numerator = sum((one.numerator for one in kept), Decimal(0))
    return value_of(kpi.aggregate, numerator, sum(one.denominator for one in kept), None)


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
        "mode": "lines" if len(points) > SPARKS else "lines+markers",
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
