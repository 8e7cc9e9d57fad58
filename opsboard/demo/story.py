"""The year of the demo firm, told: deals become projects, hours become invoices, invoices are paid, and some of it
goes wrong. `tell` gives everything that is loaded; nothing here touches a database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from integrations.connectors.ports import Ref
from opsboard.demo import billing, expenses, messages, trouble, way
from opsboard.demo import plan as planning
from opsboard.demo.firm import Firm, Opportunity, Project, at
from opsboard.demo.messages import CONVERSION, STATUS, Invoice
from opsboard.demo.plan import Plan
from opsboard.demo.telling import Letter, Sent, Telling
from opsboard.demo.trouble import CRM, ERP, PSA
from opsboard.demo.way import Fate, Way
from opsboard.demo.work import Bill, Card, bills, business_day, cards


@dataclass
class Story:
    """Everything that happened, and what stands now."""

    firm: Firm
    plan: Plan
    cards: list[Card]
    bills: list[Bill]
    telling: Telling
    invoices: list[Invoice]


def tell(firm: Firm) -> Story:
    """The whole story of the firm up to `firm.as_of`."""
    worked = cards(firm, planning.late_approvals(firm))
    billed = bills(firm, worked)
    plan = planning.make(firm, billed)
    telling = Telling()
    _introduce(firm, telling)
    for project in firm.projects:
        if project.opportunity.closed_at > at(firm.first_day, 0):
            _convert(firm, telling, project.opportunity, project)
    for deal, cause in zip(firm.waiting, trouble.WAITING, strict=True):
        _convert(firm, telling, deal, None, cause)
    invoices = billing.tell(firm, plan, billed, telling)
    _settle(firm, telling, invoices)
    expenses.tell(firm, telling)
    return Story(firm, plan, worked, billed, telling, invoices)


def _introduce(firm: Firm, telling: Telling) -> None:
    """Customers and projects are linked over the systems once: at the beginning, or when they come into being."""
    begin = at(firm.first_day, 5)
    for position, customer in enumerate(firm.customers):
        refs = [
            Ref(CRM, "customer", customer.crm, "customer", customer.name),
            Ref(PSA, "customer", customer.psa, "customer", customer.name),
            Ref(ERP, "customer", customer.erp, "customer", customer.name),
        ]
        telling.note(
            f"customer/{customer.psa}", "demo.customer.linked", begin + timedelta(seconds=position), refs,
            kind="linked", entity=customer.seller, system=CRM,
        )  # fmt: skip
    for project in firm.projects:
        deal = project.opportunity
        refs = [
            Ref(PSA, "project", project.code, "project", project.name),
            Ref(ERP, "project", project.code, "job", project.name),
            Ref(CRM, "opportunity", deal.number, "opportunity", project.name),
            Ref(PSA, "customer", project.customer.psa, "customer", project.customer.name),
            Ref(CRM, "customer", project.customer.crm, "customer", project.customer.name),
            Ref(ERP, "customer", project.customer.erp, "customer", project.customer.name),
        ]
        telling.note(
            f"project/{project.code}", "demo.project.linked", max(at(project.start, 5), begin + timedelta(minutes=5)),
            refs, kind="linked", entity=project.entity, system=PSA,
        )  # fmt: skip


def _convert(firm: Firm, telling: Telling, deal: Opportunity, project: Project | None, open_cause: str = "") -> None:
    """A won deal becomes a project; or with `open_cause` it has not."""
    rng = firm.stream("conversion", deal.number)
    received = deal.closed_at + timedelta(seconds=rng.randrange(20, 300))
    facts = {"opportunity": deal.number, "seller": deal.customer.seller}
    letter = Letter(CONVERSION.key, messages.conversion(deal), received, facts)
    telling.receive(letter)
    erp = Ref(ERP, "customer", deal.customer.erp, "used", deal.customer.name)
    code = project.code if project else ""
    made = Ref(PSA, "project", code, "created", deal.name)
    took = rng.randrange(400, 1900)

    def steps() -> list[Sent]:
        if not deal.customer.erp:
            return []
        found = Sent("customer.found", ERP, refs=(erp,), latency_ms=took // 4)
        content = {"name": deal.name, "budget": str(deal.amount), "currency": deal.currency}
        created = Sent("project.created", PSA, content, (made,), {"code": code}, took)
        return [found, created]

    fate = Fate("failed", open_cause) if open_cause else way.draw(firm, letter, received)
    Way(firm, telling, letter, steps, lambda: ([made, erp], code)).go(received + timedelta(seconds=3), fate)


# ---- invoice → payment ---------------------------------------------------------------------------------------------


def _settle(firm: Firm, telling: Telling, invoices: list[Invoice]) -> None:
    """Invoices are issued, disputed, paid; CRM and PSA are told each time."""
    letters: list[tuple[Letter, Invoice]] = []
    for invoice in invoices:
        letters.append((_status(invoice, "posted", invoice.total, None, invoice.posted_at), invoice))
        for moment, open_amount in _payments(firm, telling, invoice):
            invoice.open, invoice.changed_at = open_amount, moment
            invoice.paid_on = None if open_amount else moment.date()
            state = "posted" if open_amount else "paid"
            letters.append((_status(invoice, state, open_amount, invoice.paid_on, moment), invoice))
    letters.sort(key=lambda pair: (pair[0].received_at, pair[0].message.key))
    stuck = _stuck(firm, letters)
    free: dict[str, datetime] = {}
    for letter, invoice in letters:
        telling.receive(letter, checked=False)
        fate = _open(stuck.get(letter.message.key)) or way.draw(firm, letter, letter.received_at)
        start = max(letter.received_at + timedelta(seconds=2), free.get(invoice.number, letter.received_at))
        arrived = _status_way(firm, telling, letter, invoice).go(start, fate)
        if arrived:
            free[invoice.number] = arrived + timedelta(seconds=1)


def _status(invoice: Invoice, state: str, open_amount: Decimal, paid_on: date | None, moment: datetime) -> Letter:
    message = messages.status(invoice, state, open_amount, paid_on, moment)
    received = moment + timedelta(seconds=15 + billing.hash_of(message.key) % 45)
    return Letter(STATUS.key, message, received, {"opportunity": invoice.bill.project.opportunity.number})


def _payments(firm: Firm, telling: Telling, invoice: Invoice) -> list[tuple[datetime, Decimal]]:
    """When what was left open after it came in; shares from trouble (late, disputed)."""
    rng = firm.stream("payment", invoice.reference)
    late, disputed = rng.random() < trouble.PAID_LATE, rng.random() < trouble.DISPUTED
    days = rng.expovariate(1 / 11) + 1 if late else -rng.triangular(0, 20, 3)
    if disputed:
        opened = invoice.posted_at + timedelta(days=rng.randrange(3, 20), hours=1)
        settled = opened + timedelta(days=trouble.DISPUTE_DAYS)
        _dispute(firm, telling, invoice, opened, settled)
        days = max(days + trouble.DISPUTE_DAYS, 0) if late else days
    day = invoice.due_on + timedelta(days=round(days))
    while not business_day(day) or day <= invoice.posted_at.date():
        day += timedelta(days=1)
    paid = at(day, 8 + rng.random() * 6)
    found = [(paid, Decimal("0.00"))]
    if rng.random() < 0.06 and day - timedelta(days=9) > invoice.posted_at.date():
        part = (invoice.total * Decimal("0.4")).quantize(Decimal("0.01"))
        found.insert(0, (paid - timedelta(days=8), part))
    return [(moment, left) for moment, left in found if moment < firm.as_of - timedelta(hours=1)]


def _dispute(firm: Firm, telling: Telling, invoice: Invoice, opened: datetime, settled: datetime) -> None:
    refs = [
        Ref(ERP, "invoice", invoice.number, "invoice"),
        Ref(PSA, "project", invoice.bill.project.code, "project", invoice.bill.project.name),
    ]
    for word, moment in (("disputed", opened), ("settled", settled)):
        if moment < firm.as_of:
            telling.note(
                f"{invoice.number}/{word}", f"demo.invoice.{word}", moment, refs, by="receivables",
                entity=invoice.bill.project.entity, system=ERP, amount=invoice.total, currency=invoice.currency,
            )  # fmt: skip


def _stuck(firm: Firm, letters: list[tuple[Letter, Invoice]]) -> dict[str, str]:
    """The status messages that failed lately and are open now: of different invoices, the last one of each."""
    last = {invoice.number: letter for letter, invoice in letters}
    begin, end = firm.as_of - timedelta(days=6), firm.as_of - timedelta(hours=2)
    recent = [letter for letter in last.values() if begin <= letter.received_at <= end]
    count = min(len(trouble.STATUS_OPEN), len(recent))
    chosen = firm.stream("stuck").sample(recent, count)
    return {letter.message.key: cause for letter, cause in zip(chosen, trouble.STATUS_OPEN[:count], strict=True)}


def _open(cause: str | None) -> Fate | None:
    """A lock on a record is retried before it is given up; the others are refused at once."""
    return Fate("dead" if cause == "row_lock" else "failed", cause) if cause else None


def _status_way(firm: Firm, telling: Telling, letter: Letter, invoice: Invoice) -> Way:
    rng = firm.stream("status", letter.message.key)
    project = invoice.bill.project
    to_psa = Ref(PSA, "project", project.code, "written", project.name)
    to_crm = Ref(CRM, "opportunity", project.opportunity.number, "written", project.opportunity.name)
    sent = {"state": letter.payload.state, "open_amount": str(letter.payload.open_amount)}
    took = [rng.randrange(90, 700) for _ in range(2)]

    def steps() -> list[Sent]:
        return [
            Sent("status.written", PSA, sent, (to_psa,), None, took[0]),
            Sent("status.written", CRM, sent, (to_crm,), None, took[1]),
        ]

    return Way(firm, telling, letter, steps, lambda: ([to_psa, to_crm], invoice.number))
