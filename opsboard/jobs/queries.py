"""What we know about work items."""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import QuerySet

from opsboard.jobs.models import LIVE, Cursor, Taken, WorkItem


def item(transaction_id: UUID) -> WorkItem | None:
    """The work item behind a transaction; None when the flow runs outside opsboard."""
    return WorkItem.objects.filter(transaction_id=transaction_id).first()


def locked(transaction_id: UUID) -> WorkItem | None:
    """The work item behind a transaction, locked until the caller's database transaction ends."""
    return WorkItem.objects.select_for_update().filter(transaction_id=transaction_id).first()


def behind(first: WorkItem) -> QuerySet[WorkItem]:
    """What waits behind an item: later live ones of its lane, in their order."""
    return WorkItem.objects.filter(
        landscape=first.landscape, lane=first.lane, pk__gt=first.pk, state__in=LIVE
    ).order_by("pk")


def cursor(landscape: str, flow: str) -> str | None:
    """Where reading goes on; None before the first reading."""
    return Cursor.objects.filter(landscape=landscape, flow=flow).values_list("value", flat=True).first() or None


def taken(landscape: str, flow: str, sources: Iterable[str]) -> set[str]:
    """Which of these source records have been carried already."""
    return set(
        Taken.objects.filter(landscape=landscape, flow=flow, source__in=list(sources)).values_list("source", flat=True)
    )


def reading(landscape: str) -> QuerySet[Cursor]:
    """State of the readers: when each flow last read its source, and why it could not."""
    return Cursor.objects.filter(landscape=landscape).order_by("flow")
