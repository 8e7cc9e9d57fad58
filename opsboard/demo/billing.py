"""Approved time becomes invoices: billing runs, the order of a project's bills, and what stands in their way."""

from __future__ import annotations

import calendar
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from integrations.connectors.ports import Ref
from integrations.flows.base import business_part
from opsboard.demo import messages, trouble, way
from opsboard.demo.firm import Firm, at
from opsboard.demo.messages import BILLING, Invoice
from opsboard.demo.plan import Plan
from opsboard.demo.telling import Item, Letter, Sent, Telling
from opsboard.demo.trouble import ERP
from opsboard.demo.way import Fate, Way
from opsboard.demo.work import Bill

PAYMENT_DAYS = 30  # as the sandbox ERP sets them
TWICE_A_WEEK = timedelta(days=150)  # since when there are two billing runs a week
MANUAL_DIFFERENCE = Decimal("240.00")  # by which a hand-made invoice differs from the request it duplicates


@dataclass
class Course:
    """A bill on its way: when it is first sent, what becomes of it, when it arrived."""

    bill: Bill
    letter: Letter
    start: datetime
    fate: Fate
    arrived: datetime | None = None
    number: str = ""


@dataclass
class _Lane:
    free: datetime | None = None
    blocked: bool = False
    billed: Decimal = Decimal(0)


def run_after(firm: Firm, moment: datetime) -> datetime:
    """The next billing run, 18:00 UTC: on Thursdays; for five months now also on Tuesdays."""
    day = moment.date()
    while True:
        days = (1, 3) if at(day, 18) > firm.as_of - TWICE_A_WEEK else (3,)
        if day.weekday() in days and at(day, 18) >= moment:
            return at(day, 18)
        day += timedelta(days=1)


def tell(firm: Firm, plan: Plan, bills: list[Bill], telling: Telling) -> list[Invoice]:
    """Tell every bill's way; returns the posted invoices, numbered in the order of posting."""
    lanes: dict[str, _Lane] = defaultdict(_Lane)
    courses = []
    for bill in bills:
        course = _course(firm, plan, bill, lanes[bill.project.code])
        if course is None:
            _wait(firm, plan, bill, lanes[bill.project.code], telling)
            continue
        # Told into the air first: numbers are given in the order of posting, which only the whole tells.
        course.arrived = _way(firm, course, Telling()).go(course.start, course.fate)
        lane = lanes[bill.project.code]
        lane.free, lane.blocked = course.arrived, course.arrived is None
        lane.billed += course.letter.message.amount or 0
        courses.append(course)
    _number(firm, courses)
    for course in courses:
        telling.receive(course.letter)
        _way(firm, course, telling).go(course.start, course.fate)
    return [_invoice(course, course.arrived) for course in courses if course.arrived]


def _wait(firm: Firm, plan: Plan, bill: Bill, lane: _Lane, telling: Telling) -> None:
    """Received, and waiting: behind a failed one of its project, or for the next billing run."""
    run = run_after(firm, bill.approved_at)
    letter = _letter(plan, bill, min(run, firm.as_of))
    telling.receive(letter)
    telling.items.append(Item(letter, "ready", 0, None, run if run > firm.as_of else None))
    lane.blocked = True


def _course(firm: Firm, plan: Plan, bill: Bill, lane: _Lane) -> Course | None:
    """When the bill is sent and what becomes of it; None when it waits."""
    rng = firm.stream("run", bill.project.code, bill.approved_at)
    start = run_after(firm, bill.approved_at)
    held = firm.stream("held", bill.period).uniform(0.05, 0.45)  # share that the reviewer keeps back for one run
    if rng.random() < held and start < firm.as_of - way.QUIET:
        start = run_after(firm, start + timedelta(hours=1))
    start += timedelta(seconds=rng.randrange(5, 1500))
    if lane.free is not None:
        start = max(start, lane.free + timedelta(seconds=rng.randrange(3, 40)))
    if lane.blocked or start > firm.as_of - timedelta(minutes=30):
        return None
    letter = _letter(plan, bill, start)
    letter.facts |= _ceiling(plan, bill, lane, letter)
    return Course(bill, letter, start, _fate(firm, plan, bill, letter, start))


def _letter(plan: Plan, bill: Bill, moment: datetime) -> Letter:
    """The billing request, dated as on that day."""
    year, month = int(bill.period[:4]), int(bill.period[5:])
    dated = min(date(year, month, calendar.monthrange(year, month)[1]), moment.date())
    message = messages.billing(bill, dated, plan.header(bill))
    project = bill.project
    facts = {
        "project": project.code,
        "entity": project.entity,
        "customer_psa": project.customer.psa,
        "customer_erp": project.customer.erp,
        "cost_center": plan.header(bill).get("cost_center", project.cost_center),
        "currency": message.currency,
        "date_us": f"{dated:%m/%d/%Y}",
    }
    received = bill.approved_at + timedelta(seconds=20 + (hash_of(message.key) % 40))
    return Letter(BILLING.key, message, received, facts)


def hash_of(text: str) -> int:
    """A small number that is always the same for the same text."""
    return sum(text.encode())


def _ceiling(plan: Plan, bill: Bill, lane: _Lane, letter: Letter) -> dict[str, Any]:
    total = letter.payload.total
    ceiling = plan.ceilings.get(bill.project.code, lane.billed + (total * Decimal("0.6")).quantize(Decimal(1)))
    # The hand-made invoice's number comes later, when all are numbered.
    return {
        "billed": lane.billed + total,
        "ceiling": ceiling,
        "other": "",
        "other_total": total - MANUAL_DIFFERENCE,
    }


def _fate(firm: Firm, plan: Plan, bill: Bill, letter: Letter, start: datetime) -> Fate:
    """Planned, or refused for a rule that holds on that day, or drawn."""
    project = bill.project
    planned = plan.heads.get((project.code, bill.approved_at))
    hold = plan.holds.get(project.customer.psa)
    if planned:
        return Fate({"unreachable": "dead", "dropped": "lost"}.get(planned, "failed"), planned)
    if hold and bill.approved_at >= hold:
        return Fate("failed", "credit_hold")
    dated = letter.payload.invoice_date
    if trouble.closed(firm, project.entity, f"{dated:%Y-%m}", start):
        rng = firm.stream("reopened", letter.message.key)
        early, _, reopened = trouble.early_close(firm)
        mended = reopened if bill.period == early and start < reopened else None
        mended = mended or trouble.working_time(start + timedelta(hours=rng.randrange(12, 84)))
        late = mended > firm.as_of - timedelta(hours=2)
        return Fate("failed", "closed_period") if late else Fate("refused", "closed_period", mended)
    return way.draw(firm, letter, start)


def _way(firm: Firm, course: Course, telling: Telling) -> Way:
    """The steps of a posting as the flow tells them: draft, then post."""
    project, letter = course.bill.project, course.letter
    request = letter.payload
    rng = firm.stream("latency", letter.message.key)
    draft, post = rng.randrange(180, 900), rng.randrange(400, 2600)
    invoice = Ref(ERP, "invoice", course.number, "created")
    customer = Ref(ERP, "customer", project.customer.erp, "used", project.customer.name)

    def steps() -> list[Sent]:
        content = {"reference": letter.key, "total": str(request.total), "currency": request.currency}
        answer = {"number": course.number, "total": str(request.total), "currency": request.currency}
        return [
            Sent("invoice.drafted", ERP, content, (), {"state": "draft"}, draft),
            Sent("invoice.posted", ERP, None, (invoice,), answer, post),
        ]

    return Way(firm, telling, letter, steps, lambda: ([invoice, customer], course.number))


def _number(firm: Firm, courses: list[Course]) -> None:
    """Numbers per company in the order of posting, as ERP gives them; hand-made invoices take theirs among them."""
    counters: dict[str, int] = defaultdict(int)

    def next_number(entity: str) -> str:
        counters[entity] += 1
        return f"INV-{entity}-{counters[entity]:05d}"

    def moment(course: Course) -> datetime:
        return course.arrived or course.start

    for course in sorted(courses, key=lambda one: (moment(one), one.letter.message.key)):
        if course.arrived:
            course.number = next_number(course.bill.project.entity)
        elif course.fate.cause == "billed":
            course.letter.facts["other"] = next_number(course.bill.project.entity)


def _invoice(course: Course, arrived: datetime) -> Invoice:
    request = course.letter.payload
    return Invoice(
        number=course.number,
        bill=course.bill,
        reference=course.letter.key,
        invoice_date=request.invoice_date,
        due_on=request.invoice_date + timedelta(days=PAYMENT_DAYS),
        posted_at=arrived,
        total=request.total,
        currency=request.currency,
        customer_erp=course.bill.project.customer.erp,
        request=request.model_dump_json(),
        open=request.total,
    )


def already_there(items: list[Item]) -> Iterator[tuple[Item, str, Decimal]]:
    """What ERP has of messages that have not arrived: (item, reference, total).

    A hand-made invoice for the same time; and the first of those whose answer was lost did arrive.
    """
    lost = [item for item in items if item.state == "unknown"]
    for item in items:
        request = item.letter.payload
        if item.error and item.error["code"] == "ALREADY_BILLED":
            yield item, business_part(item.letter.key) + "manual", request.total - MANUAL_DIFFERENCE
        elif lost and item is lost[0]:
            yield item, item.letter.key, request.total
