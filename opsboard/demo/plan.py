"""What is open today: which message of which project is refused for which cause. Chosen by the seed, not drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from opsboard.demo import trouble
from opsboard.demo.firm import Firm, Project, at
from opsboard.demo.work import Bill, blocked_period, closes_on, monday_of_month

RECENT = timedelta(days=20)  # how far back an open failure may lie: not into a month that is closed by now
FULL = 50  # projects from which on everything in trouble.OPEN is planned

Key = tuple[str, datetime]


@dataclass
class Plan:
    """heads: (project code, approval) → cause. changes: what PSA says of a project since then. holds: since when."""

    heads: dict[Key, str] = field(default_factory=dict)
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    since: dict[str, datetime] = field(default_factory=dict)
    holds: dict[str, datetime] = field(default_factory=dict)
    ceilings: dict[str, Decimal] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)

    def header(self, bill: Bill) -> dict[str, Any]:
        """Changes of the project's header that hold for this bill."""
        since = self.since.get(bill.project.code)
        return self.changes.get(bill.project.code, {}) if since and bill.approved_at >= since else {}


def last_run(firm: Firm) -> datetime:
    """The last billing run whose results are known for an hour."""
    day = firm.as_of.date()
    while day.weekday() not in (1, 3) or at(day, 19) > firm.as_of:
        day -= timedelta(days=1)
    return at(day, 18)


def late_approvals(firm: Firm) -> dict[str, datetime]:
    """Projects one of whose people's hours of the blocked month were approved only after it had been closed."""
    period = blocked_period(firm.as_of.date())
    end = last_run(firm) - timedelta(hours=2)
    begin = max(at(closes_on(period), 20), end - timedelta(days=12))
    chosen: dict[str, datetime] = {}
    wanted = {"NWC-DE": _count(firm, "closed_period") - 1, "NWC-US": 1}
    for project in _shuffled(firm, "late"):
        first, last = monday_of_month(period)
        if wanted[project.entity] and project.start <= first and project.end >= last:
            wanted[project.entity] -= 1
            rng = firm.stream("late-approval", project.code)
            chosen[project.code] = trouble.working_time(begin + (end - begin) * (0.1 + rng.random() * 0.8))
            chosen[project.code] = min(chosen[project.code], end)
    return chosen


def make(firm: Firm, bills: list[Bill]) -> Plan:
    """Plan the open failures over the projects that were billed lately."""
    plan = Plan()
    late = late_approvals(firm)
    by_project: dict[str, list[Bill]] = defaultdict(list)
    for bill in bills:
        by_project[bill.project.code].append(bill)
        if late.get(bill.project.code) == bill.approved_at and bill.period == blocked_period(firm.as_of.date()):
            plan.heads[(bill.project.code, bill.approved_at)] = "closed_period"
    taken = {code for code, _ in plan.heads}
    for cause in _wanted(firm):
        for project in _shuffled(firm, cause):
            head = _head(firm, by_project[project.code], cause)
            if head is None or project.code in taken or not _suits(cause, project, taken, firm):
                continue
            taken.add(project.code)
            _set(plan, cause, project, head, by_project[project.code])
            break
    return plan


def _count(firm: Firm, cause: str) -> int:
    """How many of a cause: all of trouble.OPEN in the whole firm, fewer in a small one."""
    wanted = trouble.OPEN[cause]
    return wanted if len(firm.projects) >= FULL else (2 if cause == "closed_period" else 1)


def _wanted(firm: Firm) -> Iterator[str]:
    """Causes to be planned, those that suit few projects first."""
    for cause in ("rate", "dropped", "credit_hold", "cost_center", "customer", "pending", "unreachable", "ceiling",
                  "billed", "permission", "inactive"):  # fmt: skip
        yield from [cause] * _count(firm, cause)


def _shuffled(firm: Firm, purpose: str) -> list[Project]:
    """Weekly billed ones first: something waits behind them soon."""
    rng = firm.stream("plan", purpose)
    order = sorted(firm.projects, key=lambda project: project.code)
    rng.shuffle(order)
    return sorted(order, key=lambda project: project.cycle != "week")


def _head(firm: Firm, bills: list[Bill], cause: str) -> Bill | None:
    """The bill that is to fail: one of the last that went into a billing run; the last one when an answer was lost."""
    run = last_run(firm) - timedelta(hours=1)
    recent = [bill for bill in bills if firm.as_of - RECENT <= bill.approved_at <= run]
    if not recent:
        return None
    if cause == "dropped":
        return recent[-1]
    rng = firm.stream("head", recent[0].project.code)
    return recent[max(0, len(recent) - rng.choice((1, 1, 2, 2, 3)))]


def _suits(cause: str, project: Project, taken: set[str], firm: Firm) -> bool:
    if cause == "rate":
        return project.currency == "USD"
    if cause == "credit_hold":
        others = {one.code for one in firm.projects if one.customer == project.customer}
        return project.currency == "EUR" and not others & taken
    return not (cause == "inactive" and project.end > firm.as_of.date() + timedelta(days=60))


def _set(plan: Plan, cause: str, project: Project, bill: Bill, bills: list[Bill]) -> None:
    """Note the cause, and what it means for the project from then on."""
    plan.heads[(project.code, bill.approved_at)] = cause
    plan.since[project.code] = bill.approved_at
    if cause == "cost_center":
        plan.changes[project.code] = {"cost_center": f"{project.entity[-2:]}-455"}
    elif cause == "customer":
        digits = project.customer.tax_id[-4:]
        plan.changes[project.code] = {"customer_tax_id": project.customer.tax_id[:-4] + digits[::-1]}
    elif cause == "rate":
        plan.changes[project.code] = {"currency": "CHF"}
    elif cause == "credit_hold":
        plan.holds[project.customer.psa] = bill.approved_at
    elif cause == "ceiling":
        before = [one for one in bills if one.approved_at < bill.approved_at]
        own = sum((card.amount for card in bill.cards), Decimal(0))
        plan.ceilings[project.code] = sum((card.amount for one in before for card in one.cards), Decimal(0)) + own / 2
    elif cause in ("pending", "inactive"):
        plan.statuses[project.code] = "pending" if cause == "pending" else "closed"
