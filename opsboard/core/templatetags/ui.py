"""Words and marks of the interface: money, time, status, icons, small charts.

Times come in UTC and are shown in the active time zone; locale is that of the person (active language).
Nothing here emits a style attribute or a script: the content security policy forbids both.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from zlib import crc32

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime, format_time
from babel.numbers import format_compact_currency, format_compact_decimal, format_currency, format_decimal
from django import template
from django.template import Context
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from lucide.templatetags.lucide import lucide

register = template.Library()

NONE = "—"
MINUS = "−"
Number = Decimal | int | float


# --- icons -----------------------------------------------------------------------------------------------------


# What every icon of the set repeats; static/css/base.css says it once (svg.i).
_REPEATED = re.compile(
    r' (?:fill="none"|stroke="currentColor"|stroke-width="2"|stroke-linecap="round"|stroke-linejoin="round")'
)


@lru_cache(maxsize=512)
def _svg(name: str, size: int, classes: str) -> SafeString:
    drawn = lucide(name, size=size, aria_hidden="true", **{"class": f"i {classes}".strip()})
    return SafeString(_REPEATED.sub("", drawn).replace(" />", "/>"))


@register.simple_tag
def icon(name: str, size: int = 16, classes: str = "") -> SafeString:
    """An icon of the lucide set, hidden from screen readers: the word beside it says what it means."""
    return _svg(name, size, classes)


# --- status: always an icon, a word and a tone ------------------------------------------------------------------


@dataclass(frozen=True)
class Status:
    """How a value is shown: tone (bad, warn, good, info, mute, none, accent), icon and word."""

    tone: str
    icon: str
    word: str


STATUSES: dict[str, dict[str, Status]] = {
    "severity": {
        "critical": Status("bad", "octagon-alert", "Critical"),
        "high": Status("warn", "triangle-alert", "High"),
        "medium": Status("info", "info", "Medium"),
        "low": Status("mute", "minus", "Low"),
    },
    "state": {
        "new": Status("accent", "sparkle", "New"),
        "open": Status("accent", "circle-dot", "Open"),
        "triaged": Status("info", "circle-dot", "Triaged"),
        "assigned": Status("info", "user-check", "Assigned"),
        "in_progress": Status("info", "pencil", "In progress"),
        "fixed": Status("info", "pencil", "Fixed, not sent"),
        "waiting": Status("mute", "hourglass", "Waiting"),
        "snoozed": Status("mute", "alarm-clock", "Snoozed"),
        "approval": Status("warn", "user-check", "Awaiting approval"),
        "replaying": Status("info", "refresh-cw", "Replaying"),
        "resolved": Status("good", "circle-check", "Resolved"),
        "reopened": Status("warn", "undo-2", "Reopened"),
        "regressed": Status("bad", "undo-2", "Came back"),
        "duplicate": Status("mute", "copy", "Duplicate"),
        "ignored": Status("mute", "ban", "Ignored"),
    },
    "outcome": {
        "succeeded": Status("good", "circle-check", "Succeeded"),
        "success": Status("good", "circle-check", "Succeeded"),
        "ok": Status("good", "circle-check", "OK"),
        "accepted": Status("good", "circle-check", "Accepted"),
        "failed": Status("bad", "circle-x", "Failed"),
        "rejected": Status("bad", "circle-x", "Rejected"),
        "error": Status("bad", "circle-x", "Error"),
        "dead": Status("bad", "circle-x", "Given up"),
        "unknown": Status("none", "circle-question-mark", "Outcome unknown"),
        "pending": Status("mute", "hourglass", "Pending"),
        "queued": Status("mute", "hourglass", "Queued"),
        "running": Status("info", "refresh-cw", "Running"),
        "claimed": Status("info", "refresh-cw", "Running"),
        "retrying": Status("warn", "refresh-cw", "Retrying"),
        "blocked": Status("warn", "circle-pause", "Waits behind another"),
        "waiting": Status("warn", "circle-pause", "Waiting"),
        "duplicate": Status("mute", "copy", "Already there"),
        "cancelled": Status("mute", "ban", "Cancelled"),
    },
    "kpi": {
        "good": Status("good", "circle-check", "On target"),
        "on_target": Status("good", "circle-check", "On target"),
        "warn": Status("warn", "triangle-alert", "At risk"),
        "at_risk": Status("warn", "triangle-alert", "At risk"),
        "bad": Status("bad", "octagon-alert", "Off target"),
        "off_target": Status("bad", "octagon-alert", "Off target"),
        "no_target": Status("mute", "minus", "No target"),
        "stale": Status("none", "circle-question-mark", "Stale"),
        "unknown": Status("none", "circle-question-mark", "No data"),
    },
}


SEVERITIES = {"1": "critical", "2": "high", "3": "medium", "4": "low"}  # as the queue stores them


def status(kind: str, value: object) -> Status:
    """How `value` of that kind is shown; an unlisted value keeps its own word, in grey."""
    word = str(value or "")
    if kind == "severity" and word in SEVERITIES:
        word = SEVERITIES[word]
    known = STATUSES.get(kind, {}).get(word.lower())
    return known or Status("mute", "minus", word.replace("_", " ").capitalize() or NONE)


@register.simple_tag
def pill(kind: str, value: object, word: str = "", bare: bool = False) -> SafeString:
    """A status pill. `word` replaces the word of the table; `bare` leaves out the background."""
    shown = status(kind, value)
    return format_html(
        '<span class="pill{} t-{}">{}{}</span>',
        " bare" if bare else "",
        shown.tone,
        _svg(shown.icon, 12, ""),
        word or shown.word,
    )


@register.simple_tag
def tone(kind: str, value: object) -> str:
    """The tone of a status, for class names: bad, warn, good, info, mute, none, accent."""
    return status(kind, value).tone


@register.simple_tag
def status_icon(kind: str, value: object, size: int = 14) -> SafeString:
    """The icon alone, where the word stands beside it."""
    return _svg(status(kind, value).icon, size, "")


# --- money and numbers -----------------------------------------------------------------------------------------


def _locale() -> Locale:
    try:
        return Locale.parse((get_language() or "en").replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        return Locale("en")


def _minus(text: str) -> str:
    return text.replace("-", MINUS)


@register.filter
def money(amount: Number | str | None, currency: str = "") -> str:
    """`€84,200.00` in the person's locale; an amount without a currency is a plain number; none is a dash."""
    if amount is None or isinstance(amount, str):
        return NONE
    if not currency:
        return _minus(format_decimal(amount, "#,##0.00", locale=_locale()))
    return _minus(format_currency(amount, currency, locale=_locale()))


@register.filter
def money_short(amount: Number | str | None, currency: str = "") -> str:
    """`€412.8K`: for tiles and chart labels; the exact amount stands on the page behind."""
    if amount is None or isinstance(amount, str):
        return NONE
    if -10_000 < amount < 10_000:
        return _minus(format_currency(round(amount), currency, "¤#,##0", locale=_locale(), currency_digits=False))
    return _minus(format_compact_currency(amount, currency, locale=_locale(), fraction_digits=1))


@register.filter
def number(value: Number | str | None, digits: int = 0) -> str:
    """A number with thousands separators and at most `digits` decimals; none is a dash."""
    if value is None or isinstance(value, str):
        return NONE
    return _minus(format_decimal(value, "#,##0" + ("." + "#" * int(digits) if digits else ""), locale=_locale()))


@register.filter
def compact(value: int | str | None, limit: int = 10_000) -> str:
    """A count, exact up to `limit`, then `10K+`: counting further costs more than it tells."""
    if value is None or isinstance(value, str):
        return NONE
    return number(value) if value <= limit else format_compact_decimal(limit, locale=_locale()) + "+"


@register.filter
def pct(value: Number | str | None, digits: int = 1) -> str:
    """A share (0.125) as `12.5 %`; none is a dash."""
    return NONE if value is None or isinstance(value, str) else number(Decimal(str(value)) * 100, digits) + "\u202f%"


@register.simple_tag
def delta(change: Decimal | float | None, direction: str = "lower", unit: str = "", text: str = "") -> SafeString:
    """A signed change, coloured by whether it is good for this figure (`direction`: lower or higher is better)."""
    if change is None:
        return format_html('<span class="mut">{}</span>', NONE)
    good = change == 0 or (change < 0) == (direction == "lower")
    sign = "+" if change > 0 else MINUS if change < 0 else "±"
    shown = text.lstrip("+-" + MINUS) or number(Decimal(str(abs(change))), 1) + (f"\u202f{unit}" if unit else "")
    return format_html('<span class="d-{}">{}{}</span>', "good" if good else "bad", sign, shown)


# --- time ------------------------------------------------------------------------------------------------------


def _moment(value: datetime | date) -> datetime:
    """The value as an aware time; a plain date is its midnight in the person's zone."""
    if isinstance(value, datetime):
        return value if timezone.is_aware(value) else value.replace(tzinfo=UTC)
    return datetime(value.year, value.month, value.day, tzinfo=timezone.get_current_timezone())


@register.filter
def duration(value: timedelta | Number | None) -> str:
    """A length of time (timedelta or seconds) in its two largest units: `3 h 12 m`, `2 d 4 h`, `340 ms`."""
    if value is None:
        return NONE
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    seconds = abs(seconds)
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 60:
        return f"{seconds:.1f} s".replace(".0 s", " s") if seconds < 10 else f"{round(seconds)} s"
    minutes = int(seconds // 60)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d" + (f" {hours} h" if hours and days < 10 else "")
    return (f"{hours} h" + (f" {minutes} m" if minutes else "")) if hours else f"{minutes} m"


@register.filter
def age(value: datetime | date | None) -> str:
    """How long ago, without `ago`: for columns headed Age."""
    return NONE if value is None else duration(timezone.now() - _moment(value))


def _relative(moment: datetime, now: datetime) -> str:
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 45:
        return "just now"
    if abs(seconds) > 7 * 86400:
        pattern = "d MMM" if moment.year == now.year else "d MMM y"
        return format_date(timezone.localtime(moment).date(), pattern, locale=_locale())
    return f"{duration(seconds)} ago" if seconds > 0 else f"in {duration(seconds)}"


def _absolute(moment: datetime, seconds: bool = False) -> str:
    here = timezone.localtime(moment)
    pattern = "d MMM y, HH:mm" + (":ss" if seconds else "")
    return f"{format_datetime(here.replace(tzinfo=None), pattern, locale=_locale())} {here.tzname()}"


def _title(moment: datetime) -> str:
    return f"{_absolute(moment, seconds=True)} · {moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@register.simple_tag
def when(value: datetime | date | None, style: str = "rel") -> SafeString:
    """A <time>. Styles: rel (`12 m ago`), abs (`20 Nov 2026, 12:30 CET`), time (`12:30:05`), day, both.

    The title always holds the person's zone and UTC; `data-rel` lets the page keep relative times fresh.
    """
    if value is None or value == "":
        return format_html('<span class="mut">{}</span>', NONE)
    moment, now = _moment(value), timezone.now()
    here = timezone.localtime(moment)
    shown = {
        "abs": lambda: _absolute(moment),
        "time": lambda: format_time(here.replace(tzinfo=None).time(), "HH:mm:ss", locale=_locale()),
        "minute": lambda: format_time(here.replace(tzinfo=None).time(), "HH:mm", locale=_locale()),
        "day": lambda: format_date(here.date(), "EEE d MMM y", locale=_locale()),
    }.get(style, lambda: _relative(moment, now))()
    relative = SafeString(" data-rel") if style in ("rel", "both") else ""
    html = format_html('<time datetime="{}" title="{}"{}>{}</time>', _iso(moment), _title(moment), relative, shown)
    return html if style != "both" else format_html('{} <span class="mut">· {}</span>', html, _absolute(moment))


@register.simple_tag
def due(value: datetime | None, soon_hours: int = 4) -> SafeString:
    """`Due in 2 h`, `Overdue 3 d`: words first; within `soon_hours` and when late also an icon and a colour."""
    if value is None:
        return format_html('<span class="mut">{}</span>', NONE)
    moment = _moment(value)
    left = moment - timezone.now()
    late, soon = left < timedelta(0), left < timedelta(hours=soon_hours)
    name = "octagon-alert" if late else "clock-alert" if soon else ""
    words = f"Overdue {duration(left)}" if late else f"Due in {duration(left)}"
    return format_html(
        '<time class="due{}" datetime="{}" title="{}">{}{}</time>',
        " late" if late else " soon" if soon else "",
        _iso(moment),
        _title(moment),
        _svg(name, 13, "") if name else "",
        words,
    )


@register.simple_tag
def clock() -> SafeString:
    """The person's wall clock with its zone; the page keeps it running."""
    here = timezone.localtime()
    return format_html(
        '<time class="clock num" data-clock="{}" datetime="{}">{}&nbsp;{}</time>',
        timezone.get_current_timezone_name(),
        _iso(here),
        f"{here:%H:%M}",
        here.tzname(),
    )


# --- people ----------------------------------------------------------------------------------------------------


@register.filter
def initials(name: object) -> str:
    """Two letters for a name: `Mira Kovač` MK, `finance` FI."""
    words = [word for word in str(name).replace(".", " ").replace("@", " ").replace("_", " ").split() if word]
    letters = "".join(word[0] for word in words[:2]) if len(words) > 1 else "".join(words)[:2]
    return letters.upper()


@register.simple_tag
def avatar(name: object = "", team: bool = False) -> SafeString:
    """A small round mark with initials; unassigned is a dashed ring. Hue follows the name, always the same."""
    if not name:
        return format_html(
            '<span class="av none" role="img" aria-label="Unassigned" title="Unassigned">{}</span>',
            _svg("user", 12, ""),
        )
    hue = crc32(str(name).encode()) % 6
    return format_html(
        '<span class="av h{}{}" role="img" aria-label="{name}" title="{name}">{}</span>',
        hue,
        " team" if team else "",
        initials(name),
        name=name,
    )


# --- addresses -------------------------------------------------------------------------------------------------

PAGING = ("after", "before", "page", "peek")


@register.simple_tag(takes_context=True)
def query(context: Context, **changes: object) -> str:
    """The current address's query with changes: None or empty removes; paging starts anew when a filter changes."""
    params = context["request"].GET.copy()
    if not set(changes) & set(PAGING):
        for name in PAGING:
            params.pop(name, None)
    for name, value in changes.items():
        params.pop(name, None)
        if isinstance(value, (list, tuple)):
            params.setlist(name, [str(item) for item in value])
        elif value is not None and value != "":
            params[name] = str(value)
    return "?" + params.urlencode()


@register.simple_tag(takes_context=True)
def without(context: Context, name: str, value: object) -> str:
    """The current address's query with one value of a repeated parameter taken out (the x of a chip)."""
    params = context["request"].GET.copy()
    kept = [item for item in params.getlist(name) if item != str(value)]
    params.setlist(name, kept) if kept else params.pop(name, None)
    for paging in PAGING:
        params.pop(paging, None)
    return "?" + params.urlencode()


@register.simple_tag(takes_context=True)
def sort_link(context: Context, field: str, label: str, css: str = "", param: str = "sort") -> SafeString:
    """A sortable column head: a link that turns the order round, `aria-sort` only on the sorted one."""
    current = context.get("sort") or context["request"].GET.get(param, "")
    active, descending = current.lstrip("-") == field, current.startswith("-")
    target = f"-{field}" if active and not descending else field
    arrow = _svg("arrow-down" if descending else "arrow-up", 12, "") if active else ""
    order = format_html(' aria-sort="{}"', "descending" if descending else "ascending") if active else ""
    return format_html(
        '<th scope="col"{}{}><a href="{}">{}{}</a></th>',
        format_html(' class="{}"', css) if css else "",
        order,
        query(context, **{param: target}),
        label,
        arrow,
    )


# --- small charts ----------------------------------------------------------------------------------------------


@register.simple_tag
def sparkline(
    values: Sequence[Number | None],
    label: str,
    target: Number | None = None,
    css: str = "",
    width: int = 112,
    height: int = 34,
) -> SafeString:
    """A line of the last values as SVG, the last one dotted, the target dashed. Fewer than two values: nothing."""
    points = [float(value) for value in values if value is not None]
    if len(points) < 2:
        return SafeString("")
    goal = [] if target is None else [float(target)]
    low, high = min(points + goal), max(points + goal)
    span = (high - low) or 1.0
    step = (width - 8) / (len(points) - 1)

    def y(value: float) -> str:
        return f"{3 + (height - 7) * (1 - (value - low) / span):.1f}"

    line = [(f"{2 + place * step:.1f}", y(value)) for place, value in enumerate(points)]
    dashed = format_html('<path class="sp-target" d="M2 {0}H{1}"/>', y(goal[0]), width - 6) if goal else ""
    path = format_html_join("L", "{} {}", line)
    return format_html(
        '<svg class="spark {}" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}" focusable="false">'
        '<path class="sp-area" d="M2 {h}L{line}L{x} {h}Z"/>{}<path class="sp-line" d="M{line}"/>'
        '<circle class="sp-dot" cx="{x}" cy="{y}" r="3"/></svg>',
        css,
        width,
        height,
        width,
        height,
        label,
        dashed,
        h=height,
        line=path,
        x=line[-1][0],
        y=line[-1][1],
    )


@register.filter
def title_case_code(value: object) -> str:
    """A code as words: `closed_period` → `Closed period`."""
    return str(value or "").replace("_", " ").replace("-", " ").capitalize()


# --- text ------------------------------------------------------------------------------------------------------


@register.filter
def pretty(value: object) -> str:
    """Data as a person reads it: JSON on many lines, text as it is."""
    return json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


@register.filter
def sentences(value: object) -> list[str]:
    """The parts of a message that names several things, one by one."""
    return [part for part in str(value).split("; ") if part]


@register.filter
def paragraphs(value: object) -> list[str]:
    """The paragraphs of a docstring, each on one line."""
    return [" ".join(part.split()) for part in str(value).split("\n\n") if part.strip()]


@register.filter
def less(value: int, by: int) -> int:
    """The difference of two counts."""
    return value - by


@register.filter
def milliseconds(value: Number | None) -> str:
    """A length of time given in milliseconds, in words."""
    return NONE if value is None else duration(float(value) / 1000)
