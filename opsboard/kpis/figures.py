"""What a figure looks like to its reader: the values that pages show, and the words around them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from babel.dates import format_date
from babel.numbers import format_compact_currency, format_decimal
from babel.units import format_unit
from django.conf import settings
from django.utils.translation import gettext as _

from opsboard.core import money
from opsboard.kpis.registry import Also, Kpi, Unit

STATUS_WORDS = {
    "good": "On target",
    "warn": "At risk",
    "bad": "Off target",
    "no_target": "No target",
    "unknown": "No data",
}
ALSO: dict[Also, tuple[str, Unit]] = {
    "records": ("Records", "count"),
    "value": ("Value", "money"),
    "oldest": ("Oldest", "days"),
    "age": ("Average age", "days"),
    "mean": ("Mean", "days"),  # in the unit of the KPI
}
TOLERANCE = Decimal("0.1")  # within a tenth of the target: close
MILLION = Decimal(1_000_000)
LONG = Decimal(10_000)  # from here on cents only distract; the drill-down has them


Trend = list[tuple[date, Decimal | None]]  # oldest first, today last; None: nothing is known of that day


@dataclass(frozen=True)
class Measure:
    """A figure beside the figure, such as the number of records or the oldest of them."""

    key: str
    label: str
    value: Decimal | None
    text: str


@dataclass(frozen=True)
class Figure:
    """A KPI for one person at one moment.

    value: None when there is nothing to measure; `sentence` then says why. text, short: the value in words of the
    person's locale, exact and for a tile. status: good, warn, bad, no_target or unknown; word: the same for
    reading. delta: less
    the value one period before; better: whether that is an improvement, None when neither. trend: the days of the last
    13 weeks, and now; series: its values, thinned for a sparkline. count: records behind it;
    excluded: how many of them contribute nothing, and excluded_reason why.
    """

    key: str
    label: str
    unit: Unit
    value: Decimal | None
    text: str
    short: str
    currency: str
    target: Decimal | None
    target_text: str
    status: str
    word: str
    delta: Decimal | None
    delta_text: str
    better: bool | None
    sentence: str
    series: list[float | None]
    trend: Trend
    as_of: datetime
    days: int
    count: int
    excluded: int
    excluded_reason: str
    measures: list[Measure]
    tooltip: str
    definition: str
    owner: str
    good: str
    part_label: str
    url: str


@dataclass(frozen=True)
class Row:
    """A record behind a figure. contribution: what it adds, in the figure's unit; None: excluded, see `note`."""

    id: str
    transaction_id: UUID
    case_number: int | None
    reference: str
    label: str
    customer: str
    entity: str
    flow: str
    part: str
    part_text: str
    status: str
    amount: Decimal | None
    currency: str
    base: Decimal | None
    began: datetime
    ended: datetime | None
    age_days: Decimal
    contribution: Decimal | None
    contribution_text: str
    note: str

    @property
    def case(self) -> str:
        """The exception's number as people say it; empty when there is none."""
        return "" if self.case_number is None else f"EXC-{self.case_number}"


@dataclass(frozen=True)
class RowsPage:
    """Some of the records, those that matter most first; `next` is the cursor of what follows, empty at the end."""

    rows: list[Row]
    next: str


@dataclass(frozen=True)
class Part:
    """A slice of a figure. share: of the figure or, where slices do not add up, of the greatest; 0 to 1."""

    key: str
    label: str
    value: Decimal | None
    text: str
    count: int
    excluded: int
    share: float


@dataclass(frozen=True)
class Chart:
    """A trend: `figure` is Plotly's data and layout without colours; rows: the table behind it, (day, value, text)."""

    figure: dict[str, Any]
    columns: tuple[str, str]
    rows: list[tuple[date, Decimal | None, str]]
    sentence: str


def value_text(value: Decimal | None, unit: Unit, locale: str) -> str:
    """The value with its unit, exact enough to check; an em dash when there is none."""
    if value is None:
        return "—"
    if unit == "money":
        return money.text(value, settings.OPSBOARD_REPORTING_CURRENCY, locale)
    if unit == "count":
        return format_decimal(value, "#,##0", locale=locale)
    if unit == "percent":
        return format_decimal(value, "#,##0.0", locale=locale) + "\u00a0%"
    return _duration(value if unit == "seconds" else value * 86400, locale, in_days=unit == "days")


def short_text(value: Decimal | None, unit: Unit, locale: str) -> str:
    """The value for a tile: large amounts without cents."""
    if value is None or unit != "money" or abs(value) < LONG:
        return value_text(value, unit, locale)
    if abs(value) < MILLION:
        return money.text(value, settings.OPSBOARD_REPORTING_CURRENCY, locale, cents=False)
    return format_compact_currency(value, settings.OPSBOARD_REPORTING_CURRENCY, locale=locale, fraction_digits=2)


def status(kpi: Kpi, value: Decimal | None) -> str:
    """good, warn (missed by less than a tenth of the target), bad; no_target, and unknown without a value."""
    if value is None:
        return "unknown"
    if kpi.target is None:
        return "no_target"
    missed = value - kpi.target if kpi.good == "down" else kpi.target - value
    if missed <= 0:
        return "good"
    return "warn" if missed <= kpi.target * TOLERANCE else "bad"


def status_word(kpi: Kpi, value: Decimal | None) -> str:
    """The status for reading."""
    return _(STATUS_WORDS[status(kpi, value)])


def better(kpi: Kpi, delta: Decimal | None) -> bool | None:
    """Whether the change is an improvement; None when there is none or nothing to compare."""
    if not delta:
        return None
    return (delta > 0) == (kpi.good == "up")


def delta_text(kpi: Kpi, delta: Decimal | None, locale: str) -> str:
    """The change with its sign; percentages change by points."""
    if delta is None:
        return ""
    sign = "+" if delta > 0 else "−" if delta < 0 else "±"
    words = value_text(abs(delta), kpi.unit, locale)
    return sign + (words.replace("%", _("points")) if kpi.unit == "percent" else words)


def change_sentence(kpi: Kpi, value: Decimal | None, delta: Decimal | None, days: int, locale: str) -> str:
    """The change since the period before, or why there is no value, in one sentence."""
    if value is None:
        return _("Nothing to measure in this period.")
    if delta is None:
        return _("Nothing to compare with %(days)s days ago.") % {"days": days}
    if not delta:
        return _("The same as %(days)s days ago.") % {"days": days}
    words = {"amount": delta_text(kpi, abs(delta), locale)[1:], "days": days}
    return (
        _("%(amount)s more than %(days)s days ago.") if delta > 0 else _("%(amount)s less than %(days)s days ago.")
    ) % words


def conclusion(kpi: Kpi, points: Trend, locale: str) -> str:
    """What the trend says, in one sentence: from, to, over how long, and since when the target is missed."""
    known = [(day, value) for day, value in points if value is not None]
    if not known:
        return _("There is nothing to show yet.")
    (first_day, first), (last_day, last) = known[0], known[-1]
    words = {
        "label": kpi.label,
        "first": value_text(first, kpi.unit, locale),
        "last": value_text(last, kpi.unit, locale),
        "since": format_date(first_day, "medium", locale=locale),
    }
    if first_day == last_day:
        text = _("%(label)s is %(last)s") % words
    elif first == last:
        text = _("%(label)s is %(last)s, as on %(since)s") % words
    else:
        direction = _("%(label)s rose from %(first)s on %(since)s to %(last)s")
        text = (direction if last > first else _("%(label)s fell from %(first)s on %(since)s to %(last)s")) % words
    return text + _target_clause(kpi, known, locale) + "."


def _target_clause(kpi: Kpi, known: Sequence[tuple[date, Decimal]], locale: str) -> str:
    if kpi.target is None:
        return ""
    words: dict[str, str] = {"target": value_text(kpi.target, kpi.unit, locale)}
    if status(kpi, known[-1][1]) == "good":
        return _("; the target of %(target)s is met") % words
    missed_since = known[-1][0]
    for day, value in reversed(known):
        if status(kpi, value) == "good":
            break
        missed_since = day
    words["since"] = format_date(missed_since, "medium", locale=locale)
    return _("; the target of %(target)s has been missed since %(since)s") % words


def _duration(seconds: Decimal, locale: str, *, in_days: bool) -> str:
    """A duration in the unit in which it is best read; days stay days from one day on."""
    steps = [(Decimal(86400), "duration-day"), (Decimal(3600), "duration-hour"), (Decimal(60), "duration-minute")]
    for size, name in steps:
        limit = size if in_days or name != "duration-day" else 2 * size
        if seconds >= limit:
            return _with_unit(round(seconds / size, 1), name, locale)
    return _with_unit(round(seconds, 0 if in_days else 1), "duration-second", locale)


def _with_unit(value: Decimal, name: str, locale: str) -> str:
    """One is singular only as a whole number: “1 day”, but “1.0 days”."""
    return format_unit(int(value) if value == int(value) else value, name, locale=locale)
