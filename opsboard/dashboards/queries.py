"""What pages show that belongs to several rooms at once. Reads only; every row comes through its own room's rights."""

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from opsboard.accounts.access import may
from opsboard.accounts.models import User
from opsboard.kpis import queries as kpis
from opsboard.kpis.figures import Chart, Figure, Part
from opsboard.log import queries as log
from opsboard.log.models import Event, Object, Payload, Transaction
from opsboard.triage import queries as triage
from opsboard.triage.lifecycle import RESOLVED
from opsboard.triage.models import Case

WORKLIST = 7  # rows of the worklist on a home page
MANY = 6  # ids of one type and system shown on a thread page
SHOWN = 60  # messages or events of a thread shown at once, the newest ones
TROUBLE = frozenset({"rejected", "dead_lettered", "outcome_unknown", "retried", "raised", "reopened"})
WORST_FIRST = ("failed", "unknown", "retrying", "pending", "succeeded", "superseded", "closed")


@dataclass(frozen=True)
class Home:
    """What a role's first page shows; `worklist` is None for those who only read figures."""

    figures: list[Figure]
    charts: list[tuple[Figure, Chart]]
    parts: list[Part]
    parts_of: Figure | None
    worklist: list[Case] | None
    counts: dict[str, int]


def home(person: User) -> Home:
    """The figures of the person's role, the trend of the first (two for the executive), and what is due first."""
    figures = kpis.board(person)
    works = may(person, "exceptions.assign")
    charts = [(one, kpis.chart_of(person, one)) for one in figures[: 1 if works else 2]]
    filters = triage.Filters(tab="open", sort="due", team=person.team if works else "")
    broken = next((one for one in figures if one.key == "blocked_invoices"), figures[0] if figures else None)
    return Home(
        figures=figures,
        charts=charts,
        parts=kpis.breakdown(person, broken.key)[:6] if broken else [],
        parts_of=broken,
        worklist=list(triage.queue(person, filters).select_related("assignee")[:WORKLIST]) if works else None,
        counts=triage.counts(person, triage.Filters(team=filters.team)),
    )


@dataclass(frozen=True)
class Hop:
    """One flow an engagement goes through: how many messages, the worst state among them, and the exceptions."""

    flow: str
    total: int
    status: str
    statuses: dict[str, int]


@dataclass(frozen=True)
class Kin:
    """Objects of one type in an engagement: (system, ids, how many more are not listed)."""

    type: str
    total: int
    by_system: list[tuple[str, list[str], int]]


@dataclass(frozen=True)
class Told:
    """An event of the story with what was sent and answered, for those who may see it."""

    event: Event
    payload: Payload | None


@dataclass(frozen=True)
class Message:
    """One business message of an engagement: what it was about, how it stands, the exception it ended in."""

    transaction: Transaction
    label: str
    type: str
    case: Case | None


@dataclass(frozen=True)
class Engagement:
    """One thread as its page shows it. `messages` or `story` is filled, as the view asks; newest first.

    money: per flow what is through and what is on the way or stuck, each by currency.
    """

    thread: log.Thread
    money: list[tuple[str, dict[str, Decimal], dict[str, Decimal]]]
    hops: list[Hop]
    kin: list[Kin]
    cases: list[Case]
    messages: list[Message]
    story: list[Told]
    hidden: int


def engagement(person: User, thread_id: UUID, show: str) -> Engagement | None:
    """The thread with its path, records and open exceptions; `show`: messages, errors, people or all events."""
    thread = log.thread(person, thread_id)
    if thread is None:
        return None
    mine = triage.visible(person).filter(transaction__in=[one.pk for one in thread.transactions])
    cases = list(mine.select_related("assignee").order_by("severity", "due_at"))
    messages = _messages(thread, cases) if show == "messages" else []
    events = [] if show == "messages" else [event for event in thread.events if _wanted(event, show)]
    told = log.payloads(person, events[-SHOWN:])
    return Engagement(
        thread=thread,
        money=[(flow, dict(sides["done"]), dict(sides["open"])) for flow, sides in thread.money.items()],
        hops=_hops(thread.transactions),
        kin=_kin(thread.objects),
        cases=[case for case in cases if case.state != RESOLVED],
        messages=messages[:SHOWN],
        story=[Told(event, told.get(event.seq)) for event in reversed(events[-SHOWN:])],
        hidden=max(0, len(messages or events) - SHOWN),
    )


def _messages(thread: log.Thread, cases: list[Case]) -> list[Message]:
    objects = {one.pk: one for one in thread.objects}
    ended = {case.transaction_id: case for case in cases}
    found = []
    for one in thread.transactions:
        subject = objects.get(one.subject_id) if one.subject_id else None
        label = (subject.name or subject.external_id) if subject else one.key
        found.append(Message(one, label, subject.type if subject else "", ended.get(one.pk)))
    return found[::-1]


def trail(person: User, thread_id: UUID, transaction_id: UUID) -> list[Told] | None:
    """The events of one message of the thread, oldest first; None when it is not of this thread for this person."""
    thread = log.thread(person, thread_id)
    if thread is None or transaction_id not in {one.pk for one in thread.transactions}:
        return None
    events = log.trail(transaction_id)
    told = log.payloads(person, events)
    return [Told(event, told.get(event.seq)) for event in events]


def _wanted(event: Event, show: str) -> bool:
    if show == "errors":
        return event.kind in TROUBLE
    if show == "people":
        return bool(event.actor)
    return True


def _hops(transactions: list[Transaction]) -> list[Hop]:
    """The flows in the order in which they were first used."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for one in transactions:
        found[one.flow][one.status] += 1
    return [
        Hop(
            flow=flow,
            total=sum(statuses.values()),
            status=next((status for status in WORST_FIRST if status in statuses), "pending"),
            statuses=dict(statuses),
        )
        for flow, statuses in found.items()
    ]


def _kin(objects: list[Object]) -> list[Kin]:
    """The objects by type, in the order of the engagement, and by system; of many only the first."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for one in objects:
        found[one.type][one.system].append(one.external_id)
    return [
        Kin(
            type=type_,
            total=sum(len(ids) for ids in systems.values()),
            by_system=[(system, ids[:MANY], max(0, len(ids) - MANY)) for system, ids in systems.items()],
        )
        for type_, systems in found.items()
    ]


def exception_number(person: User, text: str) -> int | None:
    """The number behind `EXC-48213` when the person may see that exception."""
    digits = text.strip().upper().removeprefix("EXC-")
    if not text.strip().upper().startswith("EXC-") or not digits.isdecimal() or len(digits) > 17:
        return None
    return triage.visible(person).filter(number=int(digits)).values_list("number", flat=True).first()
