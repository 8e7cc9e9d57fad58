"""What can be done with work items. Machines call these (opsboard.pipeline); people reach them through triage.

No database transaction is ever held while another system is asked (DESIGN, law 10): claim and commit, call, record.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import F
from django.db.transaction import atomic

from opsboard.core.clock import now
from opsboard.core.errors import Refused
from opsboard.jobs.models import Cursor, Taken, WorkItem

LEASE = timedelta(minutes=3)  # longer than any request to a target may take; renewed with every step
SETTLE = timedelta(seconds=5)  # an unanswered request may still be running in the target: ask after it has ended
RETRIES = 5  # before a transient failure becomes a dead letter
FIRST_WAIT, LONGEST_WAIT = 2, 300  # seconds

CLAIM = """
    UPDATE jobs_workitem SET state = 'running', claimed_by = %(worker)s, lease_until = %(lease)s,
        attempt = attempt + 1, updated_at = %(now)s
    WHERE id = (
        SELECT id FROM jobs_workitem AS item
        WHERE state IN ('ready', 'unknown') AND not_before <= %(now)s AND landscape = ANY(%(landscapes)s)
          AND NOT EXISTS (
              SELECT FROM jobs_workitem AS earlier
              WHERE earlier.landscape = item.landscape AND earlier.lane = item.lane AND earlier.id < item.id
                AND earlier.state IN ('ready', 'running', 'unknown', 'failed'))
        ORDER BY not_before, id FOR UPDATE SKIP LOCKED LIMIT 1)
    RETURNING id, (SELECT state FROM jobs_workitem AS was WHERE was.id = jobs_workitem.id)
"""


@dataclass(frozen=True)
class Claim:
    """A work item in hand. `ask_first`: an earlier outcome is unknown, the target must be asked before sending."""

    item: WorkItem
    ask_first: bool


@dataclass(frozen=True)
class NewItem:
    """A message to be carried; `sources` are taken with it, in one database transaction."""

    landscape: str
    flow: str
    key: str
    lane: str
    payload: dict[str, Any]
    refs: list[list[str]]
    transaction_id: UUID
    entity: str
    amount: Any
    currency: str
    sources: tuple[str, ...]

    def columns(self) -> dict[str, Any]:
        """What of it stands in the work item's row."""
        return {name: value for name, value in self.__dict__.items() if name != "sources"}


@atomic
def add(
    items: Sequence[NewItem],
    *,
    landscape: str,
    flow: str,
    started_from: str | None,
    cursor: str,
    problems: Sequence[str] = (),
) -> bool:
    """Store what one reading brought and move the cursor over it.

    False, and nothing is stored, when another reader was faster: it read from the same place, so what this one has
    is taken or will be read again.
    """
    reading, _ = Cursor.objects.get_or_create(landscape=landscape, flow=flow)
    reading = Cursor.objects.select_for_update().get(pk=reading.pk)
    sources = sorted({source for item in items for source in item.sources} | set(problems))
    known = Taken.objects.filter(landscape=landscape, flow=flow, source__in=sources)
    if (reading.value or None) != started_from or known.exists():
        return False
    Taken.objects.bulk_create([Taken(landscape=landscape, flow=flow, source=source) for source in sources])
    WorkItem.objects.bulk_create([WorkItem(**item.columns(), not_before=now()) for item in items])
    reading.value, reading.read_at, reading.error = cursor, now(), None
    reading.save(update_fields=["value", "read_at", "error"])
    return True


def reading_failed(*, landscape: str, flow: str, error: dict[str, Any]) -> None:
    """Keep why a source could not be read; the cursor stays, so nothing is skipped."""
    Cursor.objects.update_or_create(landscape=landscape, flow=flow, defaults={"error": error})


def claim(*, worker: str, landscapes: list[str]) -> Claim | None:
    """Take the next item that may run: due, and nothing live before it in its lane. None when there is none."""
    with connection.cursor() as cursor:
        at = now()
        cursor.execute(CLAIM, {"worker": worker, "now": at, "lease": at + LEASE, "landscapes": landscapes})
        row = cursor.fetchone()
    return Claim(WorkItem.objects.get(pk=row[0]), ask_first=row[1] == "unknown") if row else None


def _let_go(item: WorkItem, state: str, **changes: Any) -> bool:
    """Leave `running`, only if the item is still in this worker's hand; False when the reaper took it back."""
    changed = WorkItem.objects.filter(pk=item.pk, state="running", attempt=item.attempt, claimed_by=item.claimed_by)
    return bool(changed.update(state=state, claimed_by="", lease_until=None, updated_at=now(), **changes))


def renew(*, item: WorkItem) -> None:
    """The worker lives and has done a step: the lease runs anew."""
    held = WorkItem.objects.filter(pk=item.pk, state="running", attempt=item.attempt, claimed_by=item.claimed_by)
    held.update(lease_until=now() + LEASE)


def finish(*, item: WorkItem, result: dict[str, Any]) -> bool:
    """The target has it."""
    return _let_go(item, "done", result=result, error=None, retries=0)


def fail(*, item: WorkItem, error: dict[str, Any]) -> bool:
    """The target refused it, or would not have it after the last retry: a person's turn."""
    return _let_go(item, "failed", error=error)


def lose(*, item: WorkItem, error: dict[str, Any]) -> bool:
    """No answer came: the target is asked before anything is sent again."""
    wait = max(SETTLE, timedelta(seconds=backoff(item.retries)))
    return _let_go(item, "unknown", error=error, not_before=now() + wait, retries=F("retries") + 1)


def retry(*, item: WorkItem, error: dict[str, Any], wait: float | None = None) -> bool:
    """Nothing was written and it may work later: back off, at least as long as the target asks."""
    seconds = max(backoff(item.retries), wait or 0)
    return _let_go(item, "ready", error=error, not_before=now() + timedelta(seconds=seconds), retries=F("retries") + 1)


def backoff(retries: int) -> float:
    """Seconds to wait before the next try: doubling, capped."""
    return float(min(FIRST_WAIT * 2**retries, LONGEST_WAIT))


def reap(*, error: dict[str, Any]) -> list[WorkItem]:
    """Free items whose worker is gone. It may have written, so their outcome is unknown and the target is asked;
    an item that has cost several workers goes to a person."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE jobs_workitem SET claimed_by = '', lease_until = NULL, updated_at = %(now)s, not_before = %(now)s,
                state = CASE WHEN retries < %(most)s THEN 'unknown' ELSE 'failed' END, retries = retries + 1,
                error = %(error)s
            WHERE state = 'running' AND lease_until < %(now)s RETURNING id
            """,
            {"most": RETRIES, "error": json.dumps(error), "now": now()},
        )
        freed = [row[0] for row in cursor.fetchall()]
    return list(WorkItem.objects.filter(pk__in=freed).order_by("pk"))


def release(*, transaction_id: UUID, payload: dict[str, Any] | None = None) -> WorkItem:
    """Let a failed item run again, with a corrected payload (a new version) if given. Caller: triage, in its atomic.

    Raises Refused when it is not waiting for a person: running, done, or its outcome not yet known.
    """
    item = WorkItem.objects.select_for_update().filter(transaction_id=transaction_id).first()
    if item is None:
        raise Refused("This flow runs outside opsboard: replay it there. The exception closes when it succeeds.")
    if item.state != "failed":
        raise Refused(WHY_NOT.get(item.state, "It cannot be replayed now."), stale=True)
    if payload is not None and payload != item.payload:
        item.payload = payload
        item.version += 1
    item.state, item.retries, item.not_before, item.updated_at = "ready", 0, now(), now()
    item.save(update_fields=["payload", "version", "state", "retries", "not_before", "updated_at"])
    return item


WHY_NOT = {
    "ready": "It is already waiting to be sent.",
    "running": "It is being sent at this moment.",
    "unknown": "Its outcome is not known yet: the target is asked first.",
    "done": "It has been posted already.",
    "cancelled": "It was written off.",
}


def cancel(*, transaction_id: UUID) -> bool:
    """Give the item up, so that what waits behind it may go on. Only what waits for a person can be given up."""
    return bool(
        WorkItem.objects.filter(transaction_id=transaction_id, state="failed").update(
            state="cancelled", updated_at=now()
        )
    )


def already_done(*, transaction_id: UUID) -> bool:
    """The target has it by another way (the log says so): nothing is to be sent any more."""
    return bool(
        WorkItem.objects.filter(transaction_id=transaction_id, state="failed").update(
            state="done", updated_at=now(), result={"by": "another way, as the log says"}
        )
    )


def reinstate(*, transaction_id: UUID) -> bool:
    """Take back the giving up: it waits for a person again."""
    return bool(
        WorkItem.objects.filter(transaction_id=transaction_id, state="cancelled").update(
            state="failed", updated_at=now()
        )
    )
