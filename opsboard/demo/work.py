"""What the firm does: hours worked and approved, grouped as they are billed. Facts only, no events yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from opsboard.demo.firm import STANDARD_HOURS, Consultant, Firm, Project, at

# SPI 2025: 68.9 % billable utilisation in 2024 (design/standards.md, section 7): the mean of the hours drawn here.
UTILISATION = 0.689
AWAY = 0.09  # share of weeks on leave; they count neither as capacity nor as work
LATE_APPROVAL = 0.04  # share of a project's people whose hours of a period are approved afterwards
CLOSING_DAY = 15  # business day of the following month on which accounting closes a month
OPEN_WINDOW = timedelta(days=14)  # what is late now is planned (trouble.py), not drawn


@dataclass(frozen=True)
class Card:
    """A weekly time card of one person on one project, as PSA keeps it. `worked_on` is the week's Friday."""

    id: str
    project: Project
    person: Consultant
    rate: Decimal
    worked_on: date
    hours: Decimal
    approved_at: datetime

    @property
    def amount(self) -> Decimal:
        """In the project's currency."""
        return (self.hours * self.rate).quantize(Decimal("0.01"))


@dataclass(frozen=True)
class Bill:
    """Cards of a project and month that were approved together: they become one invoice."""

    project: Project
    period: str
    cards: tuple[Card, ...]
    approved_at: datetime


def business_day(day: date) -> bool:
    """Monday to Friday; the demo firm knows no holidays."""
    return day.weekday() < 5


def nth_business_day(month: date, number: int) -> date:
    """The first is 1."""
    day = month.replace(day=1) - timedelta(days=1)
    while number:
        day += timedelta(days=1)
        number -= business_day(day)
    return day


def next_month(day: date) -> date:
    """First day of the following month."""
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def closes_on(period: str) -> date:
    """The day accounting closes a month (YYYY-MM)."""
    return nth_business_day(next_month(date(int(period[:4]), int(period[5:]), 1)), CLOSING_DAY)


def blocked_period(today: date) -> str:
    """The newest month that has been closed for at least six days."""
    month = today.replace(day=1)
    while True:
        month = (month - timedelta(days=1)).replace(day=1)
        if closes_on(f"{month:%Y-%m}") + timedelta(days=6) <= today:
            return f"{month:%Y-%m}"


def cards(firm: Firm, late: Mapping[str, datetime]) -> list[Card]:
    """All time cards up to the last full week, oldest first; some are approved only after now (`firm.as_of`).

    late: code of a project → when one colleague's cards of the blocked period were approved, after it had closed.
    """
    assignments: dict[str, list[tuple[Project, Consultant, Decimal]]] = defaultdict(list)
    for project in firm.projects:
        for person, rate in project.team:
            assignments[person.code].append((project, person, rate))
    blocked = blocked_period(firm.as_of.date())
    found: list[Card] = []
    week = firm.first_day
    while at(week + timedelta(days=7), 0) <= firm.as_of:
        for code in sorted(assignments):
            for project, person, rate, hours in _week(firm, week, code, assignments[code]):
                friday = week + timedelta(days=4)
                moment = _approved_at(firm, project, person, friday)
                first = person == project.team[0][0]
                if project.code in late and first and f"{friday:%Y-%m}" == blocked:
                    moment = late[project.code]
                found.append(Card(f"TC-{20_000 + len(found)}", project, person, rate, friday, hours, moment))
        week += timedelta(days=7)
    return found


def _week(
    firm: Firm, week: date, code: str, assigned: list[tuple[Project, Consultant, Decimal]]
) -> Iterator[tuple[Project, Consultant, Decimal, Decimal]]:
    """One person's hours of a week, shared over the projects that run."""
    running = [row for row in assigned if row[0].start <= week <= row[0].end]
    rng = firm.stream("week", week, code)
    shut = (week.month, week.day) >= (12, 22) and (week.month, week.day) <= (12, 28)
    if not running or shut or rng.random() < AWAY:
        return
    total = min(45.0, max(8.0, rng.gauss(UTILISATION * STANDARD_HOURS, 6)))
    weights = [0.5 + rng.random() for _ in running]
    for (project, person, rate), weight in zip(running, weights, strict=True):
        hours = Decimal(max(4, round(total * weight / sum(weights) * 2))) / 2
        yield project, person, rate, hours.quantize(Decimal("0.01"))


def _approved_at(firm: Firm, project: Project, person: Consultant, friday: date) -> datetime:
    """Weekly: Monday to Wednesday after. Monthly: the first four business days of the next month. Some later."""
    if project.cycle == "week":
        rng = firm.stream("approval", project.code, friday)
        day = friday + timedelta(days=rng.choice((3, 3, 4, 5)))
    else:
        rng = firm.stream("approval", project.code, friday.year, friday.month)
        day = nth_business_day(next_month(friday), rng.choice((1, 2, 2, 3, 4)))
    moment = at(day, 7.5 + rng.random() * 9)
    rng = firm.stream("late", project.code, person.code, friday.year, friday.month)
    if rng.random() < LATE_APPROVAL:
        later = moment + timedelta(days=rng.randrange(6, 27))
        while not business_day(later.date()):
            later += timedelta(days=1)
        if later < firm.as_of - OPEN_WINDOW:
            return later
    return moment


def bills(firm: Firm, found: list[Card]) -> list[Bill]:
    """Cards approved by now, grouped by project, month and approval, in the order of approval."""
    groups: dict[tuple[str, str, datetime], list[Card]] = defaultdict(list)
    for card in found:
        if card.approved_at > firm.as_of:
            continue
        groups[(card.project.code, f"{card.worked_on:%Y-%m}", card.approved_at)].append(card)
    ordered = sorted(groups.items(), key=lambda item: (item[0][2], item[0][0]))
    return [Bill(group[0].project, period, tuple(group), moment) for (_, period, moment), group in ordered]


def monday_of_month(period: str) -> tuple[date, date]:
    """First and last Monday of weeks whose Friday lies in the month (YYYY-MM)."""
    first = date(int(period[:4]), int(period[5:]), 1)
    begin = first + timedelta(days=(4 - first.weekday()) % 7 - 4)
    end = next_month(first) - timedelta(days=1)
    return begin, end - timedelta(days=(end.weekday() - 4) % 7 + 4)
