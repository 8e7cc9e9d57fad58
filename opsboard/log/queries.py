"""What the log knows. Functions that answer a person take the person first and show only what that person may see."""

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from django.db.models import Q, QuerySet
from django.db.models.functions import Lower

from opsboard.accounts.access import in_scope, may
from opsboard.accounts.models import User
from opsboard.core import ids
from opsboard.log.entry import THREAD_RANK
from opsboard.log.models import Event, Membership, Object, Payload, Transaction

FOUND_LIMIT = 50
TRAIL_LIMIT = 2_000  # events shown of one thread; the newest are kept
TITLE_ORDER = ("project", "opportunity", "contract")


@dataclass(frozen=True)
class ThreadLine:
    """One engagement in a list: its thread, what it is called, whose it is, how it stands."""

    id: UUID
    title: str
    customer: str
    objects: int
    transactions: int
    failed: int


@dataclass(frozen=True)
class Thread:
    """One engagement from opportunity to cash: its objects by type, its transactions and the events of them all.

    `money`: per flow, per currency, the sums of what succeeded and of what is under way or stuck.
    """

    id: UUID
    title: str
    customer: str
    objects: list[Object]
    transactions: list[Transaction]
    events: list[Event]
    cut: bool
    money: dict[str, dict[str, dict[str, Decimal]]]


def seen(person: User) -> QuerySet[Transaction]:
    """The transactions the person may see."""
    if not may(person, "threads.view"):
        return Transaction.objects.none()
    return in_scope(Transaction.objects.all(), person)


def find(person: User, text: str) -> list[ThreadLine]:
    """From any id of any system to the engagements it belongs to, in one step.

    `text` is an object's id or name, a transaction's business key, a correlation id or a trace id. A customer leads
    to all of its engagements. Nothing that lies outside the person's legal entities is found.
    """
    wanted = text.replace("\x00", "").strip()  # PostgreSQL keeps no such character, so nothing is called so
    if not wanted:
        return []
    objects = set(
        Object.objects.annotate(typed=Lower("external_id"))
        .filter(typed=wanted.lower())
        .values_list("pk", flat=True)[:FOUND_LIMIT]
    )
    objects |= set(
        Object.objects.filter(type__in=THREAD_RANK, name__iexact=wanted).values_list("pk", flat=True)[:FOUND_LIMIT]
    )
    objects |= _subjects(Q(correlation=wanted) | Q(transaction_id__in=_keyed(wanted)))
    return lines(person, set(threads_of(list(objects))))


def _keyed(key: str) -> list[UUID]:
    flows = Transaction.objects.order_by("flow").values_list("flow", flat=True).distinct()
    return [ids.transaction_id(flow, key) for flow in flows]


def _subjects(condition: Q) -> set[UUID]:
    """What these events are about: their subjects alone, for a customer named beside it leads to other engagements."""
    found = Event.objects.filter(condition, refs__len__gt=0).order_by("-seq")
    return set(found.values_list("refs__0", flat=True)[: FOUND_LIMIT * 4])


def lines(person: User, threads: set[UUID]) -> list[ThreadLine]:
    """List lines of the threads the person may see, by title."""
    members: dict[UUID, list[UUID]] = defaultdict(list)
    for thread, member in Membership.objects.filter(thread_id__in=threads).values_list("thread_id", "object_id"):
        members[thread].append(member)
    everything = {member for those in members.values() for member in those}
    objects = Object.objects.in_bulk(list(everything))
    by_subject: dict[UUID | None, list[Transaction]] = defaultdict(list)
    for one in seen(person).filter(subject_id__in=everything).only("subject_id", "status"):
        by_subject[one.subject_id].append(one)
    found = []
    for thread, ids_ in members.items():
        mine = [one for member in ids_ for one in by_subject[member]]
        if not mine:
            continue  # nothing of it is in the person's scope: for them it does not exist
        those = [objects[member] for member in ids_ if member in objects]
        failed = sum(one.status == "failed" for one in mine)
        found.append(ThreadLine(thread, _title(those), _customer(those), len(those), len(mine), failed))
    return sorted(found, key=lambda line: (line.title, str(line.id)))[:FOUND_LIMIT]


def _customer(objects: list[Object]) -> str:
    """The customer's name as any system tells it, else a number."""
    those = sorted((o for o in objects if o.type == "customer"), key=lambda o: (o.name == "", o.system, o.external_id))
    return (those[0].name or those[0].external_id) if those else ""


def _title(objects: list[Object]) -> str:
    """The project's name, else the opportunity's, else whichever number there is."""
    for type_ in TITLE_ORDER:
        those = sorted((o for o in objects if o.type == type_), key=lambda o: (o.name == "", o.system, o.external_id))
        if those:
            return those[0].name or f"{type_.capitalize()} {those[0].external_id}"
    return objects[0].external_id if objects else "Unknown"


def thread(person: User, thread_id: UUID) -> Thread | None:
    """The whole engagement, or None when there is none the person may see."""
    members = list(Membership.objects.filter(thread_id=thread_id).values_list("object_id", flat=True))
    transactions = list(seen(person).filter(subject_id__in=members).order_by("first_at", "pk"))
    if not transactions:
        return None
    objects = list(Object.objects.filter(pk__in=members).order_by("type", "system", "external_id"))
    events = list(
        Event.objects.filter(transaction_id__in=[one.pk for one in transactions]).order_by("-occurred_at", "-seq")[
            : TRAIL_LIMIT + 1
        ]
    )
    return Thread(
        id=thread_id,
        title=_title(objects),
        customer=_customer(objects),
        objects=sorted(objects, key=lambda o: (THREAD_RANK.get(o.type, 9), o.type, o.system, o.external_id)),
        transactions=transactions,
        events=events[:TRAIL_LIMIT][::-1],
        cut=len(events) > TRAIL_LIMIT,
        money=_money(transactions),
    )


def _money(transactions: list[Transaction]) -> dict[str, dict[str, dict[str, Decimal]]]:
    sums: dict[str, dict[str, dict[str, Decimal]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(Decimal)))
    for one in transactions:
        if one.amount is not None:
            side = (
                "done" if one.status == "succeeded" else "closed" if one.status in {"closed", "superseded"} else "open"
            )
            sums[one.flow][side][one.currency] += one.amount
    return sums


def threads_of(objects: list[UUID]) -> list[UUID]:
    """The threads these objects belong to."""
    return list(Membership.objects.filter(object_id__in=objects).values_list("thread_id", flat=True).distinct())


def trail(transaction_id: UUID) -> list[Event]:
    """The events of one transaction in the order they happened."""
    return list(Event.objects.filter(transaction_id=transaction_id).order_by("occurred_at", "seq"))


def payloads(person: User, events: list[Event]) -> dict[int, Payload]:
    """What was sent and answered at these events, by their seq; empty for those who may not see payloads."""
    if not events or not may(person, "payloads.view"):
        return {}
    found = Payload.objects.filter(
        recorded_at__in={event.recorded_at for event in events}, seq__in=[event.seq for event in events]
    )
    return {payload.seq: payload for payload in found}
