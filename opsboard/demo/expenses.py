"""Expenses go from PSA to ERP through the firm's middleware: a flow opsboard only watches, so that it has no work
items here, and its exceptions close when the middleware reports success."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from opsboard.demo import trouble, way
from opsboard.demo.firm import Consultant, Firm, Project, at
from opsboard.demo.telling import Telling
from opsboard.demo.trouble import CAUSES, ERP, PSA
from opsboard.log.entry import Entry, Named

FLOW = "expense-to-erp"
PER_WEEK = 0.2  # expense reports per consultant and week
Say = Callable[..., None]


def tell(firm: Firm, telling: Telling) -> None:
    """One year of expense reports, and the few that are open now."""
    week, number = firm.first_day, 0
    last: list[tuple[datetime, Project, Consultant, str]] = []
    while at(week + timedelta(days=9), 0) <= firm.as_of:
        for project in firm.projects:
            if not project.start <= week <= project.end:
                continue
            for person, _ in project.team:
                rng = firm.stream("expense", week, project.code, person.code)
                if rng.random() < PER_WEEK / 2:
                    number += 1
                    approved = at(week + timedelta(days=rng.randrange(7, 10)), 8 + rng.random() * 8)
                    if approved < firm.as_of - timedelta(hours=2):
                        last.append((approved, project, person, f"EXP-{4_000 + number}"))
        week += timedelta(days=7)
    last.sort(key=lambda one: one[0])
    recent = [one[3] for one in last if one[0] > firm.as_of - timedelta(days=12)]
    stuck = dict(
        zip(
            firm.stream("expenses-open").sample(recent, min(3, len(recent))),
            trouble.EXPENSE_OPEN,
            strict=False,
        )
    )
    for approved, project, person, report in last:
        _tell_one(firm, telling, (approved, project, person, report), stuck.get(report, ""))


def _tell_one(firm: Firm, telling: Telling, what: tuple[datetime, Project, Consultant, str], open_cause: str) -> None:
    approved, project, person, report = what
    rng = firm.stream("expense", report)
    amount = Decimal(rng.randrange(45, 1900)) + Decimal(rng.randrange(100)) / 100
    facts = {"person": person.code, "person_name": person.name, "project": project.code}
    objects = (
        Named(PSA, "expense", report, "subject", f"{person.name}, {approved:%b %Y}"),
        Named(PSA, "project", project.code, "project", project.name),
        Named(PSA, "customer", project.customer.psa, "customer", project.customer.name),
        Named(PSA, "resource", person.code, "resource", person.name),
    )

    def say(kind: str, moment: datetime, attempt: int = 1, cause: str = "", **said: Any) -> None:
        error = CAUSES[cause].error(facts) if cause else None
        telling.entries.append(
            Entry(
                source="urn:opsboard:demo:middleware",
                id=f"{report}/{attempt}/{kind}",
                type=f"demo.expense.{kind}",
                kind=kind,
                flow=FLOW,
                key=f"expense/{report}",
                objects=objects + said.pop("more", ()),
                system=error["system"] if error else said.pop("system", ERP),
                entity=project.entity,
                attempt=attempt,
                occurred_at=moment,
                received_at=moment + timedelta(seconds=rng.randrange(2, 40)),
                error=error,
                **said,
            )
        )

    claim = {"report": report, "employee": person.code, "project": project.code, "amount": str(amount)}
    say("received", approved, amount=amount, currency=project.currency, system=PSA, payload=claim)
    _go(firm, rng, say, approved + timedelta(minutes=rng.randrange(4, 90)), report, open_cause)


def _go(firm: Firm, rng: random.Random, say: Say, sent: datetime, report: str, open_cause: str) -> None:
    """Sent to ERP at once, after a retry, or after somebody corrected the report at the source."""
    say("posted", sent, latency_ms=rng.randrange(200, 1500))
    drawn, attempt = rng.random(), 1
    if open_cause:
        say("rejected", sent + timedelta(minutes=1), cause=open_cause)
        return
    refused = trouble.REFUSED[FLOW]
    if drawn < refused and sent < firm.as_of - way.QUIET:
        say("rejected", sent + timedelta(minutes=1), cause=way.pick(rng, trouble.PAST[FLOW]))
        sent, attempt = way.mended(rng, sent), 2
        say("posted", sent, attempt)
    elif drawn < refused + trouble.TRANSIENT:
        say("retried", sent + timedelta(minutes=1), cause=way.pick(rng, trouble.PASSING[FLOW]))
        sent, attempt = sent + timedelta(minutes=6), 2
        say("posted", sent, attempt)
    bill = (Named(ERP, "expense", f"VB-{report[4:]}", "created"),)
    say("acknowledged", sent + timedelta(minutes=2), attempt, more=bill)
